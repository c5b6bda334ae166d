"""The .beton format: written by us and read by FFCV, written by FFCV and read by us; damage is found, never read."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shiftline.contracts.distributions import Split
from shiftline.data import beton
from shiftline.data.examples import Encoding, Example
from shiftline.data.readers import FfcvReader, PlainReader
from shiftline.data.sidecar import DataFolder
from shiftline.data.writer import write_split
from shiftline.datasets.folders import image_folder
from shiftline.datasets.prepare import split_records
from shiftline.errors import DataError

SPLIT = Split("made", "test")
RNG = np.random.default_rng(0)


def pictures(n=6, *, height=24, width=20):
    """Smooth colour images: JPEG keeps them."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([(x * 9 + 20 * i) % 200, (y * 7 + 10 * i) % 200, np.full_like(x, 30 * i)], axis=2).astype(np.uint8)
        for i in range(n)
    ]


def alike(first, second):
    """Two JPEG decoders differ by grey levels at edges of colour, hardly on average; another image differs by dozens."""
    difference = np.abs(first.astype(int) - second)
    return difference.mean() < 2 and difference.max() < 32


def write(root, images, *, encoding=Encoding("raw"), **options):
    examples = [Example(image, i % 3, path=f"{i}") for i, image in enumerate(images)]
    return write_split(DataFolder(root), SPLIT, examples, classes=["a", "b", "c"], encoding=encoding, **options)


def write_image_folder(folder, split, root, *, encoding):
    listing = image_folder(root)
    return write_split(folder, split, listing.examples, classes=listing.classes, encoding=encoding)


def readers(path):
    index = beton.read_index(path)
    return [PlainReader(index), FfcvReader(index, compiled=False), FfcvReader(index, compiled=True)]


def jpeg_files(folder, images, quality=95):
    for i, image in enumerate(images):
        (folder / "xyz"[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "xyz"[i % 3] / f"{i:02d}.jpg", quality=quality)
    return folder


def test_raw_images_are_bit_exact_through_every_reader(tmp_path):
    images = pictures()
    path = write(tmp_path, images).beton
    for reader in readers(path):
        for found, expected in zip(reader.images(np.arange(6)), images, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert beton.read_index(path).labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_mixed_sizes_are_read(tmp_path):
    images = [*pictures(2), *pictures(2, height=11, width=37), *pictures(1, height=1, width=1)]
    for reader in readers(write(tmp_path, images).beton):
        for found, expected in zip(reader.images(np.arange(5)), images, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_jpeg_files_keep_their_bytes_and_decode_alike(tmp_path):
    folder = jpeg_files(tmp_path / "in", pictures(6, height=48, width=64))
    write_image_folder(DataFolder(tmp_path), SPLIT, folder, encoding=Encoding("original"))
    index = beton.read_index(DataFolder(tmp_path).beton(SPLIT))
    files = [example.source for example in image_folder(folder).examples]
    plain, native, compiled = readers(index.path)
    for row, file in enumerate(files):
        assert plain._raw(row).tobytes() == file.read_bytes()
        exact = np.array(Image.open(file))
        np.testing.assert_array_equal(plain.images([row])[0], exact)
        # FFCV decodes with the fast DCT: a few grey levels.
        assert alike(native.images([row])[0], exact)
        np.testing.assert_array_equal(native.images([row])[0], compiled.images([row])[0])


@pytest.mark.slow
def test_a_file_that_ffcv_wrote_is_read_by_both_readers_example_by_example(tmp_path):
    code = """
        import sys, numpy as np
        from ffcv.writer import DatasetWriter
        from ffcv.fields import RGBImageField, IntField
        images = np.load(sys.argv[1])
        class Set:
            def __len__(self): return len(images)
            def __getitem__(self, i): return images[i], int(i) % 3
        for mode in ("raw", "jpg"):
            writer = DatasetWriter(sys.argv[2] + mode, {"image": RGBImageField(write_mode=mode), "label": IntField()}, num_workers=2)
            writer.from_indexed_dataset(Set(), chunksize=5)
    """
    images = np.stack(pictures(23))
    np.save(tmp_path / "images.npy", images)
    run_ffcv(code, tmp_path / "images.npy", tmp_path / "ffcv.")
    for reader in readers(tmp_path / "ffcv.raw"):
        np.testing.assert_array_equal(np.stack(reader.images(np.arange(23))), images)
        assert reader.index.labels.tolist() == [i % 3 for i in range(23)]
    plain, native, compiled = (np.stack(r.images(np.arange(23))) for r in readers(tmp_path / "ffcv.jpg"))
    np.testing.assert_array_equal(native, compiled)
    assert alike(plain, native)


@pytest.mark.slow
def test_ffcvs_own_loader_reads_what_we_wrote(tmp_path):
    images = pictures(9)
    path = write(tmp_path, images).beton
    np.save(tmp_path / "images.npy", np.stack(images))
    code = """
        import sys, numpy as np
        from ffcv.loader import Loader, OrderOption
        from ffcv.fields.decoders import SimpleRGBImageDecoder, IntDecoder
        from ffcv.reader import Reader
        reader = Reader(sys.argv[1])
        assert list(reader.handlers) == ["image", "label"], reader.handlers
        loader = Loader(sys.argv[1], batch_size=4, num_workers=1, order=OrderOption.SEQUENTIAL, drop_last=False,
                        pipelines={"image": [SimpleRGBImageDecoder()], "label": [IntDecoder()]})
        images, labels = zip(*[(i.copy(), l.copy()) for i, l in loader])
        assert (np.concatenate(images) == np.load(sys.argv[2])).all()
        assert np.concatenate(labels)[:, 0].tolist() == [i % 3 for i in range(9)]
    """
    run_ffcv(code, path, tmp_path / "images.npy")


def run_ffcv(code, *arguments):
    """FFCV in a process of its own: its finalizers print, and its import changes the process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_crops_agree_between_readers(tmp_path):
    path = write(tmp_path, pictures(6, height=48, width=64)).beton
    plain, native, compiled = readers(path)
    same_size = np.array([[3, 5, 16, 16]] * 6)
    np.testing.assert_array_equal(plain.crops(np.arange(6), same_size, 16), native.crops(np.arange(6), same_size, 16))
    smaller = np.array([[0, 8, 48, 48]] * 6)
    a, b, c = (r.crops(np.arange(6), smaller, 24).astype(int) for r in (plain, native, compiled))
    np.testing.assert_array_equal(b, c)
    # Area against antialiased bicubic resizing: alike away from edges.
    assert np.abs(a - b).mean() < 4


def test_batches_belong_to_the_caller(tmp_path):
    images = pictures(6)
    for reader in readers(write(tmp_path, images).beton):
        box = np.array([[0, 0, 20, 20]])
        kept = [reader.crops(np.array([i]), box, 20) for i in range(6)]
        for found, image in zip(kept, images, strict=True):
            np.testing.assert_array_equal(found[0], image[:20, :20])


def test_the_loop_is_compiled_once_whatever_the_number_of_files(tmp_path):
    for number, size in enumerate((12, 20)):
        path = write(tmp_path / str(number), pictures(3, height=size, width=size)).beton
        reader = FfcvReader(beton.read_index(path), compiled=True)
        reader.images(np.arange(3))
        reader.crops(np.arange(3), np.array([[0, 0, 10, 10]] * 3), 8)
    assert len(reader._decode.signatures) == 1


@pytest.mark.parametrize("bad", [[6], [-1], [0.5], [True, False], [[0, 1]]])
def test_bad_ids_are_refused(tmp_path, bad):
    reader = readers(write(tmp_path, pictures()).beton)[0]
    with pytest.raises(DataError, match="example id"):
        reader.images(np.array(bad))


def test_duplicate_ids_and_other_integer_types_are_fine(tmp_path):
    images = pictures()
    reader = readers(write(tmp_path, images).beton)[1]
    found = reader.images(np.array([2, 2, 0], dtype=np.uint8))
    for got, expected in zip(found, (images[2], images[2], images[0]), strict=True):
        np.testing.assert_array_equal(got, expected)


def _cut_tail(data):
    return data[:-5]


def _cut_half(data):
    return data[: len(data) // 2]


def _zero_pointer(data):
    at = beton.HEADER.itemsize + 2 * beton.FIELD.itemsize + beton.ROW.fields["f0"][1] + beton.IMAGE.fields["data_ptr"][1]
    return data[:at] + bytes(8) + data[at + 8 :]


def _zero_table(data):
    at = beton.HEADER.fields["alloc_table_ptr"][1]
    return data[:at] + bytes(8) + data[at + 8 :]


def _version(data):
    return b"\x07" + data[1:]


@pytest.mark.parametrize(
    "damage", [_cut_tail, _cut_half, _zero_pointer, _zero_table, _version, lambda d: b"", lambda d: b"PNG" * 5000]
)
def test_a_damaged_structure_is_an_error_on_opening(tmp_path, damage):
    path = write(tmp_path, pictures()).beton
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is damaged or no .beton file"):
        beton.read_index(path)


def test_a_broken_jpeg_names_its_id_through_every_reader(tmp_path):
    folder = jpeg_files(tmp_path / "in", pictures(3, height=48, width=64))
    write_image_folder(DataFolder(tmp_path), SPLIT, folder, encoding=Encoding("original"))
    path = DataFolder(tmp_path).beton(SPLIT)
    index = beton.read_index(path)
    data = bytearray(path.read_bytes())
    start = int(index.pointer[1])
    data[start : start + 8] = b"\0" * 8
    path.write_bytes(data)
    for reader in readers(path):
        with pytest.raises(DataError, match="example 1 of .* cannot be decoded"):
            reader.images(np.array([0, 1, 2]))


@pytest.mark.parametrize("damaged", [[0], [2], [0, 1], [1, 2], [0, 1, 2]])
def test_what_the_writer_takes_every_reader_reads(tmp_path, damaged, capsys):
    folder = jpeg_files(tmp_path / "in", pictures(3, height=48, width=64))
    files = sorted(folder.rglob("*.jpg"))
    for number in damaged:
        data = bytearray(files[number].read_bytes())
        data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xd9"  # An end marker half way: Pillow reads what is before it.
        files[number].write_bytes(data)
    write_image_folder(DataFolder(tmp_path), SPLIT, folder, encoding=Encoding("original"))
    ids, boxes = np.arange(3), np.array([[0, 0, 48, 64], [8, 8, 32, 32], [0, 16, 40, 40]])
    plain, *native = readers(DataFolder(tmp_path).beton(SPLIT))
    for reader in native:
        images, crops = reader.images(ids), reader.crops(ids, boxes, 32)
        for number in range(3):
            if number in damaged:
                np.testing.assert_array_equal(images[number], plain.images(ids)[number])
                np.testing.assert_array_equal(crops[number], plain.crops(ids, boxes, 32)[number])
            else:
                assert np.abs(images[number].astype(int) - plain.images(ids)[number]).mean() < 4
    assert "libjpeg-turbo refuses some of its images" in capsys.readouterr().err


def test_a_changed_file_is_an_error_that_names_both_contents(tmp_path):
    sidecar = write(tmp_path, pictures())
    data = bytearray(sidecar.beton.read_bytes())
    data[int(beton.read_index(sidecar.beton).pointer[0])] ^= 1
    sidecar.beton.write_bytes(data)
    with pytest.raises(DataError, match=f"fingerprint {sidecar.record.fingerprint[:12]}.*sha256 .*Restore it"):
        DataFolder(tmp_path).open(SPLIT)


def test_a_touched_file_with_the_same_content_is_fine(tmp_path):
    sidecar = write(tmp_path, pictures())
    os.utime(sidecar.beton)
    assert DataFolder(tmp_path).open(SPLIT).record == sidecar.record


def test_the_fingerprint_is_of_the_content_not_of_the_layout(tmp_path):
    images = pictures(40)
    one = write(tmp_path / "a", images, threads=1)
    other = write(tmp_path / "b", images, threads=4, page=1 << 21)
    assert one.record.fingerprint == other.record.fingerprint
    assert one.file["sha256"] != other.file["sha256"]
    images[7] = images[7] ^ 1
    assert write(tmp_path / "c", images).record.fingerprint != one.record.fingerprint


def test_the_fingerprint_is_that_of_its_definition(tmp_path):
    import hashlib
    import json
    import struct

    images = pictures(3)
    total = hashlib.sha256(json.dumps({"fields": ["image", "label"], "recipe": {"form": "raw", "short_side": None}}).encode())
    for label, image in enumerate(images):
        total.update(hashlib.sha256(struct.pack("<3q", *image.shape) + image.tobytes()).digest() + struct.pack("<q", label))
    assert write(tmp_path, images).record.fingerprint == total.hexdigest()


def test_pages_are_not_straddled(tmp_path):
    big = [RNG.integers(0, 256, (600, 700, 3), dtype=np.uint8) for _ in range(5)]
    index = beton.read_index(write(tmp_path, big, page=1 << 21).beton)
    first, last = index.pointer // (1 << 21), (index.pointer + index.size - np.uint64(1)) // (1 << 21)
    assert (first == last).all()
    with pytest.raises(DataError, match="a page has 2097152. Write with page=4194304"):
        write(tmp_path, [RNG.integers(0, 256, (900, 900, 3), dtype=np.uint8)], page=1 << 21)


def test_nothing_is_left_when_writing_fails(tmp_path):
    folder = jpeg_files(tmp_path / "in", pictures(3))
    (folder / "x" / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match="1 of 4 images cannot be read, nothing was written:\n  x/broken.jpg: no image file"):
        write_image_folder(DataFolder(tmp_path / "out"), SPLIT, folder, encoding=Encoding("original"))
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_odd_images_become_upright_rgb(tmp_path):
    folder = tmp_path / "in" / "x y ü"
    folder.mkdir(parents=True)
    picture = Image.fromarray(pictures(1, height=40, width=24)[0])
    picture.convert("L").save(folder / "grey.jpg")
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    picture.convert("P").save(folder / "palette.png")
    rotated = picture.getexif()
    rotated[0x0112] = 6
    picture.save(folder / "rotated.jpg", exif=rotated)
    picture.resize((1, 40)).save(folder / "thin.png")
    write_image_folder(DataFolder(tmp_path), SPLIT, tmp_path / "in", encoding=Encoding("original"))
    index = beton.read_index(DataFolder(tmp_path).beton(SPLIT))
    shapes = [image.shape for image in PlainReader(index).images(np.arange(5))]
    # cmyk, grey, palette, rotated, thin: in the order of their names.
    assert shapes == [(40, 24, 3), (40, 24, 3), (40, 24, 3), (24, 40, 3), (40, 1, 3)]
    for a, b in zip(PlainReader(index).images(np.arange(5)), FfcvReader(index, compiled=False).images(np.arange(5)), strict=True):
        assert alike(a, b)


def test_more_than_eight_bits_are_refused_rather_than_cut(tmp_path):
    folder = tmp_path / "in" / "x"
    folder.mkdir(parents=True)
    Image.fromarray(np.linspace(0, 60000, 64, dtype=np.uint16).reshape(8, 8)).save(folder / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits per channel"):
        write_image_folder(DataFolder(tmp_path), SPLIT, tmp_path / "in", encoding=Encoding("original"))


def test_resizing_keeps_the_shorter_side_and_jpeg_is_small(tmp_path):
    images = [RNG.integers(0, 256, (60, 90, 3), dtype=np.uint8)]
    sidecar = write(tmp_path, images, encoding=Encoding("jpeg", short_side=30, quality=90))
    index = beton.read_index(sidecar.beton)
    assert (int(index.height[0]), int(index.width[0]), int(index.mode[0])) == (30, 45, beton.JPEG)
    expected = np.array(Image.fromarray(images[0]).resize((45, 30), Image.Resampling.BICUBIC))
    assert np.abs(PlainReader(index).images([0])[0].astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: write(root, []), "no examples to write"),
        (lambda root: write(root, pictures(), page=1000), "expected a power of two"),
        (lambda root: write_split(DataFolder(root), SPLIT, [Example(pictures()[0], 3)], classes=["a"]), "has the label 3"),
        (lambda root: write_split(DataFolder(root), SPLIT, [Example(pictures()[0], 0)], classes=["a", "a"]), "appears twice"),
        (lambda root: write(root, [np.zeros((4, 4), np.uint8)]), "expected uint8 pixels"),
        (lambda root: Encoding("webp"), "choose original, raw or jpeg"),
        (lambda root: Encoding("original", short_side=3), "cannot resize"),
        (lambda root: image_folder(Path(root) / "none"), "does not exist"),
        (lambda root: image_folder(Path(root)), "holds 0 images and no sub-folders"),
        (
            lambda root: split_records(DataFolder(root), [SPLIT]),
            "no split of it has been written.*shiftline data write made --split test",
        ),
    ],
)
def test_bad_input_to_the_writer(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        make(tmp_path)


def test_metadata_is_joined_by_id(tmp_path):
    import pandas as pd

    write(tmp_path, pictures())
    table = pd.read_parquet(DataFolder(tmp_path).metadata(SPLIT))
    assert table["id"].tolist() == list(range(6))
    assert table["path"].tolist() == list("012345")
    assert table["source_sha256"].nunique() == 6


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_broken_jpeg_is_refused_or_read_by_every_reader(tmp_path_factory, data):
    """JPEG files with random bytes changed, cut out or cut off: refused when they are written, or read by both readers alike."""
    stream = io.BytesIO()
    side = data.draw(st.integers(8, 40))
    Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(stream, "JPEG", quality=80)
    broken = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(2, len(broken) - 1))
        kind = data.draw(st.sampled_from(["change", "marker", "cut out", "cut off"]))
        if kind == "change":
            broken[at] ^= data.draw(st.integers(1, 255))
        elif kind == "marker":
            broken[at : at + 2] = b"\xff\xd9"
        elif kind == "cut out":
            del broken[at : at + data.draw(st.integers(1, 20))]
        else:
            del broken[at:]
        if len(broken) < 4:
            break
    folder, split = DataFolder(tmp_path_factory.mktemp("broken")), Split("d", "test")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sidecar = write_split(folder, split, [Example(bytes(broken), 0)], classes=("a",))
    except DataError as error:
        assert "1 of 1 images cannot be read" in str(error)  # noqa: PT017 - refused is right too.
        return
    for reader in readers(sidecar.beton):
        (image,) = reader.images(np.array([0]))
        assert image.shape == (reader.index.height[0], reader.index.width[0], 3)
