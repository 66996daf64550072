"""The life of an ``evtfw serve`` process: start, announce, wait, drain, tell."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from evtfw.cli.parent import end_with_parent, watch_stdin
from evtfw.cli.serve_models import make_models, open_repository
from evtfw.cli.serve_tables import model_table, statistics_table
from evtfw.cli.session import Session, write_text
from evtfw.cli.tuning import settle_collector
from evtfw.core.errors import ConfigurationError, ExitCode
from evtfw.external.service.endpoint.security import Security, check_address
from evtfw.external.service.endpoint.server import Endpoint
from evtfw.external.service.metrics import MetricsServer
from evtfw.external.service.service import Service

_NOBODY_S = 2.0
"""How long is drained when the process is gone for which the service was started."""


@dataclasses.dataclass
class Serving:
    """One call of the command; the fields are its options."""

    session: Session
    models: tuple[str, ...]
    settings: tuple[str, ...]
    model_repository: Path | None
    address: str
    metrics: str | None
    tls_cert: str | None
    tls_key: str | None
    tls_client_ca: str | None
    token_file: str | None
    insecure: bool
    allow_shared_memory: bool
    allow_load: bool
    threads: int
    drain_timeout: float
    ready_file: Path | None
    parent_pid: int | None
    until_stdin_closes: bool
    quiet: bool

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._signal = 0
        self._is_orphan = False

    def run(self) -> int:
        """Serve until somebody ends it, and return the exit code.

        Raises:
            ConfigurationError, ExternalError: it cannot serve what or where it was told to.
        """
        security = self._security()
        check_address(self.address, security, is_insecure_allowed=self.insecure)
        if self.metrics is not None:
            check_address(self.metrics, Security(), is_insecure_allowed=self.insecure)
        repository = open_repository(self.model_repository, self.session.say)
        models = make_models(self.models, self.settings, repository)
        service = Service(models, threads=self.threads, say=self.session.say, loader=repository)
        with self._signals(), contextlib.closing(service):
            self._watch_parent()
            service.start()
            self._serve(service, security)
            if not self.quiet:
                self.session.out.print(statistics_table(service.models))
        return 128 + self._signal if self._signal else ExitCode.OK

    def _serve(self, service: Service, security: Security) -> None:
        endpoint = Endpoint(
            service,
            self.address,
            security=security,
            shared_memory=self.allow_shared_memory,
            may_load=self.allow_load,
        )
        metrics = MetricsServer(service, self.metrics) if self.metrics is not None else None
        with contextlib.ExitStack() as stack:
            if metrics is not None:
                stack.enter_context(metrics)
            endpoint.start()
            stack.callback(endpoint.stop, 0.0)
            settle_collector()
            self._announce(service, endpoint.address, metrics.address if metrics is not None else "")
            self._ending.wait()
            patience_s = min(self.drain_timeout, _NOBODY_S) if self._is_orphan else self.drain_timeout
            if not service.drain(patience_s):
                self.session.say(f"requests were still there after {patience_s:g} s; they are failed")
                service.close()
            endpoint.stop(min(patience_s, _NOBODY_S))

    def _announce(self, service: Service, address: str, metrics: str) -> None:
        out = self.session.out
        if self.ready_file is not None:
            known = {"grpc": address, "metrics": metrics, "pid": os.getpid()}
            part = self.ready_file.with_name(f"{self.ready_file.name}.part")
            write_text(part, json.dumps(known) + "\n")
            part.replace(self.ready_file)
        out.print(f"serving gRPC on {address}", soft_wrap=True)
        out.file.flush()
        if self.quiet:
            return
        if metrics:
            out.print(f"metrics on http://{metrics}/metrics", soft_wrap=True)
        out.print(model_table(service.models))
        out.file.flush()

    def _security(self) -> Security:
        token = ""
        if self.token_file is not None:
            try:
                token = Path(self.token_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"--token-file {self.token_file} cannot be read: {error}") from None
            if not token:
                raise ConfigurationError(f"--token-file {self.token_file} is empty")
        return Security(self.tls_cert or "", self.tls_key or "", self.tls_client_ca or "", token)

    def _watch_parent(self) -> None:
        if self.until_stdin_closes:
            watch_stdin(self._orphaned)
        if self.parent_pid is not None:
            end_with_parent(self.parent_pid, self._orphaned)

    def _orphaned(self) -> None:
        """Whom it served is gone: drain briefly, and leave even if something hangs."""
        self._is_orphan = True
        self._ending.set()
        timer = threading.Timer(3 * _NOBODY_S, os._exit, [int(ExitCode.OK)])
        timer.daemon = True
        timer.start()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}
        for name in (signal.SIGINT, signal.SIGTERM):
            before[name] = signal.signal(name, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._signal:
            _tell(f"\n{name} again: leaving at once\n")
            os._exit(128 + number)
        self._signal = number
        self._ending.set()
        _tell(f"\n{name}: requests in flight are being finished; once more to leave at once\n")


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
