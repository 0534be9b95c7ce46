"""A trained model and its file: weights as safetensors, and all that is needed to use and to judge it as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.classify import SigmoidClassifier
from napari_aptdefect.data.feature_table import FeatureTable, Scaling
from napari_aptdefect.errors import AptDefectError, FormatError, MissingFileError, ParameterError
from napari_aptdefect.pipeline.learning.examination import claims_above
from napari_aptdefect.pipeline.learning.inputs import takes_lattice

if TYPE_CHECKING:
    from napari_aptdefect.apt.network.model import DefectNetwork

_FORMAT: Final = "aptdefect-model-1"
_KEY: Final = "aptdefect"


@dataclass(frozen=True, eq=False)
class DefectModel:
    """A trained network, what names its findings, and what it needs to know about its inputs.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    columns
        Names of the features it takes, in order.
    scaling
        How they are standardized.
    sets
        Columns of each feature set.
    classifier
        One calibrated sigmoid per class of defects over the embedding.
    cut
        Anomaly above which an ion is of a defect: the one that did best on the validation wires.
    tail
        Shape (K, 2), float64: shares of the ions of wires without defects, falling, and the anomaly that they exceed.
    elements
        The two main elements of the material it was trained on.
    card
        The model card: what it was trained and tested on, scores, limits; anything JSON can hold.
    path
        File it was read from.
    """

    network: DefectNetwork
    columns: tuple[str, ...]
    scaling: Scaling
    sets: Mapping[str, Sequence[int]]
    classifier: SigmoidClassifier
    cut: float
    tail: NDArray[np.float64]
    elements: tuple[str, str]
    card: Mapping[str, Any]
    path: Path | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of defects that it knows."""
        return self.classifier.types

    @property
    def for_lattice(self) -> bool:
        """Whether it is for clouds with a resolved lattice only."""
        return takes_lattice(self.columns)

    @cached_property
    def fusion_weights(self) -> tuple[float, ...]:
        """Weights w_i of the feature sets in the sum, one of each set, summing to one."""
        return tuple(float(w) for w in self.network.weights.detach().cpu())

    @cached_property
    def n_weights(self) -> int:
        """Numbers that were learned in the network."""
        return sum(one.numel() for one in self.network.parameters())

    def threshold(self, share: float) -> float:
        """Anomaly that this share of the ions of wires without defects exceeds; none rarer than known is told."""
        return float(np.interp(-np.log(share), -np.log(self.tail[:, 0]), self.tail[:, 1]))

    def claims(self, embedding: NDArray[np.float32]) -> NDArray[np.int8]:
        """Name ions one by one: codes of `DEFECT_CLASSES`, shape (N,), int8."""
        return claims_above(self.classifier, embedding, self.cut)

    def prepare(self, table: FeatureTable) -> FeatureTable:
        """Take the model's columns of a table, in its order.

        Raises
        ------
        ParameterError
            If the table lacks columns of the model.
        """
        missing = [name for name in self.columns if name not in table]
        if missing:
            raise ParameterError(
                f"the model takes {len(self.columns)} features, the table lacks {', '.join(missing[:5])}"
                + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
                + "; it was trained with another version: train it again with aptdefect train"
            )
        return table if table.names == self.columns else table.select(list(self.columns))

    def write(self, path: Path) -> None:
        """Write the file; an interrupted write leaves nothing behind."""
        import torch
        from safetensors.torch import save

        arrays, classifier = self.classifier.state()
        about = {
            "format": _FORMAT,
            "network": self.network.params.model_dump(mode="json"),
            "columns": list(self.columns),
            "center": self.scaling.center.tolist(),
            "scale": self.scaling.scale.tolist(),
            "sets": {name: list(columns) for name, columns in self.sets.items()},
            "classifier": classifier,
            "cut": self.cut,
            "elements": list(self.elements),
            "card": dict(self.card),
        }
        tensors = {f"network.{k}": v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"classifier.{name}": torch.from_numpy(value.copy()) for name, value in arrays.items()}
        tensors["tail"] = torch.from_numpy(np.ascontiguousarray(self.tail, np.float64))
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(save(tensors, {_KEY: json.dumps(about)}))
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> DefectModel:
        """Read a file.

        Raises
        ------
        MissingFileError
            If there is none.
        FormatError
            If it is no model of ours, or damaged.
        """
        about, tensors = _stored(path)
        from napari_aptdefect.apt.network.model import DefectNetwork
        from napari_aptdefect.apt.network.params import NetworkParams

        parts: dict[str, dict[str, Any]] = {"network": {}, "classifier": {}}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                parts[first][rest] = value
        try:
            sets = {name: tuple(columns) for name, columns in about["sets"].items()}
            classifier = SigmoidClassifier.from_state(
                {name: value.numpy() for name, value in parts["classifier"].items()}, about["classifier"]
            )
            network = DefectNetwork(
                sets, len(parts["network"]["head.bias"]), NetworkParams.model_validate(about["network"])
            )
            network.load_state_dict(parts["network"])
            heavy, light = about["elements"]
            found = cls(
                network.eval(),
                tuple(about["columns"]),
                Scaling(np.array(about["center"], np.float64), np.array(about["scale"], np.float64)),
                sets,
                classifier,
                float(about["cut"]),
                tensors["tail"].numpy(),
                (heavy, light),
                about["card"],
                path,
            )
        except (AptDefectError, KeyError, RuntimeError, ValueError) as error:
            raise FormatError(path, expected="a whole model of aptdefect train", found=str(error)) from error
        return found


def read_card(path: Path) -> dict[str, Any]:
    """Read a model's card, without its weights and without torch; `elements` and `for_lattice` are added to it.

    Raises
    ------
    MissingFileError
        If there is no file.
    FormatError
        If it is no model of ours.
    """
    from safetensors import SafetensorError, safe_open

    _check_there(path)
    try:
        with safe_open(path, framework="numpy") as stored:
            about = json.loads((stored.metadata() or {}).get(_KEY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise FormatError(path, expected="a model of aptdefect train (safetensors)", found=str(error)) from error
    _check_format(path, about)
    return {"elements": about["elements"], "for_lattice": takes_lattice(about["columns"]), **about["card"]}


def _stored(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    _check_there(path)
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {}).get(_KEY, "{}"))
            # copies: what safetensors gives would change with the file
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise FormatError(path, expected="a model of aptdefect train (safetensors)", found=str(error)) from error
    _check_format(path, about)
    return about, tensors


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"there is no model {path}; make one with aptdefect train")


def _check_format(path: Path, about: Mapping[str, Any]) -> None:
    if about.get("format") != _FORMAT:
        raise FormatError(
            path,
            expected=f"a model of the format {_FORMAT}",
            found=f"the format {about.get('format')}",
            hint="Train it again with aptdefect train.",
        )
