"""Mutated requests: ``python -m tests.external.service.wire.fuzz SECONDS [SEED]``.

Whatever the bytes are, the parser may only return a request or raise BadRequest, with memory bounded by the message.
Where atheris is installed, ``python -m tests.external.service.wire.fuzz --atheris FOLDER`` lets it choose the bytes.
"""

from __future__ import annotations

import pathlib
import random
import sys
import time

from evtfw.core.errors import BadRequest
from evtfw.external.contract import NO_TIMES
from evtfw.external.service.wire.limits import Limits
from evtfw.external.service.wire.reply import ReplyWriter
from evtfw.external.service.wire.request import RequestReader

CORPUS = pathlib.Path(__file__).parent / "corpus"
INTERESTING = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x0B]


def corpus():
    """The seeds: requests of real clients, and inputs that once found something."""
    return [path.read_bytes() for path in sorted(CORPUS.glob("*.bin"))]


def mutate(seeds, chance):
    """A message made of the seeds by a few random changes."""
    content = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(content) + 1)
        kind = chance.randrange(6)
        if kind == 0 and content:
            content[at % len(content)] = chance.choice(INTERESTING)
        elif kind == 1 and content:
            content[at % len(content)] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del content[at : at + chance.randint(1, 8)]
        elif kind == 3:
            content[at:at] = bytes(chance.choice(INTERESTING) for _ in range(chance.randint(1, 11)))
        elif kind == 4:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            content[at : at + chance.randrange(32)] = other[start : start + chance.randrange(64)]
        else:
            content[at:at] = content[at : at + chance.randint(1, 40)] * chance.choice([1, 2, 50])
    return bytes(content)


def check(reader, content):
    """Read a message. Returns whether it was one; raises anything but BadRequest."""
    try:
        request = reader.read(content)
    except BadRequest as error:
        if len(str(error)) > 1500:
            raise
        return False
    assert sum(array.nbytes for array in request.inputs.values()) <= 8 * len(content) + 64
    ReplyWriter("m", "1").write(request.id, [(name, array, None) for name, array in request.inputs.items()], NO_TIMES)
    return True


def run(seconds, seed, at_most=sys.maxsize):
    """Try mutations for a while; returns how many were tried and how many were requests."""
    seeds, chance, reader = corpus(), random.Random(seed), RequestReader(Limits())
    end, tried, valid = time.monotonic() + seconds, 0, 0
    while tried < at_most and time.monotonic() < end:
        content = mutate(seeds, chance)
        try:
            valid += check(reader, content)
        except BaseException:
            print(f"seed {seed}, message {content.hex()}", file=sys.stderr)
            raise
        tried += 1
    return tried, valid


def main():
    if sys.argv[1:2] == ["--atheris"]:
        import atheris

        reader = RequestReader(Limits())
        atheris.Setup([sys.argv[0], *sys.argv[2:], str(CORPUS)], lambda content: check(reader, content))
        atheris.Fuzz()
    else:
        seconds = float(sys.argv[1]) if sys.argv[1:] else 60.0
        tried, valid = run(seconds, int(sys.argv[2]) if sys.argv[2:] else time.time_ns())
        print(f"{tried} messages, {valid} of them requests")


if __name__ == "__main__":
    main()
