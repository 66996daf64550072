"""Opening ROOT files: is it one, is it whole, and does it hold the tree."""

from __future__ import annotations

from typing import Any

import uproot

from evtfw.core.errors import InputError, nearest
from evtfw.io.event_file import EventFile
from evtfw.io.files import FileStamp, one_line, scheme_of
from evtfw.io.ntuple import NTupleFile
from evtfw.io.ttree import TreeFile

_MAGIC = b"root"
_HEADER_BYTES = 100
_ADVICE = "get a fresh copy of the file, or set on_bad_file='skip'"
_REMOTE_ADVICE = "check the address, the network and the server, or set on_bad_file='skip'"
_LOCAL_OPTIONS: dict[str, Any] = {
    # Plain reads in the calling thread. A memory map would end the process by SIGBUS if the file were cut while it is
    # read; uproot's reader threads would wait at every basket for the interpreter lock, which the workers hold.
    "handler": uproot.source.file.MultithreadedFileSource,
    "use_threads": False,
    "num_workers": 1,
}


def open_root_file(path: str, tree: str, *, read_unclosed: bool = False) -> EventFile:
    """Open the TTree or RNTuple ``tree`` of a local or remote file.

    Args:
        path: path or URL.
        tree: its name, with folders within the file: ``"folder/Events"``.
        read_unclosed: take what the directory of a file lists that its writer did not close.

    Raises:
        InputError: if the file is missing, is not a ROOT file, is truncated or was never closed, or has no such tree.
    """
    if not scheme_of(path):
        _check_magic(path)
    try:
        options = {} if scheme_of(path) else _LOCAL_OPTIONS
        directory = uproot.open({path: None}, object_cache=None, array_cache=None, **options)
    except Exception as error:
        advice = _REMOTE_ADVICE if scheme_of(path) else _ADVICE
        raise InputError(f"file '{path}' cannot be opened as a ROOT file: {one_line(error)}; {advice}") from error
    try:
        _check_whole(path, directory, read_unclosed=read_unclosed)
        return _open_tree(path, directory, tree)
    except BaseException:
        directory.close()
        raise


def _check_magic(path: str) -> None:
    size_bytes = FileStamp.of(path).size_bytes or 0
    try:
        with open(path, "rb") as file:
            start = file.read(len(_MAGIC))
    except OSError as error:
        raise InputError(f"file '{path}' cannot be opened: {one_line(error)}") from error
    if size_bytes == 0:
        raise InputError(f"file '{path}' is empty (0 bytes): its writer never got to write; {_ADVICE}")
    if start != _MAGIC:
        raise InputError(f"file '{path}' is not a ROOT file: it begins with {start!r}, not with {_MAGIC!r}")
    if size_bytes < _HEADER_BYTES:
        raise InputError(
            f"file '{path}' is truncated: {size_bytes} bytes do not even hold a ROOT file's header; {_ADVICE}"
        )


def _check_whole(path: str, directory: Any, *, read_unclosed: bool) -> None:
    """Compare the header with the file, as ROOT does before it tries to recover one (TFile::Init).

    The header says where the file ends, and where the lists of free space and of keys are; a writer that is killed
    leaves the header of its last flush, or of the file's creation, in which these places are 0.
    """
    file = directory.file
    try:
        size_bytes = int(file.source.num_bytes)
    except Exception:  # a server that does not tell sizes
        return
    if size_bytes < file.fEND:
        raise InputError(f"file '{path}' is truncated: {size_bytes} bytes of {file.fEND} are there; {_ADVICE}")
    lists_missing = file.fSeekFree <= file.fBEGIN or directory.fSeekKeys <= file.fBEGIN
    if not read_unclosed and (lists_missing or size_bytes > file.fEND):
        beyond = f"{size_bytes - file.fEND} of {size_bytes} bytes come after the end that its header gives"
        what = "its lists of keys or of free space were never written" if lists_missing else beyond
        raise InputError(
            f"file '{path}' was never closed by its writer, or is being written: {what}, so events would be missing; "
            "write it again, recover it with ROOT (open it by TFile in 'UPDATE' mode and close it), or read what its "
            "directory lists with on_unclosed_file='read'"
        )


def _open_tree(path: str, directory: Any, name: str) -> EventFile:
    try:
        classes: dict[str, str] = directory.classnames(recursive=True, cycle=False)
    except Exception as error:
        raise InputError(f"the directory of file '{path}' cannot be read: {one_line(error)}; {_ADVICE}") from error
    kind = classes.get(name.strip("/"))
    if kind not in ("TTree", "ROOT::RNTuple"):
        trees = [key for key, kind in classes.items() if kind in ("TTree", "ROOT::RNTuple")]
        what = f"'{name}' is a {kind}, not a tree" if kind else f"there is no tree '{name}'"
        inside = "; known: " + ", ".join(trees[:20]) if trees else "; it holds no TTree or RNTuple at all"
        raise InputError(f"file '{path}': {what}{nearest(name, trees) if len(trees) > 20 else inside}")
    try:
        found = directory[name]
        return TreeFile(path, directory, found) if kind == "TTree" else NTupleFile(path, directory, found)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"file '{path}', tree '{name}': its description cannot be read: {one_line(error)}; {_ADVICE}"
        ) from error
