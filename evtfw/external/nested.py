"""Backend URLs inside backend URLs, as in ``record:traffic.evtrec?of=cpu:toptag``."""

from __future__ import annotations

from urllib.parse import quote

from evtfw.external.urls import OptionReader


def read_url(options: OptionReader, name: str) -> str:
    """Return the URL that an option gives; empty if it is not given.

    A plus sign in its scheme need not be escaped: in an option it means a blank, which no scheme has.

    >>> from evtfw.external.urls import parse_url
    >>> read_url(OptionReader(parse_url("record:t.evtrec?of=triton+grpc://host:8001/toptag")), "of")
    'triton+grpc://host:8001/toptag'
    """
    scheme, colon, rest = options.text(name, "").partition(":")
    return scheme.replace(" ", "+") + colon + rest


def escape_url(url: str) -> str:
    """Return an URL as it may stand in an option of another.

    >>> escape_url("cpu:toptag?threads=1&max_batch=64")
    'cpu:toptag?threads=1%26max_batch=64'
    """
    return quote(url, safe="/:?=@,;[]")
