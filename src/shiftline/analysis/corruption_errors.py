"""Corruption errors of ImageNet-C and its like: mCE, relative mCE, and their parts (Hendrycks & Dietterich 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from shiftline.analysis.tables import REFERENCE
from shiftline.contracts.require import counted, near
from shiftline.errors import AnalysisError

ALEXNET = "alexnet"
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's errors on ImageNet-C, means over five severities, as published with the data set; its fifteen corruptions."""
ALEXNET_CLEAN = 0.43478
"""Error of torchvision's AlexNet on ImageNet."""
SEVERITIES = 5
MEAN = "mean"


def corruption_errors(table: pd.DataFrame, corruptions: Mapping[str, tuple[str, int]], *, baseline: str = ALEXNET) -> pd.DataFrame:
    """Return the corruption errors of models.

    ``CE = mean_s E_s / mean_s E_s(baseline)`` over the severities s, and relative ``CE = (mean_s E_s - E_clean) /
    (mean_s E_s(baseline) - E_clean(baseline))``; mCE and relative mCE are their means over the corruptions.

    Parameters
    ----------
    table : DataFrame
        Tidy accuracies: see `shiftline.analysis`.
    corruptions : mapping of str to (str, int)
        Corruption and severity of the distributions that are of one.
    baseline : str
        A model of the table, or "alexnet": its published errors on ImageNet-C, for the fifteen corruptions of the benchmark.

    Returns
    -------
    DataFrame
        model, group, corruption ("mean" for the means: mCE), severities (how many were evaluated), error, ce, relative_ce:
        fractions, where 1 is the baseline's; NaN where the baseline or the model was not evaluated on the same severities.

    Raises
    ------
    AnalysisError
        No distribution is of a corruption, or there is no such baseline.
    """
    if not corruptions:
        raise AnalysisError(
            "no shift is of ImageNet-C or CIFAR-10-C as it is: declare Split('imagenet-c', 'gaussian_noise-3') and its like."
        )
    values = table.drop_duplicates(["model", "distribution"]).pivot(index="model", columns="distribution", values="value")
    groups = table.drop_duplicates("model").set_index("model")["group"]
    models = list(dict.fromkeys(table["model"]))
    if baseline != ALEXNET and baseline not in models:
        raise AnalysisError(f"there is no model {baseline!r}{near(baseline, [*models, ALEXNET])} Name one, or {ALEXNET!r}.")
    of: dict[str, list[str]] = {}
    for distribution, (corruption, _) in corruptions.items():
        of.setdefault(corruption, []).append(distribution)
    errors = pd.DataFrame({name: 1 - values.reindex(columns=there).mean(axis=1, skipna=False) for name, there in of.items()})
    clean = 1 - values[REFERENCE]
    if baseline == ALEXNET:
        # Published are means over all severities: fewer would be compared with more.
        whole = [name for name in errors if name in ALEXNET_ERRORS and len(of[name]) == SEVERITIES]
        base = pd.Series({name: ALEXNET_ERRORS[name] if name in whole else np.nan for name in errors})
        base_clean = ALEXNET_CLEAN
    else:
        base, base_clean = errors.loc[baseline], float(clean[baseline])
    ce = errors / base
    relative = errors.sub(clean, axis=0) / (base - base_clean)
    rows = []
    for model in models:
        rows += [
            (model, name, len(of[name]), errors.at[model, name], ce.at[model, name], relative.at[model, name]) for name in errors
        ]
        comparable = list(base.index[base.notna()])
        means = [found.loc[model, comparable].mean(skipna=False) if comparable else np.nan for found in (errors, ce, relative)]
        rows.append((model, MEAN, sum(len(of[name]) for name in comparable), *means))
    found = pd.DataFrame(rows, columns=["model", "corruption", "severities", "error", "ce", "relative_ce"])
    found.insert(1, "group", found["model"].map(groups))
    return found


def what_is_missing(corruptions: Mapping[str, tuple[str, int]], *, baseline: str = ALEXNET) -> str:
    """Return in words how a study's corruptions differ from the published benchmark's; nothing where they are all there."""
    count = pd.Series([name for name, _ in corruptions.values()], dtype=object).value_counts()
    absent = [name for name in ALEXNET_ERRORS if name not in count]
    partial = [name for name in count.index if count[name] < SEVERITIES]
    more = [name for name in count.index if name not in ALEXNET_ERRORS]
    said = [
        f"{counted(len(names), 'corruption')} {what} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
        for names, what in ((absent, "not evaluated"), (partial, "at fewer than five severities"), (more, "beside the fifteen"))
        if names
    ]
    left_out = " Of these the mean leaves out what has no published error." if baseline == ALEXNET and (partial or more) else ""
    return f"not the published mCE: {'; '.join(said)}.{left_out}" if said else ""
