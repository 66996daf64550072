import errno
import hashlib
import os
from pathlib import Path

import pytest

from evtfw.core.errors import OutputError
from evtfw.io.atomic import AtomicFile, write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_name_appears_at_commit_and_not_before(tmp_path):
    file = AtomicFile(str(tmp_path / "a.bin"), "out")
    file.part.write_bytes(b"content")
    assert "a.bin" not in names(tmp_path)
    file.commit()
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"content"


def test_commit_replaces_an_older_file_and_two_writers_do_not_meet(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    one, two = (AtomicFile(str(tmp_path / "a.bin"), "out") for _ in range(2))
    one.part.write_bytes(b"one")
    two.part.write_bytes(b"two")
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    one.commit()
    two.commit()
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_without_overwrite_an_existing_file_is_refused_at_the_start_and_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    file = AtomicFile(str(path), "out", overwrite=False)
    path.write_bytes(b"came meanwhile")
    with pytest.raises(OutputError, match=r"a.bin"):
        file.commit()
    assert path.read_bytes() == b"came meanwhile"
    assert names(tmp_path) == ["a.bin"]
    with pytest.raises(OutputError, match=r"overwrite=True"):
        AtomicFile(str(path), "out", overwrite=False)


def test_an_error_of_the_disk_at_fsync_leaves_no_file(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "a.bin").write_bytes(b"old")
    file = AtomicFile(str(tmp_path / "a.bin"), "out")
    file.part.write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"EIO.*do not trust"):
        file.commit()
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_data_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    steps = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1])
    AtomicFile(str(tmp_path / "a.bin"), "out").commit()
    assert steps == ["fsync", "rename", "fsync"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("missing/a.bin", "create it first"), ("root://server//a.root", "local files only"), (".", "is a folder")],
)
def test_a_path_that_cannot_be_is_refused_at_once(tmp_path, path, message):
    with pytest.raises(OutputError, match=message):
        AtomicFile(path if "://" in path else str(tmp_path / path), "out")


def test_a_kept_part_has_a_name_to_be_found(tmp_path):
    file = AtomicFile(str(tmp_path / "a.bin"), "out")
    file.part.write_bytes(b"half")
    assert file.keep_part() == tmp_path / "a.bin.part"
    assert names(tmp_path) == ["a.bin.part"]


def test_the_checksum_is_beside_the_file_and_an_old_one_does_not_stay(tmp_path):
    path, sidecar = tmp_path / "a.bin", tmp_path / "a.bin.sha256"
    file = AtomicFile(str(path), "out")
    file.part.write_bytes(b"content")
    file.commit(checksum=True)
    assert sidecar.read_text() == f"{hashlib.sha256(b'content').hexdigest()}  a.bin\n"
    write_atomically(str(path), b"other", "out")
    assert not sidecar.exists()
