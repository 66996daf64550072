"""Tells the user what became of servers, in few lines even if one comes and goes all the time."""

from __future__ import annotations

from typing import Final

_FIRST_PAUSE_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 600.0


class News:
    """Chooses what is worth a line: an ejection, and the return after it, with growing pauses in between per server."""

    def __init__(self) -> None:
        self._next_ns: dict[int, int] = {}
        self._pause_s: dict[int, float] = {}
        self._unsaid: dict[int, int] = {}
        self._is_return_due: set[int] = set()

    def ejected(self, server: int, url: str, reason: str, others: str, now_ns: int) -> list[str]:
        """Return the lines to say when a server is left alone."""
        if now_ns < self._next_ns.get(server, 0):
            self._unsaid[server] = self._unsaid.get(server, 0) + 1
            return []
        pause_s = self._pause_s.get(server, _FIRST_PAUSE_S)
        if now_ns > self._next_ns.get(server, now_ns) + pause_s * 1e9:
            pause_s = _FIRST_PAUSE_S  # it was well for long
        self._next_ns[server] = now_ns + int(pause_s * 1e9)
        self._pause_s[server] = min(_LONGEST_PAUSE_S, 2 * pause_s)
        self._is_return_due.add(server)
        return [f"{url} fails and is left alone for a while ({reason}){self._more(server)}; {others}"]

    def returned(self, server: int, url: str) -> list[str]:
        """Return the lines to say when a server serves again: one for each ejection that was said."""
        if server not in self._is_return_due:
            return []
        self._is_return_due.discard(server)
        return [f"{url} serves again"]

    def last(self, server: int, url: str) -> list[str]:
        """Return the lines to say at the end about what was not said."""
        more = self._unsaid.pop(server, 0)
        return [f"{url} failed and came back {more} more time{'s'[: more != 1]}"] if more else []

    def _more(self, server: int) -> str:
        more = self._unsaid.pop(server, 0)
        return f", as {more} time{'s'[: more != 1]} since the last message" if more else ""
