"""Models: rebuilt from their own metadata, zero-shot heads by the formula, and the shipped CLIP as it claims."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from miniatures import arrays_of
from shiftline import LocalWeights, glyph_clip, glyph_net, open_clip, timm
from shiftline.datasets.digits import HandwrittenDigits, TypedDigits
from shiftline.errors import ModelError
from shiftline.networks.classifier import set_head
from shiftline.networks.glyph_clip import ASSET, DIGIT_NAMES, PLAIN_TEMPLATES, build_glyph_clip, glyph_tokenizer
from shiftline.networks.heads import zero_shot_head
from shiftline.networks.preprocessing import prepare
from shiftline.networks.pretrained import backbone_spec, encoder_state, resolve, text_model, weights_digest
from shiftline.networks.spec import ModelSpec, build_classifier, load_model, save_model

BACKBONES = [glyph_net("linear"), glyph_net("trunk"), glyph_clip(), timm("resnet18"), timm("test_vit"), timm("test_convnext")]


def spec_of(backbone, *, features="embedding", num_classes=7):
    record = resolve(backbone, with_weights=False)
    return backbone_spec(record, num_classes=num_classes, features=features)


@pytest.mark.parametrize("backbone", BACKBONES, ids=str)
def test_a_stored_model_is_rebuilt_from_its_metadata_alone(backbone, tmp_path):
    spec = spec_of(backbone)
    model = build_classifier(spec).eval()
    save_model(tmp_path / "m.safetensors", model.state_dict(), spec)
    state, found = load_model(tmp_path / "m.safetensors")
    assert found == spec
    again = build_classifier(found).eval()
    again.load_state_dict(state)
    x = torch.randn(2, 3, spec.preprocessing["size"], spec.preprocessing["size"])
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        assert again(x).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_quick_gelu_is_kept_without_the_tag(name, tmp_path, caplog):
    """OpenAI's weights need QuickGELU; a rebuilt model must not fall back to GELU."""
    spec = spec_of(open_clip(name, "openai"))
    assert spec.arguments == {"quick_gelu": True}
    assert spec.features == "embedding"
    model = build_classifier(spec).eval()
    save_model(tmp_path / "m.safetensors", model.state_dict(), spec)
    state, found = load_model(tmp_path / "m.safetensors")
    again = build_classifier(found).eval()
    again.load_state_dict(state)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
    other = resolve(open_clip("ViT-B-32", "laion2b_s34b_b79k"), with_weights=False)
    assert backbone_spec(other, num_classes=2, features="embedding").arguments == {"quick_gelu": False}


@pytest.mark.slow
def test_an_open_clip_model_from_a_local_file_gives_its_own_logits(tmp_path, caplog):
    import open_clip as library

    original = library.create_model("RN50", pretrained=None, force_quick_gelu=True, load_weights=False).eval()
    torch.save(original.state_dict(), tmp_path / "rn50.pt")
    backbone = LocalWeights(open_clip("RN50", "openai"), tmp_path / "rn50.pt")
    record = resolve(backbone, with_weights=True)
    assert record.sha256 == weights_digest(original.state_dict())
    classifier = build_classifier(backbone_spec(record, num_classes=3, features="embedding")).eval()
    classifier.encoder.load_state_dict(encoder_state(backbone, record))
    model, tokenizer = text_model(backbone, record)
    names = [("dog",), ("cat", "kitten"), ("car",)]
    set_head(classifier, *zero_shot_head(model, tokenizer, names, ["a photo of a {}."]))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        image = torch.nn.functional.normalize(original.encode_image(images), dim=-1)
        rows = []
        for group in names:
            texts = library.get_tokenizer("RN50")([f"a photo of a {name}." for name in group])
            mean = torch.nn.functional.normalize(original.encode_text(texts), dim=-1).mean(0)
            rows.append(mean / mean.norm())
        expected = original.logit_scale.exp() * image @ torch.stack(rows).T
        torch.testing.assert_close(classifier(images), expected, rtol=1e-4, atol=1e-4)


def test_a_timm_model_from_a_local_file_gives_its_own_features(tmp_path):
    import timm as library
    from safetensors.torch import save_file

    original = library.create_model("resnet18", pretrained=False).eval()
    save_file(original.state_dict(), tmp_path / "r.safetensors")
    backbone = LocalWeights(timm("resnet18"), tmp_path / "r.safetensors")
    classifier = build_classifier(spec_of(backbone)).eval()
    classifier.encoder.load_state_dict(encoder_state(backbone, resolve(backbone, with_weights=True)))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = original.forward_head(original.forward_features(x), pre_logits=True)
        assert torch.equal(classifier.features(x), expected)


def test_the_shipped_clip_has_the_accuracy_that_its_metadata_claims():
    with safe_open(ASSET, framework="pt") as file:
        claimed = json.loads(file.metadata()["shiftline"])["accuracies"]
    assert ASSET.stat().st_size < 1_000_000
    model, tokenizer = text_model(glyph_clip(), resolve(glyph_clip(), with_weights=True))
    weights, _ = zero_shot_head(model, tokenizer, [(f"digit {name}",) for name in DIGIT_NAMES], PLAIN_TEMPLATES)
    preprocessing = resolve(glyph_clip(), with_weights=False).preprocessing
    for name, arrays in (
        ("handwritten/test", arrays_of(HandwrittenDigits, "test")),
        ("typed (held-out fonts)", arrays_of(TypedDigits, "test")),
    ):
        images = prepare(torch.from_numpy(arrays.images).permute(0, 3, 1, 2), preprocessing)
        with torch.no_grad():
            features = torch.nn.functional.normalize(model.visual(images), dim=-1)
        accuracy = float(((features @ weights.T).argmax(1).numpy() == arrays.labels).mean())
        # One image may fall the other way on another processor.
        assert abs(accuracy - claimed[name]) <= 2 / len(arrays.labels)


def test_a_zero_shot_head_is_the_formula():
    model, tokenizer = build_glyph_clip().eval(), glyph_tokenizer()
    classes, templates = [("digit one",), ("digit two", "letter a")], ["a photo of the {}", "the {}"]
    found, _ = zero_shot_head(model, tokenizer, classes, templates)
    with torch.no_grad():
        for row, names in zip(found, classes, strict=True):
            total = torch.zeros(64)
            for name in names:
                for template in templates:
                    text = model.encode_text(tokenizer([template.format(name)]))[0]
                    total += text / text.norm()
            expected = model.logit_scale.exp() * total / total.norm()
            torch.testing.assert_close(row, expected)


def test_the_tokenizer_keeps_the_order_of_clips_ids_and_refuses_unknown_words():
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer, full = glyph_tokenizer(), SimpleTokenizer()
    rows = tokenizer(["the digit seven", "a photo of the capital letter k"])
    assert rows.shape == (2, 16)
    assert (rows.argmax(1) == torch.tensor([4, 8])).all()
    ours, theirs = rows[0][:5].tolist(), full(["the digit seven"])[0][:5].tolist()
    assert np.argsort(ours).tolist() == np.argsort(theirs).tolist()
    with pytest.raises(ModelError, match="does not know the word 'dog'"):
        tokenizer("a photo of a dog")
    with pytest.raises(ModelError, match="reads at most 16"):
        tokenizer("the " * 20)


def test_a_digest_of_weights_depends_on_names_values_types_and_shapes():
    base = {"a": torch.arange(6.0)}
    others = [
        {"b": torch.arange(6.0)},
        {"a": torch.arange(6.0) + 1},
        {"a": torch.arange(6.0).half()},
        {"a": torch.arange(6.0).reshape(2, 3)},
    ]
    digests = [weights_digest(s) for s in (base, *others)]
    assert len(set(digests)) == 5
    assert weights_digest({"a": torch.arange(6.0)}) == digests[0]


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (timm("resnet51"), "no model 'resnet51': did you mean .*resnet50"),
        (timm("resnet50.a9"), "resnet50 has the tags .*a1_in1k"),
        (open_clip("ViT-B-33", "openai"), "no model 'ViT-B-33': did you mean ViT-B-32"),
        (open_clip("ViT-B-32", "openaii"), "no weights 'openaii' for ViT-B-32: it has openai"),
    ],
)
def test_unknown_names_come_with_the_closest_ones(backbone, message):
    with pytest.raises(ModelError, match=message):
        resolve(backbone, with_weights=False)


def test_a_loose_name_is_pinned_to_its_full_tag():
    assert resolve(timm("resnet18"), with_weights=False).weights == "a1_in1k"


def test_weights_that_cannot_be_downloaded_say_what_to_do():
    with pytest.raises(ModelError, match=r"cannot be had .*LocalWeights\(architecture, path\)"):
        resolve(timm("resnet18"), with_weights=True)


class _Payload:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_bytes(b"junk"), "is damaged|not a plain state dict"),
        (lambda p: torch.save(_Payload(), p), "pickle of objects can run code"),
        (lambda p: torch.save([1, 2], p), "holds no state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bad_local_weights_are_refused(tmp_path, write, message, suffix, capsys):
    path = tmp_path / f"w{suffix}"
    write(path)
    if suffix == ".safetensors" and path.exists():
        message = "is damaged"
    with pytest.raises(ModelError, match=message):
        resolve(LocalWeights(glyph_net("mlp"), path), with_weights=True)
    assert "code ran" not in capsys.readouterr().out


def test_damaged_and_foreign_model_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="no shiftline metadata"):
        load_model(tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "foreign.safetensors").read_bytes()[:20])
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_model(tmp_path / "cut.safetensors")


def test_nan_weights_are_not_stored(tmp_path):
    spec = ModelSpec("shiftline", "mlp", {}, "plain", 2, {})
    with pytest.raises(ModelError, match="'w' hold NaN"):
        save_model(tmp_path / "m.safetensors", {"w": torch.tensor([float("nan")])}, spec)


def test_preprocessing_is_torchvisions():
    from PIL import Image
    from torchvision import transforms

    rng = np.random.default_rng(0)
    pixels = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60), Image.Resampling.BICUBIC))
    settings = {"size": 24, "crop": 0.75, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.1], "interpolation": "bicubic"}
    reference = transforms.Compose(
        [
            transforms.Resize(32, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(24),
            transforms.ToTensor(),
            transforms.Normalize(settings["mean"], settings["std"]),
        ]
    )
    found = prepare(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], settings)[0]
    difference = (found - reference(Image.fromarray(pixels))).abs() * torch.tensor(settings["std"])[:, None, None] * 255
    # One grey level: PIL and torchvision round the two passes of the filter differently.
    assert difference.max() <= 1.01
