"""Dumping: the text is Python, complete, and makes the same process."""

import pathlib
from typing import Any

import numpy as np
import pytest

from evtfw import (
    ConfigurationError,
    EndPath,
    Path,
    Process,
    Producer,
    Sequence,
    Task,
    ignore,
)
from evtfw.core.dump import dump
from evtfw.core.dump_imports import Imports
from evtfw.core.loading import load_process
from tests.core.dump_samples import Empty, Keep, Maker, Opaque, Veto, round_trip


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
