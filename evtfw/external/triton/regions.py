"""Shared memory for a server on the same machine: tensors lie in a file of memory, messages say only where.

One region per client, divided into slots for the requests that are on their way. The file loses its name as soon as the
server has mapped it, so nothing stays behind whatever ends the process; the server's own mapping is ended by `close`,
or, if the process was killed, by the next client of that machine (`abandoned`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import mmap
import os
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evtfw.core.errors import BadReply, ExternalError
from evtfw.external.contract import ModelDescription, Tensors, TensorSpec
from evtfw.external.protobuf_wire import text
from evtfw.external.triton.datatypes import BF16, BYTES, item_size_bytes
from evtfw.external.triton.decoding import OutputHead, array_in
from evtfw.external.triton.encoding import WireTensor, region_parameters, requested_output, tensor_field

FOLDER: Final = Path("/dev/shm")  # noqa: S108 (that is where shared memory is)
ALIGNMENT: Final = 64
SMALLEST_BYTES: Final = 65_536
"""Below so much, a message costs no more than shared memory."""
UNKNOWN_BYTES: Final = 1 << 20
"""Of a slot, for tensors of models that do not say how large they are."""
_MOST_BYTES: Final = 1 << 28
_KEPT: Final = 4096
_INPUTS, _OUTPUTS = 5, 6

_numbers = itertools.count()


@dataclasses.dataclass(eq=False, slots=True)
class Slot:
    """A place for one request.

    Args:
        number: its place in the region.
        takes_outputs: false after a request in it was given up: its server may still write there.
    """

    number: int
    takes_outputs: bool = True


class Regions:
    """Memory shared with one server.

    Args:
        description: of the model.
        inputs, outputs: of the model, as the wire has them.
        slots: requests that use it at the same time.
        slot_bytes: for the inputs of one, and again for its outputs; 0: what the largest batch needs.

    Attributes:
        name: under which the server registers it.
        size_bytes: of all of it.
    """

    def __init__(
        self,
        description: ModelDescription,
        inputs: tuple[WireTensor, ...],
        outputs: tuple[WireTensor, ...],
        *,
        slots: int,
        slot_bytes: int = 0,
    ) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._is_usable = not any(tensor.datatype in (BYTES, BF16) for tensor in inputs)
        rows = description.max_batch_size or 16
        self._input_bytes = slot_bytes or _most_bytes(description.inputs, inputs, rows)
        self._output_bytes = slot_bytes or _most_bytes(description.outputs, outputs, rows)
        self._shares_outputs = (
            self._output_bytes >= SMALLEST_BYTES and len(outputs) == 1 and (outputs[0].datatype not in (BYTES, BF16))
        )
        self._slot_bytes = self._input_bytes + (self._output_bytes if self._shares_outputs else 0)
        self.size_bytes = self._slot_bytes * slots
        self.name = f"{_prefix()}{os.getpid()}_{next(_numbers)}"
        self._free = [Slot(number) for number in range(slots)]
        self._lent: dict[str, Slot] = {}
        self._heads: dict[tuple[Any, ...], bytes] = {}
        self._path = FOLDER / self.name
        self._memory = self._allocate()
        self._bytes = np.frombuffer(self._memory, np.uint8)

    def _allocate(self) -> mmap.mmap:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ExternalError(f"shared memory cannot be allocated in {FOLDER}: {error.strerror or error}") from None
        try:
            os.posix_fallocate(file, 0, self.size_bytes)  # now, rather than a SIGBUS when the memory is touched
            return mmap.mmap(file, self.size_bytes)
        except (OSError, ValueError) as error:
            self.unlink()
            raise ExternalError(f"{self.size_bytes} bytes of shared memory cannot be allocated: {error}") from None
        finally:
            os.close(file)

    @property
    def key(self) -> str:
        """How the server finds it, until `unlink`."""
        return f"/{self.name}"

    def unlink(self) -> None:
        """Take its name away; who has mapped it keeps it."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the memory back."""
        self.unlink()
        self._free.clear()
        del self._bytes
        with contextlib.suppress(BufferError):  # a reply is being read from it now; it goes with that
            self._memory.close()

    def encode(self, start: bytes, inputs: Tensors, request_id: str) -> bytes | None:
        """Put the inputs into a free slot and return the message without id and parameters.

        Args:
            start: the fields that name the model.
            inputs: that were checked.
            request_id: whose slot it is, until `free` or `give_up`.

        Returns:
            None if the request is small, does not fit, or no slot is free.
        """
        size_bytes = sum([_aligned(inputs[tensor.name].nbytes) for tensor in self._inputs])
        if not self._is_usable or not SMALLEST_BYTES <= size_bytes <= self._input_bytes:
            return None
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        self._lent[request_id] = slot
        offset = slot.number * self._slot_bytes
        for tensor in self._inputs:
            array = inputs[tensor.name]
            place = self._bytes[offset : offset + array.nbytes]
            np.copyto(place.view(array.dtype).reshape(array.shape), array)
            offset += _aligned(array.nbytes)
        shapes = tuple([inputs[tensor.name].shape for tensor in self._inputs])
        key = (slot.number, slot.takes_outputs, shapes)
        return self._heads.get(key) or self._make_head(start, slot, shapes, key)

    def _make_head(self, start: bytes, slot: Slot, shapes: tuple[tuple[int, ...], ...], key: tuple[Any, ...]) -> bytes:
        offset = slot.number * self._slot_bytes
        head = start
        for tensor, shape in zip(self._inputs, shapes, strict=True):
            size_bytes = math.prod(shape) * item_size_bytes(tensor.datatype)
            head += text(_INPUTS, tensor_field(tensor, shape, region_parameters(4, self.name, size_bytes, offset)))
            offset += _aligned(size_bytes)
        if self._shares_outputs and slot.takes_outputs:
            place = slot.number * self._slot_bytes + self._input_bytes
            parameters = region_parameters(2, self.name, self._output_bytes, place)
            head += text(_OUTPUTS, requested_output(self._outputs[0].name, parameters))
        if len(self._heads) >= _KEPT:
            self._heads.clear()
        self._heads[key] = head
        return head

    def shared_output(self, request_id: str) -> str:
        """Return the output that this request's server writes here; empty if none."""
        slot = self._lent.get(request_id)
        return self._outputs[0].name if slot is not None and slot.takes_outputs and self._shares_outputs else ""

    def take(self, request_id: str, head: OutputHead) -> NDArray[Any]:
        """Return a copy of the output that a reply says is here.

        Raises:
            BadReply: it cannot be here.
        """
        expected = head.count * item_size_bytes(head.datatype)
        if expected > self._output_bytes or head.datatype in (BYTES, BF16):
            raise BadReply(
                f"output '{head.name}': {head.datatype} {list(head.shape)} cannot be in {self._output_bytes} bytes of "
                "shared memory"
            )
        place = self._lent[request_id].number * self._slot_bytes + self._input_bytes
        return array_in(head, self._bytes, place).copy()

    def free(self, request_id: str) -> None:
        """The server is done with the slot of a request, if it had one."""
        slot = self._lent.pop(request_id, None)
        if slot is not None:
            self._free.append(slot)

    def give_up(self, request_id: str) -> None:
        """A request ended in another way; nothing happens if its slot is free already."""
        slot = self._lent.pop(request_id, None)
        if slot is not None:
            slot.takes_outputs = False
            self._free.append(slot)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // ALIGNMENT) * ALIGNMENT


def _most_bytes(specs: tuple[TensorSpec, ...], tensors: tuple[WireTensor, ...], rows: int) -> int:
    """Return what tensors need together, with so many rows where an axis 0 is free."""
    total = 0
    for spec, tensor in zip(specs, tensors, strict=True):
        axes = [rows if length is None and axis == 0 else length for axis, length in enumerate(spec.shape)]
        if None in axes or spec.shape == (None,):
            total += UNKNOWN_BYTES
        else:
            total += _aligned(math.prod(n for n in axes if n is not None) * item_size_bytes(tensor.datatype))
    return min(max(total, ALIGNMENT), _MOST_BYTES)


def _prefix() -> str:
    """Return how names of this machine's regions begin: process numbers mean something in one namespace only."""
    try:
        namespace = re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        namespace = "0"
    return f"evtfw_{namespace}_"


def abandoned(names: list[str]) -> list[str]:
    """Return those regions of a server whose process, on this machine, is no more."""
    pattern = re.compile(re.escape(_prefix()) + r"(\d+)_\d+")
    found = ((name, pattern.fullmatch(name)) for name in names)
    return [name for name, match in found if match and not Path(f"/proc/{match[1]}").exists()]
