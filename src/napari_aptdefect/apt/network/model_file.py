"""The file of a trained model: weights as safetensors, and all that is needed to use and to judge it as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from napari_aptdefect.apt.network.model import DefectNetwork, NetworkParams
from napari_aptdefect.data.feature_table import FeatureTable, Scaling
from napari_aptdefect.errors import FormatError, ParameterError

_FORMAT: Final = "aptdefect-network-1"


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A trained network with what it needs to know about its inputs and outputs.

    Parameters
    ----------
    network
        The network.
    columns
        Names of the features it takes, in order.
    scaling
        How they are standardized.
    sets
        Columns of each feature set.
    classes
        Names of the classes, the matrix first.
    card
        The model card: what it was trained and tested on, scores, limits; anything JSON can hold.
    """

    network: DefectNetwork
    columns: tuple[str, ...]
    scaling: Scaling
    sets: Mapping[str, Sequence[int]]
    classes: tuple[str, ...]
    card: Mapping[str, Any]

    def prepare(self, table: FeatureTable) -> NDArray[np.float32]:
        """Take the model's columns of a table, standardized, missing values at the median; shape (N, F), float32.

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
                + "; compute the features with the parameters that the model was trained with"
            )
        scaled = table.select(list(self.columns)).robust_scaled(self.scaling)
        return np.nan_to_num(scaled.values, nan=0.0)

    def write(self, path: Path) -> None:
        """Write the file; an interrupted write leaves nothing behind."""
        from safetensors.torch import save

        about = {
            "format": _FORMAT,
            "network": self.network.params.model_dump(mode="json"),
            "columns": list(self.columns),
            "center": self.scaling.center.tolist(),
            "scale": self.scaling.scale.tolist(),
            "sets": {name: list(columns) for name, columns in self.sets.items()},
            "classes": list(self.classes),
            "card": dict(self.card),
        }
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(save(tensors, {"aptdefect": json.dumps(about)}))
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> ModelFile:
        """Read a file.

        Raises
        ------
        FormatError
            If it is no model of ours, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as stored:
                about = json.loads((stored.metadata() or {}).get("aptdefect", "{}"))
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise FormatError(path, expected="a model of aptdefect train (safetensors)", found=str(error)) from error
        if about.get("format") != _FORMAT:
            raise FormatError(
                path,
                expected=f"a model of the format {_FORMAT}",
                found=f"the format {about.get('format')}",
                hint="Train it again with aptdefect train.",
            )
        sets = {name: tuple(columns) for name, columns in about["sets"].items()}
        network = DefectNetwork(sets, len(about["classes"]), NetworkParams.model_validate(about["network"]))
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise FormatError(path, expected="the weights of its own network", found=str(error)) from error
        network.eval()
        return cls(
            network,
            tuple(about["columns"]),
            Scaling(np.array(about["center"], np.float64), np.array(about["scale"], np.float64)),
            sets,
            tuple(about["classes"]),
            about["card"],
        )
