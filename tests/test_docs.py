"""Runs what the documentation shows: README.md and every page in docs/.

The blocks of a page run in order, in one empty folder and one namespace:

* ``python`` blocks are executed; behind ``<!-- file: NAME -->`` they are saved under that name instead, and something
  later on the page must use the file;
* ``pycon`` blocks are doctests;
* ``console`` blocks: each line ``$ evtfw …`` or ``$ python …`` is run and must end with exit code 0, or with the one in
  ``<!-- exit: CODE -->`` before the block;
* behind ``<!-- no-run: REASON -->`` a block is only compiled.
"""

import dataclasses
import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, evtfw_command

PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(
    r"(?:^<!--\s*(?P<mark>file|exit|no-run):\s*(?P<value>[^>]*?)\s*-->\n+)?"
    r"^(?P<indent> *)```+(?:\{code-block\} *)?(?P<language>python|pycon|console)[^\n]*\n(?P<text>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    mark: str
    value: str


def blocks_of(page):
    """Return the blocks of a page in order."""
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        indent, line = match["indent"], text.count("\n", 0, match.start("text")) + 1
        lines = [part.removeprefix(indent) for part in match["text"].split("\n") if not part.startswith(f"{indent}:")]
        found.append(Block(match["language"], "\n".join(lines), line, match["mark"] or "", match["value"] or ""))
    return found


class PageRunner:
    """Runs the blocks of one page."""

    def __init__(self, page, folder):
        self.page = page
        self.folder = folder
        self.namespace = {"__name__": f"docs_{page.stem}", "__file__": str(page)}
        self.unused = set()

    def run(self):
        for block in blocks_of(self.page):
            where = f"{self.page.relative_to(REPOSITORY)}:{block.line}"
            self.unused = {name for name in self.unused if Path(name).stem not in block.text}
            if block.mark == "no-run":
                assert block.value, f"{where}: say why it is not run"
                if block.language == "python":
                    compile(block.text, where, "exec")
            elif block.mark == "file":
                (self.folder / block.value).write_text(block.text)
                self.unused.add(block.value)
            else:
                getattr(self, f"_run_{block.language}")(block, where)
        assert not self.unused, f"nothing on the page uses {self.unused}"

    def _run_python(self, block, where):
        code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec")
        exec(code, self.namespace)

    def _run_pycon(self, block, where):
        test = doctest.DocTestParser().get_doctest(block.text, self.namespace, where, str(self.page), block.line - 1)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, clear_globs=False)
        assert runner.failures == 0, where
        self.namespace.update(test.globs)

    def _run_console(self, block, where):
        expected = int(block.value) if block.mark == "exit" else 0
        for line in re.findall(r"^\$ (.*(?:\\\n.*)*)", block.text, re.MULTILINE):
            words = shlex.split(line.replace("\\\n", " "), comments=True)
            command = {"evtfw": evtfw_command(), "python": [sys.executable]}.get(words[0])
            if command is None:
                continue  # pip, git and the like are not the page's subject
            done = subprocess.run(
                [*command, *words[1:]], check=False, cwd=self.folder, capture_output=True, text=True, timeout=300
            )
            assert done.returncode == expected, f"{where}: {line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    try:
        PageRunner(page, tmp_path).run()
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]


def test_pages_are_read_as_described(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- file: job.py -->\n```python\nx = 1\n```\n\n```{code-block} python\n:caption: c\nfrom job import x\n```\n"
        "<!-- exit: 10 -->\n\n```console\n$ evtfw run nothing.py\nerror\n```\n```text\nno\n```\n"
        "* item\n  ```python\n  y = x\n  ```\n"
    )
    blocks = blocks_of(page)
    assert [(b.language, b.mark, b.value, b.line) for b in blocks] == [
        ("python", "file", "job.py", 3),
        ("python", "", "", 7),
        ("console", "exit", "10", 13),
        ("python", "", "", 21),
    ]
    assert blocks[1].text == "from job import x\n"
    assert blocks[3].text == "y = x\n"
