"""What outcomes say about servers: who serves, who is left alone, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evtfw.core.errors import ServerUnavailable
from evtfw.external.routing.breaker import State
from evtfw.external.routing.call import NEVER, Attempt
from evtfw.external.routing.news import News
from evtfw.external.routing.server import Server
from evtfw.external.routing.turns import Actions


class Health:
    """Keeps the breakers of all servers.

    Args:
        servers: all; some may not be reached yet.
        now_ns: the time.
        say: tells the user a line.

    Attributes:
        serving: how many have a closed breaker.
        down_since_ns: since when none has.
    """

    def __init__(self, servers: Sequence[Server], now_ns: int, say: Callable[[str], None]) -> None:
        self._servers = servers
        self._say = say
        self._news = News()
        self.down_since_ns = now_ns
        self.serving = sum(server.is_serving for server in servers)

    @property
    def is_down(self) -> bool:
        """Whether no server serves."""
        return not self.serving

    @property
    def next_probe_ns(self) -> int:
        """When a server may be tried again, the first of them."""
        return min((s.breaker.until_ns for s in self._servers if s.breaker.state is State.OPEN), default=NEVER)

    def nobody(self, url: str) -> ServerUnavailable:
        """Return the error of a request that nobody can take: it names all servers."""
        reasons = [
            s.breaker.reason if s.url in s.breaker.reason else f"{s.url}: {s.breaker.reason}" for s in self._servers
        ]
        return ServerUnavailable(f"{url}: no server is left: {'; '.join(reasons)}")

    def judge(self, attempt: Attempt, error: BaseException | None, now_ns: int, actions: Actions) -> None:
        """An attempt ended: measure it, and open or close the server's breaker."""
        server = attempt.server
        breaker = server.breaker
        is_news = attempt.generation == breaker.generation
        if error is None:
            server.answered(attempt.sent_ns, now_ns)
            is_failure = is_enough = False
        else:
            is_failure, is_enough = server.failed(error, attempt.sent_ns, now_ns)
        if not is_news:
            return
        if is_failure:
            if breaker.failed(now_ns, str(error), sent_ns=attempt.sent_ns, at_once=is_enough):
                self._ejected(server, now_ns, actions)
        elif attempt.is_probe:
            breaker.close(now_ns)
            self._returned(server, actions)
        elif error is None:
            breaker.succeeded()

    def abandoned(self, attempt: Attempt, now_ns: int) -> None:
        """An attempt was given up for reasons that say nothing about its server."""
        attempt.server.abandoned += 1
        if attempt.is_probe and attempt.generation == attempt.server.breaker.generation:
            attempt.server.breaker.give_back(now_ns)

    def joined(self, server: Server, now_ns: int, actions: Actions) -> None:
        """A server was reached for the first time."""
        server.breaker.close(now_ns)
        self.serving += 1
        actions.append((self._say, (f"{server.url} can be reached now and is used",)))

    def last_words(self, actions: Actions) -> None:
        """Tell the user what was not worth a line of its own."""
        for server in self._servers:
            for line in self._news.last(server.number, server.url):
                actions.append((self._say, (line,)))

    def _ejected(self, server: Server, now_ns: int, actions: Actions) -> None:
        server.ejections += 1
        self.serving -= 1
        if not self.serving:
            self.down_since_ns = now_ns
        others = [other.url for other in self._servers if other.is_serving]
        rest = f"its requests go to {' and '.join(others)}" if others else "no other server is left"
        for line in self._news.ejected(server.number, server.url, server.breaker.reason, rest, now_ns):
            actions.append((self._say, (line,)))

    def _returned(self, server: Server, actions: Actions) -> None:
        self.serving += 1
        for line in self._news.returned(server.number, server.url):
            actions.append((self._say, (line,)))
