"""Renews what README.md and the tutorial show of a real run: ``python docs/show_output.py``, on a quiet machine.

Runs the README's job in an empty folder, puts its summary behind each ``<!-- output of the first command -->``, and
draws its report to ``docs/images/report.png`` if Chromium is installed.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial" / "first_job.md")
MARK = "<!-- output of the first command -->"
SHOWN = re.compile(rf"({re.escape(MARK)}\n```text\n).*?(\n```)", re.DOTALL)
JOB = ["evtfw", "run", "configs/toptag.py", "--threads", "8", "--streams", "4"]
BROWSER = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BROWSER += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--window-size=1200,1600"]


def main() -> None:
    """Run the job, change the pages, draw the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "configs", folder / "configs", ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run([*JOB, "--report", "report"], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
        summary = "\n".join(line.rstrip() for line in done.stdout.rstrip().split("\n"))
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            page.write_text(SHOWN.sub(lambda found: found[1] + summary + found[2], text), encoding="utf-8")
        draw(folder)
    sys.stdout.write(f"{summary}\n")


def draw(folder: Path) -> None:
    """Take a picture of the report's first page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.stderr.write("no Chromium here: docs/images/report.png is as it was\n")
        return
    picture = ROOT / "docs" / "images" / "report.png"
    page = (folder / "report" / "report.html").as_uri()
    settings = [f"--user-data-dir={folder / 'browser'}", f"--screenshot={picture}"]
    subprocess.run([browser, *BROWSER, *settings, page], check=True, capture_output=True, timeout=120)  # noqa: S603


if __name__ == "__main__":
    main()
