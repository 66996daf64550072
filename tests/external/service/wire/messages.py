"""Messages made by tritonclient's protobufs, as clients make them."""

from __future__ import annotations

import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

TYPED = {
    "BOOL": "bool_contents",
    **dict.fromkeys(["INT8", "INT16", "INT32"], "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(["UINT8", "UINT16", "UINT32"], "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def request(inputs, *, model="toptag", version="", request_id="", outputs=(), typed=False, parameters=None):
    """A ModelInferRequest for arrays by name."""
    message = pb.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for key, value in (parameters or {}).items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(message.parameters[key], kind, value)
    for name, array in inputs.items():
        datatype = np_to_triton_dtype(array.dtype)
        tensor = message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if typed:
            getattr(tensor.contents, TYPED[datatype]).extend(array.ravel().tolist())
        elif datatype == "BYTES":
            packed = serialize_byte_tensor(array)
            message.raw_input_contents.append(packed.item() if packed.size else b"")
        else:
            message.raw_input_contents.append(array.tobytes())
    for output in outputs:
        message.outputs.add(name=output)
    return message


def one(shape=(2, 3), dtype="float32", **options):
    """A request with one input of zeros."""
    return request({"x": np.zeros(shape, dtype)}, **options)
