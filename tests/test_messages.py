"""Messages that say what is wrong, what was expected and what is near; arguments are looked at before anything heavy is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shiftline import Blur, Invert, Noise, Split, Tint
from shiftline.contracts.require import near
from test_cli import called, error, ok

FIT = ["fit", "t.csv", "--model", "model", "--reference", "a", "--shift", "b", "--baseline", "group=base"]
ROWS = (
    "model,group,n,a,b\nm1,base,100,0.9,0.2\nm2,base,200,0.5,0.3\nm3,base,100,0.4,0.31\nm4,base,100,0.7,0.25\nm5,new,100,0.6,0.22\n"
)


def folder_with(tmp_path, table=ROWS):
    (tmp_path / "t.csv").write_text(table)
    (tmp_path / "blurred.py").write_text(
        "import shiftline as sl\nclass S(sl.ExperimentManager):\n    name = 's'\n    shifts = {'x': sl.Split('a', 'b').shifted(sl.Blur(0))}\n"
    )
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.png").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["data", "write", "x", "--split", "t", "--images", "none"],
            "the image folder: the folder none does not exist (looked in ",
        ),
        (["data", "write", "x", "--split", "t", "--images", "t.csv"], "t.csv is a file: expected the folder that holds the data"),
        (
            ["data", "write", "x", "--split", "t", "--images", "flat"],
            "flat holds 1 image and no sub-folders: expected one sub-folder per",
        ),
        (["data", "parity", "own/test", "--model", "timm:resnet18"], "there is no data set 'own'"),
        ([*FIT, "--shift", "bb"], "the table has no column 'bb': did you mean b?"),
        (
            [*FIT, "--weights", "binomial"],
            "--weights binomial needs numbers of examples: say --n-reference and --n-shift, a number or a",
        ),
        ([*FIT, "--n-shift", "0"], "--n-shift 0: expected a number of examples"),
        ([*FIT, "--n-shift", "mdel"], "the table has no column 'mdel': did you mean model?"),
        ([*FIT, "--n-shift", "group"], "row 1 of the column 'group' holds 'base': expected a number or nothing"),
        ([*FIT, "--n-shift", "a"], "row 1 of the column 'a' holds 0.9: expected a number of examples"),
        (["plan", "typographic", "seeds=1"], "'seeds=1' is no parameter of Typographic: its constructor takes none. Leave it out."),
        (["plan", "blurred.py"], "Blur.sigma is 0.0: expected a positive number of pixels. Run `python blurred.py`"),
        (["run", "digits", "--group", "CLIP fine-tuned"], "has no group 'CLIP fine-tuned'"),
    ],
)
def test_a_message_says_what_is_wrong(tmp_path, arguments, message):
    said = error(*arguments, cwd=folder_with(tmp_path))
    assert message in " ".join(said.split())
    assert ".." not in said.replace("...", "")


def test_a_percent_that_is_none_names_its_row(tmp_path):
    said = error(*FIT, "--percent", cwd=folder_with(tmp_path, ROWS.replace("0.5,", "169.8,")))
    assert "row 2 of the column 'a' holds 169.8: expected percent from 0 to 100" in said


def test_numbers_of_examples_are_a_number_or_a_column(tmp_path):
    """A column of equal numbers is that number."""
    equal = ROWS.replace("200", "100")
    by_column = ok(*FIT, "--n-reference", "n", "--n-shift", "n", "--weights", "binomial", cwd=folder_with(tmp_path, equal))
    assert by_column == ok(*FIT, "--n-reference", "100", "--n-shift", "100", "--weights", "binomial", cwd=tmp_path)
    (tmp_path / "t.csv").write_text(ROWS)
    assert by_column != ok(*FIT, "--n-reference", "n", "--n-shift", "n", "--weights", "binomial", cwd=tmp_path)


def test_what_a_user_should_know_is_a_note_without_a_place_in_the_code(tmp_path):
    (tmp_path / "t.csv").write_text(ROWS.replace("0.", "0.00").replace("0.000.00", "0.00"))
    script = f"import sys\nfrom shiftline.cli.app import main\nsys.argv = ['shiftline', *{[*FIT, '--percent']!r}]\nmain()\n"
    found = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert found.stderr.startswith(
        "note: no accuracy of the column 'a' is above 1 percent (the largest is 0.009): are they fractions?\n"
    )


@pytest.mark.parametrize("command", ["wise-ft", "patch"])
@pytest.mark.parametrize("words", [["half"], ["0", "half", "1"], ["0.5", "half"]])
def test_a_mixing_coefficient_that_is_no_number(tmp_path, command, words):
    found = called(command, "--alpha", *words, cwd=tmp_path)
    assert found.returncode == 2
    said = " ".join(found.stderr.replace("│", " ").split())
    assert "Invalid value for '--alpha'" in said
    assert "a valid number" in said


def test_names_that_are_near(tiny):
    """Groups, models and metrics, as commands ask for them."""
    assert near("basline", ["baseline", "fine-tuned"]) == ": did you mean baseline?"
    assert near("x", ["baseline"]) == "."
    with pytest.raises(Exception, match="no model or group 'zero-shto': did you mean zero-shot?"):
        tiny.compare("zero-shto", "probe")
    with pytest.raises(Exception, match="has no group 'probes': did you mean probe?"):
        tiny.run(groups=["probes"])
    with pytest.raises(Exception, match="there is no group 'probes': did you mean probe?"):
        tiny.agreement(groups=["probes"])


def test_shifts_of_one_kind_are_told_apart():
    split = Split("digits", "test")
    said = [str(split.shifted(t)) for t in (Blur(1.0), Blur(2.0), Invert(), Noise(0.1), Noise(0.1, seed=1), Tint(p=0.5))]
    assert said[:3] == ["digits/test + blur(sigma=1)", "digits/test + blur(sigma=2)", "digits/test + invert"]
    assert len(set(said)) == len(said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "parity", "digits/test", "--model", "timm:resnet18::"],
        ["plan", "typographic", "seeds=1"],
        ["data", "write", "x", "--split", "t", "--images", "none"],
        ["wise-ft", "--alpha", "half"],
        ["import", "none.pt", "--classes", "none.txt"],
    ],
)
def test_arguments_are_looked_at_before_anything_heavy_is_loaded(tmp_path, arguments):
    script = (
        "import sys\nfrom shiftline.cli.app import main\nsys.argv = ['shiftline', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code, end.code\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'scipy', 'timm', 'open_clip', 'matplotlib'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
