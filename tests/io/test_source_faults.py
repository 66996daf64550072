"""Bad input: what the user is told, that nothing wrong is given out, and that skipping accounts for every event."""

from __future__ import annotations

import struct

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from evtfw.core.errors import InputError
from evtfw.io.root_source import RootSource
from tests.io.source_inputs import (
    FORMATS,
    event_numbers,
    make_events,
    make_source,
    read_all,
    write_events,
)

COLUMNS = ["MET_pt", "Jet_pt", "Jet_id"]
HEADER_END = 12  # of the file, in a small file's header
HEADER_FREE = 16  # of the list of free space


@pytest.fixture(params=FORMATS)
def kind(request):
    return request.param


@pytest.fixture
def file(kind, tmp_path):
    return write_events(tmp_path / "good.x", make_events(200), kind, block=50)


def error_of(kind, files, columns=COLUMNS, **parameters):
    with pytest.raises(InputError) as caught:
        read_all(make_source(kind, files, **parameters), columns)
    return str(caught.value)


def flip(path, position, bits=0xFF):
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)


def basket_place(path, branch, number):
    with uproot.open(path) as opened:
        found = opened["Events"][branch]
        return int(found.member("fBasketSeek")[number]), int(found.member("fBasketBytes")[number])


# 20: corrupt or truncated


def test_a_missing_file_is_told_at_once_with_near_names(kind, file, tmp_path):
    with pytest.raises(InputError, match=r"no file '.*/god.x' in folder '.*'; did you mean 'good.x'"):
        make_source(kind, [file, tmp_path / "god.x"]).columns()


def test_all_missing_files_are_told_together(kind, file, tmp_path):
    message = error_of(kind, [tmp_path / "one.x", file, tmp_path / "two.x"])
    assert "one.x" in message
    assert "two.x" in message


@pytest.mark.parametrize("keep", [0, 3, 60, 0.3, 0.7, -1])
def test_a_truncated_file_is_refused_before_any_event(kind, file, keep):
    content = file.read_bytes()
    length = int(keep * len(content)) if isinstance(keep, float) else keep % len(content)
    file.write_bytes(content[:length])
    with pytest.raises(InputError, match=r"good\.x'.* (truncated|is empty|is not a ROOT file|is not a Parquet file)"):
        make_source(kind, file).columns()


def test_another_kind_of_file_is_refused(kind, tmp_path):
    (tmp_path / "a.x").write_text("run,event\n1,1\n" * 100)
    with pytest.raises(InputError, match=r"is not a (ROOT|Parquet) file: it begins with b'run,'"):
        make_source(kind, tmp_path / "a.x").columns()


def test_a_corrupt_basket_is_told_with_branch_entries_and_place(tmp_path):
    file = write_events(tmp_path / "a.root", make_events(200), block=50)
    place, size = basket_place(file, "Jet_pt", 2)
    flip(file, place + size - 20)
    message = error_of("ttree", file)
    assert f"file '{file}', tree 'Events', branch 'Jet_pt', entries 100-149: basket 2 at byte {place}" in message
    assert "on_bad_file='skip'" in message


def test_corrupt_data_is_told_with_column_and_rows(tmp_path):
    file = write_events(tmp_path / "a.parquet", make_events(200), "parquet", block=50)
    column = pq.ParquetFile(file).metadata.row_group(1)
    offsets = {column.column(i).path_in_schema: column.column(i).data_page_offset for i in range(column.num_columns)}
    flip(file, offsets["MET_pt"] + 60)
    assert "column 'MET_pt', rows 50-99: row group 1 cannot be decoded" in error_of("parquet", file)


def test_lists_of_one_collection_that_disagree_are_corrupt(tmp_path):
    events = {"nJet": np.array([1, 2], np.int32), "Jet_pt": np.zeros(3), "Jet_eta": np.zeros(3)}
    with uproot.recreate(tmp_path / "a.root", compression=None) as opened:
        opened.mktree("Events", {"Jet": "var * {pt: float64, eta: float64}"})
        jets = ak.unflatten(ak.zip({"pt": events["Jet_pt"], "eta": events["Jet_eta"]}), events["nJet"])
        opened["Events"].extend({"Jet": jets})
    place, size = basket_place(tmp_path / "a.root", "Jet_eta", 0)
    basket = (tmp_path / "a.root").read_bytes()[place : place + size]
    offsets = struct.unpack(">4i", basket[-16:])  # count, two starts, and the unused end
    flip(tmp_path / "a.root", place + size - 5, 8)
    assert offsets[0] == 3
    message = error_of("ttree", tmp_path / "a.root", ["Jet_pt", "Jet_eta"])
    assert "entry 0: branch 'Jet_eta' has 2 values, but 'Jet_pt' of the same collection has 1" in message


@pytest.mark.parametrize("compression", [uproot.ZLIB(1), uproot.ZSTD(1), None], ids=["zlib", "zstd", "none"])
@pytest.mark.parametrize("kind", ["ttree", "rntuple"], indirect=True)
def test_flipped_bits_never_end_in_anything_but_events_or_an_input_error(kind, tmp_path, compression):
    original = write_events(tmp_path / "good.x", make_events(60), kind, block=30, compression=compression).read_bytes()
    random = np.random.default_rng(5)
    for position in random.integers(0, len(original), 60):
        file = tmp_path / f"flipped{position}.x"
        file.write_bytes(original)
        flip(file, int(position), 1 << int(random.integers(8)))
        source = make_source(kind, file, on_bad_file="skip")
        try:
            offered = source.columns()
            chunks = list(source.chunks([name for name in COLUMNS if name in offered], 0, None))
        except InputError as error:
            outcome = str(error)
        else:
            skipped = sum(skip.last - skip.first for skip in source.skipped)
            outcome = f"{file}: {sum(map(len, chunks)) + skipped} events"
        assert str(file) in outcome
        assert "events" not in outcome or outcome.endswith(": 60 events")


# 22: missing branch, wrong type


def test_a_branch_missing_in_a_later_file_is_told_with_near_names(kind, file, tmp_path):
    events = make_events(20)
    events["Jet_ptt"] = events.pop("Jet_pt")
    del events["Jet_id"]
    other = write_events(tmp_path / "other.x", events, kind)
    message = error_of(kind, [file, other])
    assert f"file '{other}'" in message
    assert "entries 0-19: no " in message
    assert "'Jet_pt'; did you mean 'Jet_ptt'" in message
    assert "'Jet_id'" in message


def test_another_type_in_a_later_file_is_told(kind, file, tmp_path):
    events = {**make_events(20), "MET_pt": np.zeros(20, np.int16), "Jet_pt": np.zeros(20, np.float32)}
    message = error_of(kind, [file, write_events(tmp_path / "other.x", events, kind)])
    assert f"'MET_pt' is int16 here, but float32 in '{file}'" in message
    assert f"'Jet_pt' is float32 here, but float32[] in '{file}'" in message


def test_ids_missing_in_a_later_file_are_an_error_not_made_up(kind, file, tmp_path):
    events = make_events(20)
    del events["luminosityBlock"]
    assert "'luminosityBlock'" in error_of(kind, [file, write_events(tmp_path / "other.x", events, kind)])


# 23: never closed


def test_a_file_whose_writer_died_is_detected(tmp_path):
    file = write_events(tmp_path / "a.root", make_events(100))
    content = bytearray(file.read_bytes())
    content[HEADER_FREE : HEADER_FREE + 8] = bytes(8)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"was never closed by its writer.*TFile in 'UPDATE' mode"):
        RootSource(files=str(file)).columns()


def test_data_after_the_end_in_the_header_means_never_closed(tmp_path):
    path = tmp_path / "live.root"
    with uproot.recreate(path) as writer:
        writer.mktree("Events", {"x": np.float64})
        writer.file.sink.flush()
        begun = path.read_bytes()
        writer["Events"].extend({"x": np.random.default_rng(1).random(10_000)})
        writer.file.sink.flush()
        grown = path.read_bytes()
    dead = tmp_path / "dead.root"  # baskets are on the disk, header and tree are of before
    dead.write_bytes(begun + grown[len(begun) :])
    with pytest.raises(InputError, match=r"was never closed by its writer, .*: \d+ of \d+ bytes come after the end"):
        RootSource(files=str(dead)).columns()
    assert RootSource(files=str(dead), on_unclosed_file="read").event_count() == 0


def test_an_unclosed_file_may_be_skipped_or_read(tmp_path):
    good = write_events(tmp_path / "good.root", make_events(20))
    dead = write_events(tmp_path / "dead.root", make_events(30, first_event=100))
    dead.write_bytes(dead.read_bytes() + bytes(100))
    skipping = make_source("ttree", [good, dead], on_bad_file="skip")
    assert event_numbers(read_all(skipping, COLUMNS)) == list(range(1, 21))
    assert [(r.origin, r.first, r.last) for r in skipping.skipped] == [(str(dead), 0, -1)]
    reading = make_source("ttree", [good, dead], on_unclosed_file="read")
    assert len(event_numbers(read_all(reading, COLUMNS))) == 50


# 24: changed during the job


def test_a_file_that_grows_while_it_is_read_is_told(kind, file):
    source = make_source(kind, file, chunk_events=50, on_bad_file="skip")
    source.columns()
    chunks = source.chunks(COLUMNS, 0, None)
    next(chunks)
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(InputError, match="changed during the job: its size went from"):
        next(chunks)


def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(kind, file):
    source = make_source(kind, file, chunk_events=50)
    source.columns()
    chunks = source.chunks(COLUMNS, 0, None)
    next(chunks)
    with file.open("r+b") as opened:
        opened.truncate(50)
    with pytest.raises(InputError, match=r"good\.x"):
        list(chunks)


def test_a_file_replaced_before_its_turn_is_told(kind, file, tmp_path):
    second = write_events(tmp_path / "second.x", make_events(10), kind)
    source = make_source(kind, [file, second])
    source.columns()
    write_events(tmp_path / "new.x", make_events(10), kind).replace(second)
    with pytest.raises(InputError, match=r"second\.x'.* changed during the job: "):
        list(source.chunks(COLUMNS, 0, None))


# the skip policy


def test_skipped_files_are_accounted_for(kind, file, tmp_path, caplog):
    last = write_events(tmp_path / "last.x", make_events(30, first_event=900), kind)
    (tmp_path / "junk.x").write_bytes(b"junk" * 99)
    events = make_events(40)
    del events["Jet_pt"]
    lacking = write_events(tmp_path / "lacking.x", events, kind)
    files = [tmp_path / "junk.x", file, tmp_path / "missing.x", lacking, last]
    source = make_source(kind, files, on_bad_file="skip")
    assert event_numbers(read_all(source, COLUMNS)) == [*range(1, 201), *range(900, 930)]
    assert {(r.origin, r.first, r.last) for r in source.skipped} == {
        (str(files[0]), 0, -1), (str(files[2]), 0, -1), (str(lacking), 0, 40),
    }  # fmt: skip
    assert all(r.reason for r in source.skipped)
    assert sum("skipped" in record.message for record in caplog.records) == 3


def test_the_rest_of_a_file_is_skipped_from_the_bad_chunk_on(tmp_path):
    file = write_events(tmp_path / "a.root", make_events(200), block=50)
    place, size = basket_place(file, "Jet_pt", 2)
    flip(file, place + size - 20)
    last = write_events(tmp_path / "last.root", make_events(10, first_event=900))
    source = make_source("ttree", [file, last], on_bad_file="skip", chunk_events=50)
    given = event_numbers(read_all(source, COLUMNS))
    assert given == [*range(1, 101), *range(900, 910)]
    assert [(r.first, r.last) for r in source.skipped] == [(100, 200)]


def test_if_no_file_can_be_read_it_is_an_error_even_so(kind, tmp_path):
    (tmp_path / "junk.x").write_bytes(b"junk" * 99)
    message = error_of(kind, [tmp_path / "junk.x", tmp_path / "missing.x"], on_bad_file="skip")
    assert message.startswith("none of the 2 input files can be read:")
    assert "junk.x" in message
    assert "missing.x" in message
