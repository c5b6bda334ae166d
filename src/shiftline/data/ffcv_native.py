"""FFCV's compiled functions, called by us.

FFCV's own package compiles a dictionary for seconds when it is imported, and sets torch to one thread for the whole process. Its
shared library needs neither, so that it is opened directly.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from ctypes import c_bool, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any


def library_path() -> Path | None:
    """Return FFCV's shared library, or None where FFCV is not installed. Nothing of it is imported."""
    spec = importlib.util.find_spec("ffcv")
    folders = [] if spec is None else [Path(folder).parent for folder in spec.submodule_search_locations or ()]
    return next((path for folder in folders for path in sorted(folder.glob("**/_libffcv*.so"))), None)


@functools.cache
def native_functions() -> tuple[Any, Any, Any]:
    """Return FFCV's functions that decode a JPEG, copy memory, and crop and resize.

    Raises
    ------
    ImportError
        FFCV is not installed, or its library cannot be loaded.
    """
    path = library_path()
    if path is None:
        raise ModuleNotFoundError("No module named 'ffcv'", name="ffcv")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ImportError(str(error)) from error
    decode, copy, resize = library.imdecode, library.my_memcpy, library.resize
    sides = [c_uint32] * 6
    decode.argtypes = [c_void_p, c_uint64, c_uint32, c_uint32, c_void_p, *sides, c_bool, c_bool]
    copy.argtypes = [c_void_p, c_void_p, c_uint64]
    resize.argtypes = [c_int64] * 11
    return decode, copy, resize
