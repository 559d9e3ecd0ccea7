import sys
import warnings
from itertools import combinations
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.text import Text
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.metrics import principal_angles, subspace_distance
from mtrl_sklearn.plotting import (
    EvidenceDisplay,
    FilterDisplay,
    ForecastDisplay,
    LossCurveDisplay,
    SpectrumDisplay,
    SubspaceRecoveryDisplay,
    TaskAffinityDisplay,
    TransferCurveDisplay,
)
from mtrl_sklearn.plotting._curves import _move_apart, check_curves, cycle_styles
from mtrl_sklearn.probing import ProbeSettings
from mtrl_sklearn.probing._forecast import Reached

SUBSPACE = make_subspace_tasks(600, 20, n_tasks=16, random_state=0)


@pytest.fixture(autouse=True)
def close_figures():
    plt.close("all")  # those of doctests
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def representation():
    return fit_quickly()


@pytest.fixture(scope="module")
def watched():
    """A representation with validation scores."""
    model = MultiTaskReLURepresentation(
        32, early_stopping=True, max_iter=12, n_components=None, random_state=0
    )
    return fit_briefly(model, SUBSPACE.X, SUBSPACE.Y)


@pytest.fixture(scope="module")
def classifiers():
    """One per kind of input, by the name of the kind and what is special."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    shapes = {
        "image": (1, 8, 8),
        "colour": (3, 32, 32),
        "channels": (2, 12, 12),
        "patch": (3, 30),
        "signal": (40,),
    }
    fitted = {}
    for name, shape in shapes.items():
        X = y.reshape(-1, *(1 for _ in shape)) + rng.normal(size=(60, *shape))
        model = ConvMultiTaskClassifier(64, max_iter=10, random_state=0)
        fitted[name] = fit_briefly(model, X.astype(np.float32), y)
    X = 0.3 * y[:, None, None] + rng.normal(size=(60, 3, 30))
    model = ConvMultiTaskClassifier(8, kernel_size=2, max_iter=50, random_state=0)
    return fitted | {"patches": fit_briefly(model, X, y)}


def fit_briefly(model, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def fit_quickly(n_tasks=16, seed=0, **options):
    return MultiTaskReLURepresentation(
        32, algorithm="one_step", random_state=seed, **options
    ).fit(SUBSPACE.X, SUBSPACE.Y[:, :n_tasks])


def make_table(shots=(8, 32, 128), features=("representation", "raw"), n_draws=3):
    rng = np.random.default_rng(0)
    rows = [
        (task, n, draw, name, rng.uniform(0.5, 1))
        for task in ("a", "b", "c", "d")
        for n in shots
        for draw in range(n_draws)
        for name in features
    ]
    columns = ["task", "shots", "draw", "features", "score"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=0)


def make_affinity(n_tasks, n_groups=3, noise=0.4, seed=0):
    """Affinity of tasks in groups, in random order, and the group of each."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.arange(n_tasks) % n_groups)
    heads = rng.normal(size=(n_groups, 30))[groups]
    heads += noise * rng.normal(size=heads.shape)
    heads /= np.linalg.norm(heads, axis=1, keepdims=True)
    return np.clip(heads @ heads.T, -1, 1), groups


def draw_texts(figure):
    """Boxes, in pixels, of all texts that end up in the picture."""
    drawn = []
    draw = Text.draw

    def record(text, renderer):
        if text.get_visible() and text.get_text().strip():
            drawn.append(text)
        draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.draw_without_rendering()
    return {text: text.get_window_extent() for text in drawn}


def assert_readable(display):
    """No text is clipped by the figure, and none touches another."""
    figure = display.figure_
    boxes = draw_texts(figure)
    assert boxes
    for text, box in boxes.items():
        inside = (
            box.x0 >= figure.bbox.x0 - 1
            and box.y0 >= figure.bbox.y0 - 1
            and box.x1 <= figure.bbox.x1 + 1
            and box.y1 <= figure.bbox.y1 + 1
        )
        assert inside, (text.get_text(), box)
        assert text.get_fontsize() >= 6, text.get_text()
    for (one, first), (other, second) in combinations(boxes.items(), 2):
        # a box is a little higher than the letters
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert min(width, height) <= 1, (one.get_text(), other.get_text())


def x_labels(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


# Transfer curves


@pytest.mark.parametrize("library", [pd.DataFrame, lambda t: pl.DataFrame(dict(t))])
def test_transfer_draws_means_over_tasks(library):
    table = make_table()
    display = TransferCurveDisplay.from_table(library(table), score_name="accuracy")
    per_task = table.groupby(["features", "shots", "task"])["score"].mean()
    names = list(dict.fromkeys(table["features"]))
    assert list(display.scores) == names
    for name, line in zip(names, display.lines_):
        expected = per_task[name].unstack()
        assert_allclose(display.scores[name], expected)
        assert_array_equal(line.get_xdata(), [8, 32, 128])
        assert_allclose(line.get_ydata(), expected.mean(axis=1))
    assert x_labels(display.ax_) == ["8", "32", "128"]
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_ylabel() == "accuracy, mean over tasks"
    assert "bands: 10 % to 90 % of 4 tasks" in display.ax_.get_xlabel()


def test_transfer_band_spans_most_tasks():
    scores = {"raw": np.array([np.arange(11), 2 * np.arange(11)]) / 10}
    display = TransferCurveDisplay([16, 64], scores).plot()
    (band,) = display.ax_.collections
    corners = band.get_paths()[0].vertices
    for x, low, high in ((16, 0.1, 0.9), (64, 0.2, 1.8)):
        heights = corners[np.isclose(corners[:, 0], x), 1]
        assert_allclose([heights.min(), heights.max()], [low, high])
    single = TransferCurveDisplay([16, 64], {"raw": [0.5, 0.8]}).plot()
    assert not single.ax_.collections
    assert single.ax_.get_xlabel() == "labels of the new task"


def test_transfer_begins_without_labels():
    table = make_table(shots=(0, 4, 16), features=("representation", "no labels"))
    display = TransferCurveDisplay.from_table(table)
    ax = display.ax_
    assert x_labels(ax) == ["0", "4", "16"]
    places = ax.transData.transform([(x, 0) for x in (0, 4, 16)])[:, 0]
    assert places[1] - places[0] > (places[2] - places[1]) / 2
    assert display.lines_[1].get_linestyle() == "--"
    assert len(ax.collections) == 1  # no band of what needs no labels
    assert_readable(display)
    alone = TransferCurveDisplay([0], {"no labels": [[0.4, 0.6]]}).plot()
    assert_allclose(alone.lines_[0].get_ydata(), 0.5)


def test_transfer_shows_one_metric():
    table = make_table()
    both = pd.concat(
        [table.assign(metric="roc_auc"), table.assign(metric="loss", score=-1.0)]
    )
    display = TransferCurveDisplay.from_table(both, metric="roc_auc")
    expected = TransferCurveDisplay.from_table(table)
    assert_array_equal(display.scores["raw"], expected.scores["raw"])
    assert display.ax_.get_ylabel() == "ROC-AUC, mean over tasks"
    for metric in (None, "accuracy"):
        with pytest.raises(ValueError, match=f"metric={metric!r}.*'roc_auc', 'loss'"):
            TransferCurveDisplay.from_table(both, metric=metric)
    one = TransferCurveDisplay.from_table(table.assign(metric="neg_log_loss"))
    assert one.ax_.get_ylabel() == "neg log loss, mean over tasks"


def test_transfer_skips_unknown_scores():
    table = make_table()
    table.loc[(table["task"] == "a") & (table["draw"] == 0), "score"] = np.nan
    table.loc[table["task"] == "b", "score"] = np.nan
    display = TransferCurveDisplay.from_table(table)
    expected = table.groupby(["features", "shots", "task"])["score"].mean()
    assert_allclose(display.scores["raw"], expected["raw"].unstack())
    table.loc[(table["features"] == "raw") & (table["shots"] == 32), "score"] = np.nan
    display = TransferCurveDisplay.from_table(table)
    line = display.lines_[list(display.scores).index("raw")]
    assert_array_equal(np.isnan(line.get_ydata()), [False, True, False])
    assert_readable(display)


def test_transfer_features_keep_their_colours():
    colours = []
    for features in (("raw", "representation"), ("representation", "other", "raw")):
        display = TransferCurveDisplay.from_table(make_table(features=features))
        lines = dict(zip(display.scores, display.lines_))
        looks = [(line.get_color(), line.get_marker()) for line in lines.values()]
        assert len(set(looks)) == len(looks)
        colours.append(lines["raw"].get_color())
    assert colours[0] == colours[1]


def test_transfer_names_stand_beside_the_ends():
    display = TransferCurveDisplay.from_table(make_table())
    ax = display.ax_
    assert ax.get_legend() is None
    assert {text.get_text() for text in ax.texts} == {"representation", "raw inputs"}
    frame, boxes = ax.get_window_extent(), draw_texts(display.figure_)
    for text, line in zip(ax.texts, display.lines_):
        assert text.get_color() == line.get_color()
        box = boxes[text]
        end_x, end_y = ax.transData.transform(line.get_xydata()[-1])
        assert end_x < box.x0 < box.x1 <= frame.x1
        assert abs((box.y0 + box.y1) / 2 - end_y) < 3 * box.height


TABLES = {
    "one number of labels": {"shots": (16,)},
    "many": {"shots": [2**k for k in range(1, 14)]},
    "not powers": {"shots": (10, 16, 20, 24, 50, 100000)},
    "many long names": {
        "features": [f"features with a rather long name, number {k}" for k in range(9)]
    },
    "close": {"shots": (100, 101, 102)},
}


@pytest.mark.parametrize("case", TABLES)
def test_transfer_is_readable(case):
    display = TransferCurveDisplay.from_table(make_table(**TABLES[case]))
    assert_readable(display)
    assert_array_equal(display.ax_.get_xticks(), display.shots)


def test_transfer_in_small_panels_takes_a_legend():
    _, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for ax in axes:
        display = TransferCurveDisplay.from_table(make_table(), ax=ax)
        assert display.ax_ is ax
    legend = display.ax_.get_legend()
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown == ["representation", "raw inputs"]
    assert not display.ax_.texts
    assert_readable(display)


def test_transfer_errors():
    table = make_table()
    with pytest.raises(ValueError, match=r"lacks the columns \['draw'\].*probe_new"):
        TransferCurveDisplay.from_table(table.drop(columns="draw"))
    with pytest.raises(ValueError, match="no rows"):
        TransferCurveDisplay.from_table(table[:0])
    with pytest.raises(ValueError, match=r"shots should be.*at least 0, got -4"):
        TransferCurveDisplay([-4, 8], {"raw": [0.5, 0.6]})
    with pytest.raises(ValueError, match=r"scores\['raw'\] has shape \(3,\)"):
        TransferCurveDisplay([4, 8], {"raw": [0.5, 0.6, 0.7]})
    with pytest.raises(ValueError, match="scores is an empty dict"):
        TransferCurveDisplay([4, 8], {})


# Forecasts

OF_TASKS = tuple(tuple(np.arange(11) / 10 + more) for more in (0, 0.1))
FORECAST = ProbeSettings(
    (16,), ((1, 0, 0),), (1,), reached=Reached((0, 16), *[OF_TASKS] * 3)
)


def test_forecast_draws_mean_and_quantiles():
    display = ForecastDisplay.from_settings(FORECAST, metric="delta_auprc")
    assert_array_equal(display.line_.get_xdata(), [0, 16])
    assert_allclose(display.line_.get_ydata(), [0.5, 0.6])
    (band,) = display.ax_.collections
    corners = band.get_paths()[0].vertices
    for x, low, high in ((0, 0.02, 0.98), (16, 0.12, 1.08)):
        heights = corners[np.isclose(corners[:, 0], x), 1]
        assert_allclose([heights.min(), heights.max()], [low, high])
    assert x_labels(display.ax_) == ["0", "16"]
    assert "average precision above prevalence" in display.ax_.get_ylabel()
    assert "80 % of tasks" in display.ax_.get_xlabel()
    assert_readable(display)
    assert_readable(ForecastDisplay([16], [0.6], [0.5], [0.7]).plot())


def test_forecast_errors():
    settings = ProbeSettings((16,), ((1, 0, 0),), (1,))
    with pytest.raises(ValueError, match="no scores of source tasks"):
        ForecastDisplay.from_settings(settings)
    with pytest.raises(ValueError, match="metric='f1' should be one of"):
        ForecastDisplay.from_settings(settings, metric="f1")
    with pytest.raises(TypeError, match=r"settings should be the ProbeSettings.*None"):
        ForecastDisplay.from_settings(None)
    with pytest.raises(ValueError, match="n_labels should be at least 0, got -1"):
        ForecastDisplay([-1, 1], [0, 0], [0, 0], [0, 0])
    with pytest.raises(ValueError, match=r"low has shape \(3,\)"):
        ForecastDisplay([0, 1], [0, 0], [0, 0, 0], [0, 0])


# Curves in general


def test_curves_are_sorted_by_x():
    x, curves = check_curves([4, 1, 2], {"a": [40, 10, 20]}, "x", "y")
    assert_array_equal(x, [1, 2, 4])
    assert_array_equal(curves["a"], [[10], [20], [40]])


def test_styles_differ():
    looks = [tuple(sorted(style.items())) for style in cycle_styles(20)]
    assert len(set(looks)) == 20


def test_boxes_move_apart_as_little_as_needed():
    rng = np.random.default_rng(0)
    for n_boxes in range(1, 9):
        wanted, heights = rng.uniform(0, 50, n_boxes), rng.uniform(1, 6, n_boxes)
        moved = _move_apart(wanted, heights, 0, 50)
        order = wanted.argsort()
        gaps = np.diff(moved[order])
        needed = (heights[order][1:] + heights[order][:-1]) / 2
        assert (gaps >= needed - 1e-9).all()
        assert (moved - heights / 2 >= -1e-9).all()
        assert (moved + heights / 2 <= 50 + 1e-9).all()
    assert_allclose(_move_apart(np.array([10.0, 40]), np.ones(2), 0, 50), [10, 40])
    assert_allclose(_move_apart(np.array([20.0, 20]), np.full(2, 4), 0, 50), [18, 22])


# Spectrum


def test_spectrum_splits_at_the_rank():
    values = np.array([5, 4, 1, 0.9, 0.8, 0.7])
    display = SpectrumDisplay(values, 2).plot()
    assert_array_equal(display.kept_.get_xydata(), [[1, 5], [2, 4]])
    assert_array_equal(display.dropped_.get_ydata(), values[2:])
    assert_array_equal(display.dropped_.get_xdata(), [3, 4, 5, 6])
    (line,) = [line for line in display.ax_.lines if line.get_linestyle() == "--"]
    assert_array_equal(line.get_xdata(), [2.5, 2.5])
    assert [text.get_text() for text in display.ax_.texts] == ["rank 2 is kept"]
    assert display.ax_.get_yscale() == "log"


def test_spectrum_without_rank_says_so(watched):
    display = SpectrumDisplay.from_estimator(watched)
    assert_array_equal(display.kept_.get_ydata(), watched.singular_values_)
    assert len(display.dropped_.get_xdata()) == 0
    (text,) = display.ax_.texts
    assert text.get_text() == "no rank chosen: all 20 are kept"
    assert_readable(display)


@pytest.mark.parametrize("n_components", [1, 4, 19])
def test_spectrum_of_an_estimator_is_readable(n_components):
    fitted = fit_quickly(n_components=n_components)
    display = SpectrumDisplay.from_estimator(fitted)
    assert len(display.kept_.get_xdata()) == n_components
    assert_readable(display)


@pytest.mark.parametrize("values", [[3.0], [2, 1e-30, 0], np.geomspace(9, 1e-3, 600)])
def test_spectrum_of_any_range_is_readable(values):
    display = SpectrumDisplay(values, 1).plot()
    low, high = display.ax_.get_ylim()
    assert high > values[0] > low >= 5e-5 * values[0]
    assert_readable(display)


def test_spectrum_errors():
    with pytest.raises(ValueError, match="descending"):
        SpectrumDisplay([1, 2], 1)
    with pytest.raises(ValueError, match="n_components should be from 1 to 2"):
        SpectrumDisplay([2, 1], 3)


# Loss curves


def test_loss_is_drawn_per_epoch(watched):
    display = LossCurveDisplay.from_estimator(watched)
    epochs = np.arange(1, watched.n_iter_ + 1)
    assert_array_equal(display.line_.get_xdata(), epochs)
    assert_array_equal(display.line_.get_ydata(), watched.loss_curve_)
    scores = watched.validation_scores_
    assert_array_equal(display.validation_line_.get_ydata(), scores)
    assert display.validation_line_.axes is display.validation_ax_
    best = scores.argmax() + 1
    assert f"the best one, {best}" in display.ax_.get_xlabel()
    _, star = display.validation_ax_.lines
    assert_array_equal(star.get_xydata(), [[best, scores.max()]])
    assert display.line_.get_color() != display.validation_line_.get_color()
    assert "ROC-AUC" in display.validation_ax_.get_ylabel()
    assert_readable(display)


def test_loss_of_both_networks(representation, classifiers):
    display = LossCurveDisplay.from_estimator(representation)
    assert display.ax_.get_xlabel() == "repetition of the one step"
    assert x_labels(display.ax_) == ["1"]
    assert_readable(display)
    display = LossCurveDisplay.from_estimator(classifiers["image"])
    assert display.validation_ax_ is None
    assert display.validation_line_ is None
    assert_array_equal(display.line_.get_ydata(), classifiers["image"].loss_curve_)
    assert_readable(display)


def test_loss_after_a_warm_start_without_validation():
    model = MultiTaskReLURepresentation(
        8, max_iter=2, early_stopping=True, warm_start=True, random_state=0
    )
    fit_briefly(model, SUBSPACE.X, SUBSPACE.Y)
    fit_briefly(model.set_params(early_stopping=False), SUBSPACE.X, SUBSPACE.Y)
    display = LossCurveDisplay.from_estimator(model)
    assert len(display.loss_curve) == 4
    assert display.validation_line_ is None


def test_loss_over_decades_is_logarithmic():
    assert LossCurveDisplay([1, 0.1, 0.01]).plot().ax_.get_yscale() == "log"
    assert LossCurveDisplay([1, 0.5, 0.3]).plot().ax_.get_yscale() == "linear"
    assert LossCurveDisplay([1, 0.5, -0.3]).plot().ax_.get_yscale() == "linear"


def test_losses_that_hardly_fall_are_written_out():
    display = LossCurveDisplay([0.693002, 0.693001]).plot()
    display.figure_.draw_without_rendering()
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert "0.693001" in [label[:8] for label in labels]


def test_a_second_loss_may_be_drawn_where_the_axis_is_no_plain_one():
    ax = LossCurveDisplay([1, 0.1, 0.01]).plot().ax_
    assert LossCurveDisplay([1, 0.5, 0.3]).plot(ax).ax_.get_yscale() == "log"
    ax = LossCurveDisplay([1, 0.5]).plot().ax_
    ax.yaxis.set_major_formatter("{x:.1f} nats")
    LossCurveDisplay([0.7, 0.5]).plot(ax)
    assert ax.yaxis.get_major_formatter()(0.5) == "0.5 nats"


def test_loss_of_many_epochs_is_readable():
    losses = np.geomspace(1, 0.2, 12345)
    display = LossCurveDisplay(losses, validation_scores=-losses).plot()
    assert x_labels(display.ax_)[0] == "1"
    assert_readable(display)


def test_loss_errors():
    with pytest.raises(ValueError, match="validation_scores has 1 entries"):
        LossCurveDisplay([2, 1], validation_scores=[1])
    with pytest.raises(ValueError, match=r"loss_curve should have shape \(n_epochs,\)"):
        LossCurveDisplay([[2, 1]])
    with pytest.raises(ValueError, match="loss_curve contains NaN"):
        LossCurveDisplay([2, np.nan])


# Recovery of the subspace


def test_recovery_is_the_distance_of_leading_directions():
    n_tasks = [16, 1, 4]
    fits = [[fit_quickly(n, seed, n_components=6) for seed in (0, 1)] for n in n_tasks]
    true = SUBSPACE.components
    display = SubspaceRecoveryDisplay.from_estimators(fits, true, x=n_tasks)
    assert_array_equal(display.x, [1, 4, 16])
    for row, k in zip(display.distances[""], (1, 2, 0)):
        leading = [np.linalg.svd(fit.hidden_weights_)[2][:4] for fit in fits[k]]
        expected = [subspace_distance(rows, true) for rows in leading]
        assert_allclose(row, expected, rtol=1e-5)
    (line,) = display.lines_
    assert_allclose(line.get_ydata(), display.distances[""].mean(axis=1))
    assert display.ax_.get_xscale() == "log"
    assert x_labels(display.ax_) == ["1", "4", "16"]
    assert "2 repeats" in display.ax_.get_xlabel()
    assert_readable(display)


def test_recovery_of_each_angle():
    n_tasks = [1, 4, 16]
    fits = [fit_quickly(n, n_components=4) for n in n_tasks]
    true = SUBSPACE.components
    display = SubspaceRecoveryDisplay.from_estimators(
        np.array(fits, dtype=object), true, x=n_tasks, measure="angles"
    )
    drawn = [line.get_ydata() for line in display.lines_]
    angles = [principal_angles(fit.components_, true) for fit in fits]
    assert_allclose(drawn, np.rad2deg(angles).T)
    assert "degrees" in display.ax_.get_ylabel()
    assert_readable(display)


def test_recovery_counts_directions_that_are_lacking():
    fitted = fit_quickly(n_components=3)
    display = SubspaceRecoveryDisplay.from_estimator(fitted, SUBSPACE.components)
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    found = principal_angles(fitted.components_, SUBSPACE.components)
    assert_allclose(line.get_ydata(), [*np.rad2deg(found), 90])
    assert_readable(display)
    dependent = np.vstack([SUBSPACE.components, SUBSPACE.components[:1]])
    again = SubspaceRecoveryDisplay.from_estimator(fitted, dependent)
    assert_allclose(again.distances[""], display.distances[""])


def test_recovery_over_iterations():
    steps = np.arange(0, 301, 5)
    curves = {name: np.exp(-steps / tau) for name, tau in (("a", 40), ("b", 45))}
    display = SubspaceRecoveryDisplay.from_predictions(steps, curves, x_name="epochs")
    assert display.ax_.get_xlabel() == "epochs"
    assert display.ax_.get_xscale() == "linear"
    for line, values in zip(display.lines_, curves.values()):
        assert_allclose(line.get_xydata(), np.column_stack([steps, values]))
    assert_readable(display)


def test_recovery_errors():
    true, fitted = SUBSPACE.components, fit_quickly(n_components=4)
    from_estimators = SubspaceRecoveryDisplay.from_estimators
    with pytest.raises(ValueError, match="measure should be one of"):
        SubspaceRecoveryDisplay([1, 2], [0.1, 0.2], measure="sine")
    with pytest.raises(ValueError, match=r"from 0 to 1 for measure='distance'.*45"):
        SubspaceRecoveryDisplay([1, 2], [45, 0.2])
    with pytest.raises(ValueError, match=r"estimators has 2 entries, with \[1, 2\]"):
        from_estimators([[fitted], [fitted, fitted]], true, x=[1, 2])
    with pytest.raises(ValueError, match="estimators has 0 entries"):
        from_estimators([], true, x=[1, 2])
    with pytest.raises(ValueError, match=r"distances has shape \(1, 1\)"):
        from_estimators([fitted], true, x=[1, 2])
    with pytest.raises(ValueError, match="components has 5 features"):
        from_estimators([fitted], true[:, :5], x=[1])
    with pytest.raises(TypeError, match="estimators should be a MultiTaskReLU"):
        from_estimators([LogisticRegression()], true, x=[1])


# Affinity of tasks


@pytest.mark.parametrize("n_tasks", [6, 300])
def test_affinity_puts_groups_side_by_side(n_tasks):
    affinity, groups = make_affinity(n_tasks)
    display = TaskAffinityDisplay.from_predictions(affinity)
    assert_array_equal(np.sort(display.order_), np.arange(n_tasks))
    assert (np.diff(groups[display.order_]) != 0).sum() == 2
    expected = affinity[display.order_][:, display.order_]
    assert_allclose(display.image_.get_array(), expected)
    assert display.image_.get_clim() == (-1, 1)


def test_affinity_names_follow_the_order():
    affinity, _ = make_affinity(12)
    names = [f"assay {k}" for k in range(12)]
    display = TaskAffinityDisplay(affinity, task_names=names).plot()
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert shown == [names[task] for task in display.order_]


def test_affinity_names_that_read_alike_when_cut_begin_where_they_differ():
    affinity, _ = make_affinity(3)
    start, end = "a platform with a name", "its measurement after a day"
    names = [f"{start}, receptor {k}, {end}" for k in "xy"] + [f"other {start}, {end}"]
    display = TaskAffinityDisplay(affinity, task_names=names).plot()
    shown = [label.get_text() for label in display.ax_.get_yticklabels()]
    expected = ["…x, its measurement after a", "…y, its measurement after a"]
    expected.append("other a platfo…t after a day")
    assert shown == [expected[task] for task in display.order_]


def test_affinity_may_be_unknown():
    affinity, groups = make_affinity(12)
    affinity[2, 5] = affinity[5, 2] = np.nan
    affinity[7] = affinity[:, 7] = np.nan
    display = TaskAffinityDisplay(affinity).plot()
    drawn = display.image_.get_array()
    assert drawn.mask.sum() == 2 + 23
    assert (np.diff(groups[display.order_[display.order_ != 7]]) != 0).sum() == 2
    # their colour is none of the scale
    colour = display.image_.cmap(np.ma.masked_all(1))[0]
    scale = display.image_.cmap(np.linspace(0, 1, 256))
    assert np.abs(scale - colour).max(axis=1).min() > 0.05
    assert_readable(display)


@pytest.mark.parametrize("n_tasks", [1, 5, 80, 300])
def test_affinity_is_readable(n_tasks):
    names = [f"TOX21_assay_number_{k}_agonist_viability" for k in range(n_tasks)]
    display = TaskAffinityDisplay(make_affinity(n_tasks)[0], task_names=names).plot()
    assert_readable(display)
    n_labels = len(display.ax_.get_yticklabels())
    assert n_labels == (n_tasks if n_tasks <= 80 else 0)
    if not n_labels:
        assert display.ax_.get_ylabel() == "300 tasks, by similarity"


def test_affinity_on_small_axes_drops_names():
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    for ax, n_tasks in zip(axes, (5, 40)):
        display = TaskAffinityDisplay(make_affinity(n_tasks)[0]).plot(ax)
        assert display.ax_ is ax
        assert display.figure_ is figure
    assert len(axes[0].get_yticklabels()) == 5
    assert not axes[1].get_yticklabels()
    assert_readable(display)


def test_affinity_of_an_estimator(representation, monkeypatch):
    affinity, _ = make_affinity(16)
    probing = SimpleNamespace(task_affinity=lambda fitted: affinity)
    monkeypatch.setitem(sys.modules, "mtrl_sklearn.probing", probing)
    display = TaskAffinityDisplay.from_estimator(representation)
    assert_array_equal(display.affinity, affinity)
    assert display.task_names == [str(name) for name in representation.task_names_]


def test_affinity_errors():
    affinity, _ = make_affinity(4)
    with pytest.raises(ValueError, match=r"shape \(n_tasks, n_tasks\), got \(4, 3\)"):
        TaskAffinityDisplay(affinity[:, :3])
    with pytest.raises(ValueError, match="symmetric"):
        TaskAffinityDisplay(np.triu(affinity))
    for wrong in (2 * affinity, affinity - np.eye(4)):
        with pytest.raises(ValueError, match="with ones on its diagonal"):
            TaskAffinityDisplay(wrong)
    with pytest.raises(ValueError, match="task_names has 2 entries, affinity 4"):
        TaskAffinityDisplay(affinity, task_names=["a", "b"])


# Filters


@pytest.mark.parametrize(
    ("name", "n_filters"),
    [("image", 64), ("colour", 5), ("channels", 5), ("signal", 20)],
)
def test_filters_in_a_grid(classifiers, name, n_filters):
    classifier = classifiers[name]
    display = FilterDisplay.from_estimator(classifier, n_filters=n_filters)
    n_shown = min(n_filters, 64 - display.n_silent_)
    assert display.axes_.shape == display.order_.shape == (n_shown,)
    norms = np.linalg.norm(classifier.filters_.reshape(64, -1), axis=1)
    assert (np.diff(norms[display.order_]) <= 0).all()
    assert norms[display.order_[0]] == norms.max()
    for ax, k in zip(display.axes_, display.order_):
        weights = classifier.filters_[k]
        if name == "signal":
            assert_allclose(ax.lines[-1].get_ydata(), weights)
            continue
        picture = np.asarray(ax.images[0].get_array().astype(float))
        restored = (2 * picture - 1) * np.abs(weights).max()
        wanted = weights.transpose(1, 2, 0)
        if name != "colour":
            restored = np.stack(np.split(np.pad(restored, [(0, 0), (0, 1)]), 1))
            size = weights.shape[2] + 1
            restored = restored[0].reshape(len(weights[0]), -1, size)[:, :, :-1]
            wanted = weights.transpose(1, 0, 2)
        assert_allclose(restored, wanted, atol=1e-6)
    assert_readable(display)


@pytest.mark.parametrize("name", ["patch", "patches"])
def test_filters_of_patches_are_rows(classifiers, name):
    classifier = classifiers[name]
    display = FilterDisplay.from_estimator(classifier, n_filters=20)
    assert display.axes_.tolist() == [display.ax_]
    drawn = display.ax_.images[0].get_array()
    rows = classifier.filters_.reshape(len(classifier.filters_), -1)
    assert_allclose(drawn, rows[display.order_])
    low, high = display.ax_.images[0].get_clim()
    assert low == -high == -np.abs(drawn).max()
    assert_readable(display)


def test_silent_filters_are_left_out():
    filters = np.outer([0.5, 1, 0.009, 0, 2], np.ones(6))
    display = FilterDisplay(filters, kind="patch").plot()
    assert_array_equal(display.order_, [4, 1, 0])
    assert display.n_silent_ == 2
    assert "2 silent ones left out" in display.ax_.get_ylabel()


def test_filters_on_given_axes(classifiers):
    figure = plt.figure(figsize=(8, 4))
    ax = figure.add_axes((0.1, 0.2, 0.8, 0.7))  # of no grid
    display = FilterDisplay.from_estimator(classifiers["image"], n_filters=6, ax=ax)
    assert display.ax_ is ax
    frame = ax.get_position()
    figure.draw_without_rendering()
    for small in display.axes_:
        place = small.get_position()
        assert frame.x0 - 1e-6 <= place.x0 < place.x1 <= frame.x1 + 1e-6
        assert frame.y0 - 1e-6 <= place.y0 < place.y1 <= frame.y1 + 1e-6
    boxes = [small.get_position() for small in display.axes_]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_filter_errors():
    with pytest.raises(ValueError, match=r"should have 4 dimensions, got shape \(2, 3"):
        FilterDisplay(np.ones((2, 3)), kind="image")
    with pytest.raises(ValueError, match="kind should be one of"):
        FilterDisplay(np.ones((2, 3)), kind="row")
    with pytest.raises(ValueError, match="n_filters should be at least 1, got 0"):
        FilterDisplay(np.ones((2, 3)), kind="signal", n_filters=0)
    with pytest.raises(ValueError, match="all 0"):
        FilterDisplay(np.zeros((2, 3)), kind="signal")


# What all displays share


@pytest.fixture
def makers(representation, classifiers):
    """One way to make each display, as functions of the axes."""
    affinity, _ = make_affinity(6)
    true, model = SUBSPACE.components, representation
    return {
        "transfer": lambda ax: TransferCurveDisplay.from_table(make_table(), ax=ax),
        "forecast": lambda ax: ForecastDisplay.from_settings(FORECAST, ax=ax),
        "spectrum": lambda ax: SpectrumDisplay.from_estimator(model, ax=ax),
        "loss": lambda ax: LossCurveDisplay.from_estimator(model, ax=ax),
        "recovery": lambda ax: SubspaceRecoveryDisplay.from_estimator(
            model, true, ax=ax
        ),
        "affinity": lambda ax: TaskAffinityDisplay.from_predictions(affinity, ax=ax),
        "images": lambda ax: FilterDisplay.from_estimator(
            classifiers["image"], n_filters=6, ax=ax
        ),
        "patches": lambda ax: FilterDisplay.from_estimator(classifiers["patch"], ax=ax),
    }


KINDS = [
    *("transfer", "forecast", "spectrum", "loss", "recovery", "affinity"),
    *("images", "patches"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_given_axes_are_used(makers, kind):
    figure, ax = plt.subplots()
    before = plt.rcParams.copy()
    display = makers[kind](ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.rcParams == before
    assert plt.get_fignums() == [figure.number]
    assert display.plot() is display
    assert display.ax_ is not ax
    assert display.figure_ is display.ax_.figure is not figure
    part = plt.figure().subfigures(1, 2)[0]
    assert display.plot(part.subplots()).figure_ is part


@pytest.mark.parametrize("kind", KINDS)
def test_missing_matplotlib_is_told(makers, kind, monkeypatch):
    display = makers[kind](None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    remedy = r"requires matplotlib.*pip install 'mtrl-sklearn\[plot\]\'"
    with pytest.raises(ImportError, match=rf"{name}\.plot {remedy}"):
        display.plot()
    with pytest.raises(ImportError, match=rf"{name}\.from_\w+ {remedy}"):
        makers[kind](None)


FROM_ESTIMATOR = [
    (SpectrumDisplay, (), MultiTaskReLURepresentation),
    (LossCurveDisplay, (), MultiTaskReLURepresentation),
    (LossCurveDisplay, (), ConvMultiTaskClassifier),
    (SubspaceRecoveryDisplay, (SUBSPACE.components,), MultiTaskReLURepresentation),
    (TaskAffinityDisplay, (), MultiTaskReLURepresentation),
    (FilterDisplay, (), ConvMultiTaskClassifier),
]


@pytest.mark.parametrize(("display", "args", "estimator"), FROM_ESTIMATOR)
def test_estimators_are_checked(display, args, estimator):
    with pytest.raises(NotFittedError):
        display.from_estimator(estimator(), *args)
    for wrong, told in (
        (LogisticRegression(), "LogisticRegression"),
        (FrozenEstimator(estimator()), r"FrozenEstimator.*\.estimator"),
        (estimator, f"the class {estimator.__name__}"),
    ):
        with pytest.raises(TypeError, match=rf"should be a .*, got {told}"):
            display.from_estimator(wrong, *args)


def test_evidence_shows_what_adds_up_to_the_score(classifiers):
    for name in ("image", "colour", "channels"):
        model = classifiers[name]
        X = np.random.default_rng(1).normal(size=(1, *model.input_shape_))
        display = EvidenceDisplay.from_estimator(model, X[0], label=1)
        score = display.evidence.sum() + model.head_intercept_[0]
        assert_allclose(score, model.decision_function(X)[0], rtol=1e-9)
        against = EvidenceDisplay.from_estimator(model, X, label=0)
        assert_array_equal(against.evidence, -display.evidence)
        (drawn,) = display.axes_[1].images
        assert_array_equal(drawn.get_array(), display.evidence)
        assert (
            drawn.get_clim()[0]
            == -drawn.get_clim()[1]
            == -np.abs(drawn.get_array()).max()
        )
        # the middle of the first position's patch is the middle of its cell
        left, _, _, top = display.extent
        middle = np.array([(k - 1) / 2 for k in model.kernel_size_])
        assert_allclose(np.array([top, left]) + np.array(model.stride_) / 2, middle)
        assert EvidenceDisplay.from_estimator(model, X).label == model.predict(X)[0]
        assert display.plot(plt.subplots()[1]) is display


def test_evidence_of_other_inputs_is_refused(classifiers):
    model = classifiers["colour"]
    X = np.zeros(model.input_shape_)
    cases = [
        (lambda: EvidenceDisplay.from_estimator(model, X[:2]), "a single image of"),
        (lambda: EvidenceDisplay.from_estimator(model, X, label=7), "label=7 is not"),
        (
            lambda: EvidenceDisplay.from_estimator(classifiers["signal"], np.zeros(40)),
            "not images",
        ),
        (
            lambda: EvidenceDisplay(X, X, extent=(0, 1, 1, 0), label=1),
            "evidence should have 2",
        ),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="ConvMultiTaskClassifier"):
        EvidenceDisplay.from_estimator(LogisticRegression().fit(np.eye(2), [0, 1]), X)


def test_filters_have_a_scale_and_a_sign(classifiers):
    for name in ("image", "colour", "channels", "signal"):
        display = FilterDisplay.from_estimator(classifiers[name])
        for k, small in zip(display.order_, display.axes_):
            largest = np.abs(display.filters[k]).max()
            assert small.get_title() == f"±{largest:.2g}"
        assert "above each: its largest weight" in display.ax_.get_xlabel()
        bars = [a for a in display.figure_.axes if a.get_ylabel().startswith("weight")]
        assert len(bars) == (name != "signal")
        for bar in bars:
            texts = [t.get_text() for t in bar.get_yticklabels()]
            assert texts == ["-largest", "0", "+largest"]
