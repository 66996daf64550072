"""Numbers of very different sizes brought to one scale, as networks and fixed-point arithmetic need them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.errors import ConfigurationError
from evtfw.core.event import Event
from evtfw.core.module import Producer


def standardised(
    values: NDArray[np.float32], mean: NDArray[np.float32], std: NDArray[np.float32], limit: float
) -> NDArray[np.float32]:
    """Return ``(values - mean) / std``, at most ``limit`` away from 0; float32 [n, columns].

    Args:
        values: one row per object, [n, columns].
        mean: of each column.
        std: standard deviation of each column.
        limit: in standard deviations.

    >>> standardised(np.float32([[110, 2], [900, 5]]), np.float32([100, 1]), np.float32([10, 2]), limit=8.0)
    array([[1. , 0.5],
           [8. , 2. ]], dtype=float32)
    """
    scaled: NDArray[np.float32] = (values - mean) / std
    return scaled.clip(np.float32(-limit), np.float32(limit))


class Standardise(Producer):
    """Shifts and scales each column to a mean of 0 and a standard deviation of 1, which its parameters tell."""

    mean = Parameter[list[float]]("mean of each column in the training sample")
    std = Parameter[list[float]]("standard deviation of each column there; none may be 0")
    limit = Parameter[float]("values further away are moved here, in standard deviations", default=8.0, gt=0)

    values = Input[NDArray[np.float32]]("one row per object, float32 [n, columns]", default="features")

    standardised = Output[NDArray[np.float32]]("the same in standard deviations, float32 [n, columns]")

    def begin_job(self) -> None:
        """Check the columns' scales."""
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise ConfigurationError(
                f"module '{self.label}': {len(self.mean)} means and {len(self.std)} standard deviations, the smallest "
                f"{min(self.std, default=0.0):g}; give both for each column, the deviations above 0"
            )
        self._mean, self._std = np.array(self.mean, np.float32), np.array(self.std, np.float32)

    def produce(self, event: Event) -> None:
        """Put the rows in standard deviations."""
        event[self.standardised] = standardised(event[self.values], self._mean, self._std, self.limit)
