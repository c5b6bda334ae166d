"""`shiftline fit`: the line on a table that was made elsewhere."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import logit, ndtr, ndtri

from test_cli import error, ok

# Wortsman et al. (2022), Table 1: CLIP ViT-L/14 at 336 pixels, percent.
WISE_FT = """model,kind,imagenet,v2,rendition,sketch,objectnet,a
zero-shot,standard,76.2,70.1,88.9,60.2,70.0,77.2
linear classifier,standard,85.4,75.8,84.1,57.4,66.3,75.3
end-to-end,standard,86.2,76.8,79.8,57.9,63.3,65.4
WiSE-FT linear classifier,wise-ft,83.7,76.3,89.6,63.0,70.7,79.7
WiSE-FT end-to-end,wise-ft,86.8,79.5,89.4,64.7,71.1,79.9
"""
COLUMNS = ("--model", "model", "--reference", "imagenet")
STANDARD = (*COLUMNS, "--baseline", "kind=standard", "--percent")


@pytest.fixture
def wise_ft(tmp_path):
    path = tmp_path / "wise_ft.csv"
    path.write_text(WISE_FT)
    return path


def planted(tmp_path, *, name="planted.csv", zeros=False):
    """Thirty models on a probit line with scatter, three above it; cells may be missing, or 0."""
    generator = np.random.default_rng(0)
    z = generator.uniform(-1, 1.5, 33)
    y = 0.8 * z - 0.5 + generator.normal(0, 0.05, 33) + np.where(np.arange(33) < 30, 0, 0.4)
    table = pd.DataFrame(
        {"name": [f"m{i}" for i in range(33)], "from": ["scratch"] * 30 + ["clip"] * 3, "test": ndtr(z), "sketch": ndtr(y)}
    )
    if zeros:
        table.loc[0, "sketch"] = 0.0
        table.loc[1, "test"] = np.nan
        table.loc[32, "sketch"] = np.nan
    path = tmp_path / name
    {"csv": table.to_csv, "parquet": table.to_parquet}[path.suffix[1:]](path, index=False)
    return path, table


ARGUMENTS = ("--model", "name", "--reference", "test", "--shift", "sketch", "--baseline", "from=scratch")


@pytest.mark.parametrize(("scale", "g"), [("probit", ndtri), ("logit", logit), ("linear", lambda p: p)])
def test_the_line_is_that_of_statsmodels(tmp_path, scale, g):
    path, table = planted(tmp_path)
    found = json.loads(ok("fit", path, *ARGUMENTS, "--scale", scale, "--format", "json"))
    base = table[table["from"] == "scratch"]
    theirs = sm.OLS(g(base["sketch"]), sm.add_constant(g(base["test"]))).fit()
    assert (found["intercept"], found["slope"]) == pytest.approx(tuple(theirs.params))
    assert found["r2"] == pytest.approx(theirs.rsquared)
    assert (found["n"], found["scale"], found["left_out"]) == (30, scale, 0)
    assert list(found["models"][0]) == [
        "model",
        "group",
        "reference",
        "shift",
        "predicted",
        "effective_robustness",
        "low",
        "high",
        "extrapolated",
        "notes",
    ]
    for row in found["models"]:
        assert row["effective_robustness"] == pytest.approx(row["shift"] - row["predicted"])
        assert row["low"] <= row["effective_robustness"] <= row["high"]
    inverse = {"probit": ndtr, "logit": lambda v: 1 / (1 + np.exp(-v)), "linear": lambda v: v}[scale]
    one = found["models"][31]
    assert one["predicted"] == pytest.approx(float(inverse(theirs.predict([[1.0, g(one["reference"])]])[0])))


def test_zeros_and_gaps_are_left_out_or_clipped_and_counted(tmp_path):
    path, _ = planted(tmp_path, zeros=True)
    found = json.loads(ok("fit", path, *ARGUMENTS, "--format", "json"))
    assert found["n"] == 28
    assert found["left_out"] == 2
    assert [row["model"] for row in found["models"] if row["model"] in ("m1", "m32")] == []
    assert found["notes"]["excluded"] == "baseline models with an accuracy of 0 or 1 are not in the fit (1 of 30)"
    assert found["notes"]["missing"] == "baseline models without both accuracies are not in the fit (1 of 30)"
    counts = ("--n-reference", "10000", "--n-shift", "500", "--extremes", "clip")
    clipped = json.loads(ok("fit", path, *ARGUMENTS, *counts, "--format", "json"))
    assert clipped["n"] == 29
    assert clipped["notes"]["clipped"].endswith("were clipped, and pull at the line (1 of 30)")
    assert json.loads(ok("fit", path, *ARGUMENTS, "--extremes", "exclude", "--format", "json"))["n"] == 28
    weighted = json.loads(ok("fit", path, *ARGUMENTS, *counts, "--weights", "binomial", "--format", "json"))
    assert weighted["weights"] == "binomial"
    assert weighted["slope"] != clipped["slope"]
    assert weighted["slope"] < clipped["slope"] or weighted["r2"] > clipped["r2"]


def test_the_table_of_the_wise_ft_paper(wise_ft, tmp_path):
    """Interpolated models lie above the line through the models that they were made from."""
    out = ok("fit", wise_ft, *STANDARD, "--shift", "v2", "--shift", "rendition", "--plot", tmp_path / "figure.png")
    assert "v2: probit axes" in out
    assert "rendition: probit axes" in out
    assert "extrapolated" in out
    assert {path.name for path in tmp_path.iterdir()} >= {"figure.png", "figure.pdf", "figure.csv"}
    found = json.loads(ok("fit", wise_ft, *STANDARD, "--shift", "a", "--shift", "v2", "--format", "json"))
    assert [line["shift"] for line in found] == ["a", "v2"]
    for line in found:
        above = {row["model"]: row["effective_robustness"] for row in line["models"]}
        assert above["WiSE-FT end-to-end"] > 0.01
    rows = ok("fit", wise_ft, *STANDARD, "--shift", "v2", "--format", "csv").splitlines()
    assert len(rows) == 6
    assert rows[0].startswith("shift,model,group,reference,shifted,predicted,effective_robustness,low,high")


def test_parquet_and_jsonl_are_read_too(tmp_path):
    path, table = planted(tmp_path)
    parquet, _ = planted(tmp_path, name="planted.parquet")
    table.to_json(tmp_path / "planted.jsonl", orient="records", lines=True, double_precision=15)
    outputs = {ok("fit", p, *ARGUMENTS) for p in (path, parquet, tmp_path / "planted.jsonl")}
    assert len(outputs) == 1


def test_several_references_share_the_line(tmp_path):
    """Shi et al. (2023): a model that is better on a second distribution than the first tells is no longer above the line."""
    generator = np.random.default_rng(3)
    one, two = generator.uniform(-1, 1.5, 23), generator.uniform(-1, 1.5, 23)
    y = 0.5 * one + 0.4 * two - 0.3 + generator.normal(0, 0.03, 23)
    table = pd.DataFrame(
        {"name": [f"m{i}" for i in range(23)], "from": ["scratch"] * 20 + ["clip"] * 3, "test": ndtr(one), "web": ndtr(two)}
    ).assign(sketch=ndtr(y))
    table.to_csv(tmp_path / "two.csv", index=False)
    both = ("--reference", "web", "--format", "json")
    found = json.loads(ok("fit", tmp_path / "two.csv", *ARGUMENTS, *both))
    base = table[:20]
    theirs = sm.OLS(ndtri(base["sketch"]), sm.add_constant(ndtri(base[["test", "web"]].to_numpy()))).fit()
    assert (found["intercept"], *found["slopes"].values()) == pytest.approx(tuple(theirs.params))
    assert list(found["slopes"]) == ["test", "web"]
    alone = json.loads(ok("fit", tmp_path / "two.csv", *ARGUMENTS, "--format", "json"))
    assert alone["r2"] < 0.8 < found["r2"]
    assert "g(test)" in ok("fit", tmp_path / "two.csv", *ARGUMENTS, "--reference", "web", "--plot", tmp_path / "two.png")


def test_scales_stand_side_by_side(tmp_path):
    path, _ = planted(tmp_path)
    out = ok("fit", path, *ARGUMENTS, "--scale", "all")
    for scale in ("probit", "logit", "linear"):
        assert f"sketch: {scale} axes" in out
    (row,) = [line for line in out.splitlines() if line.strip("│ ").startswith("m31 ")]
    assert row.count(" to ") == 3
    found = json.loads(ok("fit", path, *ARGUMENTS, "--scale", "all", "--format", "json"))
    assert [line["scale"] for line in found] == ["probit", "logit", "linear"]


def test_intervals_are_no_narrower_than_those_of_the_accuracies(wise_ft):
    """On the published table: Newcombe's distances add, so that no interval is surer than the accuracy that it is about."""
    sizes = ("--n-reference", "50000", "--n-shift", "10000")
    for line in json.loads(ok("fit", wise_ft, *STANDARD, "--shift", "v2", "--shift", "sketch", *sizes, "--format", "json")):
        for row in line["models"]:
            own = stats.binomtest(round(row["shift"] * 10_000), 10_000).proportion_ci(method="exact")
            assert row["effective_robustness"] - row["low"] >= row["shift"] - own.low
            assert row["high"] - row["effective_robustness"] >= own.high - row["shift"]
            assert "few-clusters" not in row["notes"]


def test_families_of_a_column_are_clusters(tmp_path):
    path, table = planted(tmp_path)
    table.assign(family=[f"family {i // 5}" for i in range(33)]).to_csv(path, index=False)
    found = json.loads(ok("fit", path, *ARGUMENTS, "--cluster", "family", "--format", "json"))
    assert found["clusters"] == 6
    assert json.loads(ok("fit", path, *ARGUMENTS, "--format", "json"))["clusters"] == 30
    assert "has no column 'paper'" in error("fit", path, *ARGUMENTS, "--cluster", "paper")
    assert "level=95: expected a fraction between 0 and 1" in error("fit", path, *ARGUMENTS, "--level", "95")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (*COLUMNS, "--baseline", "kind=standard", "--shift", "v2"),
            "holds 86.8: expected fractions from 0 to 1. If these are percent",
        ),
        ((*STANDARD, "--shift", "imagenet-v2"), "no column 'imagenet-v2': did you mean imagenet? It has model, kind, imagenet"),
        (
            (*COLUMNS, "--baseline", "kind=scratch", "--percent", "--shift", "v2"),
            "no row has kind=scratch: the column 'kind' has standard, wise-ft",
        ),
        ((*COLUMNS, "--baseline", "kind", "--percent", "--shift", "v2"), "expected COLUMN=VALUE"),
        ((*COLUMNS, "--baseline", "kind=wise-ft", "--percent", "--shift", "v2"), "a line needs at least 3"),
        ((*STANDARD, "--shift", "v2", "--plot", "figure.jpg"), "expected a name that ends in .png"),
        ((*STANDARD, "--shift", "kind"), "row 1 of the column 'kind' holds 'standard': expected a number"),
    ],
)
def test_bad_tables_and_options_are_one_clear_error(wise_ft, words, message):
    assert message in error("fit", wise_ft, *words)


def test_bad_files_are_one_clear_error(wise_ft, tmp_path):
    assert "there is no table" in error("fit", tmp_path / "none.csv", *STANDARD, "--shift", "v2")
    (tmp_path / "table.xls").touch()
    assert "save it as .xlsx or CSV (UTF-8)" in error("fit", tmp_path / "table.xls", *STANDARD, "--shift", "v2")
    (tmp_path / "table.xlsx").write_text("model,v2")
    assert "table.xlsx cannot be read as xlsx: File is not a zip file" in error(
        "fit", tmp_path / "table.xlsx", *STANDARD, "--shift", "v2"
    )
    wise_ft.write_text(WISE_FT.replace("WiSE-FT linear classifier", "zero-shot"))
    assert "'zero-shot' stands in the rows 1, 4" in error("fit", wise_ft, *STANDARD, "--shift", "v2")
    wise_ft.write_text(WISE_FT.replace("79.5", "high"))
    assert "row 5 of the column 'v2' holds 'high'" in error("fit", wise_ft, *STANDARD, "--shift", "v2")
    wise_ft.write_text(WISE_FT.replace("79.5", "795"))
    assert "of the column 'v2' holds 795" in error("fit", wise_ft, *STANDARD, "--shift", "v2")
    wise_ft.write_text(WISE_FT.splitlines()[0] + "\n")
    assert "has no rows" in error("fit", wise_ft, *STANDARD, "--shift", "v2")
    path, _ = planted(tmp_path)
    with pytest.warns(UserWarning, match="no accuracy of the column '(test|sketch)' is above 1 percent"):
        ok("fit", path, *ARGUMENTS, "--percent")
    wise_ft.write_text(WISE_FT.replace("79.5", "169.8"))
    assert "of the column 'v2' holds 169.8: expected percent from 0 to 100" in error("fit", wise_ft, *STANDARD, "--shift", "v2")


def test_the_command_of_the_readme_runs(wise_ft, monkeypatch):
    monkeypatch.chdir(wise_ft.parent)
    wise_ft.rename("accuracies.csv")
    text = (Path(__file__).parent.parent / "README.md").read_text()
    (command,) = [line for line in text.splitlines() if line.startswith("shiftline fit ")]
    assert "v2: probit axes" in ok(*shlex.split(command)[1:])
