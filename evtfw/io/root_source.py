"""Events from ROOT files: NanoAOD, PFNano and plain trees, as TTree or RNTuple."""

from __future__ import annotations

from evtfw.core.declare import Parameter
from evtfw.io.event_file import EventFile
from evtfw.io.file_source import FileSource


class RootSource(FileSource):
    """Reads events from ROOT files: a TTree or RNTuple, on this machine or by http(s):// and root://.

    Each branch is a column, ``source:BRANCH``; only those that somebody consumes are read. A number per event comes as
    a NumPy scalar, a list (``nJet``/``Jet_pt``, ``std::vector<float>``) or an array of fixed size as a read-only view,
    a string as str, and what is nested deeper as an awkward array (slower: one awkward operation per event).
    """

    tree = Parameter[str]("name of the TTree or RNTuple, with its folders: 'folder/Events'", default="Events")
    on_unclosed_file = Parameter[str](
        "what to do with a file that its writer did not close: treat it as bad, or read what its directory lists, "
        "which may be fewer events than were written",
        default="error",
        choices=("error", "read"),
    )

    def open_file(self, path: str) -> EventFile:
        """See `FileSource.open_file`."""
        from evtfw.io.root_file import open_root_file

        return open_root_file(path, self.tree, read_unclosed=self.on_unclosed_file == "read")
