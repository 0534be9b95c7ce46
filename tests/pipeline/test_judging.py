"""Judging with a model: which of its groups become defects, and what a void is called."""

from __future__ import annotations

import numpy as np

from napari_aptdefect.apt.defects import Defect, Defects
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.pipeline.judging import _named_voids, _weighed
from napari_aptdefect.pipeline.learning.sight import Sight
from napari_aptdefect.pipeline.void_defects import Joint

N = 60
VACANCY, CLUSTER, VOID = (DEFECT_CLASSES.index(name) for name in ("vacancy", "solute_cluster", "void"))


def defects(*parts: tuple[int, int, int, float]) -> Defects:
    """Defects of a class on the ions from one up to another, with a probability."""
    instance, class_idx = np.zeros(N, np.int32), np.zeros(N, np.int8)
    probability = np.zeros(N, np.float32)
    every = []
    for number, (code, start, stop, p) in enumerate(parts, 1):
        rows = np.arange(start, stop)
        instance[rows], class_idx[rows], probability[rows] = number, code, p
        every.append(Defect(DEFECT_CLASSES[code], rows, np.zeros(3), np.ones(3), np.eye(3), 1.0, p, 2.0, False))
    return Defects(tuple(every), instance, class_idx, probability, 0)


def test_a_defect_needs_enough_right_ions_and_gets_their_mean_probability() -> None:
    probability = np.zeros(N, np.float32)
    probability[:20], probability[20:50] = 0.3, 0.5  # 6 and 15 right ions are expected
    none = np.zeros(N, np.float32)
    seen = Sight(np.zeros(N, np.int8), probability, none, none[:, None], none)
    found = defects((CLUSTER, 0, 20, 0.9), (VOID, 20, 50, 0.1))
    kept = _weighed(found, seen, 10.0)
    assert [(one.defect_class, round(one.probability, 6)) for one in kept.defects] == [("void", 0.5)]
    assert kept.n_rejected == 1
    assert np.flatnonzero(kept.instance == 1).tolist() == list(range(20, 50))
    assert not kept.class_idx[:20].any()
    both = _weighed(found, seen, 5.0)
    assert [one.defect_class for one in both.defects] == ["void", "solute_cluster"]  # the likelier first


def test_ions_that_agree_name_a_void_and_weigh_its_probability() -> None:
    nature = np.full(N, -1, np.int16)
    nature[:7], nature[7:10] = VACANCY, VOID  # seven of ten ions of the first void speak for vacancies
    nature[10:18] = VOID  # eight of ten of the second for a void, two say nothing
    found = defects((VOID, 0, 10, 0.99), (VOID, 10, 20, 0.98), (CLUSTER, 20, 40, 0.8), (VOID, 40, 50, 0.96))
    joint = _named_voids(Joint(found, np.array([1, 2, 0, 4], np.int32)), nature)
    told = [(one.defect_class, round(one.probability, 4)) for one in joint.defects.defects]
    assert told == [
        ("void", round(0.98 * 9 / 10, 4)),
        ("solute_cluster", 0.8),
        ("vacancy", round(0.99 * 8 / 12, 4)),
        ("void", round(0.96 / 2, 4)),  # the model does not see it: even odds
    ]
    assert joint.void_defect.tolist() == [3, 1, 0, 4]
    for number, one in enumerate(joint.defects.defects, 1):
        assert (joint.defects.instance[one.rows] == number).all()
        assert (joint.defects.class_idx[one.rows] == DEFECT_CLASSES.index(one.defect_class)).all()
    np.testing.assert_allclose(joint.defects.probability[:10], 0.99 * 8 / 12, rtol=1e-6)
    assert not joint.defects.instance[50:].any()
