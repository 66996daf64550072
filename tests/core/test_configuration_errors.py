"""All mistakes of a configuration are found before the first event, and reported together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evtfw import (
    ConfigurationError,
    EndPath,
    Event,
    Filter,
    Input,
    InputList,
    Job,
    Output,
    OutputModule,
    Parameter,
    Path,
    Process,
    Producer,
    Task,
)
from evtfw.testing import ListSource


class Jets(Producer):
    pt_min_gev = Parameter[float]("lowest pt", default=20.0, unit="GeV", ge=0)
    collection = Parameter[str]("prefix of the branches", default="Jet")
    pt = Input[object]("pt of jets", default="source:{collection}_pt", unit="GeV")
    jets = Output[NDArray[np.float32]]("selected jets")
    count = Output[int]("number of jets")

    def produce(self, event: Event) -> None:
        event[self.count] = 1


class Reader(Producer):
    jets = Input[NDArray[np.float32]]("jets")
    value = Output[float]("value")

    def produce(self, event: Event) -> None:
        event[self.value] = 1.0


class Cut(Filter):
    value = Input[float]("value", default="reader")

    def filter(self, event: Event) -> bool:
        return True


class Keep(OutputModule):
    keep = InputList[object]("what to keep")

    def write(self, event: Event) -> bool:
        return True


def process() -> Process:
    made = Process("T")
    made.source = ListSource.of([{"Jet_pt": 1.0, "MET_pt": 2.0}])
    made.jets = Jets()
    made.reader = Reader(jets="jets")
    made.path = Path(made.jets, made.reader)
    return made


def problems(made: Process) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Job(made)
    return list(caught.value.problems)


def one(made: Process) -> str:
    found = problems(made)
    assert len(found) == 1, found
    return found[0]


def test_good_process_compiles() -> None:
    assert [n.label for n in Job(process()).info.nodes] == ["source", "jets", "reader"]


def test_unknown_parameter_names_place_and_near_names() -> None:
    made = process()
    made.jets = made.jets.clone(pt_min=30)
    message = one(made)
    assert re.match(rf"{re.escape(__file__)}:\d+: jets \(Jets\)", message)
    assert "no parameter or input 'pt_min'; did you mean 'pt_min_gev'" in message


@pytest.mark.parametrize(("value", "what"), [("high", "valid number"), (-1, "greater than or equal to 0")])
def test_wrong_parameter_value(value: Any, what: str) -> None:
    made = process()
    made.jets = Jets(pt_min_gev=value)
    message = one(made)
    assert f"'pt_min_gev' is {value!r}" in message
    assert what in message
    assert "(in GeV)" in message


def test_required_input() -> None:
    made = process()
    made.reader = Reader()
    assert "input 'jets' is required" in one(made)


def test_unknown_label_product_and_branch() -> None:
    made = process()
    made.reader = Reader(jets="jest")
    assert "there is no module 'jest'; did you mean 'jets'" in one(made)
    made.reader = Reader(jets="jets:jest")
    assert "module 'jets' has no product 'jest'; did you mean 'jets'" in one(made)
    made.reader = Reader(jets="jets")
    made.jets = Jets(collection="Jett")
    assert "the input has no branch 'Jett_pt'; did you mean 'Jet_pt'" in one(made)


def test_ambiguous_label() -> None:
    class Other(Producer):
        thing = Input[object]("any", default="jets")

        def produce(self, event: Event) -> None:
            pass

    made = process()
    made.other = Other()
    made.path = Path(made.jets, made.reader, made.other)
    assert "name one of its products: jets:jets, jets:count" in one(made)


def test_type_mismatch() -> None:
    made = process()
    made.reader = Reader(jets="jets:count")
    assert "the product is int, but NDArray[float32] is needed" in one(made)


def test_cycles_are_all_found() -> None:
    class Loop(Producer):
        other = Input[float]("value of another")
        value = Output[float]("value")

    made = process()
    made.a = Loop(other="b:value")
    made.b = Loop(other="a:value")
    made.c = Loop(other="c:value")
    made.path = Path(made.jets, made.reader, made.a, made.b, made.c)
    found = [p for p in problems(made) if "cycle" in p]
    assert len(found) == 2
    assert any("a reads b:value" in p and "b reads a:value" in p for p in found)
    assert any("c reads c:value" in p for p in found)


def test_unreachable_module_unless_in_a_task() -> None:
    made = process()
    made.spare = Reader(jets="jets")
    assert "spare (Reader): unreachable" in one(made)
    made.spares = Task(made.spare)
    Job(made)


def test_module_off_the_path_runs_on_demand() -> None:
    made = process()
    made.path = Path(made.reader)
    assert [n.label for n in Job(made).info.nodes] == ["source", "jets", "reader"]


def test_consumer_without_the_filter_of_its_producer() -> None:
    made = process()
    made.cut = Cut()
    made.late = Jets()
    made.user = Reader(jets="late:jets")
    made.path = Path(made.reader, made.cut, made.late)
    made.other = Path(made.user)
    message = one(made)
    assert "input 'jets' = 'late:jets': that module runs only behind cut" in message


def test_no_source_no_path_and_source_on_a_path() -> None:
    empty = Process("EMPTY")
    assert any("no source" in p for p in problems(empty))
    made = process()
    made.path = Path(made.source, made.reader)
    assert "holds the source" in one(made)


def test_paths_without_modules() -> None:
    made = Process("EMPTY")
    made.source = ListSource.of([{}])
    made.path = Path()
    assert "no path holds a module" in one(made)


def test_path_with_a_module_that_was_not_assigned() -> None:
    made = process()
    made.path = Path(made.reader, Jets())
    assert "a Jets without a label" in one(made)


def test_everything_is_reported_together() -> None:
    made = process()
    made.jets = Jets(pt_min=1, pt_min_gev="x")
    made.reader = Reader(jets="nothing")
    made.spare = Reader(jets="jets:jets")
    made.options.lumi_mask = "/nonexistent.json"
    found = "\n".join(problems(made))
    for part in ("'pt_min'", "'pt_min_gev'", "'nothing'", "unreachable", "/nonexistent.json"):
        assert part in found


def test_replacing_a_module_keeps_the_paths() -> None:
    made = process()
    made.jets = made.jets.clone(pt_min_gev=99.0)
    made.jets.collection = "MET"
    job = Job(made)
    assert [n.label for n in job.info.nodes] == ["source", "jets", "reader"]
    assert made.jets.settings == {"pt_min_gev": 99.0, "collection": "MET"}


def test_keep_rules() -> None:
    def kept(*rules: str) -> list[str]:
        made = process()
        made.out = Keep(keep=list(rules))
        made.end = EndPath(made.out)
        job = Job(made)
        (out,) = job._instances.of["out"]
        return [p.reference for p in out.keep]  # type: ignore[attr-defined]

    assert kept("*") == ["jets:jets", "jets:count", "reader:value"]
    assert kept("*", "drop jets:c*") == ["jets:jets", "reader:value"]
    assert kept("jets:count", "source:*_pt") == ["jets:count", "source:Jet_pt", "source:MET_pt"]
    with pytest.raises(ConfigurationError, match="rule 'jest' matches no product; did you mean 'jets'"):
        kept("jest")


def test_output_selects_by_a_path_that_exists() -> None:
    made = process()
    made.out = Keep(select=["~pith", "path"])
    made.end = EndPath(made.out)
    assert "'select' names no path 'pith'; did you mean 'path'" in one(made)


def test_same_object_under_two_labels() -> None:
    made = process()
    with pytest.raises(ConfigurationError, match=r"same object as process\.jets"):
        made.more = made.jets


def test_init_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match="begin_job"):
        type("Bad", (Producer,), {"__init__": lambda self: None})


def test_stream_module_cannot_put_into_a_lumi() -> None:
    made = process()
    made.bad = type(
        "Bad", (Producer,), {"o": Output[int]("count", scope="lumi"), "produce": lambda self, event: None}
    )()
    made.path = Path(made.reader, made.bad)
    assert "belongs to the lumi, but the module has one instance per stream" in one(made)
