"""Reasons of a model: how the log-odds of each class change with each feature, at ions of that class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from napari_aptdefect.apt.classify import SigmoidClassifier
from napari_aptdefect.data.defects import DEFECT_CLASSES

if TYPE_CHECKING:
    from napari_aptdefect.apt.network.model import DefectNetwork
    from napari_aptdefect.apt.network.training import LabeledCloud

_MOST_IONS: Final = 2000  # of a class and cloud


def reasons(
    network: DefectNetwork,
    classifier: SigmoidClassifier,
    clouds: Sequence[LabeledCloud],
    features: Sequence[str],
    most: int = 8,
    seed: int = 0,
) -> dict[str, list[tuple[str, float]]]:
    """Find the features that speak most for and against each class.

    Parameters
    ----------
    network
        The network, in evaluation mode.
    classifier
        The sigmoids over its embedding.
    clouds
        Clouds with labeled ions.
    features
        Names of the F features of the network.
    most
        Features wanted of each class.
    seed
        Of the ions that are drawn: at most 2000 of a class and cloud.

    Returns
    -------
    Name of each class that the clouds hold, and its features with their coefficients, the largest size first.

    Notes
    -----
    The coefficient of feature j for class t is the mean over ions of the class of d L_t / d s_j, where L_t is the
    calibrated log-odds and s_j is added to the standardized feature at the ion and everywhere around: what one standard
    deviation more is worth. L_t is linear in the embedding and not in the features, so this is the tangent at the ions
    that are of the class (Baehrens et al. 2010, JMLR 11:1803), no sum that gives L_t.
    """
    import torch

    weight = torch.from_numpy(classifier.slope[:, None] * classifier.weight / classifier.scale)
    rng = np.random.default_rng([seed, 0x3E])
    sums = np.zeros((len(classifier.types), len(features)))
    counts = np.zeros(len(classifier.types))
    network.eval()
    for cloud in clouds:
        tensors = cloud.float()
        for t, name in enumerate(classifier.types):
            found = np.flatnonzero(cloud.label.cpu().numpy() == DEFECT_CLASSES.index(name))
            if len(found) == 0:
                continue
            rows = torch.from_numpy(np.sort(rng.permutation(found)[:_MOST_IONS]))
            shift = torch.zeros(len(features), requires_grad=True)
            moved = replace(tensors, features=tensors.features + shift, pooled=tensors.pooled + shift)
            nodes, _ = network.nodes(moved)
            odds = network.embed(moved, nodes, rows) @ weight[t].to(nodes.dtype)
            (slope,) = torch.autograd.grad(odds.sum(), shift)
            sums[t] += slope.numpy()
            counts[t] += len(rows)
    mean = sums / np.maximum(counts, 1)[:, None]
    return {
        name: [(features[j], float(mean[t, j])) for j in np.argsort(-np.abs(mean[t]), kind="stable")[:most].tolist()]
        for t, name in enumerate(classifier.types)
        if counts[t]
    }
