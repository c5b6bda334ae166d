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
        Architecture, as ``open_clip.list_models()`` has it.
    pretrained_on : str
        Tag of its weights, as ``open_clip.list_pretrained_tags_by_model(name)`` has it.
    """

    tag = "open-clip"
    library = "open_clip"
    text = True
    name: str
    pretrained_on: str

    def names(self) -> NetworkNames:
        import open_clip

        from shiftline.networks.pretrained import closest, squashed

        known = open_clip.list_models()
        if self.name not in known:
            raise ModelError(f"open_clip has no model {self.name!r}: {closest(self.name, known)}")
        tags = open_clip.list_pretrained_tags_by_model(self.name)
        if self.pretrained_on not in tags:
            raise ModelError(
                f"open_clip has no weights {self.pretrained_on!r} for {self.name}: it has {', '.join(tags) or 'none'}."
            )
        settings = open_clip.get_pretrained_cfg(self.name, self.pretrained_on) or {}
        config = open_clip.get_model_config(self.name) or {}
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
        return NetworkNames(self.name, self.pretrained_on, preprocessing, arguments, unprojected)

    def load(self) -> dict[str, Tensor]:
        import open_clip

        from shiftline.networks.pretrained import downloaded

        self.names()
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

        return self._whole(self.name, record.arguments), open_clip.get_tokenizer(self.name)

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
        return f"{self.name} {self.pretrained_on}"


def open_clip(name: str, pretrained: str) -> OpenClip:
    """An open_clip model by architecture and pre-training tag."""
    return OpenClip(name, pretrained)
