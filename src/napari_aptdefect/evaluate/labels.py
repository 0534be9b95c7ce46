"""What is true of each ion and what is claimed about it: two frozen containers, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_aptdefect.arrays import as_vector
from napari_aptdefect.data import DEFECT_CLASSES
from napari_aptdefect.errors import ParameterError
from napari_aptdefect.evaluate.checks import class_codes, defect_numbers, freeze, instance_numbers, rows_of

ROLES: Final = ("target", "control", "structure")
"""Roles of a true defect in the order of their codes: to be found; hidden by physics; intended and left out."""

TARGET, CONTROL, STRUCTURE = range(3)


@dataclass(frozen=True, eq=False)
class TrueDefects:
    """One row per true defect.

    Parameters
    ----------
    number
        Instance numbers, shape (D,), int32, positive, each once.
    class_idx
        Codes of `DEFECT_CLASSES`, shape (D,), int8; 0 for structures and only for them.
    role
        Codes of `ROLES`, shape (D,), int8.
    visible
        Whether a matched filter that must search reaches d' = 6 (the search bound), shape (D,), bool.
    iou_ceiling
        Intersection over union that the known-geometry labeler reaches, shape (D,), float64; NaN where it has no ions.
    d_prime
        Detectability at the known place, shape (D,), float64.
    """

    number: NDArray[np.int32]
    class_idx: NDArray[np.int8]
    role: NDArray[np.int8]
    visible: NDArray[np.bool_]
    iou_ceiling: NDArray[np.float64]
    d_prime: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(freeze(self, "number", defect_numbers(self.number, "number of the true defects")))
        codes = freeze(self, "class_idx", class_codes(self.class_idx, "class_idx of the true defects", n))
        role = freeze(self, "role", as_vector(self.role, "role", length=n, dtype=np.int8))
        freeze(self, "visible", as_vector(self.visible, "visible", length=n, dtype=bool))
        for name in ("iou_ceiling", "d_prime"):
            freeze(self, name, as_vector(getattr(self, name), name, length=n, dtype=np.float64))
        if n and not (role.min() >= 0 and role.max() < len(ROLES)):
            raise ParameterError(
                f"role must hold codes 0 to {len(ROLES) - 1} of {', '.join(ROLES)}, got {sorted(set(role.tolist()))}"
            )
        wrong = np.flatnonzero((codes == 0) != (role == STRUCTURE))
        if len(wrong):
            raise ParameterError(
                f"defect {self.number[wrong[0]]} is a {ROLES[role[wrong[0]]]} of class "
                f"{DEFECT_CLASSES[codes[wrong[0]]]}; structures are of class matrix, and nothing else is"
            )

    def __len__(self) -> int:
        return len(self.number)

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """Which defects are to be found, shape (D,)."""
        return np.asarray(self.role == TARGET)

    @property
    def is_control(self) -> NDArray[np.bool_]:
        """Which defects physics hides, shape (D,)."""
        return np.asarray(self.role == CONTROL)

    @property
    def is_structure(self) -> NDArray[np.bool_]:
        """Which are intended layers, shape (D,)."""
        return np.asarray(self.role == STRUCTURE)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of each ion of a specimen.

    Parameters
    ----------
    class_idx
        Code of `DEFECT_CLASSES` of each ion in file order, shape (N,), int8; that of its defect, controls included.
    instance
        Instance number of each ion, shape (N,), int32; 0 or -1 for the matrix.
    defects
        The defects that these numbers name; some may have no ion.
    bound_class
        Class that the known-geometry labeler gives each ion, shape (N,), int8, or None where it was not run.
    bound_instance
        Instance that it gives each ion, shape (N,), int32, or None.

    Raises
    ------
    ShapeError
        If the arrays are of unequal length or not one-dimensional.
    ParameterError
        If a class or an instance is unknown, or an ion's class is not that of its defect.
    """

    class_idx: NDArray[np.int8]
    instance: NDArray[np.int32]
    defects: TrueDefects
    bound_class: NDArray[np.int8] | None = None
    bound_instance: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if (self.bound_class is None) != (self.bound_instance is None):
            raise ParameterError("bound_class and bound_instance belong together; give both or none")
        n = len(freeze(self, "class_idx", class_codes(self.class_idx, "class_idx of the truth")))
        freeze(self, "instance", instance_numbers(self.instance, "instance of the truth", n))
        self._check("the truth", self.class_idx, self.row)
        if self.bound_class is not None and self.bound_instance is not None:
            bound = freeze(self, "bound_class", class_codes(self.bound_class, "bound_class", n))
            instance = freeze(self, "bound_instance", instance_numbers(self.bound_instance, "bound_instance", n))
            self._check("the bound", bound, rows_of(instance, self.defects.number, "bound_instance"))

    @classmethod
    def from_labels(cls, class_idx: ArrayLike, instance: ArrayLike) -> Truth:
        """Make the truth of a set that somebody labeled, without roles or bounds.

        Every instance is a target and counts as visible with a ceiling of 1, because nothing is known to hide it.

        Parameters
        ----------
        class_idx
            Codes of `DEFECT_CLASSES`, shape (N,); one class in each instance.
        instance
            Instance numbers, shape (N,); 0 or -1 for the matrix.
        """
        codes = class_codes(class_idx, "class_idx of the truth")
        numbers = instance_numbers(instance, "instance of the truth", len(codes))
        found, first = np.unique(numbers, return_index=True)
        first = first[found > 0]
        n = len(first)
        ones = np.ones(n)
        targets = TrueDefects(
            found[found > 0], codes[first], np.zeros(n, np.int8), ones.astype(bool), ones, np.full(n, np.inf)
        )
        return cls(codes, numbers, targets)

    def __len__(self) -> int:
        return len(self.class_idx)

    @cached_property
    def row(self) -> NDArray[np.int32]:
        """Row of `defects` that each ion belongs to, -1 for the matrix; shape (N,)."""
        return rows_of(self.instance, self.defects.number, "instance of the truth")

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """Which ions enter the scores per ion: all but those of structures; shape (N,)."""
        return np.append(~self.defects.is_structure, True)[self.row]  # row -1 reads the last entry

    @cached_property
    def scored_class(self) -> NDArray[np.int8]:
        """Class that each ion counts as: that of its target, matrix for controls and structures; shape (N,)."""
        return self._folded(self.row)

    def visible_only(self, least_d_prime: float = 0.0) -> Truth:
        """The same truth without the targets that no search can find: their ions and claims about them are left out.

        Targets below the search bound, and those below a larger d' that is asked for, become structures, so a claim
        about them is neither right nor wrong. What a method finds is then compared with what can be found; `d_prime`
        of the others stays to look at.
        """
        hidden = self.defects.is_target & ~(self.defects.visible & (self.defects.d_prime >= least_d_prime))
        kept = np.append(~hidden, True)
        defects = TrueDefects(
            self.defects.number,
            np.where(hidden, 0, self.defects.class_idx).astype(np.int8),
            np.where(hidden, STRUCTURE, self.defects.role).astype(np.int8),
            self.defects.visible,
            self.defects.iou_ceiling,
            self.defects.d_prime,
        )
        codes = np.where(kept[self.row], self.class_idx, 0).astype(np.int8)
        if self.bound_instance is None or self.bound_class is None:
            return Truth(codes, self.instance, defects)
        row = rows_of(self.bound_instance, self.defects.number, "bound_instance")
        bound = np.where(kept[row], self.bound_class, 0).astype(np.int8)
        return Truth(codes, self.instance, defects, bound, self.bound_instance)

    @property
    def bound(self) -> Claim | None:
        """The known-geometry labeler as a claim: what it gives to controls and structures is matrix."""
        if self.bound_instance is None:
            return None
        row = rows_of(self.bound_instance, self.defects.number, "bound_instance")
        codes = self._folded(row)
        return Claim.from_labels(codes, np.where(codes != 0, self.bound_instance, 0))

    def _folded(self, row: NDArray[np.int32]) -> NDArray[np.int8]:
        codes = np.where(self.defects.is_target, self.defects.class_idx, 0)
        return np.append(codes, 0).astype(np.int8)[row]

    def _check(self, what: str, codes: NDArray[np.int8], row: NDArray[np.int32]) -> None:
        expected = np.append(self.defects.class_idx, 0)
        wrong = codes != expected[row]
        if wrong.any():
            ion = int(np.argmax(wrong))
            number = 0 if row[ion] < 0 else int(self.defects.number[row[ion]])
            raise ParameterError(
                f"in {what} ion {ion} is labeled {DEFECT_CLASSES[codes[ion]]}, but its defect {number} is of class "
                f"{DEFECT_CLASSES[int(expected[row[ion]])]}; an ion carries the class of its defect"
            )


@dataclass(frozen=True, eq=False)
class Claim:
    """What a method says about each ion.

    Parameters
    ----------
    class_idx
        Code of `DEFECT_CLASSES` of each ion in file order, shape (N,), int8; ions that the method left out are matrix.
    instance
        Number of the claimed defect of each ion, shape (N,), int32; 0 or -1 for none.
    number
        Numbers of the claimed defects, shape (M,), int32, positive, each once; a claim may have no ion.
    number_class
        Class that each of them is given, shape (M,), int8; those of class matrix claim nothing and are dropped.
    probability
        How sure the method is of each, shape (M,), float64, 0 to 1.

    Raises
    ------
    ShapeError
        If the arrays of the ions, or those of the defects, are of unequal length.
    ParameterError
        If a class or an instance is unknown, or a probability is not within 0 and 1.
    """

    class_idx: NDArray[np.int8]
    instance: NDArray[np.int32]
    number: NDArray[np.int32]
    number_class: NDArray[np.int8]
    probability: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(freeze(self, "class_idx", class_codes(self.class_idx, "class_idx of the claim")))
        instance = instance_numbers(self.instance, "instance of the claim", n)
        number = defect_numbers(self.number, "number of the claims")
        codes = class_codes(self.number_class, "number_class", len(number))
        chance = as_vector(self.probability, "probability", length=len(number), dtype=np.float64)
        if not ((chance >= 0) & (chance <= 1)).all():  # NaN is neither
            raise ParameterError("the probability of a claim must lie within 0 and 1; give 1 where a method has none")
        row = rows_of(instance, number, "instance of the claim")
        kept = codes != 0
        rows = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1).astype(np.int32)[row]
        freeze(self, "instance", np.where(rows >= 0, instance, 0).astype(np.int32))
        freeze(self, "number", number[kept])
        freeze(self, "number_class", codes[kept])
        freeze(self, "probability", chance[kept])

    @classmethod
    def from_labels(cls, class_idx: ArrayLike, instance: ArrayLike, probability: ArrayLike | None = None) -> Claim:
        """Make a claim from labels alone: a claimed defect is of the class that most of its ions have.

        Parameters
        ----------
        class_idx
            Codes of `DEFECT_CLASSES`, shape (N,).
        instance
            Instance numbers, shape (N,); 0 or -1 for none.
        probability
            One value per positive instance number in ascending order, shape (M,); 1 for all when None.
        """
        codes = class_codes(class_idx, "class_idx of the claim")
        numbers = instance_numbers(instance, "instance of the claim", len(codes))
        inside = np.flatnonzero(numbers > 0)
        found, row = np.unique(numbers[inside], return_inverse=True)
        n_classes = len(DEFECT_CLASSES)
        counts = np.bincount(row * n_classes + codes[inside], minlength=len(found) * n_classes)
        most = counts.reshape(-1, n_classes).argmax(axis=1)
        chance = np.ones(len(found)) if probability is None else probability
        return cls(codes, numbers, found, most.astype(np.int8), np.asarray(chance, np.float64))

    def __len__(self) -> int:
        return len(self.class_idx)

    @property
    def n_claims(self) -> int:
        """How many defects are claimed."""
        return len(self.number)

    @cached_property
    def row(self) -> NDArray[np.int32]:
        """Row of the claimed defect that each ion belongs to, -1 for none; shape (N,)."""
        return rows_of(self.instance, self.number, "instance of the claim")
