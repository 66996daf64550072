"""How a model is served: batches, queue, priorities. The names follow Triton's model configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

MAX_BATCH = 256
"""Rows of a batch at most where neither the model nor its configuration has a limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What one priority level lets wait.

    Args:
        max_queue_size: requests that wait at most; one more is refused at once. 0: no limit.
        timeout_s: longest wait in the queue; None or 0: as long as the request's deadline allows.
        allow_timeout_override: whether a request may ask for a shorter time than ``timeout_s``; never for a longer one.
    """

    max_queue_size: int = 1000
    timeout_s: float | None = None
    allow_timeout_override: bool = True

    def wait_s(self, asked_s: float | None) -> float | None:
        """Return how long a request that asked for ``asked_s`` may wait in the queue; None for ever."""
        limits = [s for s in (self.timeout_s, asked_s if self.allow_timeout_override else None) if s]
        return min(limits, default=None)


@dataclasses.dataclass(frozen=True, slots=True)
class ServingSettings:
    """How requests for a model are put together and limited.

    Args:
        max_batch_size: rows of a batch, and so of a request, at most; None: what the model allows, `MAX_BATCH` at most.
            0: axis 0 is not a batch, each request is an execution of its own.
        is_batching: whether requests are put together; if not, each is an execution of its own.
        preferred_batch_sizes: rows that the model likes best; smaller and other batches wait for ``max_queue_delay_s``.
        max_queue_delay_s: how long the oldest request may wait for company while an instance is free.
        gather_s: do not put together more than is expected to compute so long, because who is first in a batch waits
            for all of it; None: no such limit. Preferred sizes take precedence.
        priority_levels: 1 is served first, this number last; 0: one level for all.
        default_priority_level: of requests that ask for none, or for one that does not exist.
        default_policy: of levels that have none of their own.
        level_policies: by level.
        max_queue_bytes: input arrays that wait at most, over all levels; what exceeds it is refused at once.
        instances: batches that are computed at the same time; 0: as many as the backend has slots.
    """

    max_batch_size: int | None = None
    is_batching: bool = True
    preferred_batch_sizes: tuple[int, ...] = ()
    max_queue_delay_s: float = 0.0
    gather_s: float | None = 0.02
    priority_levels: int = 0
    default_priority_level: int = 0
    default_policy: QueuePolicy = QueuePolicy()
    level_policies: Mapping[int, QueuePolicy] = dataclasses.field(default_factory=dict)
    max_queue_bytes: int = 256 << 20
    instances: int = 0

    def level_of(self, priority: int) -> int:
        """Return the level, from 1, at which a request of this priority waits."""
        levels = max(1, self.priority_levels)
        if 1 <= priority <= levels:
            return priority
        return self.default_priority_level or levels

    def policy_of(self, level: int) -> QueuePolicy:
        """Return the policy of a level."""
        return self.level_policies.get(level, self.default_policy)
