#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.2.9"]
# ///

"""Everything that is done to this repository, one session each: ``nox -l`` lists them, ``nox -s NAME`` runs one."""

import re
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|venv"

PROJECT = tomllib.loads(Path("pyproject.toml").read_text())
PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and unformatted code."""
    session.install(*PROJECT["dependency-groups"]["lint"])
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types strictly."""
    session.install(".", *PROJECT["dependency-groups"]["lint"])
    session.run("mypy", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, as README.md says."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.11", default=False)
def minimum(session: nox.Session) -> None:
    """Run all tests with the oldest versions that pyproject.toml allows."""
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("\n".join(minimum_versions()) + "\n")
    session.install(".[test]", "--constraint", str(constraints))
    # Old releases warn about what newer Pythons and each other deprecate; that is not ours to mend.
    session.run("pytest", "-W", "default", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build; warnings are errors."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure every figure that README.md quotes."""
    session.install(".[benchmark]")
    session.run("python", "-m", "benchmarks", *session.posargs)


def minimum_versions() -> list[str]:
    """Return ``name==version`` for every ``name>=version`` among the dependencies of package and tests.

    Constraints have no extras; they keep the condition after a semicolon. What the tests need counts, if it is more.
    """
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["emulate"], *extras["parquet"], *extras["test"]]
    found = [re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)(;.*)?", requirement) for requirement in wanted]
    versions = {match[1]: f"{match[1]}=={match[2]}{match[3] or ''}" for match in found if match}
    return list(versions.values())


if __name__ == "__main__":
    nox.main()
