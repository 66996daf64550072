"""What happens to an event when a module fails: the careful way through the plan.

While nothing has failed, segments run as bare loops. From the first failure of an event on, each of its nodes is looked
at: nodes that need a product of a failed one are skipped (they are *bad* too), the others run. Under the policy
``rethrow`` the event is abandoned instead: nothing more of it runs, its requests are cancelled, and the job stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal

from evtfw.core.errors import EvtfwError, ModuleError
from evtfw.core.module import TriggerResults
from evtfw.core.observer import Failure
from evtfw.core.process import ProcessOptions

if TYPE_CHECKING:
    from evtfw.core.ahead import PreparedEvent
    from evtfw.core.event import Event
    from evtfw.core.external_call import PendingCalls
    from evtfw.core.module import OutputModule
    from evtfw.core.plan import Node, Plan
    from evtfw.core.schedule import PathPlan
    from evtfw.core.scheduler import Scheduler
    from evtfw.core.steps import Step

VERBS = {"acquire": "acquire", "produce": "produce", "source": "reading columns", "results": "TriggerResults"}
BY_KIND = {"producer": "produce", "filter": "filter", "analyzer": "analyze", "output": "write"}


class ErrorPolicy:
    """Decides by the type of an exception whether the job goes on."""

    def __init__(self, options: ProcessOptions) -> None:
        self._by_name: dict[str, Literal["rethrow", "continue"]] = {
            **dict.fromkeys(options.continue_on, "continue"),
            **dict.fromkeys(options.rethrow_on, "rethrow"),
        }
        self._default = options.on_error

    def decide(self, error: BaseException) -> Literal["rethrow", "continue"]:
        """The policy for the most specific of the exception's classes that has one."""
        if not isinstance(error, Exception) or isinstance(error, MemoryError):
            return "rethrow"
        for cls in type(error).__mro__:
            if cls.__name__ in self._by_name:
                return self._by_name[cls.__name__]
        return self._default


def describe_failure(label: str, cls: str, transition: str, where: str, error: BaseException) -> EvtfwError:
    """The error that is shown for an exception out of a module."""
    place = f"module '{label}' ({cls}) failed in {transition}{f', {where}' if where else ''}"
    if isinstance(error, EvtfwError):
        message = str(error) if label in str(error) and not where else f"{place}: {error}"
        described: EvtfwError = type(error)(message)
    else:
        described = ModuleError(f"{place}: {type(error).__name__}: {error}")
    described.__cause__ = error
    return described


class StreamFailures:
    """The part of a stream that deals with failures."""

    scheduler: Scheduler
    plan: Plan
    event: Event
    number: int
    lock: Any
    calls: PendingCalls
    counters: list[int]
    produce_segments: list[int]
    functions: list[list[Step]]
    steps: list[Step]
    outputs: dict[int, OutputModule]
    bits: int
    positions: list[list[int]]

    def _init_failures(self) -> None:
        self.bad_nodes: set[int] = set()
        self.is_abandoned = False
        self.done_ahead: Collection[int] = ()
        self.unprocessed = 0
        self.failure_fates: Counter[str] = Counter()
        self.failed_paths: Counter[tuple[str, ...]] = Counter()

    def clear_failures(self) -> None:
        """Forget the failures of the event that ended."""
        if self.bad_nodes or self.is_abandoned:
            self.bad_nodes = set()
            self.is_abandoned = False
            self.event.has_failures = False
            self.calls.error[:] = [None] * len(self.calls.error)
            self.calls.reply[:] = [None] * len(self.calls.reply)

    def recover(self, index: int, function: Step, error: BaseException) -> None:
        """A function of the segment's bare loop raised: note it, and take the rest of the segment carefully."""
        at = next(i for i, candidate in enumerate(self.functions[index]) if candidate is function)
        position = self.positions[index][at]
        self._fail_node(self.plan.segments[index].nodes[position], error)
        self.run_carefully(index, position + 1)

    def run_carefully(self, index: int, start: int) -> None:
        """Run the nodes of a segment from ``start`` on that do not depend on a failed one."""
        for node_index in self.plan.segments[index].nodes[start:]:
            if node_index in self.done_ahead:
                continue
            node = self.plan.nodes[node_index]
            if self.is_abandoned or not self.bad_nodes.isdisjoint(node.required):
                self._pass_over(node)
                continue
            try:
                self.steps[node_index](self.event)
            except BaseException as error:
                self._fail_node(node_index, error)

    def fail_ahead(self, prepared: PreparedEvent, error: BaseException) -> None:
        """A module failed ahead of the stream: note it, and take the rest of what runs ahead carefully."""
        self.done_ahead = prepared.done
        self._fail_node(prepared.done[-1], error)
        for index in self.plan.ahead:
            if self.plan.segments[index].is_open(self.bits):
                self.run_carefully(index, 0)
        self.done_ahead = ()

    def shut(self, index: int) -> None:
        """The segment's gate is shut: nothing of it runs."""
        for node_index in self.plan.segments[index].nodes:
            node = self.plan.nodes[node_index]
            if node.phase == "acquire":
                self._forgo_reply(node.external)
            elif node_index in self.outputs:
                self.outputs[node_index].skip(self.event)

    def _pass_over(self, node: Node) -> None:
        with self.lock:
            self.bad_nodes = self.bad_nodes | {node.index}
        if node.phase == "acquire":
            self._forgo_reply(node.external)
        elif node.index in self.outputs:
            self.outputs[node.index].skip(self.event)

    def _forgo_reply(self, external: int) -> None:
        """No request was made, so ``produce`` need not wait for its reply (it still waits for this segment)."""
        with self.lock:
            self.counters[self.produce_segments[external]] -= 1

    def _fail_node(self, node_index: int, error: BaseException) -> None:
        node = self.plan.nodes[node_index]
        transition = VERBS.get(node.phase) or BY_KIND[node.type.kind]
        described = describe_failure(node.label, node.type.__name__, transition, f"event {self.event.id}", error)
        policy = self.scheduler.policy.decide(error)
        with self.lock:
            self.bad_nodes = self.bad_nodes | {node_index}
            self.event.has_failures = True
            self.is_abandoned = self.is_abandoned or policy == "rethrow"
        if node.phase == "acquire":  # if the request had ended before acquire raised, its reply was counted already
            self.abandon_call(node.external, described)
        elif node_index in self.outputs:
            self.outputs[node_index].skip(self.event)
        self.scheduler.note_failure(Failure(node.label, transition, self.event.id, described, policy), self.number)
        if policy == "rethrow":
            self.abandon_calls()

    def abandon_call(self, external: int, error: BaseException) -> None:
        """End a request in flight with an error."""
        raise NotImplementedError

    def abandon_calls(self) -> None:
        """Give up all requests in flight of this event."""
        raise NotImplementedError

    def skip_event(self) -> None:
        """The event is not processed at all: outputs need to know, to keep the order of the others."""
        self.unprocessed += 1
        for output in self.outputs.values():
            output.skip(self.event)

    def results_with_failures(self, paths: list[PathPlan]) -> TriggerResults:
        """Walk the paths of an event with failures: a path fails if it gets to a module that failed."""
        labels_bad = {self.plan.nodes[n].label for n in self.bad_nodes}
        accepted, failed = [], []
        for path in paths:
            went_on, broke = True, False
            for label, want in path.steps:
                if label in labels_bad:
                    went_on, broke = False, True
                    break
                if want is not None and not self.bits & self.plan.mask(frozenset([(label, want)])):
                    went_on = False
                    break
            accepted.append(went_on)
            failed.append(broke)
        return TriggerResults(tuple(p.name for p in paths), tuple(accepted), tuple(failed))
