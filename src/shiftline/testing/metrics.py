"""The contract of metrics."""

from __future__ import annotations

from shiftline.contracts.metrics import Metric
from shiftline.testing.contract import as_contract_errors, require_contract
from shiftline.testing.declarations import check_declaration


def check_metric(metric: Metric, *, classes: int = 4, count: int = 200) -> None:
    """Check a metric on random predictions: shape and type, deterministic, blind to order, and its direction.

    Parameters
    ----------
    classes, count : int
        Of the random predictions.

    Raises
    ------
    ContractError
        It breaks the contract.
    """
    from dataclasses import replace

    import numpy as np

    from shiftline.engine.rehearsal import random_predictions

    require_contract(isinstance(metric, Metric), f"{metric!r} is no metric: give an object of a subclass of shiftline.Metric.")
    name = f"the metric {metric.name!r}"
    predictions = random_predictions(count, max(classes, metric.fewest_classes))
    before = predictions.logits.copy(), predictions.labels.copy()
    with as_contract_errors():
        measured = metric.measure(predictions)
    unchanged = np.array_equal(predictions.logits, before[0]) and np.array_equal(predictions.labels, before[1])
    require_contract(unchanged, f"{name} changed the predictions that it was given: work on a copy.")
    with as_contract_errors():
        again = metric.measure(predictions).value
        turned = metric.measure(predictions.kept(np.arange(count)[::-1])).value
    require_contract(again == measured.value, f"{name} gives {again} the second time, {measured.value} the first.")
    require_contract(
        bool(np.isclose(turned, measured.value, rtol=1e-6)),
        f"{name} depends on the order of the examples: {measured.value}, and {turned} in the reverse order.",
    )
    if metric.percent:
        require_contract(
            0 <= measured.value <= 1,
            f"{name} is {measured.value:g} and is shown as percent: return a fraction, or set percent = False and a unit.",
        )
    # Certain of the label, and certain of another class.
    hot = np.full_like(predictions.logits, -20.0)
    hot[np.arange(count), predictions.labels] = 20.0
    with as_contract_errors():
        perfect, worst = (metric.measure(replace(predictions, logits=certain)).value for certain in (hot, np.roll(hot, 1, axis=1)))
    direction = "higher" if metric.higher_is_better else "lower"
    require_contract(
        metric.best([perfect, worst]) == 0,
        f"{name} is {perfect:g} where every prediction is correct and {worst:g} where none is, and says that {direction} is "
        f"better: set higher_is_better = {not metric.higher_is_better}.",
    )
    check_declaration(metric)
