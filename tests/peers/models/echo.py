"""A model for Triton's python backend: gives its input back."""

import numpy as np
import triton_python_backend_utils as pb_utils
from pace import Pace


class TritonPythonModel:
    """``y`` is ``x``, for any type."""

    def initialize(self, args):
        self._pace = Pace(args)

    def execute(self, requests):
        self._pace.keep()
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        values = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", np.ascontiguousarray(values))])
