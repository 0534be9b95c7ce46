"""Explain all peaks of a spectrum together by the isotope patterns of candidate ions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from napari_aptdefect.apt.ranging.candidates import Candidate, atomic_candidates, molecular_candidates
from napari_aptdefect.apt.ranging.spectrum import Peaks, Spectrum
from napari_aptdefect.data.elements import Elements

_MODEL_ERROR: Final = 0.05  # ranges cut peaks of one pattern at slightly different places
_MIN_ABUNDANCE: Final = 1e-3
_MIN_SHARE: Final = 0.5
_MAX_ELEMENTS: Final = 12  # bounds the number of molecules; the strongest elements come first
_POSITION_WEIGHT: Final = 10.0


@dataclass(frozen=True)
class Assignment:
    """What explains one peak.

    Parameters
    ----------
    elements
        Of the ion; empty when nothing explains the peak.
    label
        Isotopologue and charge state.
    confidence
        0 to 1: the part of the peak's net counts that the fit gives to this ion, times the part of the ion's isotope
        pattern that the spectrum confirms; half of that when only one peak supports the ion. A score, no probability.
    n_supporting
        Peaks of the ion's isotope pattern that agree with the fit.
    alternatives
        Other ions that could be, or partly are, in this peak.
    """

    elements: Elements = ()
    label: str = ""
    confidence: float = 0.0
    n_supporting: int = 0
    alternatives: tuple[str, ...] = ()


def assign_peaks(
    spectrum: Spectrum,
    peaks: Peaks,
    *,
    expected: Collection[str],
    named: Sequence[Elements],
    max_charge: int,
    tolerance_da: float,
) -> list[Assignment]:
    """Find the ions that explain the peaks, and the main one of each peak.

    Parameters
    ----------
    spectrum, peaks
        Counts, and the peaks found in them.
    expected
        Symbols of the elements to expect; empty for all.
    named
        Molecular ions to consider besides the usual ones.
    max_charge
        Highest charge state.
    tolerance_da
        How far a peak may lie from an isotopologue, Da.

    Returns
    -------
    One assignment for each peak.

    Notes
    -----
    With y_p the net counts of peak p, a_pc the abundance of the isotopologue of ion c that lies at p, and x_c >= 0 the
    number of such ions, the fit minimizes

        sum_p (y_p - sum_c a_pc x_c)^2 / s_p^2 + sum over the chosen c of cost_c,  s_p^2 = gross_p + (0.05 y_p)^2 + 1

    where p also runs over the places where an ion should have a peak and none was found. Ions are chosen greedily,
    each time the one that lowers the sum most, with a non-negative least-squares fit in between, and dropped again
    where the sum falls without them. It is done twice: first with atoms and gas molecules, then from scratch with the
    molecules of the elements found. The cost is the prior of `candidates` and a term for the distance of the peaks
    from their masses, 10 (3 d / tolerance)^2, weighted by abundance.
    """
    problem = _Problem(spectrum, peaks, tolerance_da)
    atoms = list(atomic_candidates(expected, max_charge))
    first = problem.solve([*atoms, *molecular_candidates(expected, named, max_charge)])
    strength: dict[str, float] = dict.fromkeys(expected, np.inf)
    for term, amount in zip(first.terms, first.amounts, strict=True):
        for symbol, _ in term.candidate.pattern.elements:
            strength[symbol] = strength.get(symbol, 0.0) + amount
    elements = sorted(strength, key=lambda symbol: -strength[symbol])[: max(_MAX_ELEMENTS, len(expected))]
    every = [*atoms, *molecular_candidates(elements, named, max_charge)]
    return problem.explain(problem.solve(every), every)


@dataclass(frozen=True, eq=False)
class _Term:
    """A candidate laid over the spectrum: where its isotopologues are, as peaks or as places without one."""

    candidate: Candidate
    peak_idx: NDArray[np.int64]
    peak_abundance: NDArray[np.float64]
    which: NDArray[np.int64]
    gap_abundance: NDArray[np.float64]
    gap_counts: NDArray[np.float64]
    gap_variance: NDArray[np.float64]
    cost: float


@dataclass(frozen=True, eq=False)
class _Solution:
    terms: list[_Term]
    amounts: NDArray[np.float64]
    fitted: NDArray[np.float64]


class _Problem:
    """The peaks with their errors; knows how to lay candidates over them."""

    def __init__(self, spectrum: Spectrum, peaks: Peaks, tolerance_da: float) -> None:
        self.spectrum = spectrum
        self.peaks = peaks
        self.tolerance_da = tolerance_da
        self.variance = peaks.gross + (_MODEL_ERROR * peaks.net) ** 2 + 1.0

    def solve(self, candidates: Sequence[Candidate]) -> _Solution:
        """Choose ions greedily, then drop those that the others make superfluous."""
        terms = [term for term in map(self._lay, candidates) if term is not None]
        chosen: list[_Term] = []
        amounts = np.zeros(0)
        while terms:
            residual = self.peaks.net - self._fitted(chosen, amounts)
            gains = np.array([self._gain(term, residual) - term.cost for term in terms])
            best = int(np.argmax(gains))
            if gains[best] <= 0:
                break
            chosen.append(terms.pop(best))
            amounts = self._fit(chosen)
        chosen, amounts = self._prune(chosen, amounts)
        return _Solution(chosen, amounts, self._fitted(chosen, amounts))

    def _lay(self, candidate: Candidate) -> _Term | None:
        pattern = candidate.pattern
        strong = np.flatnonzero(pattern.abundance >= _MIN_ABUNDANCE)
        inside = strong[pattern.mass_da[strong] < len(self.spectrum.counts) * self.spectrum.bin_da]
        if len(inside) == 0:
            return None
        mass, share = pattern.mass_da[inside], pattern.abundance[inside]
        nearest = self._nearest(mass)
        distance = np.abs(self.peaks.mass_da[nearest] - mass)
        hit = distance <= self.tolerance_da
        if not hit[np.argmax(share)]:
            return None
        off = float(np.average((3 * distance[hit] / self.tolerance_da) ** 2, weights=share[hit]))
        counts, variance = self._gaps(mass[~hit])
        return _Term(
            candidate,
            nearest[hit],
            share[hit],
            inside[hit],
            share[~hit],
            counts,
            variance,
            candidate.cost + _POSITION_WEIGHT * off,
        )

    def _nearest(self, mass: NDArray[np.float64]) -> NDArray[np.int64]:
        right = np.clip(np.searchsorted(self.peaks.mass_da, mass), 0, len(self.peaks) - 1)
        left = np.maximum(right - 1, 0)
        closer = np.abs(self.peaks.mass_da[left] - mass) <= np.abs(self.peaks.mass_da[right] - mass)
        return np.where(closer, left, right)

    def _gaps(self, mass: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Net counts where an isotopologue should be and no peak is.

        Whatever is there is an upper limit: it may be the tail of another peak. So it counts as its own error.
        """
        half = np.maximum(self.peaks.width_scale * np.sqrt(np.maximum(mass, 0.0)), self.spectrum.bin_da)
        lo = np.floor((mass - half) / self.spectrum.bin_da).astype(np.int64)
        hi = np.ceil((mass + half) / self.spectrum.bin_da).astype(np.int64)
        gross, background = self.spectrum.gross_and_background(lo, hi)
        net = np.maximum(gross - background, 0.0)
        return net, gross + net**2 + 1.0

    def _gain(self, term: _Term, residual: NDArray[np.float64]) -> float:
        """How much the best amount of one more ion lowers the sum of squares."""
        variance = self.variance[term.peak_idx]
        slope = np.sum(term.peak_abundance * residual[term.peak_idx] / variance)
        slope += np.sum(term.gap_abundance * term.gap_counts / term.gap_variance)
        curvature = np.sum(term.peak_abundance**2 / variance) + np.sum(term.gap_abundance**2 / term.gap_variance)
        # counts in gaps are no evidence for the ion, so they must not add to its gain
        free = np.sum(term.gap_counts**2 / term.gap_variance)
        return float(slope**2 / curvature - free) if slope > 0 else 0.0

    def _rows(self, terms: Sequence[_Term]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        n_peaks = len(self.peaks)
        n_gaps = sum(len(term.gap_counts) for term in terms)
        design = np.zeros((n_peaks + n_gaps, len(terms)))
        target = np.concatenate([self.peaks.net, *(term.gap_counts for term in terms)])
        variance = np.concatenate([self.variance, *(term.gap_variance for term in terms)])
        place = n_peaks
        for column, term in enumerate(terms):
            np.add.at(design[:, column], term.peak_idx, term.peak_abundance)
            design[place : place + len(term.gap_counts), column] = term.gap_abundance
            place += len(term.gap_counts)
        scale = 1.0 / np.sqrt(variance)
        return design * scale[:, None], target * scale

    def _fit(self, terms: Sequence[_Term]) -> NDArray[np.float64]:
        design, target = self._rows(terms)
        size = np.linalg.norm(design, axis=0)  # columns of equal length keep the solver well conditioned
        try:
            amounts, _ = optimize.nnls(design / size, target, maxiter=50 * max(len(terms), 10))
        except RuntimeError:  # the active-set method may cycle between equal columns; this one solves the same problem
            amounts = optimize.lsq_linear(design / size, target, bounds=(0, np.inf), method="bvls").x
        return np.asarray(amounts / size, np.float64)

    def _fitted(self, terms: Sequence[_Term], amounts: NDArray[np.float64]) -> NDArray[np.float64]:
        fitted = np.zeros(len(self.peaks))
        for term, amount in zip(terms, amounts, strict=True):
            np.add.at(fitted, term.peak_idx, term.peak_abundance * amount)
        return fitted

    def _total(self, terms: Sequence[_Term], amounts: NDArray[np.float64]) -> float:
        """Sum of squares over peaks and over the gaps of the chosen ions, where only an excess of the fit counts."""
        total = float(np.sum((self.peaks.net - self._fitted(terms, amounts)) ** 2 / self.variance))
        for term, amount in zip(terms, amounts, strict=True):
            excess = np.maximum(term.gap_abundance * amount - term.gap_counts, 0.0)
            total += float(np.sum(excess**2 / term.gap_variance)) + term.cost
        return total

    def _prune(self, terms: list[_Term], amounts: NDArray[np.float64]) -> tuple[list[_Term], NDArray[np.float64]]:
        current = self._total(terms, amounts)
        for term in sorted(terms, key=lambda t: -t.cost):
            rest = [other for other in terms if other is not term]
            fewer = self._fit(rest) if rest else np.zeros(0)
            total = self._total(rest, fewer)
            if total <= current:
                terms, amounts, current = rest, fewer, total
        return terms, amounts

    def explain(self, solution: _Solution, candidates: Sequence[Candidate]) -> list[Assignment]:
        """Main ion of each peak, how sure it is, and what else could be there."""
        shares: list[list[tuple[float, int, int]]] = [[] for _ in range(len(self.peaks))]
        for number, (term, amount) in enumerate(zip(solution.terms, solution.amounts, strict=True)):
            for idx, abundance, which in zip(term.peak_idx, term.peak_abundance, term.which, strict=True):
                whole = max(self.peaks.net[idx], solution.fitted[idx], 1e-12)
                shares[idx].append((float(abundance * amount / whole), number, int(which)))
        possible = [term for term in map(self._lay, candidates) if term is not None]
        support = [self._support(term, solution.fitted) for term in solution.terms]
        return [
            self._best(idx, sorted(found, reverse=True), solution, support, possible)
            for idx, found in enumerate(shares)
        ]

    def _support(self, term: _Term, fitted: NDArray[np.float64]) -> tuple[float, int]:
        agree = np.abs(self.peaks.net - fitted)[term.peak_idx] <= 3 * np.sqrt(self.variance[term.peak_idx])
        confirmed = float(term.peak_abundance[agree].sum() / term.candidate.pattern.abundance.sum())
        return min(confirmed, 1.0), len(set(term.peak_idx[agree].tolist()))

    def _best(
        self,
        idx: int,
        found: list[tuple[float, int, int]],
        solution: _Solution,
        support: list[tuple[float, int]],
        possible: Sequence[_Term],
    ) -> Assignment:
        taken = {solution.terms[number].candidate.pattern.name for _, number, _ in found}
        partly = [
            f"{solution.terms[number].candidate.pattern.name} ({share:.0%})"
            for share, number, _ in found
            if share > 0.02
        ]
        others = sorted(
            (term.cost, term.candidate.pattern.name)
            for term in possible
            if idx in term.peak_idx[term.peak_abundance >= 0.3 * term.candidate.pattern.abundance.max()]
        )
        more = [name for _, name in others if name not in taken][:3]
        if not found or found[0][0] < _MIN_SHARE:
            return Assignment(alternatives=tuple(partly + more))
        share, number, which = found[0]
        pattern = solution.terms[number].candidate.pattern
        confirmed, n_supporting = support[number]
        confidence = share * confirmed * (0.5 if n_supporting <= 1 and len(pattern.mass_da) > 0 else 1.0)
        label = f"{pattern.labels[which]} {pattern.charge}+"
        return Assignment(pattern.elements, label, confidence, n_supporting, tuple(partly[1:] + more))
