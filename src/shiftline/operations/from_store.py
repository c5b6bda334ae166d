"""The model of any artifact of the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftline.contracts.codec import decode
from shiftline.contracts.distributions import Distribution
from shiftline.contracts.files import WEIGHTS, checkpoint_file
from shiftline.contracts.models import Model
from shiftline.contracts.records import BackboneRecord, data_identity
from shiftline.contracts.require import require, require_choice
from shiftline.data.sidecar import DataFolder
from shiftline.errors import DataError, DeclarationError, StoreError
from shiftline.plan.facts import Head

if TYPE_CHECKING:
    from shiftline.plan.facts import Facts
    from shiftline.plan.graph import Planner
    from shiftline.store.artifacts import Store


class FromStore(Model):
    """The model of any artifact of the store, by its key: another study's, or one that `shiftline import` took in.

    Parameters
    ----------
    key : str
        64 hexadecimal digits, as `shiftline results`, `shiftline explain` and `shiftline import` print it.
    after : int, optional
        A checkpoint of a training; left out, its last weights.
    epoch_or_step : str
        What `after` counts: "epoch" or "step".
    """

    tag = "from-store"
    key: str
    after: int | None = None
    epoch_or_step: str = "epoch"

    def validate(self) -> None:
        require(
            len(self.key) == 64 and set(self.key) <= set("0123456789abcdef"),
            f"FromStore({self.key!r}): expected a whole key, 64 hexadecimal digits, as `shiftline explain` and `shiftline "
            "import` print it.",
        )
        require_choice("FromStore.epoch_or_step", self.epoch_or_step, ("epoch", "step"))

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"stored({self.key[:12]}{f' @ {self.epoch_or_step} {self.after}' if self.after is not None else ''})"

    def named_keys(self) -> tuple[str, ...]:
        return (self.key,)

    @property
    def _file(self) -> str:
        return WEIGHTS if self.after is None else checkpoint_file(self.epoch_or_step, self.after)

    def stored_record(self, store: Store) -> BackboneRecord:
        """Return what is known of the model, from the header of its file.

        Raises
        ------
        StoreError
            The store has no such artifact, or it holds no model (after that epoch).
        """
        if not store.has(self.key):
            raise StoreError(
                f"{self.describe()}: the store {store.root} has no artifact {self.key[:12]}. Run the study that makes it, or take "
                "a file in: shiftline import FILE."
            )
        spec = model_header(store.file(self.key, self._file))
        return BackboneRecord(
            spec["library"],
            spec["architecture"],
            None,
            self.key,
            spec["preprocessing"],
            spec["features"] == "embedding",
            spec["arguments"],
            features=spec["features"],
            num_classes=spec["num_classes"],
            classes=tuple(tuple(c) if isinstance(c, list) else c for c in spec["classes"]),
            templates=tuple(spec["templates"]),
            data=data_behind(self.key, store),
            class_ids=tuple(spec.get("class_ids", ())) or _classes_trained_on(self.key, spec["num_classes"], store),
        )

    def trained_on(self, facts: Facts) -> tuple[Distribution, ...] | None:
        return facts.record(self).data

    def features_seen(self, facts: Facts) -> str:
        return str(facts.record(self).features)

    def head_made(self, facts: Facts) -> Head:
        record = facts.record(self)
        assert record.num_classes is not None
        # A head that a text tower wrote for these classes is in the order in which they were given.
        rows = facts.outputs(self, record.class_ids) if record.class_ids and not record.classes else None
        if rows is not None and rows != tuple(range(record.num_classes)):
            raise DeclarationError(
                f"{self.describe()}: its head was trained on other classes than the reference's, or on these in another "
                f"order ({', '.join(record.class_ids[:3])}, ... there, {', '.join(facts.labelled.ids[:3])}, ... here): put another "
                'head on it (a training with head="random"), or write the data with its classes.'
            )
        return Head(record.num_classes, record.classes, record.templates, is_verified=rows is not None or bool(record.classes))

    def form(self, planner: Planner) -> dict[str, Any]:
        return {"artifact": self.key} | ({} if self.after is None else {self.epoch_or_step: self.after})

    def parents(self, planner: Planner) -> list[str]:
        return [self.key]

    def location(self, artifacts: Mapping[Model, str]) -> tuple[str, str]:
        return self.key, self._file


def model_header(path: Path) -> dict[str, Any]:
    """Read how the model of a file is built, without torch: safetensors begins with its JSON and the JSON's length."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    spec: dict[str, Any] = json.loads(header["__metadata__"]["shiftline"])
    return spec


def _classes_trained_on(key: str, count: int, store: Store) -> tuple[str, ...]:
    """Return the classes of the data that the head of a stored model was trained on; none where these data are gone or disagree."""
    if not store.has(key):
        return ()
    document = store.manifest(key).document
    trained = document.get("data", {}).get("train_on")
    if trained is None:
        found = {_classes_trained_on(parent, count, store) for parent in document.get("parents", ())}
        return found.pop() if len(found) == 1 else ()
    try:
        distribution = decode(trained["of"])
        record = DataFolder(store.root / "data").open(distribution.source).record
    except (DataError, DeclarationError):
        return ()
    return record.ids if len(record.ids) == count and data_identity(distribution, record) == trained["fingerprint"] else ()


def data_behind(key: str, store: Store) -> tuple[Distribution, ...] | None:
    """Return every distribution that an artifact and its origins were trained or selected on; None for a file taken in."""
    found: dict[Distribution, None] = {}
    pending, seen = [key], set()
    while pending:
        key = pending.pop()
        if key in seen:
            continue
        seen.add(key)
        if not store.has(key):
            return None
        document = store.manifest(key).document
        if document["kind"] == "import":
            return None
        try:
            found.update(dict.fromkeys(decode(data["of"]) for data in document.get("data", {}).values()))
        except DeclarationError:
            return None  # A user's own class that is not there any more.
        pending += document["parents"]
    return tuple(found)
