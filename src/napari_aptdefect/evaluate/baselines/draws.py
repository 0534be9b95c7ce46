"""Random draws of parameters from the bounds of their model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Literal, get_args, get_origin

import numpy as np
from pydantic.fields import FieldInfo

from napari_aptdefect.errors import ParameterError
from napari_aptdefect.stage import Params

_ZERO_SHARE: Final = 0.25  # of the draws of a parameter that may be 0, where 0 switches something off
_DECADES: Final = 3  # below the upper bound, for the other draws of such a parameter
_WIDE: Final = 5.0  # ratio of the bounds above which a parameter is drawn on a logarithmic scale


def draw_params(model: type[Params], names: Iterable[str], rng: np.random.Generator) -> Params:
    """Draw the named parameters at random, the others keep their defaults.

    Parameters
    ----------
    model
        Parameter model whose named fields have both bounds, are switches, or are choices.
    names
        Fields to draw.
    rng
        Source of the random numbers.

    Raises
    ------
    ParameterError
        If a field has no bounds to draw from.

    Notes
    -----
    Uniform between the bounds; where they differ by more than a factor of five, log-uniform. A parameter with the lower
    bound 0 is 0 in a quarter of the draws, else log-uniform over the three decades below its upper bound. Random search
    beats a grid where few parameters matter (Bergstra, Bengio 2012, https://jmlr.org/papers/v13/bergstra12a.html).
    """
    return model(**{name: _draw(name, model.model_fields[name], rng) for name in names})


def _draw(name: str, field: FieldInfo, rng: np.random.Generator) -> Any:
    if field.annotation is bool:
        return bool(rng.integers(2))
    if get_origin(field.annotation) is Literal:
        choices = get_args(field.annotation)
        return choices[int(rng.integers(len(choices)))]
    bounds = {kind: float(getattr(m, kind)) for m in field.metadata for kind in ("ge", "le") if hasattr(m, kind)}
    if field.annotation not in (int, float) or len(bounds) < 2:
        raise ParameterError(f"can't draw {name}: it needs both bounds, ge and le")
    low, high = bounds["ge"], bounds["le"]
    whole = field.annotation is int
    if low == 0:
        if rng.random() < _ZERO_SHARE:
            return 0 if whole else 0.0
        low = max(1.0, high / 10**_DECADES) if whole else high / 10**_DECADES
    if whole:  # each whole number stands for the unit interval around it
        value = round(_between(low - 0.5 + 1e-9, high + 0.5 - 1e-9, rng))
        return min(max(value, int(low)), int(high))
    return min(max(_between(low, high, rng), low), high)


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    if low > 0 and high / low > _WIDE:
        return math.exp(rng.uniform(math.log(low), math.log(high)))
    return float(rng.uniform(low, high))
