"""Networks in ap_fixed arithmetic as plain ONNX graphs, equal to the device's to the bit."""
