"""Models of timm and open_clip: exported, imported, combined; real architectures with random weights."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from shiftline import Architecture, open_clip, timm
from shiftline.cli.app import app
from shiftline.errors import ModelError, ShiftlineError, StoreError
from shiftline.launch.interchange import export_artifact
from shiftline.networks.classifier import Classifier
from shiftline.networks.heads import zero_shot_head
from shiftline.networks.interchange import to_library
from shiftline.networks.pretrained import backbone_spec, encoder_state, resolve
from shiftline.networks.spec import ModelSpec, build_classifier, build_encoder, load_model, save_model
from shiftline.operations.zero_shot import template_set
from shiftline.papers.imports import import_file
from shiftline.store.artifacts import Store
from shiftline.weights import average, interpolate

TIMM = ("resnet18", "vit_tiny_patch16_224", "convnext_atto")


def random_model(backbone, *, features="embedding", classes=5, seed=0):
    spec = backbone_spec(resolve(backbone, with_weights=False), num_classes=classes, features=features)
    torch.manual_seed(seed)
    model = build_classifier(spec).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    return model, spec


def stored(root, model, spec, key="a" * 64):
    store = Store(root)
    with store.publish(key, "train", {}) as draft:
        save_model(draft.folder / "model.safetensors", model.state_dict(), spec)
    return store


def images(spec, n=2):
    size = spec.preprocessing["size"]
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def library_logits(code, inputs):
    """Run the Python that an export prints."""
    scope = {"images": inputs}
    with torch.no_grad():
        lines = code.splitlines()
        exec("\n".join(lines), scope)
    return scope["logits"]


@pytest.mark.parametrize("name", TIMM)
def test_an_exported_timm_model_has_the_same_logits_in_timm_alone(name, tmp_path):
    model, spec = random_model(timm(name))
    store = stored(tmp_path / "store", model, spec)
    code = export_artifact(store, "aaaa", tmp_path / "out.safetensors")
    assert "shiftline" not in code
    with torch.no_grad():
        expected = model(images(spec))
    torch.testing.assert_close(library_logits(code, images(spec)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TIMM)
def test_what_was_exported_can_be_imported(name, tmp_path):
    model, spec = random_model(timm(name))
    store = stored(tmp_path / "store", model, spec)
    export_artifact(store, "a", tmp_path / "out.safetensors")
    key = import_file(store, tmp_path / "out.safetensors")
    assert import_file(store, tmp_path / "out.safetensors") == key
    state, found = load_model(store.file(key, "model.safetensors"))
    assert found == spec
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())


def test_a_state_dict_of_timms_own_can_be_imported(tmp_path):
    import timm as library

    original = library.create_model("resnet18", num_classes=4).eval()
    torch.save(original.state_dict(), tmp_path / "r.pt")
    store = Store(tmp_path / "store")
    key = import_file(store, tmp_path / "r.pt", architecture="timm:resnet18")
    state, spec = load_model(store.file(key, "model.safetensors"))
    model = build_classifier(spec).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(model(images(spec)), original(images(spec)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "features"),
    [
        (open_clip("RN50", "openai"), "embedding"),
        (open_clip("ViT-B-32", "openai"), "embedding"),
        (open_clip("ViT-B-32", "laion2b_s34b_b79k"), "backbone"),
        (open_clip("ViT-B-16-SigLIP", "webli"), "embedding"),
    ],
    ids=str,
)
def test_an_exported_open_clip_model_has_the_same_logits_in_open_clip_alone(backbone, features, tmp_path, caplog):
    model, spec = random_model(backbone, features=features)
    store = stored(tmp_path / "store", model, spec)
    code = export_artifact(store, "a", tmp_path / "out.safetensors")
    assert "shiftline" not in code
    with torch.no_grad():
        expected = model(images(spec, 1))
    torch.testing.assert_close(library_logits(code, images(spec, 1)), expected, rtol=1e-4, atol=1e-4)
    key = import_file(store, tmp_path / "out.safetensors")
    state, found = load_model(store.file(key, "model.safetensors"))
    assert found == spec
    assert all(torch.equal(state[n], t) for n, t in model.state_dict().items())


@pytest.mark.parametrize("name", TIMM)
def test_interpolation_commutes_with_export(name):
    (first, spec), (second, _) = (random_model(timm(name), seed=seed) for seed in (0, 1))
    a, b = first.state_dict(), second.state_dict()
    one = to_library(interpolate(a, b, 0.3), spec)
    other = interpolate(to_library(a, spec), to_library(b, spec), 0.3)
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("backbone", [timm("resnet18"), timm("vit_tiny_patch16_224"), timm("convnext_atto")], ids=str)
def test_averages_of_real_networks_are_parameter_means_and_keep_integer_buffers(backbone):
    models = [random_model(backbone, seed=seed)[0] for seed in range(3)]
    mean = average([model.state_dict() for model in models], [1, 1, 1])
    merged = random_model(backbone, seed=9)[0]
    merged.load_state_dict(mean)
    for name, tensor in merged.state_dict().items():
        members = [model.state_dict()[name] for model in models]
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack(members).mean(0), rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(tensor, members[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        (open_clip("ViT-B-32", "openai"), 768),
        (open_clip("ViT-B-16-SigLIP", "webli"), 768),
        (open_clip("convnext_base", "laion400m_s13b_b51k"), 1024),
    ],
    ids=str,
)
def test_the_backbone_has_the_projections_width_and_no_projection(backbone, width, caplog):
    record = resolve(backbone, with_weights=False)
    assert record.unprojected
    encoder, features = build_encoder(record.library, record.architecture, record.arguments, unprojected=True)
    whole, _ = build_encoder(record.library, record.architecture, record.arguments)
    assert features == width
    x = torch.randn(1, 3, record.preprocessing["size"], record.preprocessing["size"])
    wanted = encoder.state_dict()
    encoder.load_state_dict({name: whole.state_dict()[name] for name in wanted})
    with torch.no_grad():
        assert encoder.eval()(x).shape == (1, width)
        if isinstance(getattr(whole, "proj", None), nn.Parameter):
            torch.testing.assert_close(encoder(x) @ whole.proj, whole.eval()(x), rtol=1e-4, atol=1e-4)


def test_clips_resnets_have_no_backbone_to_give():
    assert not resolve(open_clip("RN50", "openai"), with_weights=False).unprojected


class FakeSigLip(nn.Module):
    """A text tower with the scale and bias of a sigmoid loss."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 8)
        self.logit_scale = nn.Parameter(torch.tensor(2.3))
        self.logit_bias = nn.Parameter(torch.tensor(-12.9))

    def encode_text(self, tokens):
        return self.table(tokens).mean(1)


def test_a_siglip_head_has_its_bias():
    model = FakeSigLip()

    def tokens(texts):
        return torch.tensor([[len(text) % 50, ord(text[-1]) % 50] for text in texts])

    weight, bias = zero_shot_head(model, tokens, [("cat",), ("dog", "puppy")], ["a {}", "the {}"])
    assert bias.tolist() == pytest.approx([-12.9, -12.9])
    assert weight.norm(dim=1).tolist() == pytest.approx([float(model.logit_scale.detach().exp())] * 2)


@pytest.mark.slow
def test_a_real_siglip_has_scale_and_bias_for_its_head(caplog):
    import open_clip as library

    model = library.create_model("ViT-B-16-SigLIP", pretrained=None, load_weights=False).eval()
    generator = torch.Generator().manual_seed(0)

    def tokens(texts):
        return torch.randint(1, 32000, (len(texts), 64), generator=generator)

    weight, bias = zero_shot_head(model, tokens, [("cat",), ("dog",)], ["a {}"])
    assert weight.shape == (2, 768)
    assert bias.tolist() == pytest.approx([float(model.logit_bias.detach())] * 2)


def test_template_sets_are_open_clips():
    assert len(template_set("openai-imagenet")) == 80
    assert len(template_set("simple-imagenet")) == 7
    assert all(text.count("{}") == 1 for text in template_set("openai-imagenet"))


class Deep(Architecture):
    tag = "tests/deep"
    size = 16

    def build(self):
        net = nn.Flatten()
        net.num_features = 3 * 16 * 16
        return net


def test_a_users_architecture_is_rebuilt_from_its_tag(tmp_path):
    model, spec = random_model(Deep())
    save_model(tmp_path / "m.safetensors", model.state_dict(), spec)
    state, found = load_model(tmp_path / "m.safetensors")
    assert found == spec
    build_classifier(found).load_state_dict(state)
    unknown = ModelSpec(**vars(spec) | {"architecture": "tests/deep@2"})
    with pytest.raises(ModelError, match="'tests/deep@2' is a user's own, and no such class has been imported"):
        build_classifier(unknown)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_nan_weights_are_refused_before_a_study_starts(tmp_path, suffix):
    import timm as library

    from shiftline import LocalWeights

    state = library.create_model("resnet18").state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    path = tmp_path / f"r{suffix}"
    (torch.save if suffix == ".pt" else save_file)(state, path)
    with pytest.raises(ModelError, match=r"'layer1.0.conv1.weight' hold NaN or infinite values"):
        resolve(LocalWeights(timm("resnet18"), path), with_weights=True)


class Evil:
    """What a pickle of objects can do."""

    def __reduce__(self):
        import os

        return os.mkdir, ("was-here",)


def test_what_cannot_be_imported_is_one_clear_error(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "store")
    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    model, spec = random_model(timm("resnet18"))
    save_file(to_library(model.state_dict(), spec), tmp_path / "plain.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "plain.safetensors").read_bytes()[:1000])
    for path, architecture, message in (
        ("evil.pt", "timm:resnet18", "a pickle of objects can run code .* save model.state_dict.. with safetensors"),
        ("missing.pt", "timm:resnet18", "does not exist"),
        ("plain.safetensors", None, "give --architecture timm:NAME"),
        ("plain.safetensors", "resnet18", "expected timm:NAME"),
        ("plain.safetensors", "open_clip:RN50", "has no image tower of a CLIP"),
        ("evil.pt", None, "a whole module of torch.save"),
        ("plain.safetensors", "timm:resnet81", "did you mean"),
        ("plain.safetensors", "timm:resnet34", "does not hold a resnet34"),
        ("plain.safetensors", "timm:convnext_atto", "has no classifier of convnext_atto"),
        ("cut.safetensors", None, "is damaged"),
    ):
        with pytest.raises(ShiftlineError, match=message):
            import_file(store, tmp_path / path, architecture=architecture)
    assert not store.complete()
    assert not (tmp_path / "was-here").exists()


def test_what_cannot_be_exported_is_one_clear_error(tmp_path):
    from shiftline import glyph_net

    model, spec = random_model(glyph_net("mlp"))
    store = stored(tmp_path / "store", model, spec)
    with pytest.raises(ModelError, match="no architecture of timm or open_clip"):
        export_artifact(store, "a", tmp_path / "x.safetensors")
    with pytest.raises(StoreError, match="no artifact whose key starts with 'b'"):
        export_artifact(store, "b", tmp_path / "x.safetensors")
    with pytest.raises(StoreError, match="has no such model: it has model.safetensors"):
        export_artifact(store, "a", tmp_path / "x.safetensors", after=3)
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_commands_export_and_import(tmp_path):
    from typer.testing import CliRunner

    model, spec = random_model(timm("resnet18"))
    stored(tmp_path / "store", model, spec)
    runner = CliRunner()
    file = tmp_path / "m.safetensors"
    done = runner.invoke(app, ["export", "aaa", str(file), "--store", str(tmp_path / "store")])
    assert done.exit_code == 0
    assert "timm.create_model('resnet18', num_classes=5" in done.output
    done = runner.invoke(app, ["import", str(file), "--store", str(tmp_path / "other")])
    assert Store(tmp_path / "other").has(done.output.strip())
    assert load_file(file)["fc.weight"].shape == (5, 512)


def test_an_encoder_without_its_projection_is_a_backbones_own(tmp_path):
    from shiftline import glyph_clip

    record = resolve(glyph_clip(), with_weights=True)
    whole, bare = (encoder_state(glyph_clip(), record, unprojected=b) for b in (False, True))
    assert set(whole) - set(bare) == {"projection.weight", "projection.bias"}
    spec = backbone_spec(record, num_classes=3, features="backbone")
    model = build_classifier(spec)
    assert isinstance(model, Classifier)
    model.encoder.load_state_dict(bare)


def test_what_an_export_prints_and_says_is_held_to(tmp_path):
    model, spec = random_model(timm("resnet18"))
    store = stored(tmp_path / "store", model, spec)
    with pytest.raises(StoreError, match="expected a name that ends in .safetensors"):
        export_artifact(store, "a", tmp_path / "out.pt")
    export_artifact(store, "a", tmp_path / "out.safetensors")
    with pytest.raises(ModelError, match="says that it is timm:resnet18, --architecture says timm:resnet50"):
        import_file(store, tmp_path / "out.safetensors", architecture="timm:resnet50")
    from shiftline import glyph_net

    small, small_spec = random_model(glyph_net("mlp"))
    save_model(tmp_path / "glyph.safetensors", small.state_dict(), small_spec)
    assert store.has(import_file(store, tmp_path / "glyph.safetensors"))


def test_any_key_of_a_study_names_its_model(tiny, tmp_path):
    """What `results` prints is the model's key; that of a score or prediction is followed to it, and said."""
    table, path, said = tiny.results(), tmp_path / "model.safetensors", []
    first = table[(table["model"] == "zero-shot") & (table["distribution"] == "reference")].iloc[0]
    epoch = table[(table["epoch"] == 1) & (table["distribution"] == "reference")].iloc[0]
    for row in (first, epoch):
        (prediction,) = tiny.store.manifest(row["key"]).document["parents"]
        for key in (row["model_key"], row["key"], prediction):
            # The model was found: its architecture is shiftline's own, which no library loads.
            with pytest.raises(ModelError, match="is no architecture of timm or open_clip"):
                export_artifact(tiny.store, key, path, say=said.append)
        assert [f"belongs to the model {row['model_key'][:12]}" in line for line in said] == [True, True]
        assert all(("after 1" in line) == (row is epoch) for line in said)
        said.clear()
    mixed = table[(table["group"] == "wise-ft") & (table["alpha"] == 0.5)].iloc[0]
    assert mixed["model_key"] == ""
    with pytest.raises(StoreError, match="is of a mixture of several models .*, whose weights are stored nowhere"):
        export_artifact(tiny.store, mixed["key"], path)
