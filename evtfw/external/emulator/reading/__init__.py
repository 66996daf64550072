"""Models of other makes as networks of the emulator: ONNX, QONNX, HGQ2; and formats from hls4ml's configurations."""
