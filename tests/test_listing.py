"""Folders of images: everything below them is taken, left out by a rule, or named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftline.data.listing import IMAGE_SUFFIXES, SYSTEM, Tree, in_class_order
from shiftline.datasets.folders import domain_folders, image_folder
from shiftline.errors import DataError
from test_cli import called, error, ok


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


NAMES = st.sampled_from(
    [
        "a.jpg",
        "B.JPEG",
        "c.jfif",
        "d.Png",
        "e.txt",
        "f",
        "g.jpg_medium",
        ".h.jpg",
        "._i.jpg",
        "Thumbs.db",
        "j.tar.gz",
        "10.webp",
        "2.tif",
    ]
)
FOLDERS = st.sampled_from(["sub", "10", "2", ".git", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "x.jpg.d", "with space"])
PATHS = st.lists(st.tuples(st.lists(FOLDERS, max_size=3), NAMES), max_size=12)


@given(paths=PATHS)
def test_a_random_tree_is_taken_left_out_or_named(paths, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    for folders, name in paths:
        touch(root, "/".join([*folders, name]))
    taken, others, hidden = [], Counter(), set()
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        rule = [part for part in parts if part.startswith(".") or part.lower() in SYSTEM]
        if rule:
            hidden.add(parts[: parts.index(rule[0]) + 1])
        elif path.is_file():
            ending = path.suffix.lower()
            if ending in IMAGE_SUFFIXES:
                taken.append(path)
            else:
                others[ending] += 1
    tree = Tree()
    assert tree.images_below(root) == sorted(taken)
    assert tree.others == others
    assert tree.hidden.total() == len(hidden)
    assert len(tree.notes()) == bool(others) + bool(hidden)


@given(
    names=st.sets(
        st.one_of(st.integers(0, 2000).map(str), st.integers(0, 99).map("{:03}".format), st.sampled_from("ab")), min_size=1
    )
)
def test_class_folders_that_are_all_numbers_follow_the_numbers(names):
    ordered, notes = in_class_order(names)
    assert set(ordered) == names
    if names & {"a", "b"}:
        assert ordered == sorted(names)
    else:
        assert [int(name) for name in ordered] == sorted(map(int, names))
    assert bool(notes) == (ordered != sorted(names))


@pytest.mark.parametrize("digits", ["²", "٣", "1.0", "-1", "1e3", " 1"])
def test_what_only_looks_like_a_whole_number_is_text(digits):
    names = {"10", "2", digits}
    assert in_class_order(names) == (sorted(names), ())


def test_links_are_followed_and_loops_are_named(tmp_path):
    touch(tmp_path / "elsewhere", "1.jpg", "deep/2.jpg")
    root = touch(tmp_path / "in", "cat/0.jpg", "dog/0.jpg")
    (root / "cat" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "cat" / "back").symlink_to(root, target_is_directory=True)
    (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "bird").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    listing = image_folder(root)
    assert listing.classes == ("bird", "cat", "dog")
    assert [example.path for example in listing.examples] == [
        "bird/1.jpg", "bird/deep/2.jpg", "cat/0.jpg", "cat/more/1.jpg", "cat/more/deep/2.jpg", "dog/0.jpg",
    ]  # fmt: skip
    (note,) = listing.notes
    assert note.startswith("3 links to a folder above left out")
    assert "cat/back" in note


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.jpg", "2.jpg"], "holds 2 images and no sub-folders: expected one sub-folder per class"),
        (["cat/1.txt", "dog/2.pdf"], r"no images in its sub-folders cat, dog \(2 files left out: .txt \(1\), .pdf \(1\)\)"),
        (["cat/1.jpg", "dog/2.txt"], "1 of 2 class folders of .* hold no images: dog"),
        (["__MACOSX/1.jpg", ".git/2.jpg"], "holds 0 images and no sub-folders"),
    ],
)
def test_a_folder_that_holds_no_classes_says_what_it_holds(tmp_path, files, message):
    with pytest.raises(DataError, match=message):
        image_folder(touch(tmp_path, *files))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match="closed cannot be read: No such file or directory"):
        Tree().images_below(tmp_path / "closed")


def test_images_beside_the_class_folders_are_named(tmp_path):
    listing = image_folder(touch(tmp_path, "cat/1.jpg", "lost.jpg", "labels.csv"))
    (note,) = listing.notes
    assert note.startswith("2 files left out: ")
    assert {".jpg (1)", ".csv (1)"} == set(note.removeprefix("2 files left out: ").split(", "))


def test_domains_say_what_they_lack_and_which_are_one(tmp_path):
    root = touch(
        tmp_path / "in", "photo/10/1.jpg", "photo/9/1.jpg", "sketch/9/1.jpg", "sketch/9/.x/2.jpg", "readme.txt", ".git/a/b.jpg"
    )
    found = domain_folders(root)
    assert found["sketch"].classes == ("9", "10")
    assert [example.label for example in found["photo"].examples] == [0, 1]
    assert any("without 1 class: 10" in note for note in found["sketch"].notes)
    assert any("1 hidden or system entry left out: .x (1)" in note for note in found["sketch"].notes)
    assert any("beside the domains, 1 file left out: .txt (1)" in note for note in found["photo"].notes)
    touch(root, "a b/9/1.jpg", "a-b/9/1.jpg")
    with pytest.raises(DataError, match="two domains that would become the split 'a-b'"):
        domain_folders(root)


def test_what_would_be_taken_is_shown_and_nothing_is_written(tmp_path):
    for name in range(12):
        picture(tmp_path / "in" / str(name) / "1.png", name)
    touch(tmp_path, "in/3/notes.txt", "in/3/.DS_Store")
    arguments = ("data", "write", "own", "--split", "test", "--images", tmp_path / "in", "--store", tmp_path / "st")
    shown = called(*arguments, "--list")
    assert shown.returncode == 0
    assert "own/test: 12 images, 12 classes, nothing written" in shown.stdout
    assert "     2  2  1 image" in shown.stdout
    assert "the 12 class folders are numbers" in shown.stderr
    assert "1 file left out: .txt (1)" in shown.stderr
    assert ".DS_Store (1)" in shown.stderr
    assert not (tmp_path / "st").exists()
    written = called(*arguments, "--quiet")
    assert written.stdout == ""
    assert "labels follow the numbers" in written.stderr


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    picture(tmp_path / "one.png")
    message = error("data", "write", "own", "--split", "test", "--images", tmp_path / "one.png", "--store", tmp_path / "st")
    assert "one.png is a file: expected the folder" in message


def test_published_data_sets_name_the_files_beside_their_images(tmp_path):
    ok("data", "make-miniature", "imagenet", "--root", tmp_path)
    folder = next(path for path in tmp_path.rglob("n01440764") if path.parent.name.startswith("val"))
    touch(folder, "ILSVRC.xml", ".DS_Store")
    shown = called("data", "write", "imagenet", "--split", "val", "--root", tmp_path, "--list", "--store", tmp_path / "st")
    assert shown.returncode == 0
    assert "1 file left out: .xml (1)" in shown.stderr
