"""The shipped sample and model: layout, numbering, checksum, quality; and the image they are made for."""

import hashlib
import json

import awkward as ak
import numpy as np
import onnxruntime
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from evtfw.data import path
from evtfw.modules.images import jet_images
from models.toptag.dataset import read_sample
from models.toptag.metrics import evaluate_scores, roc_curve
from models.toptag.onnx_model import top_probability

JETS_SCORED = 500
PIXELS = 64


@pytest.fixture(scope="module")
def events():
    with uproot.open(path("toptag_sample.root")) as file:
        return file["Events"].arrays()


@pytest.fixture(scope="module")
def card():
    return json.loads(path("toptag.json").read_text())


def test_sample_has_enough_selected_jets_of_both_kinds(events):
    kind = ak.flatten(events["FatJet_isTop"][events["FatJet_selected"]])
    assert ak.sum(kind == 1) >= 500
    assert ak.sum(kind == 0) >= 500
    assert ak.all((kind == 0) | (kind == 1))


def test_sample_is_small():
    assert path("toptag_sample.root").stat().st_size <= 4_000_000


def test_selected_jets_pass_the_cuts(events):
    selected = events["FatJet_selected"]
    pt_gev = events["FatJet_pt"][selected]
    assert ak.min(pt_gev, axis=None) >= 550.0
    assert ak.max(pt_gev, axis=None) <= 650.0
    assert ak.max(abs(events["FatJet_eta"][selected]), axis=None) < 2.0
    assert ak.all(ak.any(selected, axis=1))


def test_event_numbers_are_unique_and_lumis_ascend(events):
    identity = set(zip(events["run"].to_list(), events["event"].to_list(), strict=True))
    assert len(identity) == len(events)
    lumi = events["luminosityBlock"].to_numpy().astype(np.int64)
    assert len(np.unique(lumi)) >= 5
    assert np.all(np.diff(lumi) >= 0)


def test_both_kinds_are_mixed_within_every_lumi(events):
    for lumi in np.unique(events["luminosityBlock"]):
        kind = events["genTtbarId"][events["luminosityBlock"] == lumi]
        assert set(np.unique(kind)) == {0, 1}


def test_cross_references_point_at_jets_and_candidates(events):
    jet, candidate = events["FatJetPFCands_jetIdx"], events["FatJetPFCands_pFCandsIdx"]
    assert ak.all(ak.num(jet) == ak.num(candidate))
    assert ak.all((jet >= 0) & (jet < events["nFatJet"]))
    assert ak.all((candidate >= 0) & (candidate < events["nPFCands"]))
    for event in range(20):
        counts = np.bincount(jet[event], minlength=events["nFatJet"][event])
        assert counts.tolist() == events["FatJet_nConstituents"][event].to_list()
        # A candidate belongs to one jet at most.
        assert len(np.unique(candidate[event])) == len(candidate[event])


def test_jets_are_the_sum_of_their_constituents(events):
    candidate = events["FatJetPFCands_pFCandsIdx"]
    pt_gev, phi = events["PFCands_pt"][candidate], events["PFCands_phi"][candidate]
    in_leading_jet = events["FatJetPFCands_jetIdx"] == 0
    px = ak.sum((pt_gev * np.cos(phi))[in_leading_jet], axis=1)
    py = ak.sum((pt_gev * np.sin(phi))[in_leading_jet], axis=1)
    np.testing.assert_allclose(np.hypot(px, py), events["FatJet_pt"][:, 0], rtol=1e-3)


def test_jets_and_candidates_fall_in_pt(events):
    for column in ("FatJet_pt", "PFCands_pt"):
        assert ak.all(events[column][:, 1:] <= events[column][:, :-1])


def test_mass_peaks_at_the_top_mass_for_tops_only(events):
    selected = events["FatJet_selected"]
    mass_gev = ak.flatten(events["FatJet_mass"][selected]).to_numpy()
    is_top = ak.flatten(events["FatJet_isTop"][selected]).to_numpy() == 1
    in_window = (mass_gev > 155.0) & (mass_gev < 195.0)
    assert 0.73 < in_window[is_top].mean() < 0.83
    assert 0.04 < in_window[~is_top].mean() < 0.10
    assert 168.0 < np.median(mass_gev[is_top & in_window]) < 176.0


def test_card_describes_the_shipped_model(card):
    model = path(card["file"])
    assert hashlib.sha256(model.read_bytes()).hexdigest() == card["sha256"]
    assert model.stat().st_size == card["size_bytes"] <= 5_000_000
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for listed, found in ((card["inputs"], session.get_inputs()), (card["outputs"], session.get_outputs())):
        assert [tensor["name"] for tensor in listed] == [tensor.name for tensor in found]
        for tensor, value in zip(listed, found, strict=True):
            assert value.type == "tensor(float)"
            assert tensor["dtype"] == "float32"
            assert tensor["shape"] == [axis if isinstance(axis, int) else -1 for axis in value.shape]


def test_card_says_where_the_model_comes_from(card):
    assert card["training"]["n_top"] >= 8000
    assert not set(card["training"]["files"]) & set(card["held_out"]["files"])
    assert card["held_out"]["auc"] >= 0.975
    assert card["image"] | {"pixels": PIXELS, "half_width": 1.2, "flip_eta": True} == card["image"]


def test_model_tells_tops_from_qcd_jets():
    sample = read_sample([path("toptag_sample.root")])
    score = top_probability(path("toptag.onnx"), sample.images[:JETS_SCORED])
    metrics = evaluate_scores(score, sample.is_top[:JETS_SCORED])
    # Statistical uncertainty of the AUC with 500 jets: 0.006.
    assert metrics.auc > 0.96
    assert metrics.accuracy > 0.90


def test_model_scores_do_not_depend_on_the_batch():
    images = read_sample([path("toptag_sample.root")]).images[:9]
    model = path("toptag.onnx")
    one_by_one = np.concatenate([top_probability(model, images[row : row + 1]) for row in range(9)])
    np.testing.assert_allclose(top_probability(model, images), one_by_one, atol=1e-5)


def test_probabilities_sum_to_one():
    session = onnxruntime.InferenceSession(str(path("toptag.onnx")), providers=["CPUExecutionProvider"])
    (probability,) = session.run(["probability"], {"image": np.zeros((3, PIXELS, PIXELS, 1), dtype=np.float32)})
    assert probability.shape == (3, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-5)


def test_unknown_file_names_the_nearest():
    with pytest.raises(FileNotFoundError, match=r"'toptag.onx'; nearest: toptag.onnx"):
        path("toptag.onx")


def columns(*values):
    """Arguments of `jet_images` from lists; the fourth is the jets' index."""
    return [np.array(column, dtype=np.int64 if place == 3 else np.float64) for place, column in enumerate(values)]


def one_jet(eta_jet=0.7, phi_jet=3.1, n=20, seed=3):
    """Columns of `jet_images` for one jet whose constituents straddle phi = pi."""
    rng = np.random.default_rng(seed)
    pt_gev = rng.exponential(30.0, n)
    eta = eta_jet + rng.uniform(-1.1, 1.1, n)
    phi = phi_jet + rng.uniform(-1.1, 1.1, n)
    wrapped = (phi + np.pi) % (2 * np.pi) - np.pi
    return columns(pt_gev, eta, wrapped, np.zeros(n), [pt_gev.sum()], [eta_jet], [phi_jet])


def test_image_has_the_networks_type_and_sums_to_255():
    image = jet_images(*one_jet())
    assert image.shape == (1, PIXELS, PIXELS, 1)
    assert image.dtype == np.float32
    assert image.sum() == pytest.approx(255.0, rel=1e-5)


def test_unscaled_image_holds_pt_shares():
    assert jet_images(*one_jet(), normalise_sum=None).sum() == pytest.approx(1.0, rel=1e-6)


def test_mirrored_event_gives_the_same_image():
    pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi = one_jet()
    mirrored = jet_images(pt_gev, -eta, phi, index, jet_pt, -jet_eta, jet_phi)
    np.testing.assert_allclose(mirrored, jet_images(pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi), rtol=1e-6)


def test_without_flip_the_mirrored_event_gives_the_mirrored_image():
    pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi = one_jet()
    mirrored = jet_images(pt_gev, -eta, phi, index, jet_pt, -jet_eta, jet_phi, flip_eta=False)
    image = jet_images(pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi, flip_eta=False)
    np.testing.assert_allclose(mirrored, image[:, ::-1], rtol=1e-6)


@settings(max_examples=25)
@given(angle=st.floats(-20.0, 20.0))
def test_image_does_not_depend_on_the_azimuth(angle):
    pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi = one_jet()
    # Constituents in the middle of pixels: rounding does not move them across an edge.
    width = 2.4 / PIXELS
    phi = jet_phi[0] + (np.floor((phi - jet_phi[0]) / width) + 0.5) * width
    turned = jet_images(pt_gev, eta, phi + angle, index, jet_pt, jet_eta, jet_phi + angle)
    np.testing.assert_allclose(turned, jet_images(pt_gev, eta, phi, index, jet_pt, jet_eta, jet_phi), rtol=1e-6)


def test_constituent_lands_in_the_pixel_of_its_offset():
    image = jet_images(*columns([10.0], [0.5 + 0.06], [1.0 - 0.06], [0], [10.0], [0.5], [1.0]))
    # 0.06 is 1.6 pixels of 0.0375: rows count up in eta, columns in phi, the axis lies between 31 and 32.
    assert np.argwhere(image[0, :, :, 0]).tolist() == [[33, 30]]


def test_each_jet_gets_its_own_constituents():
    both = [np.concatenate([a, b]) for a, b in zip(one_jet(seed=1), one_jet(-0.4, 0.2, seed=2), strict=True)]
    both[3] = np.repeat([0, 1], 20)
    images = jet_images(*both)
    np.testing.assert_array_equal(images[:1], jet_images(*one_jet(seed=1)))
    np.testing.assert_array_equal(images[1:], jet_images(*one_jet(-0.4, 0.2, seed=2)))


def test_no_jets_give_no_images():
    assert jet_images(*columns([], [], [], [], [], [], [])).shape == (0, PIXELS, PIXELS, 1)


def test_jet_without_constituents_inside_is_black():
    image = jet_images(*columns([5.0], [0.0], [2.0], [0], [5.0], [0.0], [0.0]))
    assert not image.any()


def test_perfect_and_blind_scores():
    is_top = np.array([True, True, False, False])
    assert evaluate_scores(np.array([0.9, 0.8, 0.2, 0.1]), is_top).auc == 1.0
    assert evaluate_scores(np.full(4, 0.5), is_top).auc == 0.5
    eps_background, eps_signal = roc_curve(np.array([0.9, 0.3, 0.4, 0.1]), is_top)
    assert eps_background.tolist() == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert eps_signal.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]


def test_roc_needs_both_classes():
    with pytest.raises(ValueError, match="2 top and 0 QCD"):
        evaluate_scores(np.array([0.1, 0.2]), np.array([True, True]))
