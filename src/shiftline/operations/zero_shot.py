"""Zero-shot heads: the classifier that a vision-language model's text tower writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiftline.contracts.backbones import Backbone
from shiftline.contracts.models import Model, describe
from shiftline.contracts.require import require
from shiftline.errors import DeclarationError

if TYPE_CHECKING:
    from shiftline.engine.context import Context
    from shiftline.plan.facts import Facts, Head
    from shiftline.plan.jobs import Job
    from shiftline.store.artifacts import Draft

TEMPLATE_SETS = tuple(
    (
        "openai-imagenet simple-imagenet cars cifar10 cifar100 dtd eurosat fashion-mnist food101 gtsrb kitti mnist mtsd "
        "resisc45 stl10 sun397 svhn wilds-fmow wilds-iwildcam"
    ).split()
)
"""Sets of templates by name: the 80 for ImageNet of Radford et al. 2021 and their subset of 7, which open_clip brings, and
those of other data sets, each under the name of the set."""


class ZeroShot(Model):
    """A vision-language model with the head that its text tower writes (Radford et al. 2021).

    Parameters
    ----------
    model : Backbone
        ``open_clip(...)``, ``glyph_clip()``, or local weights of one.
    templates : sequence of str, or str
        Texts with one ``{}`` for the class name (``{a}`` for the name with a or an), or the name of a set: one of
        `shiftline.operations.zero_shot.TEMPLATE_SETS`.
    classes : sequence of (str or sequence of str), optional
        Names by label; a class may have several. The reference distribution's class names if left out.
    """

    tag = "zero-shot"
    kind = "zero-shot"
    model: Backbone
    templates: tuple[str, ...] | str = ("a photo of a {}.",)
    classes: tuple[str | tuple[str, ...], ...] | None = None

    def validate(self) -> None:
        require(
            isinstance(self.model, Backbone),
            f"ZeroShot(model=...) is a {type(self.model).__name__}: expected open_clip(...) or glyph_clip().",
        )
        if isinstance(self.templates, str):
            require(
                self.templates in TEMPLATE_SETS,
                f"ZeroShot.templates is {self.templates!r}: expected a list of texts with {{}} for the name, or the name of a "
                f"set: {', '.join(TEMPLATE_SETS)}.",
            )
        else:
            require(bool(self.templates), "ZeroShot.templates is empty: give at least one text with {} for the name.")
            for template in self.templates:
                require(
                    isinstance(template, str)
                    and template.count("{}") + template.count("{a}") == 1
                    and not set(template.replace("{}", "").replace("{a}", "")) & set("{}"),
                    f"the template {template!r} must hold exactly one {{}} for the class name ({{a}} for the name with a or an), "
                    "and no other braces.",
                )
        for row, names in enumerate(self.classes or ()):
            group = (names,) if isinstance(names, str) else names
            require(
                bool(group) and all(isinstance(n, str) and n.strip() for n in group),
                f"ZeroShot.classes[{row}] is {names!r}: every class needs at least one name.",
            )

    def seeded(self, seed: int) -> Model:
        return self

    def describe(self) -> str:
        return f"zero-shot({self.model})"

    def check(self, facts: Facts) -> None:
        if not facts.record(self.model).text:
            raise DeclarationError(
                f"{describe(self)}: {self.model} has no text tower to write a head with. Use open_clip(...) or "
                'glyph_clip(), or start a FineTune from it with head="random".'
            )
        facts.require_pretrained(self, self.model)

    def features_seen(self, facts: Facts) -> str:
        return "embedding"

    def head_made(self, facts: Facts) -> Head:
        names = _as_groups(facts.classes if self.classes is None else self.classes)
        return replace(facts.new_head(), count=len(names), classes=names, templates=self.templates)

    def identity(self, facts: Facts) -> dict[str, Any]:
        return {"classes": list(facts.classes) if self.classes is None else len(self.classes)}

    def encoder_identity(self) -> tuple[object, ...]:
        return ("backbone", self.model, "embedding")

    def produce(self, job: Job, draft: Draft, context: Context) -> None:
        """Write the image encoder with the head that the text tower gives for the study's classes."""
        import torch

        from shiftline.contracts.files import WEIGHTS
        from shiftline.networks.classifier import set_head
        from shiftline.networks.heads import zero_shot_head
        from shiftline.networks.pretrained import backbone_spec, encoder_state, text_model
        from shiftline.networks.spec import build_classifier, save_model

        reference = context.plan.study.reference.labelled
        names = _as_groups(self.classes or context.data.open(reference).record.classes)
        record = context.backbones[self.model]
        templates = template_set(self.templates) if isinstance(self.templates, str) else self.templates
        bare = backbone_spec(record, num_classes=len(names), features="embedding")
        spec = replace(bare, classes=names, templates=templates)
        with torch.random.fork_rng(devices=[]):
            classifier = build_classifier(spec)
            model, tokenizer = text_model(self.model, record)
        classifier.encoder.load_state_dict(encoder_state(self.model, record))
        set_head(classifier, *zero_shot_head(model.to(context.device), tokenizer, names, templates))
        save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
        draft.summary.update(classes=len(names), templates=len(templates))


def _as_groups(classes: Sequence[str | tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    return tuple((name,) if isinstance(name, str) else tuple(name) for name in classes)


def template_set(name: str) -> tuple[str, ...]:
    """Return a set of templates by its name in `TEMPLATE_SETS`."""
    from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

    from shiftline.datasets.published_names import published_names

    sets = {"openai-imagenet": OPENAI_IMAGENET_TEMPLATES, "simple-imagenet": SIMPLE_IMAGENET_TEMPLATES}
    if name in sets:
        return tuple(template("{}") for template in sets[name])
    return tuple(published_names()["templates"]["sets"][name])
