"""How long one server may take, so that one that hangs uses only a part of the deadline when there is another way."""

from __future__ import annotations

from typing import Final

from evtfw.external.routing.call import NEVER, Call
from evtfw.external.routing.options import RoutingOptions
from evtfw.external.routing.server import Server

_SLOW: Final = 10
_FLOOR_NS: Final = 1_000_000_000
_LEFT_FOR_OTHERS_NS: Final = 500_000_000


def attempt_limit_ns(call: Call, server: Server, now_ns: int, options: RoutingOptions, *, is_alone: bool) -> int:
    """Return when to give up an attempt that is sent now; `NEVER` if nothing says so.

    With measurements, a server that takes ten times longer than for 95% of its replies (and a second at least) hangs.
    Before, it gets half of what is left, or three quarters if it is the only one, which leave time for a fallback.
    Short deadlines are given wholly to the only server, and never cut to less than three times what it takes.

    Args:
        call: the request.
        server: who is asked.
        now_ns: when.
        options: a fixed limit is taken as it is.
        is_alone: whether no other server serves.
    """
    left_ns = call.deadline_ns - now_ns if call.deadline_ns != NEVER else NEVER
    if options.attempt_timeout_s:
        return now_ns + min(left_ns, int(options.attempt_timeout_s * 1e9))
    p95_ns = server.latency.p95_ns
    if p95_ns:
        most_ns = max(_FLOOR_NS, _SLOW * p95_ns)
        if not is_alone and left_ns != NEVER:
            most_ns = min(most_ns, max(left_ns // 2, 3 * p95_ns))
    elif left_ns == NEVER:
        return NEVER
    elif not is_alone:
        most_ns = left_ns // 2
    else:
        most_ns = left_ns * 3 // 4 if left_ns // 4 >= _LEFT_FOR_OTHERS_NS else left_ns
    return call.deadline_ns if most_ns >= left_ns else now_ns + most_ns
