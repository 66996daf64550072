"""Modules and values to dump, and what brings them back."""

import dataclasses
import enum
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel

from evtfw import (
    Filter,
    Input,
    InputList,
    Output,
    OutputModule,
    Parameter,
    Producer,
    Source,
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
