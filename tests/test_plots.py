"""Figures: the points are where the numbers say, the labels are percent, nothing of matplotlib's state changes."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from shiftline.errors import StoreError
from shiftline.report.axes import percent_axes
from shiftline.report.figures import save_figures
from shiftline.report.panels import robustness_figure


def test_points_are_placed_by_the_scale(tiny):
    table = tiny.results()
    figure, numbers = robustness_figure(table, baseline="from scratch", scale="probit", title="t")
    first = figure.axes[0]
    points = next(line for line in first.lines if line.get_marker() == "o" and line.get_linestyle() == "None")
    rows = numbers[(numbers["shift"] == "blur") & (numbers["group"] == "from scratch")]
    np.testing.assert_allclose(points.get_xdata(), stats.norm.ppf(rows["reference"]))
    np.testing.assert_allclose(points.get_ydata(), stats.norm.ppf(rows["shifted"]))
    assert [ax.get_title().split(" (")[0] for ax in figure.axes if ax.get_visible()] == ["blur", "invert", "average"]


@pytest.mark.parametrize("scale", ["probit", "logit", "linear"])
def test_ticks_are_percent_and_do_not_crowd(scale):
    figure = Figure()
    ax = figure.subplots()
    percent_axes(ax, scale=scale, x=np.array([0.2, 0.97]), y=np.array([0.0, 1.0]))
    figure.canvas.draw()
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert len(labels) >= 3
    assert all(0 < float(label) < 100 for label in labels)
    places = [t.get_position()[0] for t in ax.get_xticklabels()]
    low, high = ax.get_xlim()
    assert (np.diff(places) >= 0.1 * (high - low)).all()


def test_no_text_of_a_figure_overlaps_another(tiny):
    for name, (figure, _) in tiny.figures().items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = [ax.title for ax in figure.axes if ax.get_visible()] + list(figure.legends) + [figure._suptitle]
        boxes = [t.get_window_extent(renderer) for t in texts if t is not None and (not hasattr(t, "get_text") or t.get_text())]
        for i, first in enumerate(boxes):
            for second in boxes[i + 1 :]:
                assert not first.overlaps(second), name


def test_drawing_leaves_matplotlib_as_it_was(tiny):
    before = dict(mpl.rcParams)
    tiny.figures()
    assert dict(mpl.rcParams) == before


def test_a_folder_that_cannot_be_written_is_an_error(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        save_figures(tiny.figures(), tmp_path / "file")
