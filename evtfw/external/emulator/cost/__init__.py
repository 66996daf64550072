"""What an emulated model costs on a device: cycles, DSPs, LUTs, flip-flops, memory, energy; and what its bits buy."""
