"""Statistics of robustness on tidy tables. Never imports torch.

Names are those of `__init__.pyi`, each loaded when it is first used: a table needs no more than its intervals.

A tidy table has one row per model and distribution, with the columns ``model``, ``group``, ``distribution``, ``value``
(accuracy, a fraction) and where known ``n`` (number of examples), ``alpha``, ``epoch``, ``recipe`` and ``key``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
