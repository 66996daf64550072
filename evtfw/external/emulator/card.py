"""The card beside an emulated model: the arithmetic of the device, layer by layer, and the source it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evtfw.core.errors import ConfigurationError

ArithmeticKind = Literal["ap_fixed", "fixed8", "msfp", "trees"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceCard(_Strict):
    """What the model was converted from."""

    file: str = Field(description="name of the file, without its folder")
    kind: str = Field(description="onnx, qonnx, hgq2, scikit-learn, xgboost, lightgbm, …")
    sha256: str = Field(description="of the file; empty if it was an object in memory")


class LayerCard(_Strict):
    """One layer of a network, as the cost model reads it. Shapes are of one row, channels first."""

    name: str
    kind: str = Field(description="as `Layer.kind`")
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    multiplications: int = Field(0, description="of values with weights, for one row")
    parameters: int = Field(0, description="weights and biases")
    weights: str = Field("", description="name of the initialiser of the ONNX file with its quantised weights")
    bias: str = Field("", description="name of the initialiser with its quantised biases")
    input_format: str = Field("", description="of the values it takes, e.g. ap_fixed<16,6>")
    weight_format: str = ""
    bias_format: str = ""
    accumulator_format: str = ""
    result_format: str = ""
    table_format: str = Field("", description="of the entries of its table")
    table_size: int = Field(0, description="entries of its table; 0: it has none")
    reuse_factor: int = Field(0, description="products that one multiplier computes for a row; 0: nothing is said")
    strategy: str = Field(
        "", description="how multiplications are laid out: latency, resource, …; empty: nothing is said"
    )


class TreesCard(_Strict):
    """An ensemble of trees."""

    classes: int = Field(description="values in a row of scores; 1 for two classes and for regression")
    trees: int = Field(description="trees, those of all classes together")
    depth: int = Field(description="of the deepest tree")
    leaves: int
    splits: int = Field(description="comparisons, those of all trees together")
    threshold_format: str
    score_format: str


class ModelCard(_Strict):
    """All that is known of an emulated model.

    ``name``, ``version`` and ``sha256`` (of the ONNX file) are those that every model's card has.
    """

    name: str
    version: str = ""
    sha256: str
    arithmetic: ArithmeticKind
    format: str = Field(description="as it was asked for, e.g. ap_fixed<16,6>, fixed8, msfp12")
    device: str = Field("", description="preset of the device it is meant for; `fpga:` takes it unless told otherwise")
    source: SourceCard
    layers: tuple[LayerCard, ...] = ()
    trees: TreesCard | None = None
    notes: tuple[str, ...] = Field(
        (), description="where the arithmetic is bounded rather than exact, and other remarks"
    )
    made_by: str = Field("", description="version of evtfw")

    def write(self, model: Path) -> Path:
        """Write the card of a model's file beside it and return where."""
        file = model.with_suffix(".json")
        file.write_text(self.model_dump_json(indent=1, exclude_defaults=True) + "\n", encoding="utf-8")
        return file

    @classmethod
    def read(cls, model: Path) -> ModelCard:
        """Read the card of a model's file.

        Raises:
            ConfigurationError: there is none, or it is none of an emulated model.
        """
        file = model.with_suffix(".json")
        try:
            return cls.model_validate_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(
                f"{model} has no card {file.name} that can be read ({error.strerror}), so it is no emulated model; "
                f"make one by 'evtfw emulate convert {model} --format … --out …'"
            ) from error
        except ValidationError as error:
            raise ConfigurationError(f"{file} is no card of an emulated model: {error}") from error
