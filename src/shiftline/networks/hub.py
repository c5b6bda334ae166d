"""Models of Hugging Face's hub: ``hf_hub:ORGANISATION/NAME``, at a commit, from its cache where there is no network."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from shiftline.errors import ModelError
from shiftline.networks.checkpoint import SNAPSHOT

PREFIXES = ("hf_hub:", "hf-hub:")
"""timm's and open_clip's."""


class Snapshot(NamedTuple):
    """A model's files at a commit.

    Attributes
    ----------
    folder : Path
    name : str
        ``ORGANISATION/NAME@COMMIT``, which names it for ever.
    config : dict
    """

    folder: Path
    name: str
    config: dict[str, Any]


def is_hub_id(name: str) -> bool:
    """A model is named by where it is on the hub."""
    return name.startswith(PREFIXES)


@functools.cache
def snapshot(name: str, config: str) -> Snapshot:
    """Return the files of a model of the hub, downloaded where they are not in its cache.

    Parameters
    ----------
    name : str
        ``hf_hub:ORGANISATION/NAME``, with ``@REVISION`` for a branch, tag or commit; main unless given.
    config : str
        Name of its configuration file.

    Raises
    ------
    ModelError
        It cannot be had, or lacks the configuration.
    """
    from huggingface_hub import snapshot_download

    where, _, revision = name.partition(":")[2].partition("@")
    patterns = ["*.json", *SNAPSHOT, "model-*.safetensors"]
    try:
        # Where the hub cannot be reached it returns what is in the cache.
        folder = Path(snapshot_download(where, revision=revision or None, allow_patterns=patterns))
    except Exception as error:
        raise ModelError(
            f"{name} cannot be had ({type(error).__name__}: {str(error).splitlines()[0][:160]}). Without a network, fetch it "
            "elsewhere (`hf download`) and point HF_HUB_CACHE at the folder, or declare LocalWeights(...)."
        ) from error
    path = folder / config
    if not path.is_file():
        raise ModelError(f"{name} has no {config}: it is no model of this library. Name one that has it.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is damaged: expected JSON.") from error
    # The cache names a snapshot's folder by its commit.
    return Snapshot(folder, f"{where}@{folder.name}", document)
