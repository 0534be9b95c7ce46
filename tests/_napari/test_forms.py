from __future__ import annotations

from typing import Literal

import pytest

from napari_aptdefect._napari.forms import form_for
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params, param


class Inner(Params):
    n_neighbors: int = param(12, title="Neighbors", description="How many.", ge=1, le=100)
    cutoff_nm: float = param(0.6, title="Cutoff", description="Longest edge.", unit="nm", gt=0)
    tolerance: float = param(1e-7, title="Tolerance", description="Small.", gt=0)
    share: float = param(0.123456, title="Share", description="Odd.", ge=0, le=1)
    huge: float = param(2.5e8, title="Huge", description="Large.", ge=0)
    way: Literal["a", "b"] = param("b", title="Way", description="How.")
    limit: int | None = param(None, title="Limit", description="Maybe.", ge=2)
    level: float | None = param(0.25, title="Level", description="Maybe.", ge=0)
    mode: Literal["x", "y"] | None = param(None, title="Mode", description="Maybe.")
    weights: tuple[float, ...] = param((1.0, 2.5), title="Weights", description="Several.")
    elements: tuple[str, ...] = param((), title="Elements", description="Words.")
    active: bool = param(True, title="Active", description="On or off.")
    name: str = param("", title="Name", description="Words.")


class Outer(Params):
    inner: Inner = param(Inner(), title="Inner stage", description="All kinds.")
    n: int = param(3, title="Number", description="A number.", ge=0)


@pytest.fixture
def form(qtbot):
    made = form_for(Outer())
    qtbot.addWidget(made.native)
    return made


def test_the_form_shows_the_defaults_exactly(form):
    assert form.value() == Outer()


def test_what_is_shown_is_what_is_returned(form):
    other = Outer(
        inner=Inner(
            n_neighbors=7,
            cutoff_nm=0.35,
            limit=9,
            level=None,
            mode="y",
            weights=(3.0,),
            active=False,
            name="q",
            elements=("Ga", "N"),
        ),
        n=0,
    )
    form.show(other)
    assert form.value() == other
    form.show(Outer())
    assert form.value() == Outer()


def test_labels_say_unit_and_tooltips_say_bounds(form):
    from qtpy.QtWidgets import QLabel

    labels = {label.text(): label.toolTip() for label in form.native.findChildren(QLabel)}
    assert labels["Cutoff (nm)"] == "Longest edge. (> 0)"
    assert labels["Neighbors"] == "How many. (≥ 1, ≤ 100)"


def test_a_value_at_an_open_bound_is_refused_in_words(form):
    form.sections["inner"].fields["cutoff_nm"].value = 0.0
    with pytest.raises(ParameterError, match=r"Cutoff \(nm\): .*greater than 0"):
        form.value()


def test_the_wheel_does_not_change_a_value_that_is_only_passed_over(form, qtbot):
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    native = form.fields["n"].native
    event = QWheelEvent(
        QPointF(5, 5), QPointF(5, 5), QPoint(0, 0), QPoint(0, 120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(native, event)
    assert form.value().n == 3
