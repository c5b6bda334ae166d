"""What planning knows about data and weights, read from small JSON records and never from the data itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shiftline.contracts.distributions import Distribution
from shiftline.contracts.label_spaces import LabelSpace
from shiftline.contracts.metrics import Metric, metric_named
from shiftline.contracts.require import counted
from shiftline.errors import DeclarationError


@dataclass(frozen=True)
class SplitRecord:
    """What is known of a written split.

    Attributes
    ----------
    fingerprint : str
        sha256 over the content, independent of file layout.
    count : int
        Number of examples.
    classes : tuple of str
        Class names in the order of the labels.
    class_counts : tuple of int
        Examples per class.
    class_ids : tuple of str
        What relates the classes to those of other data sets: WordNet ids for ImageNet's; the names where there are none.
    space : LabelSpace or None
        How its classes cover those of the reference that it is a shift of, where the data set says so.
    metrics : tuple of str
        Its official metrics, the one to report first; accuracy where it says nothing.
    metadata : str
        sha256 of the examples' metadata; scores that read groups depend on it.
    grouped : bool
        Every example has a group.
    subsets : tuple of str
        Disjoint subsets of the data set that it consists of: two splits that name a common one share examples.
    listing : str
        Digest of the files that a held-out split was cut from; splits of different listings may share examples.
    shares : mapping of (str, str) to int
        Examples that are, by content, also in another split of the data set, by its name and fingerprint.
    is_sorted : bool
        The examples are in the order of their classes: a range of ids is some classes.
    """

    fingerprint: str
    count: int
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    class_ids: tuple[str, ...] = ()
    space: LabelSpace | None = None
    metrics: tuple[str, ...] = ()
    metadata: str = ""
    grouped: bool = False
    subsets: tuple[str, ...] = ()
    listing: str = ""
    shares: Mapping[tuple[str, str], int] = field(default_factory=dict)
    is_sorted: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """The class identifiers: the names where there are no others."""
        return self.class_ids or self.classes

    def rows_in(self, head: Sequence[str]) -> tuple[int, ...] | None:
        """Return the output of a head for each class: by identifier, or by name.

        Parameters
        ----------
        head : sequence of str
            Identifiers of its outputs.

        Returns
        -------
        tuple of int, or None
            None where neither identifiers nor names meet: nothing can be known of the order.

        Raises
        ------
        DeclarationError
            Some classes are among the head's and others are not.
        """
        row_of = {class_id: row for row, class_id in enumerate(head)}
        for own in (self.ids, self.classes):
            if tuple(head) == tuple(own):
                return tuple(range(len(own)))
            if len(row_of) < len(head) or len(set(own)) < len(own):
                continue  # A name that stands twice says nothing of an order.
            absent = [class_id for class_id in own if class_id not in row_of]
            if not absent:
                return tuple(row_of[class_id] for class_id in own)
            if len(absent) < len(own):
                raise DeclarationError(
                    f"its head knows {counted(len(own) - len(absent), 'class', 'classes')} of the reference's {len(own)}, and not "
                    f"{', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''}: its own are {', '.join(head[:3])}, ..."
                )
        return None

    def official_metrics(self) -> tuple[Metric, ...]:
        """Return the data set's official metrics, the one to report first."""
        return tuple(metric_named(name, where="the data") for name in self.metrics)


def data_identity(distribution: Distribution, record: SplitRecord) -> str:
    """Return what identifies the data of a distribution: their fingerprint, and their metadata where groups select examples."""
    return f"{record.fingerprint} {record.metadata}" if distribution.reads_groups else record.fingerprint


@dataclass(frozen=True)
class BackboneRecord:
    """What is known of an architecture and its weights, resolved once; or of a stored model, from its header.

    Attributes
    ----------
    library : str
        "timm", "open_clip" or "shiftline".
    architecture : str
    weights : str or None
        Full tag of the pre-trained weights.
    sha256 : str or None
        Digest of the pre-trained weights (names, shapes, dtypes, values).
    preprocessing : mapping
        size (pixels), mean, std (per channel, of [0, 1] pixels), interpolation, crop (share of the short side); squash where
        images are squashed to a square.
    text : bool
        There is a text tower, so that a zero-shot head can be written; features are then normalised before a head.
    arguments : mapping
        What a tag implies for the architecture: ``quick_gelu`` for open_clip.
    unprojected : bool
        The features before the projection can be had; only some vision-language models cannot give them.
    features : str or None
        Of a model known by its key: what its head sees. The fields below are such a model's too.
    num_classes : int or None
    classes, templates : tuple
        What its head was written with; empty for a head that was trained.
    class_ids : tuple of str
        What the outputs of its head mean, by the identifiers of classes; empty where nobody says.
    data : tuple of Distribution, or None
        What it and its origins were trained and selected on; None where nobody knows (a file that was taken in).
    """

    library: str
    architecture: str
    weights: str | None
    sha256: str | None
    preprocessing: Mapping[str, Any]
    text: bool
    arguments: Mapping[str, Any]
    unprojected: bool = True
    features: str | None = None
    num_classes: int | None = None
    classes: tuple[Any, ...] = ()
    templates: tuple[str, ...] = ()
    data: tuple[Any, ...] | None = ()
    class_ids: tuple[str, ...] = ()

    def network(self) -> tuple[str, str, dict[str, Any]]:
        """Who builds the network, under which name, and how: what two models share whose weights can be mixed."""
        return self.library, self.architecture, dict(self.arguments)

    def architecture_identity(self) -> dict[str, Any]:
        """The part that a model trained from scratch depends on."""
        names = {"library": self.library, "architecture": self.architecture}
        return names | {"arguments": dict(self.arguments), "preprocessing": dict(self.preprocessing)}

    def identity(self) -> dict[str, Any]:
        """The part that a model with these weights depends on: content, not tag."""
        return self.architecture_identity() | {"sha256": self.sha256, "text": self.text}

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"preprocessing": dict(self.preprocessing), "arguments": dict(self.arguments)}
