"""Shift transforms: against torchvision, scipy and Pillow, and the same for an example whatever batch it comes in."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms.v2 import functional as tv

from shiftline import (
    JPEG,
    Blur,
    Brightness,
    Contrast,
    Invert,
    Noise,
    Occlusion,
    Pixelate,
    Recolour,
    Rotate,
    Saturation,
    TextOverlay,
    Tint,
    Transform,
    VerticalFlip,
    Watermark,
)
from shiftline.contracts.identity import canonical
from shiftline.data.glyphs import font_path
from shiftline.data.pixels import apply_transforms
from shiftline.errors import DataError, DeclarationError

WORDS = ("cat", "dog", "ship")
EVERY = [
    Invert(),
    VerticalFlip(),
    Rotate(20),
    Blur(1.5),
    Noise(0.2),
    Contrast(0.5),
    Brightness(1.4),
    Saturation(0.3),
    JPEG(20),
    Pixelate(5),
    Occlusion(0.2),
    TextOverlay(WORDS, choose="wrong"),
    Watermark(str(font_path("DejaVuSans")), text="short cut"),
    Recolour(),
    Tint(p=0.5),
]


def images(count=12, height=36, width=28, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 3, 5, 5), generator=generator, dtype=torch.uint8)
    return tv.resize(coarse, [height, width], antialias=True)


def applied(transform, pixels, *, labels=None, ids=None):
    ids = torch.arange(len(pixels)) if ids is None else ids
    labels = ids % 3 if labels is None else labels
    return apply_transforms([transform], pixels, labels, ids)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).tag)
def test_an_example_has_the_same_pixels_whatever_batch_it_comes_in(transform):
    pixels = images()
    whole = applied(transform, pixels)
    assert whole.shape == pixels.shape
    assert whole.dtype == torch.uint8
    assert not torch.equal(whole, pixels)
    ids = torch.arange(len(pixels))
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(1))
    shuffled = apply_transforms([transform], pixels[order], ids[order] % 3, ids[order])
    assert torch.equal(shuffled, whole[order])
    for row in range(len(pixels)):
        one = torch.tensor([row])
        assert torch.equal(apply_transforms([transform], pixels[one], one % 3, one), whole[one])


@pytest.mark.parametrize("transform", [t for t in EVERY if hasattr(t, "seed")], ids=lambda t: type(t).tag)
def test_seeds_and_ids_matter(transform):
    same = images(1).expand(20, -1, -1, -1)
    labels = torch.zeros(20, dtype=torch.int64)
    first = applied(transform, same, labels=labels)
    assert len(np.unique(first.reshape(20, -1).numpy(), axis=0)) > 1
    assert not torch.equal(first, applied(transform.replace(seed=1), same, labels=labels))


@pytest.mark.parametrize(
    ("transform", "reference"),
    [
        (Brightness(1.4), lambda x: tv.adjust_brightness(x, 1.4)),
        (Brightness(0.3), lambda x: tv.adjust_brightness(x, 0.3)),
        (Saturation(0.0), lambda x: tv.rgb_to_grayscale(x, num_output_channels=3)),
        (Saturation(1.7), lambda x: tv.adjust_saturation(x, 1.7)),
        (VerticalFlip(), tv.vertical_flip),
        (Invert(), tv.invert),
        (Rotate(90), lambda x: torch.rot90(x, 1, (2, 3))),
    ],
)
def test_they_are_torchvisions(transform, reference):
    pixels = images(height=32, width=32)
    difference = (applied(transform, pixels).int() - reference(pixels).int()).abs()
    assert difference.max() <= 1


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_jpeg_is_that_of_the_codec(quality):
    pixels = images(3, 32, 32)
    for image, found in zip(pixels, applied(JPEG(quality), pixels), strict=True):
        with warnings.catch_warnings():
            # Another binding of the codec; torchvision is about to move it elsewhere.
            warnings.simplefilter("ignore", DeprecationWarning)
            expected = tv.jpeg(image, quality)
        assert (found.int() - expected.int()).abs().float().mean() < 1


@pytest.mark.parametrize("block", [1, 4, 5, 50])
def test_pixelation_takes_the_mean_of_every_block(block):
    pixels = images(2, 14, 11)
    found = applied(Pixelate(block), pixels).numpy()
    rows, columns = np.arange(14) // block, np.arange(11) // block
    for image, result in zip(pixels.numpy().astype(float), found, strict=True):
        for channel in range(3):
            places = rows[:, None] * 100 + columns
            means = ndimage.mean(image[channel], places, np.unique(places))
            expected = means[np.searchsorted(np.unique(places), places)]
            assert np.abs(result[channel] - expected).max() <= 0.51


def test_occlusion_covers_its_share_with_one_rectangle_anywhere():
    pixels = torch.zeros(400, 3, 40, 30, dtype=torch.uint8)
    covered = applied(Occlusion(0.25), pixels)[:, 0] == 128
    areas = covered.sum(dim=(1, 2))
    assert (areas == areas[0]).all()
    assert abs(int(areas[0]) / 1200 - 0.25) < 0.02
    tops = covered.any(dim=2).int().argmax(dim=1)
    assert set(tops.tolist()) == set(range(40 - int(covered[0].any(dim=1).sum()) + 1))
    assert (applied(Occlusion(1.0), pixels[:1])[0, 0] == 128).sum() >= 30 * 30


def test_wrong_words_are_wrong_and_spread_over_the_other_classes():
    labels, ids = torch.arange(3000) % 3, torch.arange(3000)
    overlay = TextOverlay(WORDS, choose="wrong")
    words = overlay.chosen(labels, ids)
    assert (words != labels).all()
    for label in range(3):
        others = words[labels == label]
        assert abs((others == others[0]).float().mean() - 0.5) < 0.06
    assert torch.equal(overlay.replace(choose="right").chosen(labels, ids), labels)
    anything = overlay.replace(choose="any").chosen(labels, ids)
    assert all(abs((anything == word).float().mean() - 1 / 3) < 0.04 for word in range(3))


@pytest.mark.parametrize("word", ["x", "cat", "a very long class name, with a comma"])
@pytest.mark.parametrize("size", [(8, 8), (60, 30), (224, 224)])
def test_words_are_white_with_a_black_edge_and_stay_within_the_image(word, size):
    grey = torch.full((6, 3, *size), 128, dtype=torch.uint8)
    found = applied(TextOverlay((word,), height=0.3), grey)
    changed = (found != 128).any(dim=1)
    assert changed.any(dim=(1, 2)).all()
    assert changed.float().mean() < 0.9
    if size[0] >= 60:
        assert found.max() > 200
        assert found.min() < 60
        spots = {tuple(torch.nonzero(image)[0].tolist()) for image in changed}
        assert len(spots) > 1


class Returns(Transform):
    tag = "tests/returns"
    what: str = "nan"

    def apply(self, images, labels, ids):
        return {"nan": images.float() / 0 - images.float() / 0, "float": images.float(), "smaller": images[:, :, 1:], "list": [1]}[
            self.what
        ]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "'tests/returns' returned NaN: expected uint8"),
        ("float", "returned torch.float32 .* expected uint8"),
        ("smaller", r"returned torch.uint8 \(2, 3, 35, 28\): expected uint8 \(2, 3, 36, 28\)"),
        ("list", "returned list"),
    ],
)
def test_what_a_users_transform_returns_is_checked(what, message):
    with pytest.raises(DataError, match=message):
        applied(Returns(what), images(2))


def test_a_text_per_class_is_needed():
    with pytest.raises(DataError, match="has 3 texts, an example has the label 5: give one text per class"):
        applied(TextOverlay(WORDS, choose="right"), images(2), labels=torch.tensor([0, 5]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Brightness(-1), "0 or more"),
        (lambda: Saturation(-0.1), "0 or more"),
        (lambda: JPEG(0), "expected 1 to 100"),
        (lambda: Pixelate(0), "1 pixel or more"),
        (lambda: Occlusion(0), "above 0"),
        (lambda: TextOverlay(()), "one text or more"),
        (lambda: TextOverlay(("a", " ")), "none of them empty"),
        (lambda: TextOverlay(("a",), choose="wrong"), "two or more"),
        (lambda: TextOverlay(("a",), choose="sometimes"), "choose one of any, right, wrong"),
        (lambda: TextOverlay(("a",), height=2), "above 0 and at most 1"),
    ],
)
def test_bad_parameters_are_refused_when_declared(make, message):
    with pytest.raises(DeclarationError, match=message):
        make()


def test_a_watermark_is_a_translucent_line_of_a_fonts_text(tmp_path):
    """Against Pillow's own compositing, as ImageNet-W is published; identity is the font's content."""
    from PIL import Image, ImageDraw, ImageFont

    path = font_path("DejaVuSans")
    pixels = images(count=1, height=224, width=224)
    found = applied(Watermark(str(path), text="short cut"), pixels)[0]
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).convert("RGBA")
    layer = Image.new("RGBA", picture.size, (255, 255, 255, 0))
    face = ImageFont.truetype(str(path), 36, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(layer).text((0.01 * 224, 0.4 * 224), "short cut", fill=(255, 255, 255, 128), font=face)
    expected = torch.from_numpy(np.array(Image.alpha_composite(picture, layer).convert("RGB"))).permute(2, 0, 1)
    assert (found.int() - expected.int()).abs().max() <= 2
    copy = tmp_path / "elsewhere.ttf"
    copy.write_bytes(path.read_bytes())
    assert canonical(Watermark(str(copy), text="a")) == canonical(Watermark(str(path), text="a"))
    other = Watermark(str(font_path("DejaVuSans-Bold")), text="a")
    assert canonical(other) != canonical(Watermark(str(path), text="a"))
    with pytest.raises(DeclarationError, match="has the sha256 .*, not abc"):
        Watermark(str(path), sha256="abc")
    with pytest.raises(DeclarationError, match="the file nowhere.otf does not exist"):
        Watermark("nowhere.otf")
    with pytest.raises(DeclarationError, match="needs a font"):
        Watermark()
