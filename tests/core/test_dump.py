"""Dumping: the text is Python, makes the same process, and is laid out as a formatter would."""

import dataclasses
import enum
import functools
import math
import pathlib
import re
import shutil
import subprocess
from datetime import timedelta
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from evtfw import (
    ConfigurationError,
    EndPath,
    Filter,
    Input,
    InputList,
    Output,
    OutputModule,
    Parameter,
    Path,
    Process,
    ProcessOptions,
    Producer,
    Sequence,
    Source,
    Task,
    ignore,
)
from evtfw.core.dump import dump
from evtfw.core.dump_imports import Imports
from evtfw.core.dump_values import write_value
from evtfw.core.loading import load_process


class Maker(Producer):
    collection = Parameter[str]("collection", default="Jet")
    value = Parameter[Any]("anything", default=1.5)
    pt = Input[np.ndarray]("momenta", default="source:{collection}_pt")
    made = Output[np.ndarray]("result")


class Veto(Filter):
    threshold = Parameter[float]("threshold")
    scores = Input[np.ndarray]("scores", optional=True)


class Keep(OutputModule):
    keep = InputList[Any]("rules", default=("*",))


class Empty(Source):
    events = Parameter[int]("number", default=10)


class Colour(enum.Enum):
    RED = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Binning:
    bins: int
    edges: tuple[float, ...] = ()
    hidden: int = dataclasses.field(default=3, init=False)


class Model(BaseModel):
    name: str
    points: list[int] = []


def chain(*links):
    return Chain(links)


@dataclasses.dataclass(frozen=True, repr=False)
class Chain:
    links: tuple[str, ...]

    def __repr__(self):
        return f"chain({', '.join(map(repr, self.links))})"


class ByRepr:
    def __init__(self, a, *, b=None):
        self.a, self.b = a, b

    def __repr__(self):
        return f"ByRepr({self.a!r}, b={self.b!r})"

    @classmethod
    def make(cls):
        return cls(0)


class Opaque:
    pass


def function(x):
    return x


def round_trip(process, folder):
    """Dump, load, dump again: the texts are the same; return the loaded process."""
    text = dump(process)
    file = folder / "dumped.py"
    file.write_text(text)
    loaded = load_process(file)
    assert dump(loaded) == text
    return loaded


def evaluated(value):
    imports = Imports()
    expression = str(write_value(value, imports))
    space = {}
    exec(imports.statements(), space)
    return eval(expression, space)


def test_the_text(tmp_path):
    process = Process("DEMO")
    process.source = Empty()
    process.jets = Maker(value=[1, 2])
    process.veto = Veto(threshold=0.5)
    process.out = Keep(keep=("jets", "drop veto"))
    process.common = Sequence(process.jets, ~process.veto)
    process.task = Task(process.jets)
    process.path = Path(process.common, ignore(process.veto), process.task)
    process.end = EndPath(process.out)
    process.options.threads = 8
    text = dump(process)
    assert text.startswith("# Process DEMO with every parameter and option written out.\n\n")
    assert "from evtfw import EndPath, Path, Process, ProcessOptions, Sequence, Task, ignore\n" in text
    assert 'process = Process("DEMO")\nprocess.options = ProcessOptions(\n    threads=8,\n    streams=0,\n' in text
    assert 'process.jets = Maker(\n    collection="Jet",\n    value=[1, 2],\n    pt="source:Jet_pt",\n)\n' in text
    assert "process.veto = Veto(\n    threshold=0.5,\n)" in text or "process.veto = Veto(threshold=0.5)" in text
    assert text.endswith(
        "process.common = Sequence(process.jets, ~process.veto)\n"
        "process.task = Task(process.jets)\n"
        "process.path = Path(process.common, ignore(process.veto), process.task)\n"
        "process.end = EndPath(process.out)\n"
    )
    loaded = round_trip(process, tmp_path)
    assert loaded.options == process.options
    assert [type(m) for m in loaded.modules.values()] == [Empty, Maker, Veto, Keep]
    assert loaded.out.settings["keep"] == ("jets", "drop veto")


def test_sequences_come_after_what_they_contain(tmp_path):
    process = Process("P")
    process.a = Maker()
    inner = Sequence(process.a)
    process.path = Path(inner, Sequence(process.a), Task())
    process.inner = inner
    text = dump(process)
    assert text.endswith(
        "process.inner = Sequence(process.a)\nprocess.path = Path(process.inner, Sequence(process.a), Task())\n"
    )
    round_trip(process, tmp_path)


def test_labels_that_are_no_identifiers(tmp_path):
    process = Process("P")
    setattr(process, "my jets", Maker())
    process.path = Path(getattr(process, "my jets"))
    assert list(round_trip(process, tmp_path).modules) == ["my jets"]


def test_mistakes_of_a_configuration_are_kept(tmp_path):
    process = Process("P")
    process.maker = Maker(colection="Muon")
    process.veto = Veto()  # threshold is missing
    process.path = Path(Maker(), "jets")
    loaded = round_trip(process, tmp_path)
    assert loaded.maker.settings["colection"] == "Muon"
    assert "threshold" not in loaded.veto.settings
    assert loaded.path.items[1] == "jets"


def test_a_class_defined_in_the_configuration_is_imported_from_it(tmp_path):
    (tmp_path / "original").mkdir()
    file = tmp_path / "original" / "own_modules.py"
    file.write_text(
        "import enum\nfrom evtfw import *\nfrom own_parts import Part, cut\n"
        "class Size(enum.Enum):\n    BIG = 1\n"
        "class Own(Producer):\n    size = Parameter[Size]('size', default=Size.BIG)\n"
        "    f = Parameter[object]('f', default=cut)\n"
        "process = Process('OWN')\nprocess.own = Own()\nprocess.part = Part()\n"
    )
    (tmp_path / "original" / "own_parts.py").write_text(
        "from evtfw import Producer\nclass Part(Producer):\n    pass\ndef cut(x):\n    return x\n"
    )
    process = load_process(file)
    text = dump(process)
    assert f'import sys\n\nsys.path.insert(0, "{file.parent}")\n\n' in text
    assert "from own_modules import Own, Size\nfrom own_parts import Part, cut\n" in text
    loaded = round_trip(process, tmp_path)
    assert [type(m).__name__ for m in loaded.modules.values()] == ["Own", "Part"]


def test_things_of_the_same_name_are_told_apart(tmp_path):
    class Elsewhere:
        pass

    imports = Imports()
    assert imports.name(Path) == "Path"
    assert imports.name(pathlib.Path) == "pathlib_Path"
    assert imports.statements() == "from pathlib import Path as pathlib_Path\n\nfrom evtfw import Path"


@pytest.mark.parametrize(
    "value",
    [
        None,
        ...,
        True,
        -3,
        1e-05,
        float("inf"),
        2 - 3j,
        'it\'s "quoted"\n\t\\ é',
        b"bytes '\"",
        b"\xff\x00",
        (),
        (1,),
        [1, (2, [3])],
        {"a": {1: 2.5}, (1, 2): None},
        {3, 1, 2},
        set(),
        frozenset({"a"}),
        pathlib.Path("/tmp/a.root"),
        pathlib.PureWindowsPath("c:/x"),
        Colour.RED,
        Bits.A | Bits.B,
        re.IGNORECASE,
        Point(1.0, 2.0),
        Binning(3, (0.5,)),
        Model(name="m", points=[1]),
        Fraction(1, 3),
        timedelta(days=1),
        range(1, 5, 2),
        re.compile("a+", re.IGNORECASE),
        int,
        function,
        len,
        math.sqrt,
        np.log,
        np.float32,
    ],
    ids=repr,
)
def test_values(value):
    made = evaluated(value)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.1),
        np.int8(3),
        np.bool_(True),
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 3), "int16"),
        np.array(["a", "bc"]),
    ],
    ids=repr,
)
def test_numpy_values(value):
    made = evaluated(value)
    assert made.dtype == value.dtype
    assert made.shape == value.shape
    assert np.array_equal(made, value)


def test_values_known_by_their_text():
    assert math.isnan(evaluated(float("nan")))
    assert evaluated(np.dtype("float32")) == np.dtype("float32")
    assert repr(evaluated(ByRepr([1], b=ByRepr((2,))))) == "ByRepr([1], b=ByRepr((2,), b=None))"
    assert str(write_value(chain("a", "b"), Imports())) == 'chain("a", "b")'
    assert evaluated(chain("a")) == chain("a")
    made = evaluated(functools.partial(function, x=3))
    assert (made.func, made.keywords) == (function, {"x": 3})
    assert evaluated(ByRepr.make)().a == 0


def test_what_cannot_be_written_is_reported_all_at_once():
    process = Process("P")
    process.a = Maker(value=lambda x: x)
    process.b = Maker(value=[Opaque()])
    process.c = Maker(value=np.array([{}]))

    class Local(Producer):
        pass

    process.d = Local()
    loop: list[Any] = []
    loop.append(loop)
    process.e = Maker(value=loop)
    with pytest.raises(ConfigurationError) as caught:
        dump(process)
    problems = caught.value.problems
    assert len(problems) == 5
    assert f"{__file__}:" in problems[0]
    assert "process.a: parameter 'value' = <function" in problems[0]
    assert "<lambda> has no name to import it by" in problems[0]
    assert "process.b: parameter 'value'" in problems[1]
    assert "repr() is not a call" in problems[1]
    assert "process.c" in problems[2]
    assert "process.d" in problems[3]
    assert "contains itself" in problems[4]


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
