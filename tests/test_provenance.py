"""A split that is written already: the same source is left alone, another one is never taken for it."""

from __future__ import annotations

import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shiftline.contracts.distributions import Split
from shiftline.data.provenance import changes_since_written
from shiftline.data.sidecar import DataFolder
from shiftline.data.writer import write_split
from shiftline.datasets.folders import image_folder
from test_cli import error, ok


def picture(path, seed, channels=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, channels), dtype=np.uint8)).save(path)


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "in"
    for number in range(3):
        picture(root / "cat" / f"{number}.png", number)
        picture(root / "dog" / f"{number}.png", 10 + number, channels=4)
    return root


def command(source, *more):
    return ("data", "write", "own", "--split", "test", "--images", source, "--store", source.parent / "st", *more)


def same_length(path):
    """Change a file's last bytes, which no decoder looks at, and its time."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(1, 1))


CHANGES = {
    "1 image more .cat/9.png.": lambda root: picture(root / "cat/9.png", 9),
    "1 image less .dog/1.png.": lambda root: (root / "dog/1.png").unlink(),
    "2 images more .* 1 image less": lambda root: [
        (root / "dog/1.png").unlink(), picture(root / "dog/8.png", 8), picture(root / "cat/8.png", 8)
    ],
    "images of other sizes in bytes": lambda root: Image.new("RGB", (8, 8)).save(root / "cat/0.png"),
    "1 image with other bytes .cat/2.png.": lambda root: same_length(root / "cat/2.png"),
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGES)
def test_a_source_that_changed_is_said_and_written_on_demand(source, message):
    ok(*command(source))
    CHANGES[message](source)
    said = error(*command(source))
    assert re.search(message, said)
    assert "--again writes it again" in said
    ok(*command(source, "--again"))
    assert "written already" in ok(*command(source))


def test_labels_that_moved_are_said(source, tmp_path):
    root = tmp_path / "numbers"
    for name in ("1", "2"):
        picture(root / name / "x.png", int(name))
    ok(*command(root))
    shutil.move(root / "1", root / "3")
    assert "1 image more (3/x.png), 1 image less (1/x.png)" in error(*command(root))


def test_the_same_source_is_left_alone_whatever_its_times(source):
    ok(*command(source))
    assert "written already" in ok(*command(source))
    for path in source.rglob("*.png"):
        os.utime(path, ns=(5, 5))
    assert "written already" in ok(*command(source))
    moved = source.rename(source.with_name("moved"))
    assert "written already" in ok(*command(moved))


def test_images_that_were_skipped_are_no_change(source):
    (source / "cat" / "bad.png").write_text("no picture")
    ok(*command(source, "--skip-damaged"))
    assert "written already" in ok(*command(source, "--skip-damaged"))
    (source / "cat" / "bad.png").unlink()
    assert "written already" in ok(*command(source))


def test_another_format_is_never_called_written(source):
    ok(*command(source))
    assert "another format" in error(*command(source, "--format", "jpeg", "--short-side", "4"))
    ok(*command(source, "--format", "jpeg", "--short-side", "4", "--again"))
    assert "written already" in ok(*command(source, "--format", "jpeg", "--short-side", "4"))


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_what_differs_is_said_and_nothing_else(tmp_path_factory, data):
    """Random changes of random trees, against a comparison of all names and bytes."""
    tmp_path = tmp_path_factory.mktemp("tree")
    root, folder, split = tmp_path / "in", DataFolder(tmp_path / "st"), Split("own", "test")
    names = [f"{label}/{number}.png" for label in "ab" for number in range(3)]
    for row, name in enumerate(names):
        picture(root / name, row)
    before = {name: (root / name).read_bytes() for name in names}
    listing = image_folder(root)
    write_split(folder, split, listing.examples, classes=listing.classes)
    for kind, name, other in data.draw(
        st.lists(
            st.tuples(st.sampled_from(["touch", "change", "drop", "add", "swap"]), st.sampled_from(names), st.sampled_from(names))
        )
    ):
        path = root / name
        if kind == "add":
            picture(root / name.replace(".png", "x.png"), 50)
        elif not path.is_file():
            continue
        elif kind == "touch":
            os.utime(path, ns=(7, 7))
        elif kind == "change":
            same_length(path)
        elif kind == "drop" and len(list(path.parent.iterdir())) > 1:
            path.unlink()
        elif kind == "swap" and (root / other).is_file():
            one, two = path.read_bytes(), (root / other).read_bytes()
            path.write_bytes(two)
            (root / other).write_bytes(one)
            for changed in (path, root / other):
                os.utime(changed, ns=(9, 9))
    now = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.png")}
    said = changes_since_written(folder, split, image_folder(root))
    assert bool(said) == (before != now), said
