"""Every command but ``run``, from its words to what a user reads."""

import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from evtfw import ExitCode
from evtfw.cli.exit_codes import MEANINGS
from evtfw.cli.process_options import Size, apply_options
from evtfw.core.plugins import plugins
from evtfw.core.process import Process, ProcessOptions
from tests.conftest import evtfw_command

COMMANDS = ["run", "check", "list", "describe", "graph", "dump", "exit-codes", "completions"]


def test_help_lists_all_commands_and_examples(execute):
    code, out, _ = execute("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"  {command} " in out
    assert "evtfw run toptag" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(execute, command):
    code, out, _ = execute(command, "--help")
    assert code == 0
    assert "--debug" in out
    assert "\b" not in out


def test_version(execute):
    from evtfw import __version__

    assert execute("--version") == (0, f"evtfw {__version__}\n", "")


def test_starting_is_light():
    """Heavy libraries are imported by what needs them, not by asking for help."""
    script = (
        "import sys\nfrom evtfw.cli.main import execute\nexecute(['--help'])\nexecute(['run', '--help'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stderr.split())
    heavy = {
        "uproot",
        "awkward",
        "onnxruntime",
        "matplotlib",
        "fastjet",
        "hist",
        "boost_histogram",
        "pyarrow",
        "mplhep",
    }
    assert not loaded & (heavy | {"evtfw.io", "evtfw.external", "evtfw.modules", "evtfw.observe", "asyncio"})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rum"], "did you mean 'run'"),
        (["job.py"], "evtfw run job.py?"),
        (["run"], "Missing argument 'CONFIG'"),
        (["run", "job.py", "extra"], "arguments of the configuration stand after '--'"),
        (["run", "job.py", "--thread", "2"], "--threads"),
        (["run", "job.py", "-t", "-1"], "-1 is not in the range"),
        (["run", "job.py", "--max-bytes-in-flight", "many"], "write for example 500M or 2Gi"),
        (["completions", "tcsh"], "'tcsh' is not one of"),
        ([], "Commands:"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_explained(execute, job, words, hint):
    code, _, err = execute(*words)
    assert code == ExitCode.USAGE
    assert hint in err


def test_exit_codes_are_all_explained(execute):
    assert set(MEANINGS) == set(ExitCode)
    _, out, _ = execute("exit-codes")
    run_help = execute("run", "--help")[1]
    for code in ExitCode:
        assert f" {code.value} " in out
        assert f" {code.value} " in run_help


# Options of the process


def test_every_option_of_a_process_is_on_the_command_line():
    from evtfw.cli.run import run

    assert set(ProcessOptions.model_fields) <= {parameter.name for parameter in run.params}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("12", 12), ("1k", 1000), ("1.5M", 1_500_000), ("2Gi", 2 << 30), ("2GiB", 2 << 30), ("3KB", 3000)],
)
def test_sizes(text, size_bytes):
    assert Size().convert(text, None, None) == size_bytes


def test_options_given_override_those_of_the_configuration():
    process = Process("P", ProcessOptions(threads=3, streams=4, events=("1:1:1",), max_events=7))
    apply_options(
        process,
        {"threads": 2, "streams": None, "events": ("1:2:3,4:5:6", "7:8:9"), "max_events": -1, "lumi_mask": None},
    )
    options = process.options
    assert (options.threads, options.streams, options.max_events) == (2, 4, None)
    assert options.events == ("1:2:3", "4:5:6", "7:8:9")


# check


def test_check_shows_the_plan(execute, job):
    code, out, _ = execute("check", "job.py", "-t", "2", "-s", "3", "--", "--events", "12345")
    assert code == 0
    assert "job.py is ready to run" in out
    assert "EmptySource, events: 12 345" in out
    assert "maker → cut" in out
    assert "2 threads, 3 streams" in out


def test_check_reports_all_mistakes_with_their_lines(execute, job):
    job.write_text(job.read_text().replace("scale=1.0", "scale=-1.0, scal=3").replace('value="maker"', 'value="makr"'))
    code, out, err = execute("check", "job.py")
    assert code == ExitCode.CONFIGURATION
    assert "3 mistakes" in err
    assert "job.py:34: maker (Maker)" in err
    assert "'scale'" in err
    assert "did you mean 'maker'" in err
    assert "Traceback" not in err
    assert not out


# dump


def test_a_dump_runs_to_the_same_job(execute, job):
    code, out, _ = execute("dump", "job.py", "-t", "1", "--", "--events", "7")
    assert code == 0
    assert out.startswith("# Expanded by evtfw ")
    assert "from: job.py -- --events 7\n" in out
    job.with_name("expanded.py").write_text(out)
    again = execute("dump", "expanded.py")[1]
    assert again.partition("\n")[2] == out.partition("\n")[2]
    code, out, _ = execute("run", "expanded.py", "--no-progress")
    assert code == 0
    assert "7 events" in out


def test_a_dump_into_a_file(execute, job):
    assert execute("dump", "job.py", "-o", "expanded.py") == (0, "", "")
    assert "process.cut = Cut(" in job.with_name("expanded.py").read_text()
    code, _, err = execute("dump", "job.py", "-o", "no/such/folder.py")
    assert code != 0
    assert "cannot write no/such/folder.py: No such file" in err


# list and describe


def test_list_shows_what_is_installed(execute):
    code, out, _ = execute("list")
    assert code == 0
    for plugin in (*plugins("modules"), *plugins("backends")):
        assert plugin.name in out
    assert "toptag" in out
    assert "cannot be used" not in out


def test_list_of_names(execute):
    assert "EmptySource" in execute("list", "modules", "--names")[1].split()
    assert "cpu" in execute("list", "backends", "--names")[1].split()
    assert "toptag" in execute("list", "configs", "--names")[1].split()


def test_describe_shows_what_a_module_declares(execute, job):
    code, out, _ = execute("describe", "job:Maker")
    assert code == 0
    lines = " ".join(out.split())
    assert "Maker producer, stream job:Maker Makes a number." in lines
    assert "scale float 2.0 GeV factor (> 0)" in lines
    assert "made float GeV a number" in lines
    assert "value float required number" in " ".join(execute("describe", "job:Cut")[1].split())


def test_describe_takes_brackets_as_they_are(execute, job):
    job.write_text(
        job.read_text().replace("Parameter[float]", "Parameter[list[float]]").replace("factor", "[bold] factor")
    )
    code, out, _ = execute("describe", "job:Maker")
    assert code == 0
    assert "list[float]" in out
    assert "[bold] factor" in out


@pytest.mark.parametrize("plugin", [*plugins("modules"), *plugins("backends")], ids=lambda p: p.name)
def test_everything_that_is_listed_can_be_described(execute, plugin):
    code, out, _ = execute("describe", plugin.name)
    assert code == 0
    assert plugin.target.partition(":")[2] in out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("JetSelektor", "did you mean 'JetSelector'"),
        ("job:Makr", "did you mean 'Maker'"),
        ("nowhere_at_all:Thing", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_describe_suggests_names(execute, job, name, hint):
    code, _, err = execute("describe", name)
    assert code == ExitCode.CONFIGURATION
    assert hint in err


# graph


def test_graph_in_all_forms(execute, job):
    assert execute("graph", "job.py")[1].startswith("flowchart")
    assert execute("graph", "job.py", "--format", "dot")[1].startswith("digraph")
    assert execute("graph", "job.py", "-o", "job.svg") == (0, "", "")
    assert ET.parse(job.with_name("job.svg")).getroot().tag.endswith("svg")


# completions


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(execute, shell):
    code, out, _ = execute("completions", shell)
    assert code == 0
    assert "_EVTFW_COMPLETE" in out


def complete(words, tmp_path):
    environment = {
        **os.environ,
        "_EVTFW_COMPLETE": "bash_complete",
        "COMP_WORDS": f"evtfw {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = subprocess.run(evtfw_command(), check=False, capture_output=True, text=True, env=environment, cwd=tmp_path)
    return done.stdout.split()


def test_completion_of_names(tmp_path):
    assert complete("des", tmp_path) == ["plain,describe"]
    assert complete("describe JetS", tmp_path) == ["plain,JetSelector"]
    assert complete("run topt", tmp_path) == ["file,topt", "plain,toptag"]
    assert "plain,--threads" in complete("run job.py --thr", tmp_path)


# Shells


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    process = subprocess.Popen([*evtfw_command(), "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=60)


def test_unexpected_exceptions_are_a_message_and_a_traceback_on_demand(execute, job, monkeypatch):
    monkeypatch.setattr("evtfw.core.dump.dump", lambda process: 1 / 0)
    code, _, err = execute("dump", "job.py")
    assert code == ExitCode.INTERNAL
    assert "internal error: ZeroDivisionError: division by zero" in err
    assert "Traceback" not in err
    assert "Traceback" in execute("dump", "job.py", "--debug")[2]


def test_a_configuration_may_have_the_name_of_a_library(execute, job):
    job.with_name("json.py").write_text(job.read_text())
    assert execute("check", "json.py")[0] == 0
