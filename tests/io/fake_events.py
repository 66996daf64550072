"""Events and running outputs without a job."""

import dataclasses

import numpy as np

from evtfw.core.declare import InputList, ProductInfo, Token
from evtfw.core.event import Absent, make_event
from evtfw.core.module import TriggerResults
from evtfw.core.source import Chunk, JaggedColumn

RESULTS = Token(0)
FIRST_PRODUCT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class FakeJets:
    pt_gev: np.ndarray
    eta: np.ndarray
    index: np.ndarray

    @classmethod
    def make(cls, number, count):
        values = np.arange(count, dtype=np.float32)
        return cls(values + number, -values, np.arange(count, dtype=np.int32))


def absent(reference="some:product"):
    return Absent(reference, "was not put")


def running(cls, path, products=(), source=(), types=None, **parameters):
    """An instance as a job makes it: products are 'label:name', source columns are names."""
    references = [*products, *(f"source:{name}" for name in source)]
    infos = []
    for number, reference in enumerate(references):
        label, name = reference.split(":")
        infos.append(
            ProductInfo(label, name, Token(FIRST_PRODUCT + number), (types or {}).get(reference, object), "doc", "GeV")
        )
    output = object.__new__(cls)
    output.__dict__.update(label="out", path=str(path), trigger_results=RESULTS, **parameters)
    output.__dict__.update(dict.fromkeys(cls.declared(InputList), tuple(infos)))
    return output


def chunk_of(n, columns=None, first=0, origin="input.root"):
    numbers = np.arange(first, first + n, dtype=np.uint64)
    return Chunk(np.full(n, 1, np.uint32), (numbers // 10 + 1).astype(np.uint32), numbers, columns or {}, origin, first)


def jagged(lists, dtype=np.float32):
    counts = [len(values) for values in lists]
    content = np.concatenate([np.asarray(values, dtype) for values in lists] or [np.empty(0, dtype)])
    return JaggedColumn(content, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def event_of(index, chunk, row, products=(), accepted=(True,), *, names=("tag",)):
    results = absent() if accepted is None else TriggerResults(names, tuple(accepted), (False,) * len(names))
    event = make_event([results, *products], stream=0)
    event.index, event.chunk, event.row = index, chunk, row
    return event


def write_all(output, products, accepted=None, *, order=None, source=None, end=True):
    """Give one event per entry of ``products`` to the output, in ``order`` (of indices), and end the job."""
    chunk = chunk_of(len(products), source)
    output.begin_job()
    for i in order if order is not None else range(len(products)):
        output.write(event_of(i, chunk, i, products[i], (True,) if accepted is None else (accepted[i],)))
    if end:
        output.end_job()
    return output
