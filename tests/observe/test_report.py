import dataclasses
import hashlib
import html.parser
import json
import re

import pytest

from evtfw.core.errors import ExitCode, OutputError
from evtfw.observe.report import report_dict, write_report
from tests.observe.synthetic import CONFIGURATION, record


@pytest.fixture(scope="module")
def made():
    return record(events=1200, failure_rate=0.01)


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "new" / "report"
    page = write_report(folder, made)
    return json.loads((folder / "report.json").read_text()), page.read_text()


def test_the_event_accounting_sums_up(written):
    report, _ = written
    events = report["events"]
    assert sum(events["fates"].values()) == events["read"] == 1200
    assert sum(file["last"] - file["first"] for file in report["files"]) == events["read"]
    for path in report["paths"].values():
        assert sum(path.values()) == events["read"]
    assert sum(kind["count"] for kind in report["failures"]["kinds"]) == report["failures"]["count"]


def test_module_times_sum_up(written):
    report, _ = written
    assert sum(module["share"] for module in report["modules"]) == pytest.approx(1)
    for module in report["modules"]:
        parts = [module[key] for key in ("call", "acquire", "produce") if key in module]
        assert sum(part["total_s"] for part in parts) == pytest.approx(module["wall_s"])
        for part in parts + ([module["wait"]] if "wait" in module else []):
            assert sum(part["bins"]["count"]) == part["count"]
            assert part["min_s"] <= part["p50_s"] <= part["p99_s"] <= part["max_s"]


def test_it_says_what_ran(written, made):
    report, _ = written
    assert report["schema_version"] == 1
    assert (report["exit_code"], report["exit_name"], report["error"]) == (0, "OK", None)
    assert report["configuration"]["sha256"] == hashlib.sha256(CONFIGURATION.encode()).hexdigest()
    assert report["configuration"]["text"] == CONFIGURATION
    assert report["versions"]["python"]
    assert "numpy" in report["versions"]["dependencies"]
    assert report["skipped"][0]["reason"] == "basket 3 of Jet_pt is corrupt"
    assert report["timeline"]["events_ended"][-1] == 1200
    assert report["memory"]["peak_bytes"] > 0
    assert len(report["plan"]["nodes"]) == len(made.info.nodes)


class Checker(html.parser.HTMLParser):
    """Every element is closed in order, and nothing is loaded from elsewhere."""

    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        return

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.links == []
    outside = set(re.findall(r"https?://[^\s\"'<)]+", page)) - {"http://www.w3.org/2000/svg"}
    assert not outside
    assert "@import" not in page
    assert "<script" not in page


def test_the_page_is_well_formed_and_stands_alone(written):
    check(written[1])


@pytest.mark.parametrize(
    "part",
    ["Throughput", "Time per module", "External work", "p99", "Module graph", "evtfw-graph", "Resident memory",
     "completed", "1 200", "cpu:toptag", "DeadlineExceeded", "broken.root", "RootSource(files", "on_error"],
)  # fmt: skip
def test_the_page_has_all_parts(written, part):
    assert part in written[1]


def test_a_failed_job_without_observers_has_a_report(made, tmp_path):
    error = ValueError("<script>alert('x')</script> & more")
    result = dataclasses.replace(made.result, exit_code=ExitCode.MODULE, error=error, wall_s=0.0, stopped_by="SIGTERM")
    bare = dataclasses.replace(made, result=result, timing=None, memory=None, configuration="", options={}, command=[])
    page = write_report(tmp_path, bare).read_text()
    check(page)
    assert "exit code 40: MODULE" in page
    assert "&lt;script&gt;" in page
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["error"] == {"type": "ValueError", "message": str(error)}
    assert report["stopped_by"] == "SIGTERM"


def test_a_job_that_read_nothing_has_a_report(tmp_path):
    nothing = record(events=1, stop_after=0)
    check(write_report(tmp_path, nothing).read_text())


def test_options_of_any_type_are_written(made):
    report = report_dict(dataclasses.replace(made, options={"path": object, "limit": None}))
    assert report["options"]["limit"] is None
    json.dumps(report)


def test_a_folder_that_cannot_be_made_is_an_output_error(made, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--report"):
        write_report(tmp_path / "file" / "report", made)
