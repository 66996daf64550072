"""A job is recorded and replayed by the real command, and writes the same."""

from __future__ import annotations

import uproot

from tests.conftest import REPOSITORY

CONFIGURATION = REPOSITORY / "configs" / "toptag.py"


def contents(file):
    """All arrays and histograms of a file, bit for bit."""
    found = {}
    with uproot.open(file) as root:
        for name, kind in root.classnames().items():
            if kind == "TTree":
                found[name] = root[name].arrays().tolist()
            elif kind.startswith("TH"):
                found[name] = root[name].values(flow=True).tobytes()
    return found


def test_a_recorded_job_is_repeated_without_its_service(evtfw, tmp_path):
    for number, backend in enumerate(["record:traffic.evtrec?of=cpu:toptag", "replay:traffic.evtrec"]):
        outputs = ["--output", f"{number}.root", "--histograms", f"h{number}.root"]
        done = evtfw("run", CONFIGURATION, "--streams", "4", "--", "--backend", backend, *outputs)
        assert done.returncode == 0, done.stderr
        assert "traffic.evtrec" in done.stdout + done.stderr
    assert [p.name for p in tmp_path.glob("traffic*")] == ["traffic.evtrec"]
    for prefix in ("", "h"):
        first, second = (contents(tmp_path / f"{prefix}{number}.root") for number in (0, 1))
        assert first
        assert first == second


def test_a_shadow_tells_its_findings(evtfw):
    backend = "shadow:?of=cpu:toptag&with=sim:%3Fof=cpu:toptag&fraction=1&rtol=1e-3"
    done = evtfw("run", CONFIGURATION, "--", "--backend", backend)
    assert done.returncode == 0, done.stderr
    assert "none differs" in done.stdout + done.stderr
