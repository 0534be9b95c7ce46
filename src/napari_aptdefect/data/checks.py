"""Content checks of an ion cloud: what is odd in the numbers, counted and located, never repaired."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.arrays import finite_rows
from napari_aptdefect.errors import Issue

if TYPE_CHECKING:
    from napari_aptdefect.data.cloud import IonCloud

# A specimen tip is at most some hundred nm wide and a few um long; 10 um is a wrong unit or a damaged file.
_MAX_EXTENT_NM: Final = 1e4
_MAX_LABELS: Final = 4096
_QUANTITY: Final = {"xyz_nm": "position", "mass_da": "mass-to-charge ratio"}


@dataclass(eq=False)
class Finding:
    """Counts rows of one column that are not finite, block by block, from several threads."""

    name: str
    n_bad: int = 0
    first: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def inspect(self, start: int, values: NDArray[Any]) -> None:
        """Look at one block; its sum is finite when all values are, so the exact scan is rare."""
        with np.errstate(all="ignore"):
            if np.isfinite(values.sum(dtype=values.dtype)):
                return
        bad = np.flatnonzero(~finite_rows(values))
        if len(bad) == 0:
            return
        with self._lock:
            self.n_bad += len(bad)
            first = start + int(bad[0])
            self.first = first if self.first < 0 else min(self.first, first)


def describe(cloud: IonCloud, finding: Finding) -> Issue:
    """Say what was found, with the byte offset of the first bad ion."""
    quantity = _QUANTITY[finding.name]
    return Issue(
        "nan-position" if finding.name == "xyz_nm" else "nan-mass",
        f"{finding.n_bad} of {cloud.n_ions} ions have a {quantity} that is NaN or infinite, the first is ion "
        f"{finding.first}; they are kept, leave them out with cloud.take(np.isfinite(...))",
        offset=cloud.columns[finding.name].reader.locate(finding.name, finding.first),
    )


def check_content(cloud: IonCloud) -> tuple[Issue, ...]:
    """Look at every position and mass of the cloud; see `IonCloud.check`."""
    if cloud.n_ions == 0:
        return () if any(issue.code == "empty" for issue in cloud.issues) else (Issue("empty", "the cloud has 0 ions"),)
    with np.errstate(all="ignore"):  # a signaling NaN would raise floating point warnings
        return _check_content(cloud)


def _check_content(cloud: IonCloud) -> tuple[Issue, ...]:
    findings = [Finding("xyz_nm"), Finding("mass_da")]
    masses = _Masses()
    lower, upper = np.full(3, np.inf), np.full(3, -np.inf)
    hashes = np.empty(cloud.n_ions, np.uint64)
    for start, stop in cloud.chunks():
        block = cloud.read_columns(("xyz_nm", "mass_da"), start, stop)
        xyz = block["xyz_nm"]
        for finding in findings:
            finding.inspect(start, block[finding.name])
        masses.add(start, block["mass_da"])
        good = xyz[finite_rows(xyz)]
        if len(good):
            lower, upper = np.minimum(lower, good.min(axis=0)), np.maximum(upper, good.max(axis=0))
        hashes[start:stop] = _hashed(xyz)
    issues = [describe(cloud, finding) for finding in findings if finding.n_bad]
    issues += masses.issues(cloud)
    issues += _extent_issues(lower, upper)
    issues += _duplicate_issues(cloud, hashes)
    return tuple(issues)


@dataclass
class _Masses:
    """What the mass column holds, gathered block by block."""

    n: int = 0
    n_zero: int = 0
    n_negative: int = 0
    first_negative: int = -1
    integers: bool = True
    labels: set[float] = field(default_factory=set)

    def add(self, start: int, mass: NDArray[np.float32]) -> None:
        self.n += len(mass)
        self.n_zero += int(np.count_nonzero(mass == 0))
        negative = np.flatnonzero(mass < 0)
        if len(negative) and self.first_negative < 0:
            self.first_negative = start + int(negative[0])
        self.n_negative += len(negative)
        if self.integers:
            finite = mass[np.isfinite(mass)]
            self.integers = bool((finite == np.rint(finite)).all()) and len(self.labels) <= _MAX_LABELS
            if self.integers:
                self.labels.update(np.unique(finite).tolist())

    def issues(self, cloud: IonCloud) -> list[Issue]:
        locate = cloud.columns["mass_da"].reader.locate
        issues = []
        if self.n_negative:
            text = f"{self.n_negative} of {self.n} ions have a negative mass-to-charge ratio, the first is ion "
            text += f"{self.first_negative}"
            issues.append(Issue("negative-mass", text, offset=locate("mass_da", self.first_negative)))
        hijacked = self.integers and 0 < len(self.labels) <= min(_MAX_LABELS, max(1, self.n // 2))
        if hijacked:
            text = f"the mass column holds only the {len(self.labels)} whole number(s) {_some(self.labels)}: "
            issues.append(Issue("mass-labels", text + "labels such as cluster ids rather than masses"))
        elif self.n_zero:
            text = f"{self.n_zero} of {self.n} ions have the mass-to-charge ratio 0; no range holds them"
            issues.append(Issue("zero-mass", text, "info"))
        return issues


def _extent_issues(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> list[Issue]:
    if not np.isfinite(lower).all():
        return [Issue("no-position", "no ion has a finite position")]
    issues = []
    extent = upper - lower
    if not lower.any() and not upper.any():
        issues.append(Issue("zero-extent", "all positions are 0"))
    elif not extent.any():
        issues.append(Issue("zero-extent", f"all positions are the same point {lower.tolist()} nm"))
    if (extent > _MAX_EXTENT_NM).any():
        text = f"the positions span {extent[0]:.4g} x {extent[1]:.4g} x {extent[2]:.4g} nm; no specimen is larger than "
        issues.append(Issue("huge-extent", text + "10 um: the unit is wrong or the file is damaged"))
    if lower[2] >= -1 and upper[2] > 1:
        direction = "upward from the first ions (z >= 0)"
    elif upper[2] <= 1 and lower[2] < -1:
        direction = "downward from the first ions (z <= 0)"
    else:
        direction = "through 0"
    text = f"z runs {direction}, from {lower[2]:.4f} to {upper[2]:.4f} nm; exporters differ in its sign"
    issues.append(Issue("z-direction", text, "info"))
    return issues


def _duplicate_issues(cloud: IonCloud, hashes: NDArray[np.uint64]) -> list[Issue]:
    """Count ions at the very position of another ion; equal hashes are confirmed on the positions themselves."""
    hashes_sorted = np.sort(hashes)
    repeated = np.unique(hashes_sorted[1:][hashes_sorted[1:] == hashes_sorted[:-1]])
    repeated = repeated[repeated != 0]
    if len(repeated) == 0:
        return []
    candidates: list[NDArray[np.uint32]] = []
    ions: list[NDArray[np.int64]] = []
    for start, stop in cloud.chunks():
        block = hashes[start:stop]
        places = np.minimum(np.searchsorted(repeated, block), len(repeated) - 1)
        rows = np.flatnonzero(repeated[places] == block)
        if len(rows):
            xyz = cloud.read("xyz_nm", start, stop)[rows] + np.float32(0)  # makes -0.0 equal to 0.0
            candidates.append(xyz.view(np.uint32))
            ions.append(rows + start)
    rows_of_bits = np.concatenate(candidates)
    _, first, counts = np.unique(rows_of_bits, axis=0, return_index=True, return_counts=True)
    n_copies = int((counts - 1).sum())
    if n_copies == 0:
        return []
    where = int(np.concatenate(ions)[first[counts > 1].min()])
    n = cloud.n_ions
    text = f"{n_copies} of {n} ions ({100 * n_copies / n:.3g} %) lie exactly where another ion lies, the first is ion "
    return [Issue("identical-positions", text + f"{where}", "warning" if n_copies > 0.001 * n else "info")]


def _hashed(xyz: NDArray[np.float32]) -> NDArray[np.uint64]:
    """64-bit hash of each position, shape (N,); 0 for positions that are not finite."""
    bits = (xyz + np.float32(0)).view(np.uint32).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = bits[:, 0] * np.uint64(0x9E3779B97F4A7C15)
        for axis in (1, 2):
            mixed ^= mixed >> np.uint64(29)
            mixed = (mixed + bits[:, axis]) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(32)
    mixed[mixed == 0] = 1
    mixed[~finite_rows(xyz)] = 0
    return mixed


def _some(labels: set[float]) -> str:
    shown = [f"{label:g}" for label in sorted(labels)[:8]]
    return ", ".join(shown) + (", ..." if len(labels) > len(shown) else "")
