"""TensorFlow Serving's messages as classes of protobuf, made from ``protos/descriptors.bin``.

The descriptors are what ``protoc`` makes of the ``.proto`` files beside them. They live in a pool of their own, so that
they cannot meet those of a tensorflow in the same process, and need no generated code, which works only for some
versions of protobuf. After a change of the ``.proto`` files, in ``protos/``::

    python -m grpc_tools.protoc -I. --include_imports --descriptor_set_out=descriptors.bin \
        tensorflow_serving/apis/prediction_service.proto
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTOS: Final = Path(__file__).parent / "protos"
SERVICE: Final = "/tensorflow.serving.PredictionService"


def _make_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString((PROTOS / "descriptors.bin").read_bytes())
    for file in files.file:  # protoc puts what others import first
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL: Final = _make_pool()


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


TensorProto: Final = _message("tensorflow.TensorProto")
TensorInfo: Final = _message("tensorflow.TensorInfo")
SignatureDef: Final = _message("tensorflow.SignatureDef")
ModelSpec: Final = _message("tensorflow.serving.ModelSpec")
PredictRequest: Final = _message("tensorflow.serving.PredictRequest")
PredictResponse: Final = _message("tensorflow.serving.PredictResponse")
SignatureDefMap: Final = _message("tensorflow.serving.SignatureDefMap")
GetModelMetadataRequest: Final = _message("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse: Final = _message("tensorflow.serving.GetModelMetadataResponse")
