import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_aptdefect.plot.labels import Box, place_above, place_near

BOUNDS = Box(0, 0, 800, 300)
SIZES = st.tuples(st.floats(8, 90), st.floats(8, 14))
ANCHORS = st.tuples(st.floats(0, 800), st.floats(0, 250))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(ANCHORS, SIZES), max_size=40))
def test_labels_never_overlap_nor_leave_nor_cover_the_curve(items):
    anchors = np.array([a for a, _ in items]).reshape(-1, 2)
    sizes = np.array([s for _, s in items]).reshape(-1, 2)
    sky_x = np.arange(0.0, 800.0, 4)
    sky_y = 40 + 30 * np.sin(sky_x / 50)
    above = place_above(anchors, sizes, BOUNDS, (sky_x, sky_y))
    near = place_near(anchors, sizes, BOUNDS)
    for placed in (above, near):
        boxes = [box for box in placed if box is not None]
        assert all(box.within(BOUNDS) for box in boxes)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    for box in above:
        if box is not None:
            covered = sky_y[(sky_x >= box.x0) & (sky_x <= box.x1)]
            assert (covered <= box.y0).all()
    assert above == place_above(anchors, sizes, BOUNDS, (sky_x, sky_y))


def test_a_free_label_stands_right_above_its_peak():
    box = place_above(np.array([[400.0, 100.0]]), np.array([[40.0, 10.0]]), BOUNDS, (np.empty(0), np.empty(0)), gap=3)
    assert box == [Box(380, 103, 420, 113)]


def test_a_label_makes_way_for_a_later_peak():
    anchors = np.array([[400.0, 200.0], [410.0, 50.0]])
    first, second = place_above(anchors, np.full((2, 2), [40.0, 10.0]), BOUNDS, (np.empty(0), np.empty(0)))
    assert first is not None
    assert second is not None
    assert first.x1 < 410


def test_no_room_gives_none():
    placed = place_near(np.array([[5.0, 5.0]] * 60), np.full((60, 2), 30.0), BOUNDS)
    assert None in placed
