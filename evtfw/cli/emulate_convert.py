"""``evtfw emulate convert``: a model of any make becomes one in the arithmetic of a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from evtfw.cli.exit_codes import exit_code_lines
from evtfw.cli.session import Command, Session, paragraphs
from evtfw.core.errors import ConfigurationError

if TYPE_CHECKING:
    from evtfw.external.emulator.card import LayerCard, ModelCard
    from evtfw.external.emulator.conversion_check import Difference

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_COLUMNS = ("layer", "kind", "shape", "parameters", "weights", "accumulator", "result")


@click.command(
    cls=Command,
    short_help="make an emulated model of an ONNX, QONNX, HGQ2 or tree model",
    epilog=paragraphs(
        [
            "Examples:",
            "  evtfw emulate convert jets.onnx --format 'ap_fixed<16,6>' --out jets16.onnx --check 1000",
            "  evtfw emulate convert jets.onnx --format hls4ml --config hls4ml.yml --out jets16.onnx",
            "  evtfw emulate convert quantised.onnx --format native --out jets6.onnx --device hls4ml-vu9p",
            "  evtfw emulate convert resnet50.onnx --format fixed8 --calibration images.npz --out resnet50-8.onnx",
            "  evtfw emulate convert trees.json --format 'ap_fixed<18,8>' --out trees.onnx",
        ],
        [
            "Formats:",
            "  ap_fixed<W,I[,rounding,overflow]>  W bits, I of them before the point, for all values and weights;",
            "                                     rounding TRN, RND, RND_CONV …, overflow WRAP, SAT, SAT_SYM …",
            "  hls4ml                             per layer, as hls4ml's configuration in --config says",
            "  native                             as the source says: QONNX's Quant nodes, HGQ2's learned bits",
            "  fixed8                             8 bits with a power of two as scale for each tensor (--calibration)",
            "  msfp12, msfp16, brainwave-ms-fp9,  block floating point: boxes of values share an exponent",
            "  msfp<exponent,mantissa,box>",
        ],
        [
            "Sources:",
            "  .onnx   of PyTorch, Keras, tf2onnx, or QONNX of brevitas and others; fixed shapes, free batch axis",
            "  .keras  of HGQ2",
            "  .json, .ubj (XGBoost), .txt (LightGBM), .json (conifer), .skops, .pkl (scikit-learn)",
            "",
            "Operators that cannot be emulated are all named, with their nodes; nothing is written then.",
            "Logarithms and the like at the very beginning stay on the host.",
        ],
        [
            "The model is written to --out, its card beside it (.json). It runs as backend 'fpga:FILE'.",
        ],
        exit_code_lines(),
    ),
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--format", "format_", required=True, metavar="FORMAT", help="number format; see below")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help=".onnx")
@click.option("--config", type=_file, metavar="FILE", help="hls4ml's configuration, YAML or JSON; for trees conifer's")
@click.option("--calibration", type=_file, metavar="FILE", help=".npz with typical rows, an array for each input")
@click.option("--device", default="", metavar="NAME", help="device that it is meant for: preset or YAML file")
@click.option("--name", metavar="NAME", help="of the model; default: that of the file")
@click.option("--check", type=click.IntRange(0), default=0, metavar="N", help="compare with the source on N rows")
@click.option("--overwrite", is_flag=True, help="replace a model that is there already")
@click.option("--trust-pickle", is_flag=True, help="read trees from a pickle, which runs the code that it contains")
@click.pass_obj
def convert(session: Session, /, *, model: Path, out: Path, check: int, **options: Any) -> None:
    """Convert MODEL to the arithmetic of an FPGA, once; what it then answers is what the device would, to the bit."""
    from evtfw.external.emulator import conversion
    from evtfw.external.emulator.card import ModelCard
    from evtfw.external.emulator.conversion_check import compare

    calibration = None if options["calibration"] is None else _arrays(options["calibration"], model)
    written = conversion.convert(
        model,
        format=options["format_"],
        out=out,
        configuration=options["config"],
        calibration=calibration,
        device=options["device"],
        name=options["name"],
        overwrite=options["overwrite"],
        trust_pickle=options["trust_pickle"],
    )
    card = ModelCard.read(written)
    session.out.print(_trees(card) if card.trees else _layers(card.layers))
    for note in card.notes:
        session.out.print(f"note: {note}", soft_wrap=True)
    session.out.print(f"\n{written}: {card.name}, {card.format}, with its card {written.with_suffix('.json').name}")
    if check:
        rows = "calibration" if calibration else "normally distributed"
        session.out.print(_differences(compare(model, written, check, calibration), rows))


def _arrays(file: Path, model: Path) -> Mapping[str, Any]:
    """Read the arrays of an ``.npz``, or the only one of an ``.npy``, which is that of the only input."""
    import numpy as np

    try:
        content = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file} cannot be read as .npz ({error}); write it by numpy.savez('{file.stem}.npz', INPUT=rows), with an "
            f"array for each input of {model.name}"
        ) from error
    return {name: content[name] for name in content.files} if hasattr(content, "files") else _single(content, model)


def _single(rows: Any, model: Path) -> Mapping[str, Any]:
    from evtfw.external.emulator.reading.onnx_graph import load

    inputs = load(model).inputs
    if len(inputs) > 1:
        names = ", ".join(f"'{tensor.name}'" for tensor in inputs)
        raise ConfigurationError(f"{model} has inputs {names}; write an array for each to an .npz file")
    return {inputs[0].name: rows}


def _layers(layers: tuple[LayerCard, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    total = f"{sum(layer.parameters for layer in layers):,}".replace(",", " ")
    for column in _COLUMNS:
        is_number = column == "parameters"
        footer = {"layer": "total", "parameters": total}.get(column, "")
        table.add_column(column, footer=footer, justify="right" if is_number else "left", overflow="fold")
    for layer in layers:
        table.add_row(*_cells(layer))
    return table


def _cells(layer: LayerCard) -> Iterator[str]:
    yield layer.name
    yield layer.kind
    yield " x ".join(map(str, layer.output_shape))
    yield f"{layer.parameters:,}".replace(",", " ") if layer.parameters else ""
    yield _short(layer.weight_format)
    yield _short(layer.accumulator_format)
    yield _short(layer.result_format)


def _short(text: str) -> str:
    return text.removeprefix("ap_")


def _trees(card: ModelCard) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in card.trees.model_dump().items() if card.trees else ():
        table.add_row(name.replace("_", " "), str(value))
    return table


def _differences(found: list[Difference], kind: str) -> Table:
    title = f"against the source, {kind} rows"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for column in ("output", "rows", "largest error", "mean error", "range", "same class"):
        table.add_column(column, justify="left" if column == "output" else "right")
    for one in found:
        same = "" if one.same_class_fraction != one.same_class_fraction else f"{one.same_class_fraction:.2%}"
        table.add_row(one.output, str(one.rows), f"{one.largest:.3g}", f"{one.mean:.3g}", f"{one.range:.3g}", same)
    return table
