"""Products in an event: absence, release, and the checks of ``check_products``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evtfw import Analyzer, EndPath, Event, Input, Job, JobResult, Output, Path, Process, Producer
from evtfw.core.errors import ExitCode, ProductError
from evtfw.core.event import Absent
from evtfw.testing import ListSource, SimulatedRuntime


def run(*modules: Producer, check: bool = False, labels: str = "abc") -> JobResult:
    process = Process("PRODUCTS")
    process.source = ListSource.of([{"x": np.arange(3.0)}])
    for label, module in zip(labels, modules, strict=False):
        setattr(process, label, module)
    process.path = Path(*[getattr(process, label) for label in labels[: len(modules)]])
    process.options.check_products = check
    return Job(process, runtime=SimulatedRuntime()).run()


def make(produce: Any, **declarations: Any) -> Producer:
    return type("Made", (Producer,), {"produce": produce, **declarations})()  # type: ignore[no-any-return]


class Forgetful(Producer):
    value = Output[float]("never put")

    def produce(self, event: Event) -> None:
        pass


def test_reading_what_was_not_put_names_the_product_and_both_modules() -> None:
    reader = make(lambda self, event: event[self.i] + 1, i=Input[float]("in", default="a:value"))
    result = run(Forgetful(), reader)
    assert result.exit_code == ExitCode.PRODUCT
    assert "'b' (Made) failed in produce" in str(result.error)
    assert "product 'a:value' was not put by module 'a'" in str(result.error)


@pytest.mark.parametrize(
    "use",
    [
        len,
        list,
        bool,
        float,
        np.asarray,
        lambda x: x.pt,
        lambda x: x[0],
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: x > 0,
    ],
)
def test_an_absent_product_cannot_be_taken_for_a_value(use: Any) -> None:
    with pytest.raises(ProductError, match="jets:pt"):
        use(Absent("jets:pt", "was not put"))


@pytest.mark.parametrize(
    ("produce", "message"),
    [
        (lambda self, event: event[0], "reads product '.*', which it does not declare"),
        (lambda self, event: event.__setitem__(0, 1.0), "puts product '.*', which it does not declare"),
    ],
)
def test_undeclared_access_is_found(produce: Any, message: str) -> None:
    hidden = make(produce)
    result = run(Forgetful(), hidden, check=True)
    assert isinstance(result.error, ProductError)
    with pytest.raises(ProductError, match=message):
        raise result.error


def test_putting_twice_is_found() -> None:
    def produce(self: Any, event: Event) -> None:
        event[self.o] = 1
        event[self.o] = 2

    result = run(make(produce, o=Output[int]("twice")), check=True)
    assert "puts its product 'o' a second time" in str(result.error)


def test_arrays_are_frozen_once_put() -> None:
    def put(self: Any, event: Event) -> None:
        event[self.o] = np.zeros(3)

    def change(self: Any, event: Event) -> None:
        event[self.i][0] = 1

    result = run(
        make(put, o=Output[np.ndarray]("zeros")), make(change, i=Input[np.ndarray]("in", default="a")), check=True
    )
    assert "read-only" in str(result.error)


def test_columns_are_read_only_views() -> None:
    content = np.arange(4.0)
    from evtfw.core.source import JaggedColumn

    column = JaggedColumn(content, np.array([0, 1, 4]))
    assert column[1].tolist() == [1.0, 2.0, 3.0]
    assert np.shares_memory(column[1], content)
    with pytest.raises(ValueError, match="read-only"):
        column[1][0] = 5


def test_products_are_released_after_their_last_reader() -> None:
    class Big(Producer):
        o = Output[Any]("big")

        def produce(self, event: Event) -> None:
            event[self.o] = np.zeros(1000)

    seen: list[Any] = []

    class Look(Analyzer):
        """Comes after a segment boundary, and peeks at a product that it does not declare."""

        i = Input[float]("in", default="last")
        releases_gil = True

        def analyze(self, event: Event) -> None:
            seen.append(next(iter(event)))

    process = Process("RELEASE")
    process.source = ListSource.of([{}])
    process.big = Big()
    process.last = make(
        lambda self, event: event.__setitem__(self.o, 1.0), i=Input[Any]("in", default="big"), o=Output[float]("x")
    )
    process.look = Look()
    process.path = Path(process.big, process.last)
    process.end = EndPath(process.look)
    result = Job(process, runtime=SimulatedRuntime()).run()
    assert result.error is None
    assert "was released" in repr(seen[0])
