"""The simulation's own code, without Pythia: detector, labelling, file layout and command line."""

import sys

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from models.toptag.calorimeter import ECAL, HCAL, resolution_gev
from models.toptag.detector import energy_shares, reconstruct
from models.toptag.generate import main
from models.toptag.jets import build_events, match_tops
from models.toptag.kinematics import delta_r, eta_phi
from models.toptag.particles import Batch, Particles, Tops
from models.toptag.tracker import log_normal, phi_at_calorimeter, track_efficiency, track_resolution
from models.toptag.writer import round_mantissa, write_events

CHARGE = {11: -1, 13: -1, 211: 1, 321: 1, 22: 0, 130: 0, 310: 0}


def particles(pdg_id, pt_gev, eta, phi, event=None):
    """Massless particles from directions; all arguments broadcast."""
    pdg_id, pt_gev, eta, phi = (np.array(x) for x in np.broadcast_arrays(pdg_id, pt_gev, eta, phi))
    n = pdg_id.size
    return Particles(
        event=np.zeros(n, dtype=np.int64) if event is None else np.asarray(event),
        px_gev=pt_gev * np.cos(phi),
        py_gev=pt_gev * np.sin(phi),
        pz_gev=pt_gev * np.sinh(eta),
        energy_gev=pt_gev * np.cosh(eta),
        pdg_id=pdg_id.astype(np.int64),
        charge=np.array([np.sign(code) * CHARGE[abs(code)] for code in pdg_id.tolist()], dtype=np.int64),
    )


def many(pdg_id, pt_gev, n=2000, seed=5):
    """One particle in each of n events, anywhere in |eta| < 1.4."""
    rng = np.random.default_rng(seed)
    columns = (np.full(n, pdg_id), np.full(n, pt_gev), rng.uniform(-1.4, 1.4, n), rng.uniform(-np.pi, np.pi, n))
    return particles(*columns, event=np.arange(n))


def columns(candidates):
    return {name: getattr(candidates, name) for name in candidates.__slots__}


def test_same_seed_same_candidates():
    shower = many(211, 20.0)
    first, again, other = (columns(reconstruct(shower, np.random.default_rng(seed))) for seed in (1, 1, 2))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert len(first["pt_gev"]) != len(other["pt_gev"]) or not np.array_equal(first["pt_gev"], other["pt_gev"])


def test_candidates_are_sorted_by_event_and_falling_pt():
    rng = np.random.default_rng(1)
    event = np.sort(rng.integers(0, 50, 3000))
    mixed = particles(
        rng.choice([211, -211, 22, 130, -11, 13], 3000), rng.exponential(8, 3000), rng.uniform(-4, 4, 3000), 0.1, event
    )
    seen = reconstruct(mixed, rng)
    assert np.all(np.diff(seen.event) >= 0)
    assert np.all((np.diff(seen.pt_gev) <= 0) | (np.diff(seen.event) > 0))
    assert set(np.unique(seen.pdg_id)) <= {211, -211, 22, 130, -11, 13}
    assert np.all(np.abs(seen.phi) <= np.pi)


def test_nothing_in_nothing_out():
    nothing = np.empty(0)
    assert len(reconstruct(particles(nothing, nothing, nothing, nothing), np.random.default_rng(1)).pt_gev) == 0


@pytest.mark.parametrize(("pdg_id", "seen_as"), [(22, 22), (130, 130)])
def test_neutral_particle_becomes_a_cluster_of_its_energy(pdg_id, seen_as):
    seen = reconstruct(many(pdg_id, 100.0), np.random.default_rng(1))
    assert set(seen.pdg_id.tolist()) == {seen_as}
    assert not seen.charge.any()
    assert seen.pt_gev.mean() == pytest.approx(100.0, rel=0.01)


def test_photon_stays_in_its_cell():
    shower = many(22, 50.0)
    eta, phi = eta_phi(shower.px_gev, shower.py_gev, shower.pz_gev)
    seen = reconstruct(shower, np.random.default_rng(1))
    assert len(seen.event) == len(eta)
    assert np.max(np.abs(seen.eta - eta)) <= 0.0174
    assert np.max(delta_r(seen.eta, seen.phi, eta, phi)) <= np.hypot(0.0174, np.deg2rad(1.0))


def test_kaon_looks_like_a_pion_and_keeps_its_direction():
    shower = many(321, 30.0)
    seen = reconstruct(shower, np.random.default_rng(1))
    track = seen.charge != 0
    assert set(seen.pdg_id[track].tolist()) == {211}
    assert set(seen.mass_gev[track].tolist()) == {0.13957}
    eta, _ = eta_phi(shower.px_gev, shower.py_gev, shower.pz_gev)
    np.testing.assert_allclose(seen.eta[track], eta[seen.event[track]])
    # 95% leave a track; the others are seen by the calorimeter alone.
    assert np.mean(track) == pytest.approx(0.95, abs=0.03)
    assert seen.pt_gev.sum() / (30.0 * len(eta)) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("pdg_id", "charge"), [(11, -1), (-11, 1), (13, -1), (-13, 1)])
def test_leptons_keep_their_code_and_charge(pdg_id, charge):
    seen = reconstruct(many(pdg_id, 40.0), np.random.default_rng(1))
    assert set(seen.charge[seen.pdg_id == pdg_id].tolist()) == {charge}
    assert np.count_nonzero(seen.pdg_id == pdg_id) > 1800


def test_muon_leaves_nothing_in_the_calorimeters():
    assert set(reconstruct(many(13, 40.0), np.random.default_rng(1)).pdg_id.tolist()) == {13}


def test_energy_shares_follow_the_card():
    ecal, hcal = energy_shares(np.array([22, -11, 310, 3122, 211, 2112, 13]))
    assert ecal.tolist() == [1.0, 1.0, 0.3, 0.3, 0.0, 0.0, 0.0]
    assert hcal.tolist() == pytest.approx([0.0, 0.0, 0.7, 0.7, 1.0, 1.0, 0.0])


def test_tracking_follows_the_card():
    pt_gev, eta = np.array([0.05, 0.5, 5.0, 5.0, 200.0, 5.0]), np.array([0.0, 0.0, 0.0, 2.0, 0.0, 2.6])
    assert track_efficiency(pt_gev, eta, np.full(6, 211)).tolist() == [0.0, 0.70, 0.95, 0.85, 0.95, 0.0]
    assert track_efficiency(pt_gev, eta, np.full(6, -11)).tolist() == [0.0, 0.73, 0.95, 0.83, 0.99, 0.0]
    assert track_resolution(pt_gev[2:4], eta[2:4], np.full(2, 211)) == pytest.approx([0.0603, 0.2505], abs=1e-4)


def test_calorimeter_resolution_follows_the_card():
    energy_gev, centre = np.array([100.0]), np.array([0])
    assert resolution_gev(ECAL, centre, energy_gev)[0] == pytest.approx(np.hypot(0.17, 1.01))
    assert resolution_gev(HCAL, centre, energy_gev)[0] == pytest.approx(np.sqrt(3.02**2 + 5.205**2 + 1.59**2))


def test_field_bends_positive_and_negative_charges_apart():
    phi = phi_at_calorimeter(np.array([1.0, 1.0, 1.0, 0.01]), np.zeros(4), np.array([1, -1, 0, 1]))
    # 1 GeV in 2 T: radius 1.668 m; half the 1.15 m chord over the radius is 0.345.
    assert phi == pytest.approx([-np.arcsin(0.34476), np.arcsin(0.34476), 0.0, -np.pi / 2], abs=1e-4)


def test_log_normal_has_the_asked_mean_and_width():
    smeared = log_normal(np.full(200_000, 10.0), np.full(200_000, 3.0), np.random.default_rng(1))
    assert smeared.min() > 0.0
    assert smeared.mean() == pytest.approx(10.0, rel=0.005)
    assert smeared.std() == pytest.approx(3.0, rel=0.01)
    assert log_normal(np.zeros(3), np.ones(3), np.random.default_rng(1)).tolist() == [0.0, 0.0, 0.0]


def one_top_pair():
    """A batch of one event whose tops fly along phi = 0 and phi = pi; the second one's b quark is far off."""
    eta = np.array([[0.1, 0.3, 0.0, -0.2], [0.1, 1.5, 0.1, 0.1]])
    phi = np.array([[0.0, 0.2, -0.3, 0.1], [3.1, -3.1, 3.0, -3.0]])
    tops = Tops(np.zeros(2, dtype=np.int64), np.array([[600.0, 0, 0, 630], [-600.0, 0, 0, 630]]), eta, phi)
    tracks = particles(
        [211, -211, 22] * 2, [200.0, 190.0, 210.0] * 2, [0.3, 0, -0.2, 0.1, 0.2, 0.1], [0.1] * 3 + [3.1] * 3
    )
    return Batch(1, tracks, tops)


def test_top_matches_only_the_jet_that_holds_all_its_quarks():
    batch = one_top_pair()
    rows = match_tops(np.array([0.1, 0.1]), np.array([0.0, -3.14]), np.zeros(2, dtype=np.int64), batch)
    assert rows.tolist() == [0, -1]


def test_event_record_links_jets_with_their_candidates():
    pytest.importorskip("fastjet")
    batch = one_top_pair()
    seen = reconstruct(batch.particles, np.random.default_rng(4))
    events = build_events(seen, batch)
    assert len(events) == 1
    jets, links = events["FatJet"][0], events["FatJetPFCands"][0]
    assert jets["isTop"].to_list() in ([1, -1], [-1, 1])
    assert np.bincount(links["jetIdx"]).tolist() == jets["nConstituents"].to_list()
    matched = jets["isTop"] == 1
    assert jets["selected"][matched].to_list() == [True]
    assert jets["genTop_px"].to_list() == [600.0 if is_top else 0.0 for is_top in matched]


def tiny_events(n):
    """n events with one jet of two candidates."""
    jet = {"pt": np.full((n, 1), 600.0, dtype=np.float32), "selected": np.ones((n, 1), dtype=bool)}
    names = ("pt", "eta", "phi", "mass")
    candidate = {name: np.full((n, 2), 3.1415927, dtype=np.float32) for name in names}
    link = {name: np.tile(np.array([0, 1], dtype=np.int32), (n, 1)) for name in ("jetIdx", "pFCandsIdx")}
    collections = {"FatJet": jet, "PFCands": candidate, "FatJetPFCands": link}
    jagged = {name: ak.zip({k: ak.from_regular(v) for k, v in fields.items()}) for name, fields in collections.items()}
    return ak.zip({"genTtbarId": np.zeros(n, dtype=np.int32), **jagged}, depth_limit=1)


def test_written_events_are_numbered_through_consecutive_lumis(tmp_path):
    path = tmp_path / "events.root"
    write_events(path, tiny_events(600), events_per_lumi=100, first_lumi=3)
    with uproot.open(path) as file:
        events = file["Events"].arrays()
    assert events["luminosityBlock"].to_list() == [3 + event // 100 for event in range(600)]
    assert events["event"].to_list() == list(range(201, 801))
    assert set(events["nPFCands"].to_list()) == {2}
    assert ak.max(events["PFCands_phi"], axis=None) <= np.float32(np.pi)


def test_no_events_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="no events"):
        write_events(tmp_path / "events.root", tiny_events(1)[:0], events_per_lumi=100)


def test_rounded_mantissa_stays_within_half_a_unit():
    values = np.random.default_rng(1).uniform(-7, 700, 10_000).astype(np.float32)
    rounded = round_mantissa(values, 12)
    assert np.max(np.abs(rounded / values - 1.0)) <= 2.0**-13
    np.testing.assert_array_equal(round_mantissa(rounded, 12), rounded)


def test_help_needs_no_pythia(monkeypatch):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    reply = CliRunner().invoke(main, ["--help"])
    assert reply.exit_code == 0
    assert "--seed" in reply.output


def test_missing_pythia_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    monkeypatch.delitem(sys.modules, "models.toptag.generator", raising=False)
    reply = CliRunner().invoke(main, [str(tmp_path / "events.root")])
    assert reply.exit_code == 1
    assert "pythia8mc is missing" in reply.output


def test_nothing_asked_is_refused(tmp_path):
    reply = CliRunner().invoke(main, [str(tmp_path / "events.root"), "--top", "0", "--qcd", "0"])
    assert reply.exit_code == 2
    assert "nothing to do" in reply.output
