"""A model for Triton's python backend: the shipped top tagger, computed by onnxruntime."""

import json

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from pace import Pace


class TritonPythonModel:
    """Computes what the server's dynamic batching put together in one call."""

    def initialize(self, args):
        self._pace = Pace(args)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        path = json.loads(args["model_config"])["parameters"]["onnx_file"]["string_value"]
        self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        self._pace.keep()
        images = [pb_utils.get_input_tensor_by_name(request, "image").as_numpy() for request in requests]
        batch = images[0] if len(images) == 1 else np.concatenate(images)
        scores = self._session.run(["probability"], {"image": batch})[0]
        ends = np.cumsum([len(image) for image in images])[:-1]
        parts = np.split(scores, ends)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("probability", part)]) for part in parts]
