"""When an FPGA would answer: devices described as data, and their clock.

===============  ================================================================================================
`description`    what is known of a device
`presets`        devices that were published, and those that a user describes in a file of his own
`clock`          the queue before a device, its pipeline and its link
===============  ================================================================================================
"""
