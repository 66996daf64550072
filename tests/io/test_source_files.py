"""Lists, globs and URLs of input files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from evtfw.core.errors import InputError
from evtfw.io.files import FileStamp, expand_files


@pytest.fixture
def folder(tmp_path):
    for name in ("b.root", "a.root", "qcd_1.root", "deep/er/c.root", "odd[1].root"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"root")
    return tmp_path


def test_globs_are_sorted_and_lists_keep_their_order(folder):
    assert expand_files([f"{folder}/qcd*.root", folder / "b.root", f"{folder}/[a].root"]) == tuple(
        str(folder / name) for name in ("qcd_1.root", "b.root", "a.root")
    )
    assert expand_files(f"{folder}/**/c.root") == (str(folder / "deep/er/c.root"),)
    assert expand_files(folder / "odd[1].root") == (str(folder / "odd[1].root"),)


def test_the_home_folder_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert expand_files("~/a*.root") == (str(folder / "a.root"),)
    assert expand_files("~/nope.root") == (str(folder / "nope.root"),)


def test_every_glob_that_matches_nothing_is_told_with_near_names(folder):
    with pytest.raises(InputError) as caught:
        expand_files([f"{folder}/qdc_*.root", f"{folder}/a.root", f"{folder}/deap/*.root"])
    message = str(caught.value)
    assert f"'{folder}/qdc_*.root' matches no file in folder '{folder}'; did you mean 'qcd_1.root'" in message
    assert (
        f"'{folder}/deap/*.root' matches no file: there is no folder '{folder}/deap'; did you mean 'deep'?" in message
    )


def test_no_file_at_all_and_a_file_twice(folder):
    with pytest.raises(InputError, match="files is empty"):
        expand_files([])
    with pytest.raises(InputError, match=r"'.*a.root' is named more than once; its events would be counted twice"):
        expand_files([folder / "a.root", f"{folder}/*.root"])


@pytest.mark.parametrize(("url", "extra"), [("https://host/a.root", "http"), ("root://host//store/a.root", "xrootd")])
def test_a_missing_package_for_urls_names_the_extra(url, extra, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None)
    with pytest.raises(InputError, match=rf"pip install 'evtfw\[{extra}\]'"):
        expand_files([url])


def test_globs_work_in_urls(folder):
    assert expand_files(f"file://{folder}/?.root?") == (f"file://{folder}/?.root?",)
    assert [Path(name).name for name in expand_files(f"file://{folder}/q*.root")] == ["qcd_1.root"]
    with pytest.raises(InputError, match="matches no file"):
        expand_files(f"file://{folder}/z*.root")


def test_a_stamp_tells_what_changed(folder):
    path = folder / "a.root"
    stamp = FileStamp.of(str(path))
    assert stamp.change(str(path)) is None
    path.write_bytes(b"rooted")
    assert stamp.change(str(path)) == "its size went from 4 to 6 bytes"
    stamp = FileStamp.of(str(path))
    (folder / "b.root").write_bytes(b"toored")
    (folder / "b.root").replace(path)
    assert stamp.change(str(path)) == "another file took its name"
    path.unlink()
    assert stamp.change(str(path)) == "it was removed"


def test_folders_are_not_files(folder):
    with pytest.raises(InputError, match="is not a file; for all files of a folder write"):
        FileStamp.of(str(folder))
