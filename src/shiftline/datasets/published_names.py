"""Names that no library and no data set brings: templates of zero-shot tasks, readable class names."""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any


@functools.cache
def published_names() -> dict[str, Any]:
    """Return ``assets/names.json``: templates and class names, each with its source and licence."""
    text = importlib.resources.files("shiftline").joinpath("assets/names.json").read_text(encoding="utf-8")
    names: dict[str, Any] = json.loads(text)
    return names


def class_names(name: str) -> Any:
    """Return the readable class names of a data set, a list by label or a mapping from folder names."""
    return published_names()["classes"][name]["names"]
