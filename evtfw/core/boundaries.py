"""Runs and luminosity blocks: their transitions, correct with events of several blocks in flight.

A lumi is opened (its run before it) by the first stream that brings an event of it; other streams that come meanwhile
are parked. It is closed when the feed has passed it and no stream is in it any more. The lumi's begin transitions of
modules that serve all streams run in the opening stream's thread, those of stream modules in each stream's thread.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from evtfw.core.event import Absent, LumiId, LuminosityBlock, Run
from evtfw.core.module import Module

if TYPE_CHECKING:
    from evtfw.core.stream import Stream

State = Literal["new", "opening", "open", "closed"]


@dataclasses.dataclass(slots=True, eq=False)
class RunState:
    """A run in flight."""

    run: Run
    state: State = "new"
    lumis_left: int = 0
    is_passed: bool = False
    waiting: list[Stream] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True, eq=False)
class LumiState:
    """A luminosity block in flight. ``users`` counts the streams in it or on their way into it."""

    block: LuminosityBlock
    run: RunState
    state: State = "new"
    users: int = 0
    is_passed: bool = False
    waiting: list[Stream] = dataclasses.field(default_factory=list)


class Boundaries:
    """Opens and closes runs and lumis.

    Args:
        modules: those that serve all streams, in the order of the schedule.
        slots: references of run and lumi products.
        transit: runs one transition of one module: ``(module, name, holder)``; its errors end the job.
        submit: runs a parked stream again.
    """

    def __init__(
        self,
        modules: Sequence[Module],
        slots: dict[str, list[str]],
        transit: Callable[[Module, str, Any, int | None], object],
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        self.lock = threading.Lock()
        self.modules = modules
        self.slots = slots
        self.transit = transit
        self.submit = submit
        self.latest: LumiState | None = None
        self.passing: list[LumiState] = []
        self.lumis_ended = 0
        self.runs_ended = 0

    # The feed's side

    def next_lumi(self, run: int, lumi: int) -> LumiState:
        """The block of the next section: the latest one, or a new one. Called in the order of the input."""
        latest = self.latest
        if latest is not None and latest.block.id == (run, lumi):
            return latest
        state = latest.run if latest is not None and latest.run.run.number == run else None
        if state is None:
            state = RunState(Run(run, self._absent("run")))
            if latest is not None:
                with self.lock:
                    latest.run.is_passed = True
        made = LumiState(LuminosityBlock(LumiId(run, lumi), state.run, self._absent("lumi")), state)
        with self.lock:
            state.lumis_left += 1
            self.passing.append(made)
        self.latest = made
        return made

    def _absent(self, scope: str) -> list[Any]:
        return [Absent(ref, f"was not put into the {scope}") for ref in self.slots[scope]]

    def count_user(self, stream: Stream, lumi: LumiState) -> None:
        """The stream is on its way into the lumi. Called with the lock held."""
        if stream.lumi is not lumi:
            lumi.users += 1

    def pass_before(self, lumi: LumiState) -> None:
        """An event of ``lumi`` is given out: no more will come of the blocks before. Called with the lock held."""
        while self.passing and self.passing[0] is not lumi:
            self.passing.pop(0).is_passed = True

    def pass_all(self) -> None:
        """No further event will be given out. Called with the lock held."""
        for lumi in self.passing:
            lumi.is_passed = True
            if lumi.state == "new" and not lumi.users:  # given up before any of its events
                lumi.state = "closed"
                lumi.run.lumis_left -= 1
            lumi.run.is_passed = True
        self.passing.clear()
        if self.latest is not None:
            self.latest.run.is_passed = True

    # The streams' side

    def enter(self, stream: Stream, lumi: LumiState) -> bool:
        """Bring the stream into the lumi. False if it was parked: it will be run again when the lumi is open."""
        if stream.lumi is lumi:
            return True
        run = lumi.run
        self.leave(stream, run)
        while True:
            with self.lock:
                target = run if run.state != "open" else lumi
                if target.state == "opening":
                    target.waiting.append(stream)
                    return False
                if target.state == "open":
                    break
                target.state = "opening"
            self._open(target)
        for module in stream.own_modules:
            if stream.run_state is not run:
                self.transit(module, "begin_run", run.run, stream.number)
            self.transit(module, "begin_lumi", lumi.block, stream.number)
        stream.lumi = lumi
        stream.run_state = run
        return True

    def _open(self, target: RunState | LumiState) -> None:
        name, holder = ("begin_run", target.run) if isinstance(target, RunState) else ("begin_lumi", target.block)
        for module in self.modules:
            self.transit(module, name, holder, None)
        with self.lock:
            target.state = "open"
            waiting, target.waiting = target.waiting, []
        for stream in waiting:
            self.submit(stream.run)

    def leave(self, stream: Stream, next_run: RunState | None = None) -> None:
        """Bring the stream out of its lumi, and out of its run if another is next; close what nobody is in any more."""
        lumi, run = stream.lumi, stream.run_state
        if lumi is None or run is None:
            return
        for module in stream.own_modules:
            self.transit(module, "end_lumi", lumi.block, stream.number)
        if run is not next_run:
            for module in stream.own_modules:
                self.transit(module, "end_run", run.run, stream.number)
            stream.run_state = None
        stream.lumi = None
        self._close(lumi)

    def _close(self, lumi: LumiState) -> None:
        """Count a user out; the last one of a passed lumi ends it, and its run after the run's last lumi."""
        with self.lock:
            lumi.users -= 1
            if lumi.users or not lumi.is_passed or lumi.state != "open":
                return
            lumi.state = "closed"
        for module in self.modules:
            self.transit(module, "end_lumi", lumi.block, None)
        run = lumi.run
        with self.lock:
            self.lumis_ended += 1
            run.lumis_left -= 1
            if run.lumis_left or not run.is_passed:
                return
            run.state = "closed"
            self.runs_ended += 1
        for module in self.modules:
            self.transit(module, "end_run", run.run, None)
