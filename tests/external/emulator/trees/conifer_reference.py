"""conifer's own C++ (the header of its backend ``cpp``, unchanged), compiled: the truth about its firmware.

Its JSON library is stood in for by ``cpp/nlohmann/json.hpp``, so that a C++ compiler is all that is needed.
"""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SOURCES = Path(__file__).parent / "cpp"


class Conifer:
    """A model in conifer's C++; ``scores(rows)`` is its decision function, [rows, scores], in one thread.

    Args:
        ensemble: `evtfw.external.emulator.trees.Ensemble`.
        threshold, score, weight: C++ types, e.g. ``ap_fixed<16,6>``.
        folder: for files; libraries of the same formats are shared by those who share it.
    """

    def __init__(self, ensemble, folder, *, threshold, score, weight=None):
        self._columns = len(ensemble.trees)
        self._library = ctypes.CDLL(compiled(Path(folder), threshold, score, weight or threshold))
        self._library.load.restype = ctypes.c_void_p
        with tempfile.NamedTemporaryFile("w", dir=folder) as file:
            file.write(" ".join(map(str, words(ensemble))))
            file.flush()
            self._model = ctypes.c_void_p(self._library.load(os.fsencode(file.name)))

    def scores(self, rows):
        rows = np.ascontiguousarray(rows, np.float64)
        result = np.empty((len(rows), self._columns))
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (rows, result)]
        self._library.scores(self._model, pointers[0], ctypes.c_long(len(rows)), rows.shape[1], pointers[1])
        return result


@functools.cache
def compiled(folder, threshold, score, weight):
    """The shared library for some formats, made unless the folder has it."""
    types = {"THRESHOLD_T": threshold, "SCORE_T": score, "WEIGHT_T": weight}
    includes = [
        SOURCES,
        package("conifer") / "backends/cpp/include",
        package("hls4ml") / "templates/vivado/ap_types",
    ]
    options = ["-O3", "-std=c++14", "-fPIC", "-shared", "-w", *(f"-D{name}={type_}" for name, type_ in types.items())]
    command = ["g++", *options, *(f"-I{folder}" for folder in includes), str(SOURCES / "scores.cpp")]
    text = [file.read_text() for file in sorted(SOURCES.rglob("*pp"))]
    key = hashlib.sha256("".join([*command, *text]).encode()).hexdigest()[:16]
    library = folder / f"conifer-{key}.so"
    if not library.exists():
        made = folder / f"{library.stem}-{os.getpid()}.so"
        subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, text=True)
        made.replace(library)  # whole or not at all, as other processes look for it
    return str(library)


def package(name):
    """Folder of an installed package; importing conifer takes seconds."""
    return Path(find_spec(name).origin).parent


def words(ensemble):
    """The model's fields in the order of conifer.h's two lists of them."""
    columns, trees = len(ensemble.trees), len(ensemble.trees[0])
    yield from (ensemble.comparison, columns, trees, ensemble.features, repr(float(ensemble.norm)))
    yield from listed(ensemble.initial)
    yield trees
    for row in zip(*ensemble.trees, strict=True):
        yield columns
        for tree in row:
            yield from tree_words(tree, ensemble.features)


def tree_words(tree, features):
    one_hot = np.eye(features + 1)[tree.feature, :features]
    yield from listed(np.where(tree.is_leaf, -2, tree.feature))
    yield len(one_hot)
    for row in one_hot:
        yield from listed(row)
    for field in (tree.left, tree.right, tree.threshold, tree.value):
        yield from listed(field)


def listed(values):
    yield len(values)
    yield from map(repr, np.asarray(values).tolist())
