"""The rules of the house that a machine can check: who knows whom, sizes, docstrings, and what is not written."""

import ast
import fnmatch
import functools
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "evtfw"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))

ROOMS = {
    "core": {"core"},
    "external": {"core", "external", "data"},
    "io": {"core", "io"},
    "modules": {"core", "modules", "external.contract"},
    "observe": {"core", "observe"},
    "cli": {"core", "external", "io", "modules", "observe", "cli", "data", ""},
    "data": {"data"},
    "testing": {"core"},
    "": {"core", "data", "testing"},
}
"""What each room may import of evtfw; the empty name is ``evtfw/__init__.py``, which every room but core may import."""

EVERYWHERE = {"numpy", "pydantic", "typing_extensions"}
SUBJECTS = {
    "awkward": ["io/*"],
    "boost_histogram": ["io/histogram_*", "modules/*histograms*"],
    "click": ["cli/*"],
    "da4ml": ["external/emulator/cost/adder_graphs*"],
    "fastjet": ["modules/*"],
    "fsspec": ["io/*"],
    "google": ["external/service/config*", "external/service/*/*", "external/tfserving/*", "external/triton/*"],
    "grpc": ["external/grpc/*", "external/service/endpoint/*", "external/tfserving/*", "external/triton/*"],
    "h5py": ["external/emulator/reading/hgq2*"],
    "hist": ["io/histogram_*", "modules/*histograms*"],
    "matplotlib": ["cli/emulate_*", "io/histogram_*", "observe/*"],
    "mplhep": ["io/histogram_*"],
    "lightgbm": ["external/emulator/trees/*"],
    "onnx": ["external/emulator/*"],
    "onnxruntime": ["external/onnx_model*"],
    "prometheus_client": ["external/service/metrics*"],
    "pyarrow": ["io/parquet_*"],
    "rich": ["cli/*", "observe/*"],
    "scipy": ["external/emulator/*"],
    "sklearn": ["external/emulator/trees/*"],
    "tritonclient": ["external/service/*", "external/triton/*"],
    "uproot": ["io/*"],
    "xgboost": ["external/emulator/trees/*"],
    "yaml": ["external/emulator/cost/fpgas*", "external/emulator/device/*", "external/emulator/reading/hls4ml_config*"],
}
"""Which files may import a library that is not for everybody."""
HEAVY = {
    "boost_histogram",
    "da4ml",
    "fastjet",
    "hist",
    "lightgbm",
    "matplotlib",
    "mplhep",
    "onnx",
    "onnxruntime",
    "pyarrow",
    "scipy",
    "sklearn",
    "xgboost",
}
TOP_LEVEL = {"pyarrow": ["io/parquet_file.py"]}
"""Files that import a heavy library at once, because they are themselves imported only when it is needed."""


def name_of(path):
    return str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else REPOSITORY))


def room_of(path):
    if path.name == "__main__.py":  # the command under another name
        return "cli"
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__init__", "")


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


def imports(path, *, top_level_only=False):
    """Yield the dotted names that a file imports."""
    for node in runs_at_import(tree_of(path)) if top_level_only else ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def runs_at_import(tree):
    """The statements that run when the module is imported; those for type checkers only do not."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from runs_at_import(node)


def library_imports(*, top_level_only=False):
    """Yield (path, library) for all imports of other packages."""
    for path in SOURCES:
        for name in imports(path, top_level_only=top_level_only):
            library = name.partition(".")[0]
            if library != "evtfw" and library not in sys.stdlib_module_names:
                yield path, library


# Who knows whom


def may_import(room, name):
    """Whether files of a room may import a name of evtfw."""
    if name == "evtfw" or (name.count(".") == 1 and name.partition(".")[2] not in ROOMS):
        return room != "core"  # the public names
    return any(f"{name}.".startswith(f"evtfw.{allowed}.") for allowed in ROOMS.get(room, ()))


def test_rooms_import_only_what_they_may_know():
    inner = [(p, n) for p in SOURCES for n in imports(p) if n.partition(".")[0] == "evtfw"]
    assert not [f"{name_of(p)} imports {n}" for p, n in inner if not may_import(room_of(p), n)]


def test_libraries_are_imported_by_whose_subject_they_are():
    def fits(path, library):
        return library in EVERYWHERE or any(fnmatch.fnmatch(name_of(path), p) for p in SUBJECTS.get(library, ()))

    assert not [f"{name_of(p)} imports {library}" for p, library in library_imports() if not fits(p, library)]


def test_heavy_libraries_are_imported_when_they_are_needed():
    found = [(name_of(p), library) for p, library in library_imports(top_level_only=True) if library in HEAVY]
    assert not [pair for pair in found if pair[0] not in TOP_LEVEL.get(pair[1], ())]


def test_importing_what_configurations_import_loads_nothing_heavy():
    modules = ["evtfw", "evtfw.io.root_source", "evtfw.io.root_output", "evtfw.io.histogram_output", "evtfw.modules"]
    script = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert not HEAVY & set(done.stdout.split())


# Sizes and words


def test_files_have_one_subject_and_a_size_that_shows_it():
    sizes = {name_of(p): len(p.read_text().splitlines()) for p in (*SOURCES, *TESTS)}
    assert not {name: size for name, size in sizes.items() if size > 400}


def test_functions_fit_a_screen():
    found = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                has_more = ast.get_docstring(node) and node.body[1:]
                length = node.body[-1].end_lineno - node.body[1 if has_more else 0].lineno + 1
                found |= {f"{name_of(path)}:{node.name}": length} if length > 45 else {}
    assert not found


def test_public_names_have_docstrings():
    missing = [name_of(p) for p in SOURCES if tree_of(p).body and not ast.get_docstring(tree_of(p))]
    for path in SOURCES:
        missing += [
            f"{name_of(path)}: {name}" for name, n in public_definitions(tree_of(path)) if not ast.get_docstring(n)
        ]
    assert not missing


def public_definitions(node, prefix=""):
    """Yield classes, functions and methods that a user may see, without overloads."""
    for child in node.body:
        if isinstance(child, ast.If):
            yield from public_definitions(child, prefix)
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or child.name.startswith("_"):
            continue
        decorators = [ast.unparse(d) for d in child.decorator_list]
        if "overload" in decorators or any(d.endswith(".setter") for d in decorators):
            continue
        yield prefix + child.name, child
        if isinstance(child, ast.ClassDef):
            yield from public_definitions(child, f"{child.name}.")


def calls_of(path, function):
    """Where a file calls a function, by the text of its name."""
    calls = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Call)]
    return [f"{name_of(path)}:{c.lineno}" for c in calls if ast.unparse(c.func) == function]


def test_nothing_is_printed_behind_the_users_back():
    assert not [call for path in SOURCES if room_of(path) != "cli" for call in calls_of(path, "print")]


def test_nobody_sleeps():
    assert not [name_of(path) for path in (*SOURCES, *TESTS) if "time.sleep" in imports(path)]
    assert not [call for path in (*SOURCES, *TESTS) for call in calls_of(path, "time.sleep")]


UNWANTED = {
    "a thing to do": re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b"),
    "the host of a package registry": re.compile(r"pypi[.]org|pythonhosted[.]org|npmjs[.]|debian[.]org|anaconda[.]org"),
    "a path of one machine": re.compile(r"(?<![\w./-])/(work|home|root)/"),
}


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_contains(what):
    """All text that git has, or would have."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    names = listed.stdout.split() or [str(p.relative_to(REPOSITORY)) for p in (*SOURCES, *TESTS)]
    found = []
    for name in names:
        path = REPOSITORY / name
        if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".css", ".cff", "") and path.is_file():
            text = path.read_text(errors="replace")
            found += [f"{name}: {match[0]}" for match in UNWANTED[what].finditer(text)]
    assert not found
