"""Large networks in the arithmetic of FPGA overlays: 8-bit fixed point, and block floating point.

A float ONNX graph is rewritten offline into another that onnxruntime runs at the speed of its own kernels.
"""

from evtfw.external.emulator.quantised.rewriting import rewrite

__all__ = ["rewrite"]
