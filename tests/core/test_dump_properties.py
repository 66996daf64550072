"""Random processes: dumping, loading and dumping again gives the same text, and a formatter likes it."""

import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evtfw import (
    EndPath,
    Filter,
    Path,
    Process,
    ProcessOptions,
    Sequence,
    Task,
    ignore,
)
from evtfw.core.dump import dump
from tests.core.dump_samples import Binning, Bits, ByRepr, Colour, Maker, Point, Veto, function, round_trip

LABELS = st.sampled_from(["a", "b", "c", "jets", "tag", "my label"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.binary(max_size=5)
    | st.complex_numbers()
)
HASHABLE = SCALARS | st.sampled_from(
    [*Colour, Bits.A | Bits.B, pathlib.Path("x"), Point(1, 2), Binning(1), function, np.sin]
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
        | st.builds(Binning, st.integers(), st.tuples(inner))
        | st.builds(ByRepr, st.integers() | st.text(max_size=5), b=st.floats() | st.lists(st.none()))
    ),
    max_leaves=12,
)


@st.composite
def processes(draw):
    process = Process(draw(st.text("abcXYZ '\"é", max_size=6)))
    process.set_options(
        threads=draw(st.integers(0, 64)),
        events=tuple(draw(st.lists(st.sampled_from(["1:2:3", "1:1:1-1:1:9"]), max_size=6))),
        on_error=draw(st.sampled_from(["rethrow", "continue"])),
    )
    for label in draw(st.lists(LABELS, max_size=5)):
        made = draw(st.sampled_from([Maker, Maker, Veto]))
        extra = {"value": draw(VALUES)} if made is Maker and draw(st.booleans()) else {}
        setattr(process, label, made(**extra, **({"threshold": draw(st.floats())} if made is Veto else {})))
    for number in range(draw(st.integers(0, 4))):
        items: list[Any] = []
        for item in draw(
            st.lists(st.sampled_from([*process.modules.values(), *process.sequences.values(), None]), max_size=6)
        ):
            if isinstance(item, Filter):
                items.append(draw(st.sampled_from([item, ~item, ignore(item)])))
            else:
                items.append(Sequence(*items) if item is None else item)
        kind = draw(st.sampled_from([Path, EndPath, Sequence, Task]))
        setattr(process, f"sequence{number}", kind(*items))
    return process


def structure(process):
    """What a job would be made of, comparable."""

    def items(sequence):
        return [
            type(sequence).__name__,
            *(
                items(i) if isinstance(i, Sequence) else (i.want, i.module.label) if hasattr(i, "want") else i.label
                for i in sequence.items
            ),
        ]

    return {label: items(s) for label, s in process.sequences.items()}, list(process.modules), process.options


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(process=processes())
@example(process=Process("EMPTY", ProcessOptions()))
def test_random_processes_survive_the_round_trip(process, tmp_path):
    loaded = round_trip(process, tmp_path)
    assert structure(loaded) == structure(process)


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_a_formatter_has_nothing_to_change(tmp_path):
    file = tmp_path / "dumped.py"

    @settings(max_examples=25, deadline=None, database=None)
    @given(process=processes())
    def check(process):
        file.write_text(dump(process))
        command = ["ruff", "format", "--isolated", "--diff", str(file)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    check()
