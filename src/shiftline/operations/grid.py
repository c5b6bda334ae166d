"""Grids of recipes: every combination of some settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shiftline.contracts.models import Model
from shiftline.contracts.require import require


def grid(recipe: Callable[..., Model], **settings: Iterable[object]) -> list[Model]:
    """Call `recipe` with every combination of settings.

    Keys joined by a double underscore are tied: they change together.

    >>> import shiftline as sl
    >>> runs = grid(lambda lr, epochs, seed: sl.FromScratch(sl.glyph_net("mlp"), optimizer=sl.SGD(lr=lr), epochs=epochs, seed=seed),
    ...             lr__epochs=[(0.1, 4), (0.2, 8)], seed=[0, 1])
    >>> [(run.optimizer.lr, run.epochs, run.seed) for run in runs]
    [(0.1, 4, 0), (0.1, 4, 1), (0.2, 8, 0), (0.2, 8, 1)]
    """
    combinations: list[dict[str, object]] = [{}]
    for name, values in settings.items():
        keys, values = name.split("__"), tuple(values)
        extended = []
        for chosen in combinations:
            for value in values:
                tied = (value,) if len(keys) == 1 else tuple(value)  # type: ignore[arg-type]
                require(
                    len(tied) == len(keys),
                    f"grid({name}=...): {value!r} has {len(tied)} values for the {len(keys)} tied keys {', '.join(keys)}.",
                )
                extended.append(chosen | dict(zip(keys, tied, strict=True)))
        combinations = extended
    return [recipe(**chosen) for chosen in combinations]
