"""The ``evtfw`` command: one file a sub-command, each a thin face of what the library does."""
