"""Vision-language models of open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone, NetworkNames
from shiftline.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shiftline.contracts.backbones import State, Tokenizer
    from shiftline.contracts.records import BackboneRecord
    from shiftline.networks.spec import ModelSpec


class OpenClip(Backbone):
    """A model of open_clip with pre-trained weights, for instance ``OpenClip("ViT-B-32", "openai")``.

    Parameters
    ----------
    name : str
        Architecture, as ``open_clip.list_models()`` has it; or a model of Hugging Face's hub whose architecture is one of these,
        ``"hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K"``, with ``@REVISION`` where another than main is meant.
    pretrained_on : str
        Tag of its weights, as ``open_clip.list_pretrained_tags_by_model(name)`` has it; empty for the hub's.
    """

    tag = "open-clip"
    library = "open_clip"
    text = True
    name: str
    pretrained_on: str = ""

    def names(self) -> NetworkNames:
        import open_clip

        from shiftline.networks.hub import is_hub_id
        from shiftline.networks.pretrained import closest

        if is_hub_id(self.name):
            return self._of_hub()
        known = open_clip.list_models()
        if self.name not in known:
            raise ModelError(f"open_clip has no model {self.name!r}: {closest(self.name, known)}")
        tags = open_clip.list_pretrained_tags_by_model(self.name)
        if self.pretrained_on not in tags:
            raise ModelError(
                f"open_clip has no weights {self.pretrained_on!r} for {self.name}: it has {', '.join(tags) or 'none'}."
            )
        settings = open_clip.get_pretrained_cfg(self.name, self.pretrained_on) or {}
        return self._named(self.name, self.pretrained_on, settings)

    def _of_hub(self) -> NetworkNames:
        import open_clip

        from shiftline.networks.hub import snapshot

        found = snapshot(self.name, "open_clip_config.json")
        wanted = found.config["model_cfg"]
        quick = bool(wanted.get("quick_gelu"))
        known = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
        alike = [
            name
            for name, config in known.items()
            if all(config[part] == wanted[part] for part in ("embed_dim", "vision_cfg")) and (quick or not config.get("quick_gelu"))
        ]
        if not alike:
            raise ModelError(f"{self.name} has an image tower that no architecture of open_clip has: only these are built.")
        # Several architectures may share an image tower.
        name = next((name for name in alike if known[name]["text_cfg"] == wanted.get("text_cfg")), alike[0])
        return self._named(name, found.name, {**found.config.get("preprocess_cfg", {}), "quick_gelu": quick})

    def _named(self, name: str, weights: str, settings: Mapping[str, Any]) -> NetworkNames:
        import open_clip

        from shiftline.networks.pretrained import squashed

        config = open_clip.get_model_config(name) or {}
        size = config["vision_cfg"]["image_size"]
        preprocessing = {
            "size": size if isinstance(size, int) else size[0],
            "mean": list(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN),
            "std": list(settings.get("std") or open_clip.OPENAI_DATASET_STD),
            "interpolation": settings.get("interpolation") or "bicubic",
            "crop": 1.0,
        } | squashed(self, settings.get("resize_mode") or "shortest")
        # OpenAI's weights need QuickGELU; open_clip knows it from the tag, a rebuilt model has to be told.
        arguments = {"quick_gelu": bool(config.get("quick_gelu") or settings.get("quick_gelu"))}
        # The features before the projection can be had of a transformer, not of CLIP's ResNets.
        unprojected = not isinstance(config["vision_cfg"].get("layers"), list)
        return NetworkNames(name, weights, preprocessing, arguments, unprojected)

    def load(self) -> dict[str, Tensor]:
        import open_clip

        from shiftline.networks.checkpoint import read_checkpoint
        from shiftline.networks.hub import is_hub_id, snapshot
        from shiftline.networks.pretrained import downloaded

        self.names()
        if is_hub_id(self.name):
            return read_checkpoint(snapshot(self.name, "open_clip_config.json").folder).state
        return downloaded(self, lambda: open_clip.create_model(self.name, pretrained=self.pretrained_on))

    @classmethod
    def encoder(cls, architecture: str, arguments: Mapping[str, Any], *, unprojected: bool) -> tuple[nn.Module, int]:
        import open_clip

        from shiftline.networks.pretrained import without_projection

        encoder = cls._whole(architecture, arguments).visual
        features = int(open_clip.get_model_config(architecture)["embed_dim"])
        return (encoder, without_projection(encoder, features, architecture)) if unprojected else (encoder, features)

    @classmethod
    def _whole(cls, architecture: str, arguments: Mapping[str, Any]) -> Any:
        import open_clip

        quick = bool(arguments.get("quick_gelu"))
        return open_clip.create_model(architecture, pretrained=None, force_quick_gelu=quick, load_weights=False)

    def text_model(self, record: BackboneRecord) -> tuple[nn.Module, Tokenizer]:
        import open_clip

        return self._whole(record.architecture, record.arguments), open_clip.get_tokenizer(record.architecture)

    # ---- exchanging files ----------------------------------------------------------------------------------------------

    @classmethod
    def export_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        """The image tower as ``visual.*``, and the head, which open_clip has no place for, as ``head.weight`` and ``head.bias``."""
        return {
            (f"visual.{name.removeprefix('encoder.')}" if name.startswith("encoder.") else name): tensor
            for name, tensor in state.items()
        }

    @classmethod
    def import_names(cls, state: State, spec: ModelSpec) -> dict[str, Tensor]:
        return {
            (f"encoder.{name.removeprefix('visual.')}" if name.startswith("visual.") else name): tensor
            for name, tensor in state.items()
        }

    @classmethod
    def loading_code(cls, spec: ModelSpec, path: str) -> str:
        import open_clip

        lines = [
            "import open_clip, torch",
            "from safetensors.torch import load_file",
            f"model = open_clip.create_model({spec.architecture!r}, pretrained=None, load_weights=False, "
            f"force_quick_gelu={bool(spec.arguments.get('quick_gelu'))})",
            f"state = load_file({path!r})",
        ]
        if spec.features == "backbone":
            # open_clip's own transformers have a parameter to project with, timm's towers a layer.
            own = "timm_model_name" not in open_clip.get_model_config(spec.architecture)["vision_cfg"]
            projection = "proj = None" if own else "head.proj = torch.nn.Identity()"
            lines.append(f"model.visual.{projection}  # The head sits on the features before the projection.")
        lines += ["model.load_state_dict(state, strict=False)", "features = model.eval().visual(images)"]
        if spec.features == "embedding":
            lines.append("features = torch.nn.functional.normalize(features, dim=-1)")
        return "\n".join([*lines, 'logits = features @ state["head.weight"].T + state["head.bias"]'])

    def __str__(self) -> str:
        return f"{self.name} {self.pretrained_on}".rstrip()


def open_clip(name: str, pretrained: str = "") -> OpenClip:
    """An open_clip model by architecture and pre-training tag, or of Hugging Face's hub (``"hf-hub:..."``)."""
    return OpenClip(name, pretrained)
