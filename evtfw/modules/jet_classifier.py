"""Jets classified by their features, by a network or trees that a backend runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evtfw.core.completion import Completion
from evtfw.core.declare import Input, Output, Parameter
from evtfw.core.event import Event
from evtfw.core.module import ExternalWorkModule
from evtfw.external.contract import Backend, Reply


class JetClassifier(ExternalWorkModule):
    """Score of each jet, found from its features by a network or trees on any backend."""

    backend = Parameter[Backend]("where the model runs", default="cpu:l1jets")
    input_name = Parameter[str]("name of the model's input, [n, features]", default="features")
    output_name = Parameter[str]("name of its output, [n, classes]", default="probability")
    score_class = Parameter[int]("which column of the output is the score", default=0, ge=0)
    logistic = Parameter[bool](
        "the output is a logit, as trees give it: map it to a probability by 1 / (1 + exp(-x))", default=False
    )

    features = Input[NDArray[np.float32]]("features of each jet, float32 [n, features]", default="features")

    scores = Output[NDArray[np.float32]]("one score per jet, float32 [n]")

    def acquire(self, event: Event, done: Completion) -> None:
        """Submit the features of all jets of the event as one request."""
        self.backend.submit({self.input_name: event[self.features]}, done)

    def produce(self, event: Event, reply: Reply) -> None:
        """Put the scores; a copy, so that the batch they are part of can be released."""
        scores = reply[self.output_name][:, self.score_class].astype(np.float32)
        event[self.scores] = 0.5 + 0.5 * np.tanh(0.5 * scores) if self.logistic else scores
