"""How long a model takes beyond its computing: read from a file, so that a test can change it while the server runs."""

import threading
from pathlib import Path


class Pace:
    """Waits in each call as long as the file ``delay_s`` of the model says."""

    def __init__(self, args):
        self._file = Path(args["model_repository"]) / "delay_s"
        self._read_ns = 0
        self._delay_s = 0.0
        self._never = threading.Event()

    def keep(self):
        changed_ns = self._file.stat().st_mtime_ns
        if changed_ns != self._read_ns:
            self._read_ns = changed_ns
            self._delay_s = float(self._file.read_text() or 0)
        if self._delay_s:
            self._never.wait(self._delay_s)
