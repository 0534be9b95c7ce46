"""Parameters of the network and of its training."""

from __future__ import annotations

from typing import Literal

from napari_aptdefect.apt.network.superpoints import SuperpointParams
from napari_aptdefect.stage import Params, param

Fusion = Literal["sum", "concatenate"]


class NetworkParams(Params):
    """Architecture of the network."""

    superpoints: SuperpointParams = param(
        SuperpointParams(), title="Superpoints", description="Cells that the ions are gathered in."
    )
    fusion: Fusion = param(
        "sum",
        title="Fusion",
        description="sum: F = Σ w_i f_i with weights that sum to one; concatenate: the sets side by side, unweighted.",
    )
    width: int = param(48, title="Width", description="Channels of the fused features and of the nodes.", ge=8, le=512)
    n_layers: int = param(3, title="Filters", description="Chebyshev filters one after the other.", ge=1, le=8)
    order: int = param(3, title="Order", description="Chebyshev polynomials of each filter.", ge=2, le=6)
    rank: int = param(1, title="Rank", description="Rank of the species-pair factor.", ge=1, le=4)
    heads: int = param(4, title="Heads", description="Attentions side by side; the width is a multiple.", ge=1, le=16)
    embedding: int = param(32, title="Embedding", description="Numbers that describe an ion in the end.", ge=4, le=256)
    dropout: float = param(
        0.1, title="Dropout", description="Share of the inputs that is hidden in training.", ge=0.0, le=0.8
    )


class EpochParams(Params):
    """How long and how fast a network is trained."""

    epochs: int = param(40, title="Epochs", description="Passes over the training clouds at most.", ge=1, le=10_000)
    patience: int = param(
        10,
        title="Patience",
        description="Training ends when the score has not risen for so many epochs.",
        unit="epochs",
        ge=1,
        le=10_000,
    )
    learning_rate: float = param(
        3e-3, title="Learning rate", description="Largest step size; it falls along a cosine.", gt=0, le=1.0
    )
    weight_decay: float = param(
        1e-3, title="Weight decay", description="How strongly weights are pulled to zero.", ge=0, le=10.0
    )


class TrainingParams(EpochParams):
    """How the network is trained."""

    balance: float = param(
        0.5,
        title="Balance",
        description="Classes count as their frequency to the power of minus this: 0 as they are, 1 all alike.",
        ge=0.0,
        le=1.0,
    )
    overlap: float = param(
        0.5,
        title="Overlap",
        description="Share of the overlap loss (1 - Dice) beside the cross entropy.",
        ge=0.0,
        le=10.0,
    )
    matrix_ions: int = param(
        12_000,
        title="Matrix ions",
        description="Ions of the matrix drawn from each cloud at each step; they are the many.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )
    defect_ions: int = param(
        12_000,
        title="Defect ions",
        description="Ions of defects drawn from each cloud at each step.",
        unit="ions",
        ge=100,
        le=10_000_000,
    )
