"""The levels, their table in the documentation, and the options of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cyclopts import App

from napari_aptdefect.cli.options import given, options_for, overridden
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.simulate.measurement import LEVELS, STEPS, Measurement

DOCS = Path(__file__).parents[3] / "docs" / "measurement.md"


def test_documented_levels_are_the_levels():
    text = DOCS.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    table = {name: (unit, values) for name, unit, *values in rows}
    fields = {name: field for name, field in Measurement.model_fields.items() if name != "skip"}
    assert list(table) == list(fields)
    for name, (unit, values) in table.items():
        assert unit == fields[name].json_schema_extra["unit"]
        assert [float(value) for value in values] == [getattr(LEVELS[level], name) for level in (0, 1, 2, 3)], name


def test_documentation_names_every_step():
    text = DOCS.read_text(encoding="utf-8")
    assert re.findall(r"^### `(\w+)`", text, re.MULTILINE) == list(STEPS)


def test_level_2_is_the_default_and_no_level_skips():
    assert LEVELS[2] == Measurement()
    assert all(model.skip == () for model in LEVELS.values())
    assert Measurement.at_level(1, efficiency=0.5) == LEVELS[1].model_copy(update={"efficiency": 0.5})


def test_levels_grow_worse():
    for name in ("sigma_lateral_nm", "sigma_depth_nm", "magnification", "pole_percent", "tail_percent",
                 "background_percent", "correlated_percent", "bowl_nm", "compression_error_percent", "drift_nm",
                 "field_lateral_v_per_nm"):  # fmt: skip
        values = [getattr(LEVELS[level], name) for level in (0, 1, 2, 3)]
        assert values == sorted(values)
        assert values[0] < values[3]


@pytest.mark.parametrize(
    ("level", "changes", "says"),
    [(4, {}, "no level 4"), (2, {"efficiency": 1.5}, "efficiency"), (2, {"skip": ("pole",)}, "skip")],
)
def test_wrong_levels_and_values_are_refused(level, changes, says):
    with pytest.raises(ParameterError, match=says):
        Measurement.at_level(level, **changes)


def test_one_flag_switches_one_step_off():
    app = App(result_action="return_value")

    @app.default
    def run(*, options: options_for(Measurement) = None) -> Measurement:
        return overridden(Measurement.at_level(3), given(options))

    assert app(["--skip", "poles"]) == Measurement.at_level(3, skip=("poles",))
    assert app(["--skip", "poles", "--skip", "blur", "--efficiency", "0.5"]).skip == ("poles", "blur")
