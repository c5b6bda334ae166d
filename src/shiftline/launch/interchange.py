"""Exchanging models: artifacts as files that timm and open_clip load, and such files as artifacts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from shiftline.declare.architectures import Leaf
from shiftline.errors import ModelError, StoreError
from shiftline.identity import SCHEMA, digest
from shiftline.store.artifacts import Store
from shiftline.store.files import disk_errors, temporary_beside
from shiftline.store.names import WEIGHTS, checkpoint_file

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.models.spec import ModelSpec


def export_artifact(store: Store, key: str, path: Path, *, after: int | None = None) -> str:
    """Write the model of an artifact as a library's own weights.

    Parameters
    ----------
    key : str
        Or its first digits.
    after : int, optional
        A saved epoch or step of a training.

    Returns
    -------
    str
        The Python that loads the file without shiftline.

    Raises
    ------
    StoreError
        There is no such artifact, several, or it holds no model.
    ModelError
        The architecture is not a library's.
    """
    from safetensors.torch import save_file

    from shiftline.models.interchange import loading_code, to_library
    from shiftline.models.spec import load_model

    if path.suffix != ".safetensors":
        raise StoreError(
            f"{path}: expected a name that ends in .safetensors, which is what is written and what libraries go by."
        )
    found = [name for name in store.complete() if name.startswith(key)]
    if len(found) != 1:
        what = "no artifact" if not found else f"{len(found)} artifacts"
        raise StoreError(f"the store {store.root} has {what} whose key starts with {key!r}: expected exactly one.")
    (key,) = found
    files = store.manifest(key).files
    wanted = [WEIGHTS] if after is None else [checkpoint_file(unit, after) for unit in ("epoch", "step")]
    saved = [name for name in wanted if name in files]
    if not saved:
        models = [name for name in files if name == WEIGHTS or name.partition("-")[0] in ("epoch", "step")]
        raise StoreError(
            f"{key[:12]} ({store.manifest(key).kind}) has no such model: it has {', '.join(models) or 'none'}."
        )
    state, spec = load_model(store.file(key, saved[0]))
    tensors = to_library(state, spec)
    with disk_errors(path.parent):
        temporary = temporary_beside(path)
        try:
            save_file(tensors, temporary, metadata={"shiftline": spec.to_json(), "format": "pt"})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return loading_code(spec, path)


def import_file(store: Store, path: Path, *, architecture: str | None = None) -> str:
    """Publish the model of a file as an artifact.

    Returns
    -------
    str
        Its key, a function of the weights and of how the model is built: importing twice gives one artifact.

    Raises
    ------
    ModelError
        The file is damaged, a pickle of objects, or not of the architecture.
    """
    from shiftline.models.interchange import from_library

    return _publish(store, path, *from_library(path, architecture))


def import_classifier(store: Store, path: Path, leaf: Leaf | None = None) -> str:
    """Publish the classifier of a file that the WiSE-FT paper's program, or `shiftline wise-ft --save`, wrote.

    Parameters
    ----------
    leaf : Leaf, optional
        Which CLIP it is, for a file that does not say; one of OpenAI's by its shapes unless given.

    Raises
    ------
    ModelError
        The file is damaged, of another CLIP, or has no head.
    """
    from shiftline.models.interchange import from_library, says_what_it_is
    from shiftline.models.originals import read_classifier

    if says_what_it_is(path):
        return _publish(store, path, *from_library(path, None))
    state, spec, headed = read_classifier(path, leaf)
    if not headed:
        raise ModelError(
            f"{path} has no head: expected a classifier. Encoders alone are patched: shiftline patch --load."
        )
    return _publish(store, path, state, spec)


def import_encoder(store: Store, path: Path, leaf: Leaf | None = None) -> str:
    """Publish the image tower of a file, under whatever head it has: what is wanted gets one of its own."""
    from shiftline.models.interchange import from_library, says_what_it_is
    from shiftline.models.originals import read_classifier

    state, spec = from_library(path, None) if says_what_it_is(path) else read_classifier(path, leaf)[:2]
    return _publish(store, path, state, spec)


def import_fisher(store: Store, path: Path) -> str:
    """Publish Fisher information of a file that `shiftline fisher`, or the WiSE-FT paper's program, wrote; return its key.

    Raises
    ------
    ModelError
        The file is damaged, or holds something else.
    """
    from safetensors.torch import save_file

    from shiftline.jobs.fisher import FISHER
    from shiftline.models.leaves import weights_digest
    from shiftline.models.originals import read_fisher

    information = read_fisher(path)
    document = {"schema": SCHEMA, "kind": "import", "fisher": weights_digest(information), "parents": []}
    key = digest(document)
    if not store.has(key):
        store.check_writable()
        with store.publish(key, "import", document) as draft:
            save_file(information, draft.folder / FISHER)
            draft.summary.update(file=path.name)
    return key


def _publish(store: Store, path: Path, state: dict[str, Tensor], spec: ModelSpec) -> str:
    from shiftline.models.leaves import weights_digest
    from shiftline.models.spec import save_model

    document = {
        "schema": SCHEMA, "kind": "import", "weights": weights_digest(state), "spec": dataclasses.asdict(spec), "parents": [],
    }  # fmt: skip
    key = digest(document)
    if not store.has(key):
        store.check_writable()
        with store.publish(key, "import", document) as draft:
            save_model(draft.folder / WEIGHTS, state, spec)
            draft.summary.update(file=path.name)
    return key
