"""The names of the metrics, and what is known of each without computing it."""

from __future__ import annotations

from shiftline.errors import DeclarationError

METRICS = (
    "accuracy", "top-5-accuracy", "balanced-accuracy", "worst-class-accuracy", "worst-group-accuracy", "macro-f1", "auroc",
    "calibration-error", "negative-log-likelihood",
)  # fmt: skip
"""Those that a study may ask for. Data sets bring others: ``pm-k`` and ``frame-accuracy`` (video frames), and ``wilds:NAME`` as the
wilds package computes it."""
LOWER_IS_BETTER = ("calibration-error", "negative-log-likelihood")
MEANS = ("accuracy", "top-5-accuracy", "negative-log-likelihood")
"""Metrics that are means over examples, so that a standard error is known."""
FRAMES = ("pm-k", "frame-accuracy")
"""Metrics of sets of frames, each with every label that counts as right: they take the place of accuracy there."""
GROUPED = ("worst-group-accuracy", *FRAMES)
PROPORTIONS = ("accuracy", "top-5-accuracy", *FRAMES, "wilds:acc_avg")
"""Metrics that count successes."""
WILDS = "wilds:"


def reads_metadata(metric: str) -> bool:
    """A metric needs the groups or other metadata of the examples."""
    return metric in GROUPED or metric.startswith(WILDS)


def check_metrics(metrics: tuple[str, ...], *, where: str) -> None:
    """Raise `DeclarationError` for an unknown metric, with those that exist."""
    for metric in metrics:
        if metric not in METRICS:
            raise DeclarationError(f"{where} has the metric {metric!r}: choose from {', '.join(METRICS)}.")
