"""Sphinx: ``python -m sphinx -W -n -b html docs docs/_build/html``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import evtfw

project = "evtfw"
author = "The evtfw developers"
copyright = author
version = release = evtfw.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "evtfw_docstrings", "evtfw_reference"]
exclude_patterns = ["_build"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "name"  # of _ext/evtfw_docstrings.py: single backticks in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True

nitpicky = True
nitpick_ignore_regex = [
    # Types of other projects: the build is offline, so it has no inventories of them.
    (r"py:.*", r"(abc|numpy|np|pydantic|pydantic_core|annotated_types|typing|collections|pathlib|argparse)\b.*"),
    (r"py:.*", r"(threading|array|weakref|enum|queue|datetime|dt|rich|importlib|types|hist|awkward|ak|pa|uproot)\b.*"),
    (r"py:.*", r"(pyarrow|google|grpc|asyncio|_asyncio|random|onnx)\b.*"),
    (r"py:.*", r"(AllowInfNan|FieldInfo|Ge|Gt|NoneType|ModelProto|NodeProto|Floats)"),
    # What Sphinx takes annotations apart to, where they are strings.
    (r"py:.*", r"(dict\[str|tuple\[int)"),
    # Names that annotations take from their module: type variables, aliases, private helpers.
    (r"py:.*", r"((.*\.)?T|_\w+|.*\._\w+(\..*)?)"),
    (
        r"py:.*",
        r"(.*\.)?(NDArray|Any|Self|Behaviour|ClassVar|Hist|Literal|Path|Console|Token|array|State|Step|Task|Write)(\[.*\])?",
    ),
]

suppress_warnings = ["ref.python"]  # two rooms may have a class of the same name, and annotations do not say which

html_theme = "furo"
html_title = f"evtfw {release}"
html_static_path = ["_static"] if Path(__file__).with_name("_static").is_dir() else []
