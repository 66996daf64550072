"""The shipped top tagger as a model of mlserver."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class TopTag(MLModel):
    """``image`` [n, 64, 64, 1] to ``probability`` [n, 2]."""

    async def load(self):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri, settings)
        return True

    async def predict(self, payload):
        images = NumpyCodec.decode_input(payload.inputs[0]).astype("float32")
        scores = self._session.run(["probability"], {"image": images})[0]
        return InferenceResponse(
            id=payload.id,
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output("probability", scores)],
        )
