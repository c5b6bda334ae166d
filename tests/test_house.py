"""The house: identity that grows, a public page that hides nothing, plug-ins, and documentation made from the code."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import shiftline as sl
from shiftline.contracts import plugins
from shiftline.contracts.identity import Declaration, canonical, fields_of
from shiftline.contracts.metrics import metric_named
from shiftline.contracts.plugins import by_tag, declared_types
from shiftline.datasets.catalogue import catalogue
from shiftline.errors import DataError, DeclarationError
from shiftline.testing import ContractError, check_declaration, check_defaults, record_defaults
from shiftline.testing.declarations import defaults_table

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "shiftline"
GOLDEN = Path(__file__).parent / "golden" / "defaults.json"
AGAIN = (
    f"python -c 'from shiftline.testing.declarations import *; ...': record_defaults({str(GOLDEN)!r}, declared_types().values())"
)


# ---- identity that grows ---------------------------------------------------------------------------------------------


def test_no_default_changed_without_a_revision():
    recorded = json.loads(GOLDEN.read_text())
    check_defaults(declared_types().values(), recorded)
    assert defaults_table(declared_types().values()) == recorded, f"classes or options are new: record them, {AGAIN}"


class Option(Declaration):
    tag = "tests/option"
    size: int
    depth: int = 3


def test_a_changed_default_names_the_revision_that_it_needs(tmp_path):
    path = tmp_path / "defaults.json"
    check_declaration(Option(1), record=path)
    check_declaration(Option(2, depth=5), record=path)
    before = path.read_text()

    def changed(**members):
        annotations = {"size": "int", "depth": "int"} | members.pop("__annotations__", {})
        return type("Option", (Declaration,), {"tag": "tests/option", "__annotations__": annotations, "depth": 3, **members})

    with pytest.raises(ContractError, match=r"'tests/option' had the default depth=3, now 4: .* revision = 2 in the class"):
        record_defaults(path, [changed(depth=4)])
    lost = type("Option", (Declaration,), {"tag": "tests/option", "__annotations__": {"size": "int", "depth": "int"}})
    with pytest.raises(ContractError, match=r"had the default depth=3, and has none now"):
        record_defaults(path, [lost])
    assert path.read_text() == before
    record_defaults(path, [changed(width=1, __annotations__={"width": "int"})])
    assert json.loads(path.read_text())["tests/option"]["defaults"] == {"depth": 3, "width": 1}
    record_defaults(path, [changed(depth=4, revision=2)])
    assert json.loads(path.read_text())["tests/option"] == {"revision": 2, "defaults": {"depth": 4}}
    with pytest.raises(ContractError, match="revisions only rise"):
        record_defaults(path, [Option])


def test_a_field_at_its_default_is_left_out_and_another_value_is_not():
    assert canonical(Option(1)) == canonical(Option(1, depth=3)) == {"type": "tests/option", "size": 1}
    assert canonical(Option(1, depth=4)) == {"type": "tests/option", "size": 1, "depth": 4}


def with_one_more_field(source: str) -> str:
    """Add a field with a default to every declaration of a module."""
    lines, after = source.splitlines(keepends=True), []
    for node in ast.walk(ast.parse(source)):
        tagged = isinstance(node, ast.ClassDef) and any(
            isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "tag" for statement in node.body
        )
        if tagged:
            fields = [s for s in node.body if isinstance(s, ast.AnnAssign) and "ClassVar" not in ast.unparse(s.annotation)]
            after.append((fields or node.body[:1])[-1].end_lineno)
    for line in sorted(after, reverse=True):
        lines.insert(line, "    added_later: float | None = __import__('dataclasses').field(default=None, kw_only=True)\n")
    return "".join(lines)


def test_one_more_option_everywhere_changes_no_key_and_orphans_no_store(tiny, tmp_path):
    """On the source in a temporary copy: a field is added to every class that has a tag."""
    added = 0
    for path in SOURCE.rglob("*"):
        target = tmp_path / "shiftline" / path.relative_to(SOURCE)
        if path.suffix in (".py", ".pyi", ".json", ".safetensors", ".typed"):
            target.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes()
            if path.suffix == ".py" and path.relative_to(SOURCE).parts[0] in plugins.DECLARING:
                changed = with_one_more_field(path.read_text())
                added += changed.count("added_later")
                content = changed.encode()
            target.write_bytes(content)
    assert added > 60
    code = (
        "import sys, json, shiftline\n"
        "from conftest import TinyStudy\n"
        "from shiftline.operations.fine_tune import FineTune\n"
        "from shiftline.studies.digits import Digits\n"
        "assert 'added_later' in FineTune.__dataclass_fields__\n"
        "store = sys.argv[1]\n"
        "states = [job.state for job in TinyStudy(store=store).status()]\n"
        "print(json.dumps([states, sorted(Digits(store=store).plan().jobs)]))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parent}"}
    found = subprocess.run(
        [sys.executable, "-c", code, str(tiny.store.root)], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    states, keys = json.loads(found.stdout)
    assert set(states) == {"complete"}
    from shiftline.studies.digits import Digits

    assert keys == sorted(Digits(store=tiny.store.root).plan().jobs)


# ---- the public page -------------------------------------------------------------------------------------------------


def test_a_star_import_shadows_no_library_and_the_page_is_typed():
    code = (
        "import timm, open_clip, wilds\nfrom shiftline import *\n"
        "assert timm.create_model and open_clip.create_model and wilds.get_dataset\n"
        "assert FineTune and Model and Metric and Merge and DatasetFamily"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert (SOURCE / "py.typed").is_file()
    assert sl.__version__ == importlib.metadata.version("shiftline")
    assert {"timm", "open_clip", "wilds"} <= set(dir(sl)) - set(sl.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        sl.no_such_name
    assert all(getattr(sl, name) is not None for name in dir(sl))


PUBLIC = {name: getattr(sl, name) for name in dir(sl)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_class_documents_its_arguments(name):
    cls = CLASSES[name]
    text = inspect.getdoc(cls) or ""
    assert len(text.split("\n\n")[0]) > 10
    if issubclass(cls, Declaration):
        names = [field.name for field in fields_of(cls) if field.name != "_"]
    else:
        names = [] if issubclass(cls, Exception) else list(inspect.signature(cls).parameters)
    missing = [n for n in names if not re.search(rf"\b{n}\b", text)]
    assert not missing, f"help(sl.{name}) says nothing of {', '.join(missing)}"


@pytest.mark.slow
def test_a_study_is_checked_by_mypy(tmp_path):
    study = """
import shiftline as sl


class Sharpness(sl.ExperimentManager):
    name = "sharpness"
    reference = sl.handwritten_digits()
    shifts = {"blur": reference.test.shifted(sl.Blur(1.0))}
    baseline = "from scratch"

    def models(self) -> dict[str, list[sl.Model]]:
        clip = sl.ZeroShot(sl.glyph_clip(), templates=sl.PROMPTS)
        tuned = sl.best(sl.FineTune(clip, epochs=2, optimizer=sl.AdamW(lr=lr)) for lr in (1e-3, 1e-4))
        return {"fine-tuned": sl.replicates(tuned, seeds=range(2)), "wise-ft": sl.interpolations(clip, tuned)}


table = Sharpness(store="results").results()
"""
    (tmp_path / "good.py").write_text(study)
    (tmp_path / "bad.py").write_text(study.replace("sl.AdamW(lr=lr)", 'sl.AdamW(lr="much")').replace("epochs=2", "epohcs=2"))
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--cache-dir", str(tmp_path / "cache")]
    good, bad = (
        subprocess.run([*command, name], cwd=tmp_path, capture_output=True, text=True, check=False)
        for name in ("good.py", "bad.py")
    )
    assert good.returncode == 0, good.stdout
    assert 'Unexpected keyword argument "epohcs"' in bad.stdout
    assert 'Argument "lr" to "AdamW" has incompatible type "str"' in bad.stdout


# ---- documentation that is made from the code ------------------------------------------------------------------------


def test_the_tables_of_the_documentation_are_what_the_classes_say():
    spec = importlib.util.spec_from_file_location("write_tables", ROOT / "scripts" / "write_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for (page, name), make in tables.TABLES.items():
        text = (ROOT / "docs" / page).read_text()
        made = make()
        assert made.count("\n") > 5
        assert tables.written(text, name, made) == text, f"{page}: run .venv/bin/python scripts/write_tables.py"


def test_words_that_were_retired_stay_away():
    retired = r"\b(leaf|leaves(?= ?[=:(\]])|model bank|anew|spoilt|crew)\b"
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md", *(ROOT / "scripts").glob("*")]:
        if path.is_file():
            found = re.search(retired, path.read_text(), flags=re.I)
            assert found is None, f"{path}: {found.group()}"


def test_files_are_small_or_say_why():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert text.count("\n") <= 400 or "one file" in docstring, f"{path} has {text.count(chr(10))} lines, and does not say why"


# ---- plug-ins --------------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A function that installs modules as plug-ins, by the text of each."""

    def install(**texts):
        folder = tmp_path / "site"
        info = folder / "my_lab-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[shiftline.plugins]\n" + "".join(f"{name} = {name}\n" for name in texts))
        for name, text in texts.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        plugins.installed.cache_clear()
        plugins.declared_types.cache_clear()

    yield install
    for name in [name for name in sys.modules if name.startswith("my_lab")]:
        del sys.modules[name]
    monkeypatch.undo()
    plugins.installed.cache_clear()
    plugins.declared_types.cache_clear()


METRIC = """
import shiftline as sl
class {name}(sl.Metric):
    tag = "{tag}"
    def per_example(self, logits, labels, groups):
        return logits.argmax(1) == labels
"""
FAMILY = """
import shiftline as sl
class Birds(sl.DatasetFamily):
    name = "birds"
    splits = ("test",)
class Nested(sl.ExperimentManager):
    name = "of-the-lab"
"""


def test_what_a_package_brings_is_known_by_its_name(plugin):
    from shiftline.cli.loading import load_study

    plugin(my_lab_metrics=METRIC.format(name="Share", tag="my-lab/share"), my_lab_data=FAMILY)
    assert metric_named("my-lab/share", where="here").name == "my-lab/share"
    assert catalogue().named("birds").splits == ("test",)
    assert load_study("of-the-lab").__name__ == "Nested"


def test_a_plug_in_that_cannot_be_imported_is_named_and_the_rest_works(plugin, capsys):
    plugin(my_lab_broken="import no_such_module", my_lab_metrics=METRIC.format(name="Share", tag="my-lab/share"))
    assert metric_named("my-lab/share", where="here").name == "my-lab/share"
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'my_lab_broken' (my_lab_broken) cannot be imported and is left out: ModuleNotFoundError" in error


def test_two_classes_of_one_tag_are_one_error(plugin):
    plugin(my_lab_metrics=METRIC.format(name="Mine", tag="accuracy"))
    with pytest.raises(DeclarationError, match=r"two classes have the tag 'accuracy': .*Accuracy and my_lab_metrics.Mine"):
        declared_types()
    with pytest.raises(DeclarationError, match="two classes have the tag"):
        by_tag([Option, type("Other", (Declaration,), {"tag": "tests/option"})])


def test_two_data_sets_of_one_name_and_one_without_splits_are_one_error_each():
    class Digits(sl.DatasetFamily):
        name = "digits"
        splits = ("test",)

    class Empty(sl.DatasetFamily):
        name = "empty"

    with pytest.raises(DataError, match="two data sets have the name 'digits'"):
        catalogue(Digits)
    with pytest.raises(DataError, match=r"'empty' .* has no splits: write splits"):
        catalogue(Empty)


def test_an_attribute_that_hides_a_verb_is_refused_when_the_class_is_made():
    with pytest.raises(DeclarationError, match="Draft.status hides the verb 'status'"):

        class Draft(sl.ExperimentManager):
            status = "draft"

    study = sl.ExperimentManager()
    with pytest.raises(DeclarationError, match="ExperimentManager.support hides the verb 'support'"):
        study.support = 1
    study.seeds = 3


def test_each_verb_plans_once(tiny, monkeypatch):
    from shiftline.launch import planning

    calls, build = [], planning.build_plan
    monkeypatch.setattr(planning, "build_plan", lambda *a, **k: calls.append(1) or build(*a, **k))
    for verb in (tiny.plan, tiny.status, tiny.results, tiny.effective_robustness, tiny.candidates, tiny.figures, tiny.answers):
        calls.clear()
        verb()
        assert len(calls) == 1, verb
