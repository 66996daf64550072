"""Top quark tagging by a network that a backend runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evtfw.core.completion import Completion
from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import ExternalWorkModule
from evtfw.external.contract import Backend, Reply


class TopTagger(ExternalWorkModule):
    """Probability that each jet comes from a top quark, by an image network on any backend."""

    backend = Parameter[Backend]("where the network runs", default="cpu:toptag")
    input_name = Parameter[str]("name of the network's input", default="image")
    output_name = Parameter[str]("name of its output, [n, classes]", default="probability")
    top_class = Parameter[int]("which class of the output is the top quark", default=0, ge=0)

    images = Input[NDArray[np.float32]]("one image per jet, float32 [n, pixels, pixels, channels]", default="images")

    scores = Output[NDArray[np.float32]]("probability of a top quark, float32 [n]")

    def acquire(self, event: Event, done: Completion) -> None:
        """Submit the images of all jets of the event as one request."""
        self.backend.submit({self.input_name: event[self.images]}, done)

    def produce(self, event: Event, reply: Reply) -> None:
        """Put the column of the top class; a copy, so that the batch it is part of can be released."""
        event[self.scores] = reply[self.output_name][:, self.top_class].copy()
