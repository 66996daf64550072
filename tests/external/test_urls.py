from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evtfw.external.contract import Backend
from evtfw.external.cpu import CpuBackend
from evtfw.external.mock import MockBackend
from evtfw.external.urls import (
    BackendUrl,
    OptionReader,
    backend_class,
    known_schemes,
    make_backend,
    parse_url,
    register_backend,
)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("cpu:toptag", BackendUrl("cpu", path="toptag")),
        ("cpu:./a%20b.onnx", BackendUrl("cpu", path="./a b.onnx")),
        ("cpu:/a/b.onnx?x=1&y=", BackendUrl("cpu", path="/a/b.onnx", options={"x": "1", "y": ""})),
        ("triton+grpc://[::1]:8001/m/2", BackendUrl("triton+grpc", "[::1]:8001", "/m/2")),
        ("mock:", BackendUrl("mock")),
    ],
)
def test_an_url_is_taken_apart(text, parsed):
    assert parse_url(text) == parsed


@given(
    scheme=st.from_regex(r"[a-z][a-z+]*", fullmatch=True),
    authority=st.sampled_from(["", "host:8001"]),
    path=st.text(min_size=1).map(lambda text: f"/{text}".replace("//", "/")).filter(lambda text: "//" not in text),
    options=st.dictionaries(st.text(min_size=1), st.text()),
)
def test_formatting_and_parsing_are_inverse(scheme, authority, path, options):
    url = BackendUrl(scheme, authority, path, options)
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("toptag", "'toptag' is no backend URL; write SCHEME:MODEL, e.g. 'cpu:toptag' \\(or 'cpu:toptag'\\?\\)"),
        ("", "'' is no backend URL"),
        ("cpu:x?threads", "not of the form"),
        ("cpu:x?a=1&a=2", "an option is given twice"),
    ],
)
def test_what_is_no_url_says_what_to_write(text, message):
    with pytest.raises(ValueError, match=message):
        parse_url(text)


def test_options_are_read_with_their_types():
    options = OptionReader(parse_url("cpu:x?n=3&t=0.5&policy=flag"))
    assert options.integer("n", 0, at_least=0) == 3
    assert options.number("t", 0, at_least=0) == 0.5
    assert options.choice("policy", "fail", ("fail", "flag")) == "flag"
    assert options.integer("absent", 7, at_least=0) == 7
    options.finish()


@pytest.mark.parametrize("value", ["three", "-1", "1.5", "", "inf", "nan"])
def test_a_wrong_number_is_refused(value):
    options = OptionReader(parse_url(f"cpu:x?n={value}"))
    with pytest.raises(ValueError, match=f"n must be a whole number not below 0, not '{value}'"):
        options.integer("n", 0, at_least=0)


@pytest.mark.parametrize("value", ["inf", "nan", "-0.1"])
def test_a_number_must_be_finite_and_within_its_bound(value):
    with pytest.raises(ValueError, match="must be a number not below 0"):
        OptionReader(parse_url(f"cpu:x?t={value}")).number("t", 1.0, at_least=0)


def test_a_choice_outside_the_list_is_refused():
    with pytest.raises(ValueError, match="policy must be one of fail, flag, not 'none'"):
        OptionReader(parse_url("cpu:x?policy=none")).choice("policy", "fail", ("fail", "flag"))


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ValueError, match="there is no option 'thread'; did you mean 'threads'"):
        make_backend("cpu:toptag?thread=2")


def test_installed_schemes_are_found():
    assert {"cpu", "mock"} <= set(known_schemes())
    assert backend_class("cpu") is CpuBackend
    assert isinstance(make_backend("mock:echo"), MockBackend)


def test_an_unknown_scheme_names_the_nearest_and_what_to_do():
    with pytest.raises(ValueError, match=r"no backend for scheme 'cpux'; did you mean 'cpu'.*install"):
        make_backend("cpux:toptag")


def test_a_scheme_of_a_package_that_is_not_installed():
    with pytest.raises(ValueError, match=r"no backend for scheme 'unheard\+grpc'.*install"):
        make_backend("unheard+grpc://localhost:8001/toptag")


def test_a_backend_can_be_registered_by_import():
    class Quantum(MockBackend):
        pass

    register_backend("test-quantum", Quantum)
    register_backend("test-quantum", Quantum)
    assert isinstance(Backend.from_configuration("test-quantum:x"), Quantum)
    assert "test-quantum" in known_schemes()
    with pytest.raises(ValueError, match=r"'test-quantum' means .*Quantum already"):
        register_backend("test-quantum", MockBackend)


def test_an_entry_point_that_cannot_be_loaded_says_what_is_missing(monkeypatch):
    import importlib.metadata

    broken = importlib.metadata.EntryPoint("broken", "no_such_package_here:Thing", "evtfw.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [broken])
    with pytest.raises(ValueError, match=r"scheme 'broken' .*cannot be loaded: No module named 'no_such_package_here'"):
        backend_class("broken")


@pytest.mark.parametrize("value", [None, 3, MockBackend])
def test_what_is_no_backend_at_all(value):
    with pytest.raises(ValueError, match="is no backend"):
        make_backend(value)
