"""Images as people have them: more bits, several frames and transparency are scaled by nobody, chosen aloud, or blended."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftline.contracts.distributions import Split
from shiftline.data import beton
from shiftline.data.decoding import BLENDED, FRAMES, decode_file
from shiftline.data.examples import Encoding, Example
from shiftline.data.family import DatasetFamily
from shiftline.data.readers import PlainReader
from shiftline.data.sidecar import DataFolder
from shiftline.data.writer import write_split
from test_cli import called


def saved(image, suffix="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, suffix, **options)
    return stream.getvalue()


def pixels(seed=0, channels=3, side=6):
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), dtype=np.uint8)


def png_of_16_bits(values):
    """Return an RGB PNG of 16 bits, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


DEEP = {
    "RGB PNG of 16 bits": lambda: png_of_16_bits(np.arange(48, dtype=np.uint16).reshape(4, 4, 3) * 80),
    "grey PNG of 16 bits": lambda: saved(Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4))),
    "grey TIFF of 16 bits": lambda: saved(Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4)), "TIFF"),
    "TIFF of floats": lambda: saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"),
    "TIFF of 32 bits": lambda: saved(Image.fromarray(np.arange(16, dtype=np.int32).reshape(4, 4)), "TIFF"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_8_bits_are_refused_and_not_cut(kind):
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        decode_file(DEEP[kind]())


@pytest.mark.parametrize(("suffix", "options"), [("GIF", {}), ("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("MPO", {})])
def test_of_several_frames_the_first_is_taken_and_said(suffix, options):
    first, second = (Image.fromarray(np.full((8, 8, 3), shade, np.uint8)) for shade in (40, 200))
    image, stored, chosen = decode_file(saved(first, suffix, save_all=True, append_images=[second], **options))
    assert (stored, chosen) == ("", (FRAMES,))
    assert np.abs(np.asarray(image).astype(int) - 40).max() <= 2
    assert decode_file(saved(first, suffix, **options))[2] == ()


@given(seed=st.integers(0, 1000))
def test_transparent_pixels_are_blended_on_white(seed):
    layers = pixels(seed, 4)
    image, _, chosen = decode_file(saved(Image.fromarray(layers)))
    share = layers[..., 3:] / 255
    np.testing.assert_allclose(np.asarray(image), layers[..., :3] * share + 255 * (1 - share), atol=1)
    assert chosen == (BLENDED,)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_hidden_colours_of_every_mode_stay_hidden(mode):
    options = {}
    if mode == "P":
        image, options = Image.fromarray(np.zeros((4, 4), np.uint8)).convert("P"), {"transparency": 0}
    elif mode == "RGB":
        image, options = Image.fromarray(np.zeros((4, 4, 3), np.uint8)), {"transparency": (0, 0, 0)}
    else:
        image = Image.fromarray(np.zeros((4, 4, len(mode)), np.uint8), mode=None)
    decoded, _, chosen = decode_file(saved(image, **options))
    assert (np.asarray(decoded) == 255).all()
    assert chosen == (BLENDED,)


def test_an_opaque_alpha_changes_nothing_and_is_not_said():
    layers = np.dstack([pixels(), np.full((6, 6), 255, np.uint8)])
    image, _, chosen = decode_file(saved(Image.fromarray(layers)))
    np.testing.assert_array_equal(np.asarray(image), layers[..., :3])
    assert chosen == ()


def test_only_bytes_that_a_plain_reader_decodes_alike_are_stored():
    plain = Image.fromarray(pixels(side=16))
    assert decode_file(saved(plain, "JPEG"))[1:] == ("JPEG", ())
    assert decode_file(saved(plain.convert("CMYK"), "JPEG"))[1:] == ("", ())
    assert decode_file(saved(plain.convert("L"), "JPEG"))[1:] == ("", ())
    assert decode_file(saved(plain))[1:] == ("PNG", ())
    assert decode_file(saved(plain, "WEBP"))[1:] == ("WEBP", ())
    assert decode_file(saved(plain, "BMP"))[1:] == ("", ())
    turned = Image.Exif()
    turned[0x0112] = 6
    assert decode_file(saved(plain, exif=turned))[1:] == ("", ())


@pytest.mark.parametrize("suffix", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_png_and_webp_keep_their_bytes_but_for_training(tmp_path, suffix, mode):
    """Pixels and fingerprint are the same either way; raw pixels of drawings are ten times as large."""
    image = Image.new("RGB", (96, 64), "white")
    image.paste((200, 30, 10), (20, 10, 50, 40))
    data = saved(image.convert(mode), suffix)
    folder = DataFolder(tmp_path)
    records = {}
    for name in ("test", "train"):
        split = Split(f"d-{name}", "x")
        write_split(folder, split, [Example(data, 0)], classes=("a",), encoding=DatasetFamily().encoding(name))
        records[name] = folder.open(split)
    assert records["test"].record.fingerprint == records["train"].record.fingerprint
    indexes = {name: beton.read_index(sidecar.beton) for name, sidecar in records.items()}
    assert indexes["test"].size[0] == len(data) < indexes["train"].size[0] == 96 * 64 * 3
    first, second = (PlainReader(index).images(np.array([0]))[0] for index in indexes.values())
    np.testing.assert_array_equal(first, second)


def test_what_was_chosen_is_counted_named_and_in_the_fingerprint(tmp_path):
    clear, opaque = pixels(1, 4), pixels(1, 4)
    clear[..., 3], opaque[..., 3] = 100, 255
    examples = [Example(saved(Image.fromarray(layers)), 0, path=name) for name, layers in (("a.png", clear), ("b.png", opaque))]
    sidecar = write_split(DataFolder(tmp_path), Split("own", "test"), examples, classes=["x"], encoding=Encoding())
    assert list(sidecar.chosen) == ["1 image has transparent pixels: they were blended on white (a.png)"]
    first, second = PlainReader(beton.read_index(sidecar.beton)).images(np.arange(2))
    np.testing.assert_array_equal(second, opaque[..., :3])
    assert (first >= second).all()


def test_the_command_says_what_it_chose(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.fromarray(pixels(2, 4)).save(tmp_path / "in" / name / "1.png")
    (tmp_path / "in" / "dog" / "2.png").write_bytes(DEEP["RGB PNG of 16 bits"]())
    arguments = ("data", "write", "own", "--split", "test", "--images", tmp_path / "in", "--store", tmp_path / "st")
    refused = called(*arguments)
    assert refused.returncode != 0
    assert "dog/2.png: it has more than 8 bits per channel" in refused.stderr
    written = called(*arguments, "--skip-damaged")
    assert "2 images have transparent pixels: they were blended on white (cat/1.png, dog/1.png)" in written.stderr
