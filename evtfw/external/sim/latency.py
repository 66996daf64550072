"""How long a simulated service takes for a request."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

Distribution: TypeAlias = Literal["fixed", "uniform", "exponential", "lognormal", "gamma"]
DISTRIBUTIONS: tuple[Distribution, ...] = get_args(Distribution)

_Z99: Final = 2.3263478740408408  # the standard normal distribution is below it with 99%

_PARAMETERS: Final[dict[str, str]] = {
    "p99_ms": "lognormal",
    "sigma": "lognormal",
    "shape": "gamma",
    "max_ms": "uniform",
}


@dataclasses.dataclass(frozen=True, slots=True)
class LatencyModel:
    """A distribution of times, and what each row adds.

    ============  ============================================================================================
    distribution  parameters
    ============  ============================================================================================
    fixed         ``mean_ms``
    uniform       ``min_ms`` to ``max_ms``
    exponential   ``mean_ms``
    lognormal     ``mean_ms`` and either ``sigma`` (of the logarithm) or ``p99_ms`` (1% take longer)
    gamma         ``mean_ms`` and ``shape`` (1: exponential; larger: narrower)
    ============  ============================================================================================

    Args:
        mean_ms: mean of the time for which a request holds a server, without the rows' part.
        distribution: empty: what the parameters belong to, else fixed.
        p99_ms, sigma, shape, min_ms, max_ms: as in the table.
        per_row_ms: what each row adds; nothing for requests without a batch axis.
        network_ms: until the reply has come back; holds no server.

    Raises:
        ValueError: the parameters do not fit the distribution, or there is no such distribution.

    >>> LatencyModel(5, p99_ms=20).distribution
    'lognormal'
    """

    mean_ms: float = 0.0
    distribution: str = ""
    p99_ms: float | None = None
    sigma: float | None = None
    shape: float | None = None
    min_ms: float = 0.0
    max_ms: float | None = None
    per_row_ms: float = 0.0
    network_ms: float = 0.0

    def __post_init__(self) -> None:
        given = [name for name in _PARAMETERS if getattr(self, name) is not None]
        kind = self.distribution or next((_PARAMETERS[name] for name in given), "fixed")
        object.__setattr__(self, "distribution", kind)
        if kind not in DISTRIBUTIONS:
            raise ValueError(f"there is no distribution '{kind}' of latencies; known: {', '.join(DISTRIBUTIONS)}")
        for name in given:
            if _PARAMETERS[name] != kind:
                raise ValueError(f"{name} belongs to distribution={_PARAMETERS[name]}, not to {kind}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:
                raise ValueError(f"{field.name} must be a number not below 0, not {value}")
        self._check_parameters()

    def _check_parameters(self) -> None:
        if self.distribution == "uniform":
            if self.mean_ms:
                raise ValueError("distribution=uniform takes min_ms and max_ms, not a mean")
            if self.max_ms is None or self.max_ms < self.min_ms:
                raise ValueError("distribution=uniform needs max_ms, which is not below min_ms")
        elif self.min_ms:
            raise ValueError(f"min_ms belongs to distribution=uniform, not to {self.distribution}")
        if self.distribution == "lognormal":
            if (self.sigma is None) == (self.p99_ms is None):
                raise ValueError("distribution=lognormal needs sigma or p99_ms, and not both")
            self._lognormal()
        if self.distribution == "gamma" and not self.shape:
            raise ValueError("distribution=gamma needs a shape above 0")

    def _lognormal(self) -> tuple[float, float]:
        """Return mean and standard deviation of the logarithm of the milliseconds."""
        if not self.mean_ms:
            raise ValueError("distribution=lognormal needs a mean above 0")
        sigma = self.sigma
        if sigma is None:
            # p99/mean = exp(z sigma - sigma²/2); of the two solutions, the one that is not broader than need be.
            ratio = (self.p99_ms or 0.0) / self.mean_ms
            discriminant = _Z99**2 - 2 * math.log(ratio) if ratio >= 1 else -1.0
            if discriminant < 0:
                most = self.mean_ms * math.exp(_Z99**2 / 2)
                raise ValueError(f"p99_ms of a lognormal with this mean lies between {self.mean_ms:g} and {most:g}")
            sigma = _Z99 - math.sqrt(discriminant)
        return math.log(self.mean_ms) - sigma**2 / 2, sigma

    def sampler(self, generator: random.Random) -> Callable[[], float]:
        """Return a function that draws times in milliseconds, without what rows and network add."""
        if self.distribution == "uniform":
            return functools.partial(generator.uniform, self.min_ms, self.max_ms or 0.0)
        if self.distribution == "lognormal":
            return functools.partial(generator.lognormvariate, *self._lognormal())
        if not self.mean_ms or self.distribution == "fixed":
            return lambda: self.mean_ms
        if self.distribution == "gamma":
            shape = self.shape or 1.0
            return functools.partial(generator.gammavariate, shape, self.mean_ms / shape)
        return functools.partial(generator.expovariate, 1 / self.mean_ms)
