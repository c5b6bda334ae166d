"""What agreement of a study's models says of their accuracy, and images on which better models are worse."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from shiftline.analysis.agreement import agreement_on_the_line
from shiftline.analysis.ood_select import SHARES, Selected, ood_select
from shiftline.analysis.tables import panel, shifts_of
from shiftline.contracts.require import near
from shiftline.errors import AnalysisError
from shiftline.launch.answers import answers
from shiftline.launch.predictions import predicted_classes
from shiftline.plan.jobs import Plan
from shiftline.report.tables import shift_table
from shiftline.store.artifacts import Store


def agreement_table(
    plan: Plan, store: Store, *, shifts: Sequence[str] | None, groups: Sequence[str] | None, scale: str
) -> pd.DataFrame:
    """Return estimated and measured accuracies: see `ExperimentManager.agreement`."""
    table = shift_table(plan, store)
    table = table[~table["published"]]
    known = list(dict.fromkeys(table["group"]))
    if unknown := [group for group in groups or () if group not in known]:
        raise AnalysisError(f"there is no group {unknown[0]!r}{near(unknown[0], known)} There are {', '.join(map(repr, known))}.")
    parts = []
    for shift in shifts_of(table, shifts):
        points = panel(table, shift)
        there = points.models[pd.notna(points.y.value) & pd.notna(points.x.value[:, 0])]
        chosen = there[there["group"].isin(groups or known)]
        rows = points.models.index.get_indexer(chosen.index)
        reference, shifted = predicted_classes(plan, store, shift, list(chosen.index))
        found = agreement_on_the_line(reference, shifted, points.x.value[rows, 0], scale=scale)
        found.insert(found.columns.get_loc("aline_d") + 1, "shifted", points.y.value[rows])
        parts.append(found.assign(shift=shift, group=chosen["group"].to_numpy()))
    whole = pd.concat(parts, ignore_index=True)
    return whole[["shift", "group", *(column for column in whole.columns if column not in ("shift", "group"))]]


def ood_selection(
    plan: Plan, store: Store, shift: str, *, shares: Sequence[float] | None, scale: str, level: float, seed: int
) -> Selected:
    """Return what OODSelect finds: see `ExperimentManager.ood_select`."""
    table = shift_table(plan, store)
    (shift,) = shifts_of(table, [shift])
    found = answers(plan, store)
    if shift not in found:
        raise AnalysisError(
            f"there are no stored answers on {shift!r}: its metric is no share of correct answers, or it was not run."
        )
    shifted = found[shift].shifted
    models = table.drop_duplicates("model").set_index("model").loc[list(shifted.models)]
    return ood_select(
        shifted,
        found[shift].reference.of(shifted.models).accuracies.tolist(),
        shares=SHARES if shares is None else shares,
        scale=scale,
        # Replicates and epochs of one recipe err alike.
        together=models["run"].tolist(),
        level=level,
        seed=seed,
    )
