"""How a stream runs when it is observed: with a time stamp after each node.

Stamps are collected per segment and handed to the observers many passes at once, because a call per pass would cost
more than the stamps; observers of single events (the trace) get each pass at once.
"""

from __future__ import annotations

from time import thread_time_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evtfw.core.event import Event
    from evtfw.core.plan import Plan
    from evtfw.core.scheduler import Scheduler
    from evtfw.core.steps import Step

STAMPS_KEPT = 2048


class StreamObservation:
    """The part of a stream that is there for observers."""

    scheduler: Scheduler
    plan: Plan
    event: Event
    number: int
    functions: list[list[Step]]

    def recover(self, index: int, function: Step, error: BaseException) -> None:
        """A function of the segment's bare loop raised."""
        raise NotImplementedError

    def _init_observation(self) -> None:
        observers = self.scheduler.observers
        self.is_observed = observers.wants_modules or observers.wants_events
        self.is_sampling = False
        self.events_until_cpu_sample = 1
        self.stamps: list[list[int]] = [[] for _ in self.plan.segments]

    def begin_observed_event(self) -> None:
        """Decide whether this event's CPU time is sampled, and tell who wants to know of single events."""
        self.is_sampling = self.events_until_cpu_sample <= 0
        if self.is_sampling:
            self.events_until_cpu_sample = self.scheduler.events_between_cpu_samples()
        observers = self.scheduler.observers
        if observers.wants_events:
            observers.event_started(self.number, self.event.id, self.scheduler.clock.now_ns())

    def run_observed(self, index: int) -> None:
        """Run a segment with a time stamp before it and after each node."""
        if self.is_sampling:
            self._run_sampled(index)
            return
        event, clock, stamps = self.event, self.scheduler.clock.now_ns, self.stamps[index]
        note = stamps.append
        before = len(stamps)
        note(clock())
        try:
            for function in self.functions[index]:
                function(event)
                note(clock())
        except BaseException as error:
            self.recover_observed(index, function, error, before)
        if len(stamps) > STAMPS_KEPT or self.scheduler.observers.wants_events:
            self.pass_on_stamps(index)

    def recover_observed(self, index: int, function: Step, error: BaseException, before: int) -> None:
        """A function of an observed pass raised: its stamps, from ``before`` on, come to the observers alone."""
        stamps = self.stamps[index]
        stamps.append(self.scheduler.clock.now_ns())
        failed_pass = stamps[before:]
        del stamps[before:]
        self.recover(index, function, error)
        self.scheduler.observers.segment_ran(self.number, index, failed_pass)

    def pass_on_stamps(self, index: int) -> None:
        """Give the observers what was collected of a segment."""
        stamps = self.stamps[index]
        if stamps:
            self.scheduler.observers.segment_ran(self.number, index, stamps)
            stamps.clear()

    def _run_sampled(self, index: int) -> None:
        """Like `run_observed`, with the thread's CPU clock beside (a system call, hence for some events only)."""
        event, clock = self.event, self.scheduler.clock.now_ns
        stamps, cpu = [clock()], [thread_time_ns()]
        try:
            for function in self.functions[index]:
                function(event)
                cpu.append(thread_time_ns())
                stamps.append(clock())
        except BaseException as error:
            cpu.append(thread_time_ns())
            stamps.append(clock())
            self.recover(index, function, error)
        self.scheduler.observers.cpu_sampled(self.number, index, stamps, cpu)
