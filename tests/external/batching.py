"""A batcher around a mock whose replies the test resolves."""

from evtfw.external.batcher import Batcher
from evtfw.external.mock import MockBackend
from tests.external.conftest import ROWS


def negated(inputs):
    return {"y": -inputs["x"]}


def manual(context, description=ROWS, slots=1, **options):
    inner = MockBackend(negated, description=description, manual=True, slots=slots, url="mock:rows")
    batcher = Batcher(inner, **options)
    batcher.open(context)
    return inner, batcher


def sizes(inner):
    return [len(request.inputs["x"]) for request in inner.pending]


def values(outcome):
    return outcome.reply["y"].ravel().tolist()
