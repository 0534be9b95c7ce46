"""Classifier of the learned path: a calibrated sigmoid per type over embedding and named features, or "unknown"."""

from napari_aptdefect.apt.classify.fit import ClassifyParams, Labeled, calibrated_classifier, fit_classifier
from napari_aptdefect.apt.classify.model import UNKNOWN, Coefficient, SigmoidClassifier

__all__ = [
    "UNKNOWN",
    "ClassifyParams",
    "Coefficient",
    "Labeled",
    "SigmoidClassifier",
    "calibrated_classifier",
    "fit_classifier",
]
