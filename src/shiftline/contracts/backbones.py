"""Backbones: architectures and pre-trained weights, by name. `shiftline.backbones` has the built-in ones.

A backbone says what is wanted; resolving it (once, `shiftline.networks.pretrained`) stores the full tag, the sha256 of the
weights and the preprocessing, and planning reads that record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from shiftline.contracts.identity import Declaration
from shiftline.contracts.plugins import classes_in, installed, modules_of
from shiftline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftline.contracts.records import BackboneRecord
    from shiftline.networks.spec import ModelSpec

    State = Mapping[str, Tensor]
    Tokenizer = Callable[..., Tensor]


@dataclass(frozen=True)
class NetworkNames:
    """What a library knows a network by.

    Attributes
    ----------
    architecture : str
    weights : str or None
        Full tag of the pre-trained weights.
    preprocessing : mapping
        See `shiftline.contracts.records.BackboneRecord`.
    arguments : mapping
        What a tag implies for the architecture: ``quick_gelu`` for open_clip.
    unprojected : bool
        The features before the projection of a vision-language model can be had.
    """

    architecture: str
    weights: str | None
    preprocessing: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unprojected: bool = True


class Backbone(Declaration):
    """Base of architectures and pre-trained weights.

    Attributes
    ----------
    library : str
        Who builds the network; stored weights name it, so that they can be rebuilt.
    pretrained : bool
        It brings weights.
    text : bool
        It has a text tower, so that a zero-shot head can be written.
    classifies : bool
        Its weights may hold a linear classifier of their own.
    """

    library: ClassVar[str] = ""
    pretrained: ClassVar[bool] = True
    text: ClassVar[bool] = False
    classifies: ClassVar[bool] = False

    @property
    def base(self) -> Backbone:
        """The architecture, where weights are named beside it; the backbone itself for others."""
        return self

    def names(self) -> NetworkNames:
        """Look the network up in its library.

        Raises
        ------
        ModelError
            The name is unknown: the closest ones are listed.
        """
        raise NotImplementedError

    def load(self) -> dict[str, Tensor]:
        """Return the pre-trained weights as they are stored.

        Raises
        ------
        ModelError
            There are none, or they cannot be had.
        """
        raise ModelError(f"{self} has no pre-trained weights.")

    def class_ids(self, count: int) -> tuple[str, ...]:
        """Return the identifiers of the classes of the head in its weights, in the order of its outputs; empty where nobody says.

        Parameters
        ----------
        count : int
            Outputs of the head.
        """
        return ()

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        """Build an encoder with random weights; return it with the number of its features.

        Parameters
        ----------
        unprojected : bool
            Leave the projection of a vision-language model out.
        """
        raise NotImplementedError

    def text_model(self, record: BackboneRecord) -> tuple[nn.Module, Tokenizer]:
        """Build the whole vision-language model with random weights, and its tokenizer."""
        raise ModelError(f"{self} has no text tower: expected open_clip(...) or glyph_clip().")

    @classmethod
    def heads(cls, record: BackboneRecord) -> tuple[str, ...]:
        """Return the names of the linear classifiers in pre-trained weights, whose logits are averaged."""
        return ()

    @classmethod
    def export_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        """Return our weights under the library's names."""
        raise ModelError(
            f"{spec.architecture} is no architecture of timm or open_clip: nothing but shiftline could load an export. Its "
            "artifact is a safetensors file already."
        )

    @classmethod
    def import_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        """Return a library's weights under our names."""
        return dict(state)

    @classmethod
    def loading_code(cls, spec: ModelSpec, path: str) -> str:
        """Return the Python that loads an exported file with the library alone."""
        raise NotImplementedError


def library_named(name: str) -> type[Backbone]:
    """Return the class whose library built a network.

    Raises
    ------
    ModelError
        There is none.
    """
    libraries = {
        cls.library: cls for cls in classes_in((*modules_of("backbones"), *installed()), Backbone) if "library" in vars(cls)
    }
    if name not in libraries:
        raise ModelError(f"the library {name!r} is unknown: expected one of {', '.join(sorted(libraries))}.")
    return libraries[name]
