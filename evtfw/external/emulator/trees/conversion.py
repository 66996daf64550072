"""From trees of any library to an ONNX model in the device's arithmetic."""

from __future__ import annotations

import importlib
import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from evtfw.core.errors import ConfigurationError, nearest
from evtfw.external.emulator.card import TreesCard
from evtfw.external.emulator.trees import conifer_json, lightgbm, onnx_writer, scikit_learn, ubjson, xgboost
from evtfw.external.emulator.trees.ensemble import Ensemble
from evtfw.external.emulator.trees.formats import TreeFormats

if TYPE_CHECKING:
    import onnx

_OBJECTS: Final[dict[str, Callable[[Any], Ensemble]]] = {
    "sklearn": scikit_learn.read,
    "xgboost": xgboost.read,
    "lightgbm": lightgbm.read,
}
_PICKLES: Final = (".pkl", ".pickle", ".joblib")
FILE_SUFFIXES: Final = (".json", ".ubj", ".txt", ".skops", *_PICKLES)
"""Of files that may hold trees: XGBoost or conifer, XGBoost, LightGBM, scikit-learn."""

OWN_FORMATS: Final = ("native", "conifer")


def convert(
    source: Any,
    *,
    format: str | Mapping[str, str] | TreeFormats,  # noqa: A002 - as the command's option is called
    name: str,
    has_probabilities: bool = False,
    trust_pickle: bool = False,
) -> tuple[onnx.ModelProto, TreesCard, tuple[str, ...]]:
    """Convert trees, and return the model, its card and remarks.

    Args:
        source: a fitted estimator or Booster, or a file; see `read`.
        format: of the arithmetic; see `TreeFormats.parse`. ``native`` or ``conifer``: what a file of conifer's says.
        name: of the model.
        has_probabilities: whether to add them as a second output; see
            `evtfw.external.emulator.trees.onnx_writer.write`.
        trust_pickle: whether a pickle may be opened: **doing so runs whatever code it contains**.

    Raises:
        ConfigurationError: the source or the formats cannot be emulated; the message says what can.
    """
    ensemble = read(source, trust_pickle=trust_pickle)
    formats = TreeFormats.parse(_own_formats(ensemble) if format in OWN_FORMATS else format)
    model, notes = onnx_writer.write(ensemble, formats, name=name, has_probabilities=has_probabilities)
    trees = [tree for row in ensemble.trees for tree in row]
    card = TreesCard(
        classes=len(ensemble.trees),
        trees=len(trees),
        depth=max(tree.depth for tree in trees),
        leaves=sum(int(tree.is_leaf.sum()) for tree in trees),
        splits=sum(int((~tree.is_leaf).sum()) for tree in trees),
        threshold_format=str(formats.threshold),
        score_format=str(formats.score),
    )
    return model, card, notes


def _own_formats(ensemble: Ensemble) -> Mapping[str, str]:
    if ensemble.formats is None:
        raise ConfigurationError(
            f"a model of {ensemble.kind} says nothing of number formats; give one, e.g. ap_fixed<16,6>, or "
            f"'threshold=ap_fixed<12,6>; score=ap_fixed<18,8>'"
        )
    return ensemble.formats


def holds_trees(source: Any) -> bool:
    """Whether `read` is the one to ask: an object of a library of trees, or a file with a suffix of such."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix in FILE_SUFFIXES
    return isinstance(source, Ensemble) or _library(source) in _OBJECTS


def read(source: Any, *, trust_pickle: bool = False) -> Ensemble:
    """Read trees.

    Args:
        source: a fitted estimator of scikit-learn, XGBoost or LightGBM, a Booster of the latter two, or a file:
            XGBoost's ``.json`` or ``.ubj``, LightGBM's ``.txt``, conifer's ``.json``, scikit-learn's ``.skops``,
            ``.pkl`` or ``.joblib``.
        trust_pickle: whether a pickle may be opened: **doing so runs whatever code it contains**.

    Raises:
        ConfigurationError: it is none of these, or has what the trees of a device cannot do.
    """
    if isinstance(source, Ensemble):
        return source
    if isinstance(source, (str, Path)):
        try:
            return _read_file(Path(source), trust_pickle=trust_pickle)
        except OSError as error:
            raise ConfigurationError(f"{source} cannot be read: {error.strerror}") from error
        except ConfigurationError as error:
            raise ConfigurationError(f"{source}: {problem}" for problem in error.problems) from error
    reader = _OBJECTS.get(_library(source))
    if reader is None:
        raise ConfigurationError(
            f"a {type(source).__module__}.{type(source).__qualname__} holds no trees that can be converted; give a "
            f"fitted estimator of scikit-learn, XGBoost or LightGBM, or a file ({', '.join(FILE_SUFFIXES)})"
        )
    return reader(source)


def _library(source: Any) -> str:
    return next((m for c in type(source).__mro__ if (m := c.__module__.partition(".")[0]) in _OBJECTS), "")


def _read_file(file: Path, *, trust_pickle: bool) -> Ensemble:
    if file.suffix in _PICKLES:
        return _read_pickle(file, trust_pickle=trust_pickle)
    if file.suffix == ".skops":
        return read(_skops(file))
    if file.suffix == ".ubj":
        return xgboost.read_document(_parsed(ubjson.loads, file.read_bytes()))
    if file.suffix == ".json":
        document = _parsed(json.loads, file.read_bytes())
        return xgboost.read_document(document) if "learner" in document else conifer_json.read_document(document)
    text = file.read_text(encoding="utf-8", errors="replace")
    if text.partition("\n")[0].strip() == lightgbm.FIRST_LINE:
        return lightgbm.read_text(text)
    raise ConfigurationError(
        f"no known model of trees{nearest(file.suffix, FILE_SUFFIXES)}; XGBoost's end in .json or .ubj, LightGBM's are "
        f"text that begins with '{lightgbm.FIRST_LINE}', scikit-learn's end in .skops"
    )


def _parsed(parse: Callable[[bytes], Any], data: bytes) -> Mapping[str, Any]:
    try:
        document = parse(data)
    except ValueError as error:
        raise ConfigurationError(f"it is damaged ({error}); save it anew") from error
    if not isinstance(document, Mapping):
        raise ConfigurationError("it is neither a model of XGBoost nor one of conifer")
    return document


def _read_pickle(file: Path, *, trust_pickle: bool) -> Ensemble:
    if not trust_pickle:
        raise ConfigurationError(
            "opening a pickle runs whatever code it contains; if you made it yourself, allow it (trust_pickle=True, or "
            "--trust-pickle); better, save the model as .skops, .json or .txt"
        )
    if file.suffix == ".joblib":
        return read(_imported("joblib", "joblib").load(file))
    with file.open("rb") as opened:
        return read(pickle.load(opened))  # noqa: S301 - asked for


def _skops(file: Path) -> Any:
    """Load a file of skops, which refuses types that it does not know to be harmless."""
    return _imported("skops.io", "skops").load(file)


def _imported(module: str, package: str) -> Any:
    """A library that is needed for one kind of file only, so that evtfw does not ask for it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"it can be read with {package} only; pip install {package}") from error
