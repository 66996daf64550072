"""Event processing with machine learning on coprocessors."""

from evtfw.core.arguments import Arguments
from evtfw.core.completion import CallbackCompletion, Completion
from evtfw.core.declare import Accumulator, Input, InputList, Output, Parameter
from evtfw.core.errors import ConfigurationError, EvtfwError, ExitCode
from evtfw.core.event import Event, EventId, LuminosityBlock, Run
from evtfw.core.job import Job, JobResult
from evtfw.core.module import (
    ONE,
    SHARED,
    STREAM,
    Analyzer,
    BulkProducer,
    ExternalWorkModule,
    Filter,
    Module,
    OutputModule,
    Producer,
    TriggerResults,
    ignore,
    limited,
)
from evtfw.core.observer import Observer
from evtfw.core.process import EndPath, Path, Process, ProcessOptions, Sequence, Task
from evtfw.core.source import Source

__version__ = "0.1.0"

__all__ = [
    "ONE",
    "SHARED",
    "STREAM",
    "Accumulator",
    "Analyzer",
    "Arguments",
    "BulkProducer",
    "CallbackCompletion",
    "Completion",
    "ConfigurationError",
    "EndPath",
    "Event",
    "EventId",
    "EvtfwError",
    "ExitCode",
    "ExternalWorkModule",
    "Filter",
    "Input",
    "InputList",
    "Job",
    "JobResult",
    "LuminosityBlock",
    "Module",
    "Observer",
    "Output",
    "OutputModule",
    "Parameter",
    "Path",
    "Process",
    "ProcessOptions",
    "Producer",
    "Run",
    "Sequence",
    "Source",
    "Task",
    "TriggerResults",
    "ignore",
    "limited",
]
