"""Features of a resolved lattice, checked on crystals whose neighbors are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.features.lattice import columns, describe_lattice, lattice_resolved
from napari_aptdefect.errors import EmptySelectionError, ShapeError
from napari_aptdefect.simulate import wurtzite as gan
from napari_aptdefect.stage import drain

NAMES = [column.name for column in columns()]
N_LAYERS = 22
HALF_NM = 2.8
MIDDLE = N_LAYERS // 2


def crystal(cubic: tuple[int, ...] = (), up: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, kinds and bilayers of a prism of GaN with a given stacking."""
    net = gan.lateral_net(HALF_NM)
    places = gan.stacking(N_LAYERS, 0, cubic)
    layers = [gan.layer_sites(net, i, int(place), up) for i, place in enumerate(places)]
    xyz = np.concatenate([layer.reshape(-1, 3) for layer in layers]).astype(np.float32)
    kind = np.tile(np.repeat(np.array([0, 1], np.int8), len(net)), N_LAYERS)
    return xyz, kind, np.repeat(np.arange(N_LAYERS), 2 * len(net))


def blurred(xyz: np.ndarray, sigma_nm: float, seed: int = 0) -> np.ndarray:
    return (xyz + np.random.default_rng(seed).normal(size=xyz.shape) * sigma_nm).astype(np.float32)


def described(xyz: np.ndarray, kind: np.ndarray, workers: int | None = 1) -> dict[str, np.ndarray]:
    out = np.full((len(xyz), len(NAMES)), np.nan, np.float32)
    drain(describe_lattice(xyz, kind, out, workers))
    return {name.removeprefix("lattice_"): column for name, column in zip(NAMES, out.T, strict=True)}


def deep(xyz: np.ndarray, margin_nm: float = 1.2) -> np.ndarray:
    z = xyz[:, 2]
    inside = (z > z.min() + margin_nm) & (z < z.max() - margin_nm)
    return np.asarray(inside & (np.hypot(xyz[:, 0], xyz[:, 1]) < HALF_NM - margin_nm))


def nearest_to_middle(xyz: np.ndarray, rows: np.ndarray) -> int:
    middle = np.array([0.0, 0.0, MIDDLE * gan.BILAYER_NM])
    return int(rows[np.linalg.norm(xyz[rows] - middle, axis=1).argmin()])


def test_wurtzite_has_four_bonds_and_hexagonal_stacking() -> None:
    xyz, kind, _ = crystal()
    found, inner = described(xyz, kind), deep(xyz)
    assert (found["bonds"][inner] == 4).all()
    assert (found["near_unlike"][inner] == 4).all()
    assert (found["near_like"][inner] == 0).all()
    assert (found["second_shell"][inner] == 12).all()
    assert (found["missing"][inner] == 0).all()
    assert found["nearest_nm"][inner] == pytest.approx(gan.U * gan.C_NM, abs=2e-3)
    assert found["tetrahedrality"][inner].min() > 0.99
    for name in ("eclipsed", "eclipsed_before", "eclipsed_after"):
        assert found[name][inner] == pytest.approx(1, abs=1e-4)
    assert found["missing_nm"][inner].min() > 1


def test_zinc_blende_is_staggered_everywhere() -> None:
    xyz, kind, _ = crystal(cubic=tuple(range(N_LAYERS)))
    found, inner = described(xyz, kind), deep(xyz)
    assert (found["bonds"][inner] == 4).all()
    for name in ("eclipsed", "eclipsed_before", "eclipsed_after"):
        assert found[name][inner] == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize("up", [1, -1])
def test_a_stacking_fault_is_seen_in_its_bilayer_and_from_both_sides(up: int) -> None:
    xyz, kind, layer = crystal(cubic=(MIDDLE,), up=up)
    found, inner = described(blurred(xyz, 0.02), kind), deep(xyz)
    for name, where in (("eclipsed", 0), ("eclipsed_before", 1), ("eclipsed_after", -1)):
        cubic = found[name] < 0
        assert np.mean((cubic != (layer == MIDDLE + where))[inner]) < 2e-3, name
        assert cubic[inner].sum() > 50


def test_the_sense_of_the_bonds_changes_at_an_inversion_boundary() -> None:
    (one, kind, _), (other, _, _) = crystal(up=1), crystal(up=-1)
    other = other + np.array([0, 0, gan.U * gan.C_NM + gan.BILAYER_NM], np.float32)  # IDB*, as the simulator has it
    xyz = np.concatenate([one[one[:, 1] <= 0], other[other[:, 1] > 0]])
    kinds = np.concatenate([kind[one[:, 1] <= 0], kind[other[:, 1] > 0]])
    inner = deep(xyz, 0.9)
    found = described(blurred(xyz, 0.02), kinds)
    whole = described(blurred(one, 0.02), kind)
    distance = np.abs(xyz[:, 1])
    near = inner & (distance < 0.2)
    assert found["change0.4_log"][near].min() > whole["change0.4_log"][deep(one, 0.9)].max() + 1
    reach = inner & (distance > 0.3) & (distance < 0.9)
    assert np.abs(found["border_nm"] - distance)[reach].mean() < 0.1


@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_site_is_found_by_its_four_neighbors(side: int) -> None:
    xyz, kind, _ = crystal()
    hole = nearest_to_middle(xyz, np.flatnonzero(kind == side))
    left = np.arange(len(xyz)) != hole
    nearest = np.argsort(np.linalg.norm(xyz[left] - xyz[hole], axis=1))[:4]
    place, xyz, kind = xyz[hole], blurred(xyz[left], 0.02), kind[left]
    found = described(xyz, kind)
    distance = np.linalg.norm(xyz - place, axis=1)
    assert (found["missing"][nearest] == 1).sum() >= 3  # the blur may carry one beyond a bond length
    others = deep(xyz)
    others[nearest] = False
    assert found["missing"][others].sum() == 0
    assert np.abs(found["missing_nm"][deep(xyz)] - np.minimum(distance, 1.5)[deep(xyz)]).max() < 0.05
    assert (found["cavity_size"][nearest] == 0).all()  # the logarithm of one
    assert (found["cavity_heavy_share"][nearest] == 1 - side).all()


def test_a_ball_of_empty_sites_is_a_cavity_of_its_radius() -> None:
    xyz, kind, _ = crystal()
    place, radius = np.array([0.05, 0.02, MIDDLE * gan.BILAYER_NM]), 0.6
    left = np.linalg.norm(xyz - place, axis=1) > radius
    xyz, kind = blurred(xyz[left], 0.02), kind[left]
    found = described(xyz, kind)
    near = (np.linalg.norm(xyz - place, axis=1) < radius + 0.7) & deep(xyz, 1.0)
    assert found["cavity_radius_nm"][near] == pytest.approx(radius, abs=0.12)
    gap = np.linalg.norm(xyz - place, axis=1) - radius
    assert np.abs(found["cavity_nm"] - gap)[near].max() < 0.15


def test_an_extra_ion_is_found() -> None:
    xyz, kind, _ = crystal()
    gallium = nearest_to_middle(xyz, np.flatnonzero(kind == 0))
    places = gan.stacking(N_LAYERS, 0)
    place = xyz[gallium] + gan.channel_offset_nm(int(places[MIDDLE]), int(places[MIDDLE + 1]))
    xyz = blurred(np.concatenate([xyz, place[None]]), 0.02)
    found = described(xyz, np.append(kind, np.int8(1)))
    inner = deep(xyz)
    distance = np.linalg.norm(xyz - place, axis=1)
    assert found["extra_nm"][-1] < 0.05
    assert np.abs(found["extra_nm"] - np.minimum(distance, 1.5))[inner].max() < 0.08


def test_a_dislocation_is_a_line_and_its_dopants_say_how_wide_it_is() -> None:
    xyz, kind, _ = crystal()
    moved = xyz + gan.dislocation_displacement(
        xyz.astype(float), (0.1, 0.05, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, gan.C_NM), HALF_NM
    )
    distance = np.hypot(xyz[:, 0] - 0.1, xyz[:, 1] - 0.05)
    chance = np.where(distance < 0.8, 0.2, 0.004)
    dopant = (kind == 0) & (np.random.default_rng(5).random(len(xyz)) < chance)
    found = described(blurred(moved, 0.02), np.where(dopant, 2, kind).astype(np.int8))
    inner = deep(xyz)
    assert np.abs(found["line_nm"] - distance)[inner].mean() < 0.1
    within, beyond = inner & (distance < 0.65), inner & (distance > 0.95)
    assert np.median(found["line_dopant_log"][within]) > 2 > 0.5 > np.median(found["line_dopant_log"][beyond])
    assert np.median(found["line_dopant_within"][within]) < 0.7 < 0.9 < np.median(found["line_dopant_within"][beyond])
    assert np.median(found["line_dopant_sigma"][inner]) > 8


def test_a_dopant_sits_on_the_sublattice_of_what_it_replaces() -> None:
    xyz, kind, _ = crystal()
    plain = described(xyz, kind)
    doped = kind.copy()
    doped[np.flatnonzero(kind == 0)[::50]] = 2
    with_dopants = described(xyz, doped)
    inner = deep(xyz, 0.5)
    for name, values in plain.items():
        if "dopant" not in name:
            np.testing.assert_allclose(with_dopants[name][inner], values[inner], atol=5e-3, err_msg=name)


def test_a_blurred_lattice_is_not_described() -> None:
    xyz, kind, _ = crystal()
    assert lattice_resolved(xyz, kind) == 1
    assert lattice_resolved(blurred(xyz, 0.02), kind) > 0.85
    blur = blurred(xyz, 0.25)
    assert lattice_resolved(blur, kind) < 0.1
    assert all(np.isnan(column).all() for column in described(blur, kind).values())
    one_kind = np.zeros(len(xyz), np.int8)
    assert lattice_resolved(xyz, one_kind) == 0


def test_neither_the_order_of_the_ions_nor_the_threads_matter() -> None:
    xyz, kind, _ = crystal(cubic=(MIDDLE,))
    xyz = blurred(xyz, 0.02)
    xyz[7] = np.nan
    first = described(xyz, kind, workers=1)
    order = np.random.default_rng(3).permutation(len(xyz))
    second = described(xyz[order], kind[order], workers=3)
    for name, values in first.items():
        np.testing.assert_allclose(second[name], values[order], atol=2e-4, err_msg=name)
        assert np.isnan(values[7]), name


def test_bad_input_is_refused() -> None:
    xyz, kind, _ = crystal()
    with pytest.raises(ShapeError, match="out has the shape"):
        drain(describe_lattice(xyz, kind, np.zeros((len(xyz), 2), np.float32)))
    with pytest.raises(ShapeError):
        lattice_resolved(xyz, kind[:5])
    with pytest.raises(EmptySelectionError):
        lattice_resolved(np.full((3, 3), np.nan), np.zeros(3, np.int8))
