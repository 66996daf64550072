import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.core.observer import JobInfo, NodeInfo
from evtfw.observe.graph import job_edges, to_dot, to_mermaid, to_svg
from evtfw.observe.layout import layered_layout, reduce_edges
from tests.observe.synthetic import record, toptag_info


@st.composite
def graphs(draw):
    size = draw(st.integers(1, 25))
    pairs = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = draw(st.lists(pairs, max_size=40)) if size > 1 else []
    order = draw(st.permutations(range(size)))
    return size, [(order[a], order[b]) for a, b in edges]


def reachable(size, edges):
    ways = {(a, b) for a, b in edges}
    for middle in range(size):
        ways |= {(a, b) for a in range(size) for b in range(size) if (a, middle) in ways and (middle, b) in ways}
    return ways


@given(graphs())
@settings(deadline=None)
def test_reduction_keeps_what_is_reachable_and_nothing_more_than_needed(graph):
    size, edges = graph
    reduced = reduce_edges(size, edges)
    ways = reachable(size, edges)
    assert reachable(size, reduced) == ways
    for edge in reduced:
        assert reachable(size, [other for other in reduced if other != edge]) != ways


@given(graphs())
@settings(deadline=None)
def test_nodes_do_not_overlap_and_edges_go_down(graph):
    size, edges = graph
    widths = [20.0 + 7 * (node % 5) for node in range(size)]
    layout = layered_layout(widths, edges, gap=10.0)
    for a in range(size):
        assert layout.x[a] - widths[a] / 2 >= -1e-6
        assert layout.x[a] + widths[a] / 2 <= layout.width + 1e-6
        for b in range(a):
            if layout.layer[a] == layout.layer[b]:
                assert abs(layout.x[a] - layout.x[b]) >= (widths[a] + widths[b]) / 2 + 10 - 1e-6
    for start, end in edges:
        assert layout.layer[start] < layout.layer[end]
        route = layout.routes[start, end]
        assert len(route) == layout.layer[end] - layout.layer[start] + 1
        assert (route[0], route[-1]) == (layout.x[start], layout.x[end])


def test_a_chain_is_straight():
    layout = layered_layout([50.0, 80.0, 50.0], [(0, 1), (1, 2)])
    assert layout.x == pytest.approx((40.0, 40.0, 40.0), abs=1)


def test_nothing_has_a_layout():
    assert layered_layout([], []).layers == 0


def test_edges_that_follow_from_others_are_left_out():
    info = toptag_info()
    labels = [node.label for node in info.nodes]
    few, every = set(job_edges(info)), set(job_edges(info, every=True))
    assert few < every
    source_to_images = (labels.index("source"), labels.index("images"))
    assert source_to_images in every - few


@pytest.mark.parametrize("draw", [to_dot, to_mermaid])
def test_text_forms_have_all_nodes_and_edges(draw):
    info = toptag_info()
    text = draw(info)
    assert len(re.findall(r"^  n\d+\W", text, re.MULTILINE)) == len(info.nodes) + len(job_edges(info))
    assert "toptag acquire" in text
    assert text.count("reply") == 2


def test_the_drawing_is_well_formed_and_complete():
    made = record(events=200)
    root = ET.fromstring(to_svg(made.info, timing=made.timing))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    for node in made.info.nodes:
        assert any(node.label in text for text in texts)
    assert any("·" in text for text in texts)
    paths = [p for p in root.iter("{http://www.w3.org/2000/svg}path") if "edge" in p.get("class", "")]
    assert len(paths) == len(job_edges(made.info))


def test_strange_names_are_escaped():
    node = NodeInfo(0, 'a<b>&"c"', "T<x>", "producer", "event", 0, 0)
    info = JobInfo('P<"&', (node,), ((0,),), {}, 1, 1, None, 0)
    ET.fromstring(to_svg(info))
    assert r"\"c\"" in to_dot(info)


def test_an_empty_job_can_be_drawn():
    info = JobInfo("EMPTY", (), (), {}, 1, 1, None, 0)
    ET.fromstring(to_svg(info))
    assert to_dot(info).startswith("digraph")
    assert to_mermaid(info).startswith("flowchart")
