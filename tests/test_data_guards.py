"""What keeps numbers about data from being wrong or stale: keys, overlaps, interrupted writing, damage."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

import miniatures
from shiftline import DFR, LabelSpace, Reference, Split, ZeroShot, best, glyph_clip, write_dataset
from shiftline.analysis import effective_robustness
from shiftline.data.examples import Description, Encoding, Example
from shiftline.data.sidecar import DataFolder
from shiftline.data.views import open_view
from shiftline.data.writer import write_split
from shiftline.datasets.catalogue import catalogue
from shiftline.datasets.folders import domain_folders, image_folder, torch_dataset
from shiftline.datasets.prepare import join_splits
from shiftline.errors import AnalysisError, DataError, DeclarationError
from shiftline.plan.jobs import Plan
from test_data_studies import OneModel

# Those that are looked for in a folder.
KNOWN = {name: family for name, family in catalogue().families.items() if not family.generated}

LETTERS = tuple("abc")


def written(folder, split, *, groups=None, classes=LETTERS, count=30, seed=0, **description):
    images = miniatures.square_images(count, seed, 8)
    examples = [Example(image, row % len(classes), group="" if groups is None else groups[row]) for row, image in enumerate(images)]
    return write_split(folder, split, examples, classes=classes, encoding=Encoding("raw"), description=Description(**description))


def letters(store, shifts=(), *, classes=LETTERS, dataset="d"):
    """A data folder with a reference, and with shifts: name of the data set -> classes."""
    folder = DataFolder(store / "data")
    for number, split in enumerate(("train", "val", "test")):
        written(folder, Split(dataset, split), classes=classes, seed=number)
    for number, (name, own) in enumerate(dict(shifts).items()):
        written(folder, Split(name, "ood"), classes=own, seed=10 + number)
    return folder, Reference(*(Split(dataset, split) for split in ("train", "val", "test")))


def planned(reference, shifts, store, **options) -> Plan:
    return OneModel(reference, shifts, store=store, batch_size=10, **options).plan()


def test_groups_that_select_examples_are_part_of_the_key(tmp_path):
    folder, reference = letters(tmp_path)
    birds = Split("birds", "all")
    shifts = {"sea": birds.group_rates({"sea": 1})}

    def key():
        (model,) = planned(reference, shifts, tmp_path).models
        return model.predictions["sea"]

    written(folder, birds, seed=20, groups=["sea"] * 10 + ["land"] * 20)
    before, fingerprint = key(), folder.open(birds).record.fingerprint
    written(folder, birds, seed=20, groups=["sea"] * 3 + ["land"] * 27)
    assert folder.open(birds).record.fingerprint == fingerprint
    assert key() != before


def test_groups_that_weigh_examples_are_part_of_the_key(tmp_path):
    folder, reference = letters(tmp_path)
    clip = ZeroShot(glyph_clip(), classes=LETTERS)

    class Reweighted(OneModel):
        def models(self):
            return {"dfr": DFR(clip, groups="metadata", train_on=Split("extra", "all"), other_data=True)}

    study = Reweighted(reference, {}, store=tmp_path)
    written(folder, Split("extra", "all"), seed=20)
    with pytest.raises(DeclarationError, match="reads the groups of extra/all, which was written without"):
        study.plan()
    keys = set()
    for count in (5, 6):
        written(folder, Split("extra", "all"), seed=20, groups=["x"] * count + ["y"] * (30 - count))
        keys |= {key for key, job in study.plan().jobs.items() if job.kind == "dfr"}
    assert len(keys) == 2


def test_every_shift_has_the_reference_in_its_own_classes_whatever_it_is_called(tmp_path):
    store = tmp_path
    _, reference = letters(store, {"s1": "ab", "s2": "bc", "s3": "ca"})
    spaces = [LabelSpace("s", tuple((c,) for c in two)) for two in ("ab", "bc", "ca")]
    shifts = {
        name: Split(f"s{number + 1}", "ood").in_label_space(space)
        for number, (name, space) in enumerate(zip(("a", "d", "s"), spaces, strict=True))
    }
    plan = planned(reference, shifts, store)
    (model,) = plan.models
    for name in shifts:
        (own,) = [s for s in model.scores if s.distribution == name and s.primary]
        (same,) = [s for s in model.scores if s.distribution == "reference" and s.space == own.space and s.primary]
        projection = plan.jobs[own.key].projection
        assert plan.jobs[same.key].projection.outputs == projection.outputs
    assert len({s.space for s in model.scores}) == 4


def test_classes_that_nobody_relates_are_refused(tmp_path):
    _, reference = letters(tmp_path, {"o": "abz"})
    with pytest.raises(DeclarationError, match="lacks 1 of them: 'z'"):
        planned(reference, {"o": Split("o", "ood")}, tmp_path)
    with pytest.raises(DeclarationError, match="has no class 'c'"):
        planned(reference, {"o": Split("o", "ood").in_label_space(LabelSpace("x", (("a",), ("c",))))}, tmp_path)
    assert planned(reference, {"o": Split("o", "ood").in_label_space(LabelSpace("x", (("a",), ("b",))))}, tmp_path).jobs


def test_an_interrupted_rewriting_leaves_no_old_description(tmp_path, monkeypatch):
    folder, split = DataFolder(tmp_path), Split("x", "all")
    written(folder, split)

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("shiftline.data.writer.write_record", killed)
    with pytest.raises(KeyboardInterrupt):
        written(folder, split, seed=1)
    with pytest.raises(DataError, match="x/all is not in the data folder"):
        folder.open(split)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_damaged_metadata_are_found(tmp_path):
    folder = DataFolder(tmp_path)
    written(folder, Split("x", "all"), groups=["u", "v"] * 15)
    written(folder, Split("x", "other"), groups=["v", "u"] * 15)
    assert folder.damaged() == {}
    own = folder.metadata(Split("x", "all"))
    own.write_bytes(folder.metadata(Split("x", "other")).read_bytes())
    assert list(folder.damaged()) == [Split("x", "all")]
    own.unlink()
    with pytest.raises(DataError, match="all.parquet is missing: it has the groups"):
        folder.open(Split("x", "all"))


def test_a_reader_that_was_named_has_keys_of_its_own(tmp_path):
    _, reference = letters(tmp_path)
    keys = {}
    for reader in ("auto", "plain", "ffcv"):
        study = OneModel(reference, {}, store=tmp_path, batch_size=10)
        study.reader = reader
        keys[reader] = {job.kind: key for key, job in study.plan().jobs.items()}
    assert len({kinds["train"] for kinds in keys.values()}) == 3


def test_a_joined_split_shares_the_examples_of_its_sources(tmp_path):
    folder, reference = letters(tmp_path, {"o": "abc"})
    both = join_splits(folder, Split("joined", "all"), [Split("d", "test"), Split("o", "ood")]).split
    with pytest.raises(DeclarationError, match="share the subset 'd/test'"):
        planned(Reference(both, reference.val, reference.test), {}, tmp_path)


def test_parts_that_were_cut_from_different_listings_are_refused(tmp_path):
    folder, _ = letters(tmp_path)
    for seed, (split, listing) in enumerate((("train", "l1"), ("val", "l2"), ("test", "")), start=30):
        written(folder, Split("cut", split), seed=seed, subsets=(split,), listing=listing)
    reference = Reference(Split("cut", "train"), Split("cut", "val"), Split("cut", "test"))
    with pytest.raises(DeclarationError, match="were cut from different files: write both again"):
        planned(reference, {}, tmp_path)


def test_an_undefined_metric_is_one_clear_error(tmp_path):
    _, reference = letters(tmp_path)
    shifts = {"one class": reference.test.class_rates([1, 0, 0])}
    study = OneModel(reference, shifts, store=tmp_path, batch_size=10, metrics=("auroc",))
    outcome = study.run()
    (error,) = outcome.failed.values()
    assert "auroc is not defined on 10 examples of 1 class" in error
    with pytest.raises(
        DeclarationError, match="selects by top-5-accuracy, which needs data that have 6 classes or more: d/val is no such split"
    ):
        Selecting(reference, {}, store=tmp_path, batch_size=10).plan()


class Selecting(OneModel):
    def models(self):
        (model,) = super().models().values()
        return {"best": best([model, dataclasses.replace(model, seed=1)], metric="top-5-accuracy")}


def test_the_variance_of_what_is_no_proportion_comes_from_its_interval():
    base = [(f"m{i}", "base", x, y) for i, (x, y) in enumerate([(0.5, 0.4), (0.6, 0.5), (0.7, 0.62), (0.8, 0.7)])]
    rows = [(m, g, d, v) for m, g, x, y in [*base, ("new", "own", 0.65, 0.6)] for d, v in (("reference", x), ("shift", y))]
    table = pd.DataFrame(rows, columns=["model", "group", "distribution", "value"])
    unknown, counted, said = (
        effective_robustness(table.assign(n=n, se=se), baseline="base").set_index("model").loc["new"]
        for n, se in ((np.nan, np.nan), (1000.0, np.nan), (np.nan, np.sqrt(0.6 * 0.4 / 1000)))
    )
    assert unknown["high"] - unknown["low"] < counted["high"] - counted["low"]
    assert said["high"] - said["low"] == pytest.approx(counted["high"] - counted["low"], rel=0.02)


def test_the_reference_may_have_another_metric_in_another_label_space():
    rows = [
        (f"m{i}", "base", d, space, metric, 0.5 + i / 10)
        for i in range(4)
        for d, space, metric in (
            ("reference", "d", "wilds:acc_wg"),
            ("same", "d", "accuracy"),
            ("reference", "sub", "accuracy"),
            ("part", "sub", "accuracy"),
        )
    ]
    table = pd.DataFrame(rows, columns=["model", "group", "distribution", "label_space", "metric", "value"])
    assert set(effective_robustness(table, baseline="base")["shift"]) == {"same", "part", "average"}
    with pytest.raises(AnalysisError, match="'part' is scored in the label space 'sub', 'reference' only in 'd'"):
        effective_robustness(table[(table["distribution"] != "reference") | (table["label_space"] == "d")], baseline="base")


class Pairs:
    classes = ("a", "b")
    targets = (0, 0, 0, 1, 1, 1)

    def __len__(self):
        return 6

    def __getitem__(self, row):
        return miniatures.pixels(row), row % 2


def test_labels_of_a_dataset_are_those_of_its_items(tmp_path):
    with pytest.raises(DataError, match="item 1 has the label 1, the dataset's list of labels says 0"):
        write_dataset(Pairs(), Split("pairs", "all"), store=tmp_path)
    transformed = Pairs()
    transformed.target_transform = lambda label: label
    split = write_dataset(transformed, Split("pairs", "all"), groups=np.arange(6), store=tmp_path)
    folder = DataFolder(tmp_path / "data")
    assert open_view(split, folder).labels.tolist() == [0, 1] * 3
    assert folder.open(split).record.grouped
    with pytest.raises(DataError, match="the label 0.7 is no whole number"):
        torch_dataset([(miniatures.pixels(0), 0.7)], classes=["a"])
    with pytest.raises(DataError, match="item 0 is no pair"):
        torch_dataset([5], classes=["a"])
    with pytest.raises(DataError, match="the split is 'pairs/all': expected a name"):
        write_dataset(Pairs(), "pairs/all", store=tmp_path)


def test_a_variant_is_never_taken_for_another(tmp_path):
    miniatures.imagenet_v2(tmp_path, ["top-images"])
    family, folder = KNOWN["imagenet-v2"], tmp_path / "imagenetv2-top-images-format-val"
    assert len(family.listing(folder, "top-images").examples) == 1000
    assert [split for split in family.splits if family.has(folder, split)] == ["top-images"]
    with pytest.raises(DataError, match="lacks imagenetv2-matched-frequency-format-val"):
        family.listing(folder, "matched-frequency")


@pytest.mark.parametrize(
    ("build", "name", "split", "spoil"),
    [
        (miniatures.kitti, "kitti", "test", lambda base: (base / "devkit_object.zip").write_bytes(b"PK")),
        (miniatures.kitti, "kitti", "test", lambda base: (base / "training/label_2/000000.txt").write_text("Car 1")),
        (miniatures.sun397, "sun397", "test", lambda base: (base / "ClassName.txt").write_text("/a/abbey\n")),
        (miniatures.gtsrb, "gtsrb", "test", lambda base: (base / "GT-final_test.csv").write_text("a;b\n")),
        (miniatures.mtsd, "mtsd", "val", lambda base: (base / "annotations/val_0.json").unlink()),
        (miniatures.fashion_mnist, "fashion-mnist", "test", lambda base: cut(base / "raw/t10k-images-idx3-ubyte.gz")),
        (
            miniatures.imagenet_vid_robust,
            "imagenet-vid-robust",
            "pm-10",
            lambda base: (base / "metadata/labels.json").write_text("{"),
        ),
    ],
)
def test_an_index_file_that_is_damaged_is_one_clear_error(build, name, split, spoil, tmp_path):
    base = build(tmp_path)
    spoil(base)
    with pytest.raises(DataError, match="are not as published .*Get them again from|is damaged"):
        [KNOWN[name].listing(base, one) for one in dict.fromkeys((split, "train", "val")) if one in KNOWN[name].splits]


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def test_images_one_level_too_deep_are_refused(tmp_path):
    for path in ("inner/cat/1.png", "inner/dog/2.png"):
        miniatures.save(tmp_path / "one" / path)
    for path in ("train/cat/1.png", "test/dog/2.png"):
        miniatures.save(tmp_path / "two" / path)
    with pytest.raises(DataError, match="Say --images .*one/inner"):
        image_folder(tmp_path / "one")
    with pytest.raises(DataError, match="or --domains .*two"):
        image_folder(tmp_path / "two")
    with pytest.raises(DataError, match="one level deeper"):
        domain_folders(tmp_path)
    miniatures.save(tmp_path / "office/Real World/mug/1.png")
    assert list(domain_folders(tmp_path / "office")) == ["Real-World"]


def test_an_attack_keeps_the_classes_of_its_data_set(tmp_path):
    from shiftline.datasets.typographic import write_attacks

    folder, split = DataFolder(tmp_path), Split("x", "all")
    written(folder, split, classes=("bird / wing", "missile", "missile"), class_ids=("n1", "n2", "n3"))
    out = tmp_path / "attacked"
    write_attacks(open_view(split, folder), folder.open(split).record.ids, out)
    found = KNOWN["typographic"].listing(out, "x-all")
    assert found.classes == ("bird / wing", "missile", "missile")
    assert found.description.class_ids == ("n1", "n2", "n3")
    assert [e.label for e in found.examples] == [row % 3 for row in range(30)]
    assert all(e.metadata["text"] != e.label for e in found.examples)
    assert json.loads((out / "attacks.json").read_text())["images"][0][0].startswith("label=bird - wing_text=missile")
