"""shiftline: distribution-shift robustness studies of image classifiers.

``import shiftline as sl`` gives every name of `__init__.pyi`, each loaded when it is first used: importing shiftline loads neither
torch nor pandas.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
# A star import must not hide the libraries of these names.
__all__ = sorted({*_names} - {"timm", "open_clip", "wilds"})
