"""Placing labels so that none covers another, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, y upward."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two rectangles share any area."""
        return self.x0 < other.x1 and other.x0 < self.x1 and self.y0 < other.y1 and other.y0 < self.y1

    def within(self, other: Box) -> bool:
        """Whether this rectangle lies inside the other."""
        return self.x0 >= other.x0 and self.x1 <= other.x1 and self.y0 >= other.y0 and self.y1 <= other.y1


def place_above(
    anchors: NDArray[np.float64],
    sizes: NDArray[np.float64],
    bounds: Box,
    skyline: tuple[NDArray[np.float64], NDArray[np.float64]],
    gap: float = 3.0,
) -> list[Box | None]:
    """Place labels above their peaks, higher where it is crowded; the first label chooses first.

    Parameters
    ----------
    anchors
        Tops of the peaks, shape (n, 2), pixels, in the order of importance.
    sizes
        Widths and heights of the labels, shape (n, 2), pixels.
    bounds
        Where labels may be.
    skyline
        x (rising) and y of the curve that no label may cover, pixels.
    gap
        Distance kept between labels and to the curve, pixels.

    Returns
    -------
    One box per label, or None where there is no room for it.
    """
    sky_x, sky_y = skyline
    taken: list[Box] = []
    placed: list[Box | None] = []
    for number, ((x, y), (width, height)) in enumerate(zip(anchors.tolist(), sizes.tolist(), strict=True)):
        best: Box | None = None
        least = np.inf
        later = anchors[number + 1 :, 0]
        for shift in (0.0, 0.25, -0.25, 0.48, -0.48):
            left = min(max(x + shift * width - width / 2, bounds.x0), bounds.x1 - width)
            lo, hi = np.searchsorted(sky_x, [left - gap, left + width + gap])
            floor = max(y, float(sky_y[lo:hi].max()) if hi > lo else y) + gap
            found = _rise(x, y, Box(left, floor, left + width, floor + height), bounds, taken, gap)
            if found is None:
                continue
            # a label over a later peak would cut off that one's leader
            blocked = np.count_nonzero((later > found.x0 - gap) & (later < found.x1 + gap))
            cost = found.y0 + 3 * height * blocked
            if cost < least:
                best, least = found, cost
        placed.append(best)
        if best is not None:
            taken += [Box(best.x0 - gap, best.y0 - gap, best.x1 + gap, best.y1 + gap), Box(x - 1, y, x + 1, best.y0)]
    return placed


def place_near(
    anchors: NDArray[np.float64], sizes: NDArray[np.float64], bounds: Box, gap: float = 1.0
) -> list[Box | None]:
    """Place labels centered on their points or on a ring around them; the first label chooses first.

    Parameters
    ----------
    anchors
        Points, shape (n, 2), pixels, in the order of importance.
    sizes
        Widths and heights of the labels, shape (n, 2), pixels.
    bounds
        Where labels may be.
    gap
        Distance kept between labels, pixels.

    Returns
    -------
    One box per label, or None where there is no room for it.
    """
    taken: list[Box] = []
    placed: list[Box | None] = []
    ring = [(0.0, 0.0)] + [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)]
    for (x, y), (width, height) in zip(anchors.tolist(), sizes.tolist(), strict=True):
        choice: Box | None = None
        for dx, dy in ring:
            cx, cy = x + dx * (width / 2 + 6), y + dy * (height / 2 + 6)
            box = Box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            if box.within(bounds) and not any(box.overlaps(other) for other in taken):
                choice = box
                break
        placed.append(choice)
        if choice is not None:
            taken.append(Box(choice.x0 - gap, choice.y0 - gap, choice.x1 + gap, choice.y1 + gap))
    return placed


def _rise(x: float, y: float, box: Box, bounds: Box, taken: Sequence[Box], gap: float) -> Box | None:
    """Lift a box until it and its leader are free, or give up at the top."""
    while box.within(bounds):
        leader = Box(x - 1, y, x + 1, box.y0)
        hits = [other.y1 for other in taken if box.overlaps(other) or leader.overlaps(other)]
        if not hits:
            return box
        height = box.y1 - box.y0
        if any(leader.overlaps(other) for other in taken):  # lifting only lengthens the leader
            return None
        floor = max(min(hits), box.y0 + 1) + gap
        box = Box(box.x0, floor, box.x1, floor + height)
    return None
