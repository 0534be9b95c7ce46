"""The feature sets in one space: each standardized, projected to a common width and scaled to the same variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import read_only
from napari_aptdefect.data.feature_table import FEATURE_SETS, FeatureTable
from napari_aptdefect.errors import EmptySelectionError, ParameterError, ShapeError
from napari_aptdefect.stage import Params, param

_TINY: Final = 1e-9


class SpaceParams(Params):
    """How the feature sets are brought to one width."""

    width: int = param(
        16,
        title="Common width",
        description="Number of principal components each set is projected to before the weighted sum.",
        ge=1,
        le=256,
    )
    clip: float = param(
        10.0,
        title="Clip",
        description="Largest absolute value of a standardized feature; a single wild value must not decide alone.",
        gt=0,
        le=1e6,
    )


@dataclass(frozen=True, eq=False)
class FusionSpace:
    """The fixed projection of S feature sets to d common columns.

    Parameters
    ----------
    names
        Names of the S sets or groups.
    center, scale
        One array per set, shape (m,), float64: what its columns are reduced by and divided by.
    axes
        One array per set, shape (m, d), float64.
    clip
        Largest absolute value of a standardized feature.
    """

    names: tuple[str, ...]
    center: tuple[NDArray[np.float64], ...]
    scale: tuple[NDArray[np.float64], ...]
    axes: tuple[NDArray[np.float64], ...]
    clip: float

    @classmethod
    def fit(
        cls, names: Sequence[str], blocks: Sequence[NDArray[Any]], params: SpaceParams | None = None
    ) -> FusionSpace:
        """Find the projection from the ions that are learned from.

        Parameters
        ----------
        names
            Names of the sets or groups.
        blocks
            Features of each, shape (N, m); not finite where missing.
        params
            Parameters; the defaults when None.

        Raises
        ------
        ParameterError
            If names are missing or not unique.
        ShapeError
            If the blocks differ in their number of ions, or a block has no columns.
        EmptySelectionError
            If there are no ions.

        Notes
        -----
        z = (x - median) / robust standard deviation, clipped; P holds the leading principal axes of z, each axis with
        its largest loading positive, shifted cyclically by another number for each set (else the leading components of
        all sets would fall on one coordinate of the sum), and scaled so that z P has a mean variance of 1 per column:
        weights then say how much a set counts, not how many features it has.
        """
        params = params or SpaceParams()
        named = tuple(names)
        if not named or len(set(named)) != len(named):
            raise ParameterError(f"the names of the feature sets must be there and differ, got {named}")
        arrays = _same_ions(blocks, len(named))
        if len(arrays[0]) == 0:
            raise EmptySelectionError("there are no ions to find the projection of the feature sets from")
        center, scale, axes = [], [], []
        for position, block in enumerate(arrays):
            middle, spread = _middle(block)
            z = _standardized(block, middle, spread, params.clip)
            center.append(middle)
            scale.append(spread)
            axes.append(_axes(z, params.width, shift=position * params.width // len(named)))
        return cls(named, tuple(center), tuple(scale), tuple(axes), params.clip)

    def project(self, blocks: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """Standardize and project the features of any ions.

        Parameters
        ----------
        blocks
            One array per set, shape (N, m).

        Returns
        -------
        Shape (S, N, d), float64.

        Raises
        ------
        ShapeError
            If the columns are not those the projection was found from.
        """
        arrays = _same_ions(blocks, len(self.names))
        for name, block, axes in zip(self.names, arrays, self.axes, strict=True):
            if block.shape[1] != len(axes):
                raise ShapeError(f"{name}: {block.shape[1]} features, the projection was found from {len(axes)}")
        parts = zip(arrays, self.center, self.scale, self.axes, strict=True)
        return read_only(np.stack([_standardized(b, c, s, self.clip) @ p for b, c, s, p in parts]))


def on_simplex(weights: ArrayLike, n_sets: int) -> NDArray[np.float64]:
    """Weights scaled to sum to one.

    Parameters
    ----------
    weights
        Shape (S,), not negative.
    n_sets
        S.

    Raises
    ------
    ShapeError
        If there are not as many weights as sets.
    ParameterError
        If a weight is negative or not finite, or all are zero.
    """
    given = np.asarray(weights, np.float64)
    if given.shape != (n_sets,):
        raise ShapeError(f"{n_sets} feature sets need weights of shape ({n_sets},), got {given.shape}")
    if not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
        raise ParameterError(f"weights must be finite, not negative and not all zero, got {given.tolist()}")
    return np.asarray(given / given.sum())


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Weights of the given log-weights: positive, and summing to one."""
    shifted = np.asarray(logits, np.float64)
    powers = np.exp(shifted - shifted.max())
    return np.asarray(powers / powers.sum())


def fused(projected: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """F = sum_i w_i f_i.

    Parameters
    ----------
    projected
        Shape (S, N, d), as from `FusionSpace.project`.
    weights
        Shape (S,), on the simplex.

    Returns
    -------
    Shape (N, d), float64.
    """
    return np.asarray(np.tensordot(weights, projected, axes=1))


def blocks_of_sets(table: FeatureTable) -> tuple[tuple[str, ...], tuple[NDArray[np.float32], ...]]:
    """Names and values of the feature sets a table holds, in the order of `FEATURE_SETS`."""
    present = [one for one in FEATURE_SETS if any(column.set == one for column in table.columns)]
    return tuple(present), tuple(table.select(sets=[one]).values for one in present)


def blocks_of_groups(
    table: FeatureTable, groups: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], tuple[NDArray[np.float32], ...]]:
    """Names and values of groups of columns.

    Parameters
    ----------
    table
        The features.
    groups
        Beginnings of the names of the columns of each group, such as ``{"order": ["q4", "q6"]}``.

    Raises
    ------
    ParameterError
        If a group has no column, or a column is in two groups.
    """
    owner: dict[str, str] = {}
    blocks = []
    for group, prefixes in groups.items():
        mine = [name for name in table.names if name.startswith(tuple(prefixes))]
        if not mine:
            raise ParameterError(f"no feature begins with {' or '.join(prefixes)}, which group {group!r} asks for")
        for name in mine:
            if name in owner:
                raise ParameterError(f"feature {name} is in the groups {owner[name]!r} and {group!r}")
            owner[name] = group
        blocks.append(table.select(mine).values)
    return tuple(groups), tuple(blocks)


def _same_ions(blocks: Sequence[NDArray[Any]], n_sets: int) -> list[NDArray[Any]]:
    arrays = [np.asarray(block) for block in blocks]
    if len(arrays) != n_sets:
        raise ShapeError(f"{n_sets} names of feature sets, but {len(arrays)} blocks of features")
    for array in arrays:
        if array.ndim != 2 or array.shape[1] == 0 or len(array) != len(arrays[0]):
            shapes = ", ".join(str(one.shape) for one in arrays)
            raise ShapeError(f"feature sets must be of shape (N, m) with the same N and m above 0, got {shapes}")
    return arrays


def _middle(block: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and half the distance of the 15.9 and 84.1 percentiles, where that is 0 the standard deviation."""
    center, scale = np.zeros(block.shape[1]), np.ones(block.shape[1])
    for column in range(block.shape[1]):
        known = block[:, column][np.isfinite(block[:, column])].astype(np.float64)
        if len(known) == 0:
            continue
        low, center[column], high = np.percentile(known, [15.865, 50.0, 84.135])
        floor = 1e-6 * max(float(np.abs(known).max()), _TINY)  # float32 noise is no spread
        for spread in ((high - low) / 2, float(known.std())):
            if spread > floor:
                scale[column] = spread
                break
    return center, scale


def _standardized(
    block: NDArray[Any], center: NDArray[np.float64], scale: NDArray[np.float64], clip: float
) -> NDArray[np.float64]:
    known = np.isfinite(block)
    z = np.clip((np.where(known, block, 0.0) - center) / scale, -clip, clip)
    return np.where(known, z, 0.0)  # missing is unremarkable


def _axes(z: NDArray[np.float64], width: int, shift: int) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(z.T @ z / len(z))
    leading = vectors[:, ::-1][:, :width]
    leading = leading * np.sign(leading[np.argmax(np.abs(leading), axis=0), np.arange(leading.shape[1])])
    per_column = float(values[::-1][:width].sum()) / width
    out = np.zeros((z.shape[1], width))
    out[:, : leading.shape[1]] = leading / np.sqrt(per_column if per_column > _TINY else 1.0)
    return np.roll(out, shift, axis=1)
