import os
import sys
from pathlib import Path

import pytest

from evtfw import ConfigurationError, ExitCode
from evtfw.core.arguments import HelpRequested
from evtfw.core.loading import find_configuration, home_of, load_configuration, load_process, shipped_configurations

MINIMAL = """
from evtfw import Path, Process, Producer
process = Process("DEMO")
process.maker = Producer()
process.path = Path(process.maker)
"""


@pytest.fixture
def write(tmp_path):
    """Write files into a folder and return the path of the first."""

    def write(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        return tmp_path / f"{next(iter(files))}.py"

    return write


def problem(file, arguments=()):
    with pytest.raises(ConfigurationError) as caught:
        load_process(file, arguments)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    return str(caught.value)


def test_a_configuration_gives_its_process(write):
    process = load_process(write(job=MINIMAL))
    assert process.name == "DEMO"
    assert list(process.modules) == ["maker"]


def test_where_a_module_was_written_is_known(write):
    file = write(job=MINIMAL)
    assert str(load_process(file).maker._location) == f"{file}:4"


def test_one_configuration_imports_another_and_changes_it(write):
    file = write(job="from base import process\nprocess.options.threads = 7\n", base=MINIMAL)
    configuration = load_configuration(file)
    assert configuration.process.options.threads == 7
    assert list(configuration.sources.values()) == [file.read_text(), MINIMAL]


def test_files_of_the_same_name_in_two_folders_do_not_collide(tmp_path):
    for folder, threads in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "base.py").write_text(f"{MINIMAL}process.options.threads = {threads}\n")
        (tmp_path / folder / "job.py").write_text("from base import process\n")
    assert [load_process(tmp_path / f / "job.py").options.threads for f in "ab"] == [1, 2]


def test_nothing_stays_behind_after_loading(write):
    file = write(job="import helpers_of_job\n" + MINIMAL, helpers_of_job="import wave as standard_library_module\n")
    path = list(sys.path)
    load_process(file)
    assert "helpers_of_job" not in sys.modules
    assert "job" not in sys.modules
    assert "wave" in sys.modules
    assert sys.path == path


def test_nothing_stays_behind_after_a_mistake(write):
    path = list(sys.path)
    problem(write(job="import helpers_of_job\n1/0\n", helpers_of_job=""))
    assert "helpers_of_job" not in sys.modules
    assert sys.path == path


def test_imports_can_be_kept_as_after_a_script(write, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = write(kept_job="import kept_helpers\n" + MINIMAL, kept_helpers="")
    load_configuration(file, keep_imports=True)
    assert sys.path[0] == str(file.parent)
    assert sys.modules.pop("kept_helpers").__file__ == str(file.parent / "kept_helpers.py")
    assert sys.modules.pop("kept_job").process.name == "DEMO"


def test_the_home_of_a_forgotten_class_is_known(write):
    file = write(
        job="from parts import Part\n" + MINIMAL + "process.part = Part()\n",
        parts="from evtfw import Producer as Part\n",
    )
    file.with_name("parts.py").write_text("from evtfw import Producer\nclass Part(Producer):\n    pass\n")
    assert home_of(type(load_process(file).part)) == file.with_name("parts.py")


def test_annotations_are_resolved_though_they_are_postponed(write):
    text = "from __future__ import annotations\nimport evtfw\nclass Args(evtfw.Arguments):\n    n: int = 1\n"
    file = write(job=text + MINIMAL + "process.options.threads = Args.parse().n\n")
    assert load_process(file, ["--n", "3"]).options.threads == 3


def test_arguments_mistakes_and_help_come_through(write):
    file = write(
        job="from evtfw import Arguments\nclass Args(Arguments):\n    score: float = 1\nargs = Args.parse()\n" + MINIMAL
    )
    assert "did you mean '--score'" in problem(file, ["--scor", "2"])
    with pytest.raises(HelpRequested, match="--score"):
        load_process(file, ["--help"])


def test_the_hash_tells_jobs_apart(write):
    parsing = "from evtfw import Arguments\nclass Args(Arguments):\n    x: int = 0\nArgs.parse()\n"
    file = write(job="import helpers_of_job\n" + parsing + MINIMAL, helpers_of_job="x = 1\n")
    first = load_configuration(file)
    assert first.sha256 == load_configuration(file).sha256
    assert first.sha256 != load_configuration(file, ["--x", "1"]).sha256
    file.write_text(file.read_text() + "# changed\n")
    assert first.sha256 != load_configuration(file).sha256
    assert first.text + "# changed\n" == load_configuration(file).text


def test_a_configuration_loaded_by_another_gets_its_arguments(write):
    parsing = "from evtfw import Arguments\nclass Args(Arguments):\n    name: str = 'A'\nargs = Args.parse()\n"
    inner = write(inner=parsing + MINIMAL + "process.options.max_events = len(args.name)\n")
    outer = inner.with_name("outer.py")
    outer.write_text(f"from evtfw.core.loading import load_process\nprocess = load_process({str(inner)!r})\n")
    assert load_process(outer, ["--name", "long"]).options.max_events == 4


def test_arguments_that_nobody_reads_are_refused(write):
    with pytest.raises(ConfigurationError, match="takes no arguments, but was given '--x'"):
        load_process(write(job=MINIMAL), ["--x"])


@pytest.mark.parametrize("name", ["json", "two words", "class", "numpy"])
def test_any_file_name_will_do(tmp_path, name):
    file = tmp_path / f"{name}.py"
    file.write_text(MINIMAL)
    assert load_process(file).name == "DEMO"


# mistakes


def test_missing_file_with_near_names(write):
    file = write(selection=MINIMAL)
    assert "selection.py'" in problem(file.with_name("selectoin.py"))


def test_missing_folder(tmp_path):
    assert f"nor a folder {tmp_path / 'no'}" in problem(tmp_path / "no" / "job.py")


def test_a_folder_is_no_configuration(tmp_path):
    assert "is a folder" in problem(tmp_path)


def test_syntax_error_has_file_line_and_text(write):
    file = write(job="x = 1\ny = = 2\n")
    message = problem(file)
    assert f"{file}:2: SyntaxError: invalid syntax" in message
    assert "y = = 2" in message


def test_syntax_error_in_an_imported_file_names_that_file(write):
    file = write(job="import broken_helpers\n", broken_helpers="\n\ndef f(:\n")
    assert f"{file.with_name('broken_helpers.py')}:3: SyntaxError" in problem(file)


def test_an_exception_names_the_configurations_own_line(write):
    file = write(job="import json\n\njson.loads('{')\n")
    assert f"{file}:3: json.decoder.JSONDecodeError" in problem(file)


def test_an_exception_in_an_imported_file_names_both(write):
    file = write(job="\nimport base_of_job\n", base_of_job="1 / 0\n")
    assert f"{file.with_name('base_of_job.py')}:1 (from {file}:2): ZeroDivisionError" in problem(file)


def test_misspelt_names_get_a_suggestion(write):
    assert "did you mean 'Process'" in problem(write(job="from evtfw import Process\nprocess = Proces('X')\n"))
    assert "did you mean 'Producer'" in problem(write(job="from evtfw import Produser\n"))
    assert "did you mean 'Producer'" in problem(write(job="import evtfw\nevtfw.Produser()\n"))
    assert "did you mean 'selectors_of_mine'" in problem(write(job="import selectors_of_min\n", selectors_of_mine=""))
    assert "installed" in problem(write(job="import qqqqqqqq\n"))


def test_wrong_options_are_explained(write):
    file = write(job=MINIMAL + "process.options.thread = 3\n")
    assert f"{file}:6: process.options has no 'thread'; did you mean 'threads'" in problem(file)
    file.write_text(MINIMAL + "process.options.threads = -1\n")
    assert "process.options.threads: Input should be greater than or equal to 0 (given: -1)" in problem(file)


def test_leaving_the_program_is_a_mistake(write):
    file = write(job="import sys\nsys.exit('bye')\n")
    assert f"{file}:2: the configuration ended the program (bye)" in problem(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "does not define 'process'; write process = Process"),
        (MINIMAL + "job = process\ndel process\n", "it calls its process 'job'"),
        ("process = 3\n", "'process' is a int"),
        (MINIMAL + "other = Process('B')\n", "has 2 processes, 'other' and 'process'"),
    ],
)
def test_exactly_one_process(write, text, words):
    assert words in problem(write(job=text))


def test_the_same_process_under_two_names_is_one(write):
    assert load_process(write(job=MINIMAL + "alias = process\n_other = Process('B')\n")).name == "DEMO"


def test_not_text(tmp_path):
    file = tmp_path / "job.py"
    file.write_bytes(b"\xff\xfe\x00")
    assert "Error" in problem(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(write):
    file = write(job=MINIMAL)
    file.chmod(0)
    assert "cannot be read: Permission denied" in problem(file)


# shipped configurations


@pytest.mark.parametrize("name", ["toptag", "toptag.py", "configs/toptag.py"])
def test_a_shipped_configuration_is_found_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    file, note = find_configuration(name)
    assert file in shipped_configurations()
    assert "comes with evtfw" in note


def test_ones_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("toptag.py").write_text(MINIMAL)
    assert find_configuration("toptag.py") == (Path("toptag.py"), "")
