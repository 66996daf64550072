"""The in-process FPGA: exact arithmetic, the device's clock, its cost."""
