"""Configuration: the shipped top-tagging job, which also tells when its first event came and what was imported then.

Used by the benchmark "startup"; see there.
"""

import json
import os
import sys
import time
from pathlib import Path as FilePath

from evtfw import Analyzer, EndPath, Event
from evtfw.core.loading import load_process

REPOSITORY = FilePath(__file__).resolve().parent.parent


class FirstEvent(Analyzer):
    """Writes the time of the event and the names of the libraries' modules that are imported by then."""

    def analyze(self, event: Event) -> None:
        time_s = time.monotonic()
        own = {"evtfw", "configs", "benchmarks", *sys.stdlib_module_names}
        names = [n for n, m in list(sys.modules.items()) if n.split(".")[0] not in own and getattr(m, "__spec__", None)]
        FilePath(os.environ["EVTFW_FIRST_EVENT"]).write_text(json.dumps({"time_s": time_s, "modules": names}))


process = load_process(REPOSITORY / "configs" / "toptag.py")
process.first = FirstEvent()
process.tell = EndPath(process.first)
