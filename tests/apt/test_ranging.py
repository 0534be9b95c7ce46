from __future__ import annotations

import numpy as np
import pytest

from napari_aptdefect.apt.ranging import RangingParams, composition, identify
from napari_aptdefect.data.cloud import IonCloud
from napari_aptdefect.data.ranges import Ion, MassRange, RangeTable
from napari_aptdefect.errors import EmptySelectionError
from napari_aptdefect.io.rrng import read_rrng
from napari_aptdefect.stage import Progress, drain

TABLE = RangeTable(
    (Ion("Ga", (("Ga", 1),)), Ion("N", (("N", 1),)), Ion("GaN", (("Ga", 1), ("N", 1)))),
    (MassRange(68, 72, 0), MassRange(13.5, 14.5, 1), MassRange(82, 86, 2), MassRange(34, 36, 0)),
)


def _cloud(mass: list[float] | np.ndarray) -> IonCloud:
    return IonCloud.from_arrays(np.zeros((len(mass), 3)), mass)


def test_ions_get_their_names_in_file_order() -> None:
    found = drain(identify(_cloud([69, 14, 1, 83, 35, np.nan]), TABLE))
    assert found.ion_idx.tolist() == [0, 1, -1, 2, 0, -1]
    assert found.ion_idx.dtype == np.int16
    assert not found.ion_idx.flags.writeable
    assert found.counts.tolist() == [2, 1, 1]
    assert (found.n_ranged, found.n_unranged) == (4, 2)
    assert found.ranged_fraction == pytest.approx(4 / 6)
    assert composition(found)["Ga"][0] == pytest.approx(3 / 5)


def test_steps_bound_the_memory_not_the_result() -> None:
    mass = np.random.default_rng(0).uniform(0, 100, 5000)
    whole = drain(identify(_cloud(mass), TABLE))
    seen: list[Progress] = []
    parts = drain(identify(_cloud(mass), TABLE, RangingParams(chunk_ions=700)), seen.append)
    assert np.array_equal(whole.ion_idx, parts.ion_idx)
    assert np.array_equal(whole.counts, parts.counts)
    assert [p.done for p in seen] == [0, 700, 1400, 2100, 2800, 3500, 4200, 4900, 5000]
    assert seen[-1].done == seen[-1].total == 5000


@pytest.mark.parametrize(
    ("mass", "table", "message"),
    [
        ([14.0], RangeTable(TABLE.ions, ()), "holds no range"),
        ([], TABLE, "holds no ion"),
        ([1.0, 2.0], TABLE, "none of 2 ions .1 to 2 Da. lies in any of the 4 ranges"),
        ([np.nan], TABLE, "none of 1 ions"),
    ],
)
def test_nothing_to_identify(mass: list[float], table: RangeTable, message: str) -> None:
    cloud = IonCloud.from_arrays(np.zeros((len(mass), 3), np.float32), np.array(mass, np.float32))
    with pytest.raises(EmptySelectionError, match=message):
        drain(identify(cloud, table))


def test_real_si(si_dir) -> None:
    # the counts that APAV and a count by hand agree on for this data set
    mass = np.fromfile(si_dir / "Si.pos", ">f4").reshape(-1, 4)[:, 3].astype(np.float32)
    table = read_rrng(si_dir / "Si.RRNG")
    found = drain(identify(_cloud(mass), table))
    assert dict(zip(table.names, found.counts.tolist(), strict=True)) == {
        "Si": 785_076,
        "Cr2O": 85_660,
        "CrO": 1_681,
        "O": 1_355,
        "Cr": 1_207,
        "C": 706,
        "Cu": 683,
        "CrO2": 642,
    }
    assert round(100 * found.ranged_fraction, 3) == 92.785
    atoms = composition(found)
    assert atoms.atom_counts.tolist() == [
        785_076,
        1_207 + 1_681 + 642 + 2 * 85_660,
        683,
        706,
        1_355 + 1_681 + 1_284 + 85_660,
    ]
