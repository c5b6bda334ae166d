"""The repository: what the README says runs, the two lists of packages agree, and no file names a machine or an index."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from shiftline import FromStore
from shiftline.testing.merges import check_merge

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = {"pytorch": "torch", "open-clip-torch": "open-clip-torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def name_and_bound(requirement):
    name, bound = re.match(r"([A-Za-z0-9_.-]+)(.*)", requirement).groups()
    return name.lower().replace("_", "-"), bound


def test_environment_yml_is_in_step_with_pyproject():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    names = [entry for entry in listed if isinstance(entry, str)] + [entry for entry in pip if not entry.startswith("--")]
    conda = dict(name_and_bound(entry) for entry in names)
    conda = {CONDA.get(name, name): bound for name, bound in conda.items()}
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["ffcv"], *extras["wilds"], *extras["tensorboard"], *extras["notebooks"]]
    for name, bound in map(name_and_bound, wanted):
        assert conda.get(name) == bound, f"{name}{bound} of pyproject.toml is {conda.get(name)} in environment.yml"
    build = {"python", "pip", "cxx-compiler", "pkg-config", "libopencv", "libjpeg-turbo"}
    assert set(conda) == {name_and_bound(w)[0] for w in wanted} | build


def test_the_lock_pins_every_dependency_with_hashes_and_no_address():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, flags=re.M))
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    for name, _ in map(name_and_bound, [*PROJECT["dependencies"], *extras]):
        assert name in pinned, f"{name} is not in requirements.lock: run scripts/lock.sh"
    assert lock.count("--hash=sha256:") > len(pinned)
    assert "http" not in re.sub(r"[a-z0-9.-]*http[a-z0-9.-]*==|# +via.*|#   .*", "", lock)


def test_every_dependency_is_imported_by_something():
    imported = {"open-clip-torch": "open_clip", "lightning-fabric": "lightning_fabric", "scikit-learn": "sklearn", "pillow": "PIL"}
    imported["lazy-loader"] = "lazy_loader"
    text = "\n".join(p.read_text() for p in (ROOT / "src").rglob("*.py"))
    extras = PROJECT["optional-dependencies"]
    for name, _ in map(name_and_bound, [*PROJECT["dependencies"], *extras["wilds"]]):
        module = imported.get(name, name)
        assert re.search(rf"^\s*(import|from) {module}\b", text, flags=re.M), name
    # FFCV's shared library is opened without importing its package.
    assert name_and_bound(extras["ffcv"][0])[0] == "ffcv"
    assert 'find_spec("ffcv")' in text


def test_no_file_names_a_package_index_or_a_path_of_one_machine():
    for path in tracked():
        if path.suffix in (".png", ".safetensors", ".lock") or path == Path(__file__):
            continue
        text = path.read_text()
        assert not re.search(r"https?://[^\s\"']*(pypi|pythonhosted|conda\.anaconda|/simple)", text), path
        assert not re.search(r"(?<![\w.])/(work|root|home)/[A-Za-z.]", text), path


def test_large_files_are_not_committed():
    assert {p.name: p.stat().st_size for p in tracked() if p.stat().st_size > 1_000_000} == {}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_readme_names_its_two_commands():
    commands = blocks("bash")
    assert commands[0] == "bash scripts/study.sh\n"
    assert commands[1] == "bash scripts/test.sh\n"
    assert "bash scripts/test.sh" in (ROOT / ".ci" / "run").read_text()


def test_the_study_of_the_readme_is_short():
    body = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(body) <= 27


@pytest.mark.slow
def test_the_study_of_the_readme_runs_as_it_stands_there(tmp_path, data_root):
    code, verbs, expecting = blocks("python")[:3]
    (tmp_path / "sharpness.py").write_text(code)
    shell, launching = [block for block in blocks("bash") if "sharpness.py" in block]
    # Worker processes find the study done; SLURM's script has a test of its own.
    shell += "".join(line for line in launching.splitlines(keepends=True) if "--workers" in line)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in shell.splitlines():
        command = line.split("#")[0].strip()
        if command and not command.startswith("source"):
            subprocess.run(command, shell=True, cwd=tmp_path, env=environment, check=True, capture_output=True)
    script = (
        f"from sharpness import Sharpness, sl\n{verbs}\nassert len(table) == 80, len(table)\nassert figures['robustness'].is_file()\n"
        f"assert logits.shape == (697, 10)\n{expecting}\n"
        "found = Expecting(store='results').verdicts()\n"
        "assert set(found['verdict']) <= {'holds', 'fails', 'cannot tell'} and len(found) == 3\n"
    )
    script += "from shiftline.testing.studies import check_study\ncheck_study(Sharpness)\n"
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_the_expressions_of_the_readme_can_be_declared():
    space = {}
    expressions, own = blocks("python")[3:5]
    exec("import shiftline as sl\nclip = sl.ZeroShot(sl.glyph_clip(), templates=sl.PROMPTS)\n" + expressions + own, space)
    assert len(space["curve"]) == len(space["outputs"]) == 11
    check_merge(space["merged"])


def test_the_analysis_of_the_readme_runs_as_it_stands_there():
    space = {}
    exec(blocks("python")[5], space)
    assert space["line"].n == 3
    assert len(space["table"]) == 4
    assert space["table"].set_index("model").loc["clip", "effective_robustness"] == pytest.approx(0.05, abs=0.02)


def test_every_expression_of_the_documentation_is_planned(new_store):
    text = (ROOT / "docs" / "models.md").read_text()
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.S):
        exec(block, space)
    from shiftline import ExperimentManager, handwritten_digits, typed_digits
    from shiftline.contracts.models import Model

    # A key that no store has cannot be planned.
    expressions = {
        name: value
        for name, value in space.items()
        if isinstance(value, Model) or (isinstance(value, list) and value and all(isinstance(v, Model) for v in value))
    }
    del expressions["elsewhere"]
    assert isinstance(space["elsewhere"], FromStore)
    assert len(expressions) >= 40

    class Documented(ExperimentManager):
        name = "documented"
        reference = handwritten_digits()
        shifts = {"typed": typed_digits().indices(range(600, 720))}

        def models(self):
            return expressions

    plan = Documented(store=new_store).plan()
    assert len(plan.jobs) > 300
    operations = set(re.findall(r"^\| `(\w+)", text, flags=re.M)) | {"Interpolate"}
    assert operations <= set(re.findall(r"\w+", "".join(re.findall(r"```python\n(.*?)```", text, flags=re.S)))) | {"Interpolate"}


def test_measured_numbers_are_committed_with_date_and_hardware():
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"measured"}
    tracked = subprocess.run(
        ["git", "ls-files", "benchmarks/results"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {Path(name).stem for name in tracked} == scripts
    for name in tracked:
        document = json.loads((ROOT / name).read_text())
        assert {"date", "hardware", "versions", "measured"} <= set(document)


def test_files_that_the_readme_names_exist():
    for name in re.findall(r"`([a-z_./]+\.(?:md|py|ipynb|cff|sh))`|\((assets/[^)]+)\)", README):
        path = next(filter(None, name))
        assert (ROOT / path).exists() or path in ("sharpness.py",), path
    assert (ROOT / "docs" / "design").is_dir()


def test_notebooks_are_committed_without_outputs():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")
            assert not cell.get("execution_count")


@pytest.mark.slow
@pytest.mark.timeout(1200)  # It installs and compiles every package: minutes on a slow disk.
def test_setup_is_idempotent_and_works_from_anywhere_with_a_space_in_the_path(tmp_path):
    place = tmp_path / "a folder"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    for name in ("requirements.lock", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / name)
    shutil.copytree(ROOT / "src", place / "src")
    for _ in range(2):
        subprocess.run(["bash", str(place / "scripts" / "setup.sh")], cwd="/", check=True, capture_output=True)
    out = subprocess.run(
        [place / ".venv" / "bin" / "shiftline", "data", "list"], cwd="/tmp", capture_output=True, text=True, check=True
    )
    assert "typed-digits" in out.stdout


@pytest.mark.slow
def test_setup_without_root_names_the_packages_and_stops(tmp_path):
    """A folder of commands without pkg-config, g++, apt-get and sudo stands for another machine."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "dirname", "cat", "sha256sum", "cut", "id"):
        (commands / name).symlink_to(shutil.which(name))
    (commands / "python3").symlink_to(sys.executable)
    place = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", place / "scripts")
    for name in ("requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, place / name)
    done = subprocess.run(
        ["bash", place / "scripts" / "setup.sh"], env={"PATH": str(commands)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    for hint in ("apt-get install g++ pkg-config libopencv-dev", "dnf install", "conda env create", "Nothing has been set up yet"):
        assert hint in done.stderr
    assert not (place / ".venv").exists()


def test_layers_point_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "4 kept, 0 broken" in done.stdout


def test_docstrings_of_public_functions_exist():
    import ast

    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree) or path.name == "__init__.py", path
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"
