"""Networks of timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone, NetworkNames
from shiftline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftline.contracts.backbones import State
    from shiftline.contracts.records import BackboneRecord
    from shiftline.networks.spec import ModelSpec

AVERAGED_HEADS = ("efficientformerv2",)
"""Architectures whose logits are the mean of two heads on the same features; others with two heads are refused."""


class Timm(Backbone):
    """A model of timm.

    Parameters
    ----------
    name : str
        Architecture (``"resnet50"``), pinned to timm's default tag when it is resolved, or full tag (``"resnet50.a1_in1k"``); or a
        model of Hugging Face's hub, ``"hf_hub:timm/resnet50.a1_in1k"``, with ``@REVISION`` where another than main is meant. What a
        hub's name stands for is pinned by the digest of its weights when it is resolved.
    """

    tag = "timm"
    library = "timm"
    classifies = True
    name: str

    def names(self) -> NetworkNames:
        import timm

        from shiftline.networks.hub import is_hub_id, snapshot
        from shiftline.networks.pretrained import closest

        if is_hub_id(self.name):
            found = snapshot(self.name, "config.json")
            name = str(found.config.get("architecture"))
            if name not in timm.list_models():
                raise ModelError(f"{self.name} is a {name!r}, which timm does not know: {closest(name, timm.list_models())}")
            return NetworkNames(name, found.name, self._preprocessing(found.config.get("pretrained_cfg", found.config)))
        name, _, tag = self.name.partition(".")
        known = timm.list_models()
        if name not in known:
            raise ModelError(f"timm has no model {name!r}: {closest(name, known)}")
        if tag:
            tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
            if tag not in tags:
                raise ModelError(f"timm has no weights {self.name!r}: {name} has the tags {', '.join(tags) or 'none'}.")
        config = timm.models.get_pretrained_cfg(f"{name}.{tag}" if tag else name, allow_unregistered=False)
        settings = config.to_dict() if config is not None else {}
        return NetworkNames(name, tag or settings.get("tag") or None, self._preprocessing(settings))

    def _preprocessing(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        from shiftline.networks.pretrained import squashed

        return {
            "size": (settings.get("input_size") or (3, 224, 224))[-1],
            "mean": list(settings.get("mean") or (0.485, 0.456, 0.406)),
            "std": list(settings.get("std") or (0.229, 0.224, 0.225)),
            "interpolation": settings.get("interpolation") or "bicubic",
            "crop": float(settings.get("crop_pct") or 0.875),
        } | squashed(self, settings.get("crop_mode") or "center")

    def load(self) -> dict[str, Tensor]:
        import timm

        from shiftline.networks.checkpoint import read_checkpoint
        from shiftline.networks.hub import is_hub_id, snapshot
        from shiftline.networks.pretrained import downloaded

        if is_hub_id(self.name):
            return read_checkpoint(snapshot(self.name, "config.json").folder).state
        names = self.names()
        full = f"{names.architecture}.{names.weights}" if names.weights else names.architecture
        return downloaded(self, lambda: timm.create_model(full, pretrained=True))

    def class_ids(self, count: int) -> tuple[str, ...]:
        from timm.data import ImageNetInfo, infer_imagenet_subset

        from shiftline.networks.checkpoint import classes_of_file
        from shiftline.networks.hub import is_hub_id, snapshot

        if is_hub_id(self.name) and len(named := classes_of_file(snapshot(self.name, "config.json").folder)) == count:
            return named
        subset = infer_imagenet_subset({"num_classes": count})
        return tuple(ImageNetInfo(subset).label_names()) if subset else ()

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        import timm

        encoder = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
        return encoder, encoder.head_hidden_size if hasattr(encoder, "head_hidden_size") else encoder.num_features

    @classmethod
    def heads(cls, record: BackboneRecord) -> tuple[str, ...]:
        import timm

        of_hub = record.weights is None or "@" in record.weights
        name = record.architecture if of_hub else f"{record.architecture}.{record.weights}"
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
        layers = config.to_dict().get("classifier") if config is not None else None
        if isinstance(layers, str):
            return (layers,)
        return tuple(layers or ()) if record.architecture.startswith(AVERAGED_HEADS) else ()

    # ---- exchanging files ----------------------------------------------------------------------------------------------

    @classmethod
    def whole(cls, spec: ModelSpec) -> tuple[nn.Module, str]:
        """Return timm's own model and the name of its classifier."""
        import timm
        import torch
        from torch import nn

        with torch.random.fork_rng(devices=[]):
            model = timm.create_model(spec.architecture, num_classes=spec.num_classes, **spec.arguments)
        classifier = model.pretrained_cfg.get("classifier")
        if not isinstance(classifier, str) or not isinstance(model.get_submodule(classifier), nn.Linear):
            raise ModelError(f"{spec.architecture} of timm has no linear classifier in one place: it cannot be exchanged.")
        return model, classifier

    @classmethod
    def export_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        model, classifier = cls.whole(spec)
        renamed = {
            (f"{classifier}.{name.removeprefix('head.')}" if name.startswith("head.") else name.removeprefix("encoder.")): tensor
            for name, tensor in state.items()
        }
        if set(renamed) != set(model.state_dict()):
            odd = sorted(set(renamed) ^ set(model.state_dict()))[0]
            raise ModelError(
                f"{spec.architecture} of timm puts more than a linear layer after its features ({odd!r}): it cannot be exported."
            )
        return renamed

    @classmethod
    def import_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        classifier = f"{cls.whole(spec)[1]}."
        return {
            (f"head.{name.removeprefix(classifier)}" if name.startswith(classifier) else f"encoder.{name}"): tensor
            for name, tensor in state.items()
        }

    @classmethod
    def loading_code(cls, spec: ModelSpec, path: str) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in spec.arguments.items())
        return (
            f"import timm\nmodel = timm.create_model({spec.architecture!r}, num_classes={spec.num_classes}{arguments}, "
            f"checkpoint_path={path!r}).eval()\nlogits = model(images)"
        )

    def __str__(self) -> str:
        return self.name


def timm(name: str) -> Timm:
    """A timm model by name; a name without a tag is pinned to timm's default tag when it is resolved."""
    return Timm(name)
