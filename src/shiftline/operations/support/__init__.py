"""Splitting a shift by support: what is declared, domain classifiers, and density ratios."""

from shiftline.operations.support.classifiers import EmbeddingClassifier, FineTunedClassifier
from shiftline.operations.support.declaration import (
    DomainFeatures,
    DomainFold,
    DomainTuning,
    SupportIds,
    SupportRatio,
    SupportSplit,
)

__all__ = [
    "DomainFeatures",
    "DomainFold",
    "DomainTuning",
    "EmbeddingClassifier",
    "FineTunedClassifier",
    "SupportIds",
    "SupportRatio",
    "SupportSplit",
]
