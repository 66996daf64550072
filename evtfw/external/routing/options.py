"""What a user can say about routing."""

from __future__ import annotations

import dataclasses

from evtfw.external.urls import OptionReader


@dataclasses.dataclass(frozen=True, slots=True)
class RoutingOptions:
    """How a router deals with its servers.

    Args:
        retries: how often a request that failed is sent again at most, within its deadline.
        hedge: whether a second server is asked when the first takes longer than 95% of its last replies did.
        limit: how many requests each server gets at the same time; 0: found by measuring.
        attempt_timeout_s: after so long without a reply another server is asked; 0: ten times the 95% quantile of the
            server's replies, at least 1 s, or a part of the deadline before there are measurements.
        wait_s: how long requests wait for a server to come back when none serves; then they fail, so that a fallback
            can take over.
    """

    retries: int = 4
    hedge: bool = False
    limit: int = 0
    attempt_timeout_s: float = 0.0
    wait_s: float = 0.5

    @classmethod
    def read(cls, reader: OptionReader) -> RoutingOptions:
        """Read them from an URL. Raises ValueError for the user."""
        return cls(
            retries=reader.integer("retries", 4, at_least=0),
            hedge=reader.choice("hedge", "0", ("0", "1")) == "1",
            limit=reader.integer("limit", 0, at_least=0),
            attempt_timeout_s=reader.number("attempt_timeout_s", 0.0, at_least=0.0),
            wait_s=reader.number("wait_s", 0.5, at_least=0.0),
        )
