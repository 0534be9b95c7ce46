"""Weights of the feature sets in F = sum_i w_i f_i, learned: scored by labels or without, by several searches."""

from napari_aptdefect.apt.weights.environment import fusion_environment
from napari_aptdefect.apt.weights.ledger import Ledger
from napari_aptdefect.apt.weights.problem import (
    Evaluation,
    LabeledIons,
    LabeledParams,
    LabeledProblem,
    Problem,
    UnlabeledParams,
    UnlabeledProblem,
)
from napari_aptdefect.apt.weights.search import LearnedWeights, SetReason, WeightsParams, learn_weights, why
from napari_aptdefect.apt.weights.space import FusionSpace, SpaceParams, blocks_of_groups, blocks_of_sets

__all__ = [
    "Evaluation",
    "FusionSpace",
    "LabeledIons",
    "LabeledParams",
    "LabeledProblem",
    "LearnedWeights",
    "Ledger",
    "Problem",
    "SetReason",
    "SpaceParams",
    "UnlabeledParams",
    "UnlabeledProblem",
    "WeightsParams",
    "blocks_of_groups",
    "blocks_of_sets",
    "fusion_environment",
    "learn_weights",
    "why",
]
