import itertools

import numpy as np
import pytest

from napari_aptdefect.data import DEFECT_CLASSES, Ion
from napari_aptdefect.plot.colors import CLASS_COLORS, UNRANGED_COLOR, lookup, palette, species_colors

# Simulation of color-vision deficiency at full severity, on linear RGB: Machado, Oliveira & Fernandes (2009),
# IEEE TVCG 15, 1291, doi:10.1109/TVCG.2009.113, table 1.
MACHADO = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(rgb, matrix):
    value = np.asarray(rgb) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    t = xyz / [0.9505, 1.0, 1.089]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", MACHADO)
def test_classes_are_told_apart(vision):
    colors = {name: lab(color, MACHADO[vision]) for name, color in CLASS_COLORS.items()}
    for one, two in itertools.combinations(colors, 2):
        # 2.3 is just noticeable; 9 is told apart as a dot
        assert np.linalg.norm(colors[one] - colors[two]) > 9, (one, two)


def test_every_class_has_a_color():
    assert tuple(CLASS_COLORS) == DEFECT_CLASSES


def test_palette_is_distinct():
    assert len(set(palette(60))) == 60
    assert palette(3) == palette(60)[:3]
    assert palette(0) == []


def test_species_keep_the_color_of_the_file_and_others_differ():
    first = palette(1)[0]
    colors = species_colors([Ion("A"), Ion("B", color=first), Ion("C")])
    assert colors[1] == first
    assert len(set(colors)) == 3


def test_lookup_gives_none_its_own_color():
    rgb = lookup([(1, 2, 3)], np.array([0, -1, 7], np.int16))
    assert rgb.tolist() == [[1, 2, 3], list(UNRANGED_COLOR), list(UNRANGED_COLOR)]
    assert rgb.dtype == np.uint8
