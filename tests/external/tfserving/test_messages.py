"""The descriptors that are kept are those of the ``.proto`` files beside them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pb2

from evtfw.external.tfserving import messages
from evtfw.external.tfserving.messages import PROTOS


def test_descriptors_agree_with_the_protos(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools has the compiler of .proto files")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_imports"]
    target = "tensorflow_serving/apis/prediction_service.proto"
    made = tmp_path / "made.bin"
    subprocess.run([*command, f"--descriptor_set_out={made}", target], cwd=PROTOS, check=True, capture_output=True)
    files, kept = (
        {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file}
        for path in (made, PROTOS / "descriptors.bin")
    )
    for name, file in files.items():
        if not name.startswith("google/"):  # these come with the compiler, and differ in comments' options
            assert kept[name] == file
    assert files.keys() == kept.keys()


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("PredictRequest", {"model_spec": 1, "inputs": 2, "output_filter": 3}),
        ("PredictResponse", {"outputs": 1, "model_spec": 2}),
        ("ModelSpec", {"name": 1, "version": 2, "signature_name": 3, "version_label": 4}),
        ("GetModelMetadataRequest", {"model_spec": 1, "metadata_field": 2}),
        ("GetModelMetadataResponse", {"model_spec": 1, "metadata": 2}),
        ("SignatureDef", {"inputs": 1, "outputs": 2, "method_name": 3}),
        ("TensorInfo", {"name": 1, "dtype": 2, "tensor_shape": 3}),
    ],
)
def test_numbers_of_fields_are_those_of_the_originals(message, numbers):
    descriptor = getattr(messages, message).DESCRIPTOR
    assert {field.name: field.number for field in descriptor.fields} == numbers


def test_the_licence_lies_beside_the_protos():
    assert "Apache License" in (PROTOS / "LICENSE").read_text()
    assert all("Apache License" in path.read_text() for path in PROTOS.rglob("*.proto"))
