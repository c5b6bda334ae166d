"""Exchanging models: artifacts as files that timm and open_clip load, and such files as artifacts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.contracts.files import WEIGHTS, checkpoint_file
from shiftline.contracts.identity import SCHEMA, digest
from shiftline.errors import StoreError
from shiftline.store.artifacts import Store
from shiftline.store.files import disk_errors, temporary_beside

if TYPE_CHECKING:
    from torch import Tensor

    from shiftline.networks.spec import ModelSpec


def export_artifact(
    store: Store, key: str, path: Path, *, after: int | None = None, say: Callable[[str], None] = lambda note: None
) -> str:
    """Write the model of an artifact as a library's own weights.

    Parameters
    ----------
    key : str
        Or its first digits; of a score or of predictions: their model is written.
    after : int, optional
        A saved epoch or step of a training.
    say : callable
        Is given a line where the key is not the model's own.

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

    from shiftline.networks.interchange import loading_code, to_library
    from shiftline.networks.spec import load_model

    if path.suffix != ".safetensors":
        raise StoreError(f"{path}: expected a name that ends in .safetensors, which is what is written and what libraries go by.")
    found = [name for name in store.complete() if name.startswith(key)]
    if len(found) != 1:
        what = "no artifact" if not found else f"{len(found)} artifacts"
        raise StoreError(f"the store {store.root} has {what} whose key starts with {key!r}: expected exactly one.")
    key, checkpoint = _model_behind(store, found[0])
    after = checkpoint if after is None else after
    if key != found[0]:
        at = "" if checkpoint is None else f", after {checkpoint}"
        say(f"{found[0][:12]} ({store.manifest(found[0]).kind}) belongs to the model {key[:12]} ({store.manifest(key).kind}{at})")
    files = store.manifest(key).files
    wanted = [WEIGHTS] if after is None else [checkpoint_file(unit, after) for unit in ("epoch", "step")]
    saved = [name for name in wanted if name in files]
    if not saved:
        models = [name for name in files if name == WEIGHTS or name.partition("-")[0] in ("epoch", "step")]
        raise StoreError(f"{key[:12]} ({store.manifest(key).kind}) has no such model: it has {', '.join(models) or 'none'}.")
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


def _model_behind(store: Store, key: str) -> tuple[str, int | None]:
    """Return the key of the model that an artifact is about, and the epoch or step of a checkpoint.

    Raises
    ------
    StoreError
        It is about a mixture of several models, whose weights are stored nowhere.
    """
    start, manifest = key, store.manifest(key)
    if manifest.kind == "score":
        key = manifest.document["parents"][0]
        manifest = store.manifest(key)
    form = manifest.document.get("model")
    if form is None:
        return key, None  # A model, or what else is no prediction of one network: its files say which.
    if "artifact" not in form:
        members = ", ".join(parent[:12] for parent in manifest.document["parents"])
        raise StoreError(
            f"{start[:12]} is of a mixture of several models ({members}), whose weights are stored nowhere: write one of them, or "
            "declare Materialize(mixture) as a model of its own."
        )
    return form["artifact"], form.get("epoch", form.get("step"))


def publish_model(store: Store, path: Path, state: Mapping[str, Tensor], spec: ModelSpec) -> str:
    """Publish a model that was read from a file; return its key."""
    from shiftline.networks.pretrained import weights_digest
    from shiftline.networks.spec import save_model

    document = {"schema": SCHEMA, "kind": "import", "weights": weights_digest(state), "spec": spec.as_json(), "parents": []}
    return publish_import(store, path, document, lambda folder: save_model(folder / WEIGHTS, state, spec))


def publish_import(store: Store, path: Path, document: Mapping[str, Any], write: Callable[[Path], None]) -> str:
    """Publish what was read from a file, unless it is there already; return its key."""
    key = digest(document)
    if not store.has(key):
        store.check_schema(SCHEMA)
        store.check_writable()
        with store.publish(key, "import", document) as draft:
            write(draft.folder)
            draft.summary.update(file=path.name)
    return key
