"""Number formats of devices, one file each."""
