"""Entry points, announced by distributions that are made for the tests."""

import sys

import pytest

from evtfw import ConfigurationError
from evtfw.core.plugins import find_plugin, module, plugins


@pytest.fixture
def announce(tmp_path, monkeypatch):
    """Install a distribution with entry points."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def announce(distribution, group, **targets):
        folder = tmp_path / f"{distribution}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = [f"{name} = {target}" for name, target in targets.items()]
        (folder / "entry_points.txt").write_text("\n".join([f"[evtfw.{group}]", *lines, ""]))
        return tmp_path

    return announce


def test_all_that_evtfw_announces_can_be_loaded():
    for group in ("modules", "backends"):
        assert all(plugin.load() is not None for plugin in plugins(group))


def test_a_module_of_a_third_party(announce):
    folder = announce("thirdparty", "modules", Doubler="doubling_modules:Doubler")
    (folder / "doubling_modules.py").write_text("from evtfw import Producer\nclass Doubler(Producer):\n    pass\n")
    plugin = find_plugin("modules", "Doubler")
    assert plugin.distribution == "thirdparty 1.2"
    assert plugin.load().__name__ == "Doubler"
    described = module("Doubler")
    assert type(described) is plugin.load()
    assert described._location.file == __file__
    del sys.modules["doubling_modules"]


def test_an_unknown_name_gets_suggestions():
    with pytest.raises(ConfigurationError, match=rf"{__file__}:\d+: no installed module .*did you mean 'EmptySource'"):
        module("EmptySourc")
    with pytest.raises(ConfigurationError, match="no installed backend is called 'cpv'; did you mean 'cpu'"):
        find_plugin("backends", "cpv")


@pytest.mark.parametrize(
    ("group", "target", "reason"),
    [
        ("modules", "nowhere_to_be_found:X", "ModuleNotFoundError"),
        ("modules", "math:pi", "not a subclass of evtfw.Module"),
        ("modules", "math:nothing", "AttributeError"),
        ("backends", "math:sqrt", "no method 'submit'"),
    ],
)
def test_a_broken_one_names_its_distribution(announce, group, target, reason):
    announce("broken", group, Broken=target)
    with pytest.raises(ConfigurationError, match=f"distribution broken 1.2 cannot be used: .*{reason}"):
        find_plugin(group, "Broken").load()


def test_a_broken_one_does_not_break_the_list(announce, capsys):
    from evtfw.cli.main import execute

    announce("broken", "modules", Broken="nowhere_to_be_found:X")
    assert execute(["list", "modules"]) == 0
    out = capsys.readouterr().out
    assert "broken 1.2" in out
    assert "EmptySource" in out


def test_two_of_the_same_name_are_told_apart(announce):
    announce("one", "modules", Twice="a:B")
    announce("two", "modules", Twice="c:D")
    with pytest.raises(ConfigurationError, match=r"announced by one 1.2 \(a:B\) and two 1.2 \(c:D\)"):
        find_plugin("modules", "Twice")
