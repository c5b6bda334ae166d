"""Heads meet classes by identifier: another order is put right, other classes are refused, and what nobody knows is said."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from shiftline import ExperimentManager, FromStore, LocalWeights, Published, handwritten_digits
from shiftline import timm as timm_named
from shiftline.contracts.records import SplitRecord
from shiftline.datasets.digits import CLASSES
from shiftline.errors import DeclarationError, ModelError
from shiftline.networks.checkpoint import classes_of_file
from test_cli import ok

ARCHITECTURE = timm_named("test_vit")


def network(classes=10):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_vit", num_classes=classes).state_dict()


def permuted(state, rows):
    return state | {name: state[name][list(rows)] for name in ("head.weight", "head.bias")}


def study_of(model, folder, data_root):
    class Off(ExperimentManager):
        name = "off-the-shelf"
        reference = handwritten_digits()

        def models(self):
            return {"published": {"it": model}}

    folder.mkdir(exist_ok=True)
    if not (folder / "data").exists():
        (folder / "data").symlink_to(data_root)
    return Off(store=folder, quiet=True)


def values(model, folder, data_root):
    study = study_of(model, folder, data_root)
    assert study.run().exit_status == 0
    return study.results()


@pytest.fixture(scope="module")
def right(tmp_path_factory, data_root):
    """What a head in the reference's order gives."""
    folder = tmp_path_factory.mktemp("right")
    save_file(network(), folder / "w.safetensors")
    return values(Published(LocalWeights(ARCHITECTURE, str(folder / "w.safetensors"), classes=CLASSES)), folder, data_root)


ORDER = (3, 1, 9, 0, 2, 8, 7, 4, 6, 5)


@pytest.mark.parametrize("where", ["class_to_idx", "classes", "config.json", "said"])
def test_outputs_in_another_order_are_put_right_and_it_is_said(where, right, tmp_path, data_root):
    state, names, said = permuted(network(), ORDER), [CLASSES[row] for row in ORDER], ()
    path = tmp_path / "w.pt"
    if where == "class_to_idx":
        torch.save({"model": state, "class_to_idx": {name: row for row, name in enumerate(names)}}, path)
    elif where == "classes":
        torch.save({"state_dict": state, "meta": {"classes": names}}, path)
    elif where == "config.json":
        path = tmp_path / "snapshot"
        path.mkdir()
        save_file(state, path / "model.safetensors")
        (path / "config.json").write_text(json.dumps({"architecture": "test_vit", "label_names": names}))
    else:
        torch.save(state, path)
        said = tuple(names)
    model = Published(LocalWeights(ARCHITECTURE, str(path), classes=said))
    with pytest.warns(UserWarning, match="the 10 classes of the reference were met among 10 by their identifiers"):
        found = values(model, tmp_path / "st", data_root)
    np.testing.assert_array_equal(found["value"], right["value"])
    assert not found["order_unverified"].any()
    assert not right["order_unverified"].any()


def test_a_head_of_more_classes_is_cut_to_the_references(right, tmp_path, data_root):
    wide = network(14)
    rows = [12, 3, 5, 1, 0, 9, 11, 7, 2, 13]
    names = [f"other {row}" for row in range(14)]
    for row, name, weight, bias in zip(rows, CLASSES, network()["head.weight"], network()["head.bias"], strict=True):
        names[row] = name
        wide["head.weight"][row], wide["head.bias"][row] = weight, bias
    wide = network() | {name: wide[name] for name in ("head.weight", "head.bias")}
    save_file(wide, tmp_path / "w.safetensors")
    model = Published(LocalWeights(ARCHITECTURE, str(tmp_path / "w.safetensors"), classes=tuple(names)))
    with pytest.warns(UserWarning, match="among 14"):
        found = values(model, tmp_path / "st", data_root)
    np.testing.assert_array_equal(found["value"], right["value"])


def test_what_nobody_knows_is_said_in_tables(tmp_path, data_root):
    save_file(network(), tmp_path / "w.safetensors")
    (tmp_path / "study.py").write_text(
        "import shiftline as sl\nclass Off(sl.ExperimentManager):\n    name = 'off'\n    reference = sl.handwritten_digits()\n"
        "    def models(self):\n        return {'published': {'it': sl.Published(sl.LocalWeights(sl.timm('test_vit'), 'w.safetensors'))}}\n"
    )
    (tmp_path / "results").mkdir()
    (tmp_path / "results/data").symlink_to(data_root)
    ok("run", "study.py", cwd=tmp_path)
    shown = ok("results", "study.py", cwd=tmp_path)
    assert "it ?" in shown
    assert "?: order unverified." in shown
    assert "order_unverified" in ok("results", "study.py", "--format", "csv", cwd=tmp_path).splitlines()[0]


def test_other_classes_are_refused(tmp_path, data_root):
    save_file(network(), tmp_path / "w.safetensors")
    local = LocalWeights(ARCHITECTURE, str(tmp_path / "w.safetensors"), classes=(*CLASSES[:8], "a", "b"))
    with pytest.raises(DeclarationError, match="its head knows 8 classes of the reference's 10, and not eight, nine"):
        study_of(Published(local), tmp_path / "st", data_root).plan()
    with pytest.raises(ModelError, match="3 classes are named, its head has 10 outputs"):
        study_of(Published(local.replace(classes=("a", "b", "c"))), tmp_path / "st", data_root).plan()


def test_a_stored_model_is_met_by_identifier_too(right, tmp_path, data_root):
    save_file(permuted(network(), ORDER), tmp_path / "w.safetensors")
    store = tmp_path / "st"
    (tmp_path / "names.txt").write_text("\n".join(CLASSES[row] for row in ORDER))
    taken = ("import", tmp_path / "w.safetensors", "--architecture", "timm:test_vit", "--store", store)
    key = ok(*taken, "--classes", tmp_path / "names.txt").strip()
    with pytest.raises(
        DeclarationError, match="or on these in another order .three, one, nine, ... there, zero, one, two, ... here"
    ):
        study_of(FromStore(key), store, data_root).plan()
    unknown = ok(*taken).strip()
    assert unknown != key
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(FromStore(unknown), store, data_root)["order_unverified"].all()


def test_what_was_trained_here_is_verified(tiny):
    """By the data that the head was trained on: its own, or those of what was mixed."""
    seen = 0
    for planned in tiny.plan().models:
        if planned.key in tiny.plan().jobs:
            record = FromStore(planned.key).stored_record(tiny.store)
            assert (record.class_ids or tuple(name for (name,) in record.classes)) == CLASSES
            seen += 1
    assert seen > 4


def test_timm_knows_its_classes():
    assert timm_named("resnet18").class_ids(1000)[:2] == ("n01440764", "n01443537")
    assert timm_named("resnet18").class_ids(10) == ()


@given(rows=st.permutations(range(6)), more=st.integers(0, 3), by_name=st.booleans())
def test_every_class_is_found_wherever_the_head_has_it(rows, more, by_name):
    ids, names = tuple(f"n{row}" for row in range(6)), tuple("abcdef")
    record = SplitRecord("", 6, names, (1,) * 6, class_ids=ids)
    head = [(names if by_name else ids)[row] for row in rows] + [f"other {row}" for row in range(more)]
    found = record.rows_in(head)
    assert [head[row] for row in found] == list(names if by_name else ids)
    assert record.rows_in(["x", "y"]) is None
    with pytest.raises(DeclarationError, match="its head knows 5 classes"):
        record.rows_in(head[1:])


def test_names_that_stand_twice_say_nothing_of_an_order():
    record = SplitRecord("", 3, ("crane", "crane", "dog"), (1,) * 3, class_ids=("n1", "n2", "n3"))
    assert record.rows_in(("crane", "crane", "dog")) == (0, 1, 2)
    assert record.rows_in(("dog", "crane", "crane")) is None
    assert record.rows_in(("n3", "n1", "n2")) == (1, 2, 0)
    for classes in (("a", "a"), "ab", (0, 1)):
        with pytest.raises(DeclarationError, match=r"LocalWeights.classes (is|has)"):
            LocalWeights(ARCHITECTURE, "w.pt", classes=classes)


def test_classes_that_are_said_and_none_of_the_references_are_refused(tmp_path, data_root):
    save_file(network(), tmp_path / "w.safetensors")
    local = LocalWeights(ARCHITECTURE, str(tmp_path / "w.safetensors"), classes=tuple(map(str, range(10))))
    with pytest.raises(DeclarationError, match="none of the classes that are named .0, 1, 2, .... is one of the reference's"):
        study_of(Published(local), tmp_path / "st", data_root).plan()


def test_positions_of_classes_may_be_text(tmp_path):
    torch.save(
        {"model": network(), "class_to_idx": {"b": "1", "a": "0", **{str(n): str(n) for n in range(2, 10)}}}, tmp_path / "w.pt"
    )
    assert classes_of_file(tmp_path / "w.pt") == ("a", "b", *map(str, range(2, 10)))
