"""Columns of labels, several for a row, and rows or tasks without weight."""

import numpy as np
import pandas as pd
import pytest
from conv_cases import (
    SOLVERS,
    assert_same_network,
    assert_untouched,
    fitted,
    images_of_bars,
    make,
)

from mtrl_sklearn import load, save
from mtrl_sklearn._conv.patches import PatchGrid

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def columns_of_bars(n_classes=2):
    """Images and three columns of labels, half of them missing, some rows empty."""
    X, y, _ = images_of_bars()
    rng = np.random.default_rng(1)
    Y = np.stack([y % n_classes, (y + 1) % n_classes, y > 1], axis=1).astype(float)
    Y[rng.random(Y.shape) < 0.4] = np.nan
    Y[::7] = np.nan
    return X.astype(np.float32), Y


def to_long(X, Y):
    rows, columns = np.nonzero(~np.isnan(Y))
    return X[rows], Y[rows, columns], columns


def per_task(**parameters):
    return make(head="per_task", **parameters)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_columns_give_the_network_of_one_label_a_row(solver, n_classes):
    X, Y = columns_of_bars(n_classes)
    # of an image "gd" sums over labels first, which rounds otherwise
    X, rtol = (X.astype(np.float64), 1e-9) if solver == "gd" else (X, 0.0)
    settings = {"solver": solver, "class_weight": "balanced", "batch_size": 16}
    wide = per_task(**settings).fit(X, Y)
    long = per_task(**settings).fit(*to_long(X, Y))
    assert_same_network(wide, long, rtol, atol=rtol)
    np.testing.assert_array_equal(wide.columns_, [0, 1, 2])
    assert not hasattr(long, "columns_")
    by_column = [long.predict(X, np.full(len(X), k)) for k in range(3)]
    np.testing.assert_array_equal(wide.predict(X), np.stack(by_column, axis=1))
    assert wide.score(X, Y) == long.score(*to_long(X, Y))
    weights = np.arange(len(X)) % 3
    rows = np.nonzero(~np.isnan(Y))[0]
    expected = long.score(*to_long(X, Y), sample_weight=weights[rows])
    assert wide.score(X, Y, sample_weight=weights) == pytest.approx(expected)


def test_patches_are_extracted_for_each_image_once(monkeypatch):
    X, Y = columns_of_bars()
    seen = []
    extract = PatchGrid.extract

    def count(grid, rows, places):
        seen.append(len(rows))
        return extract(grid, rows, places)

    monkeypatch.setattr(PatchGrid, "extract", count)
    per_task(solver="gd").fit(X, Y)
    n_images = (~np.isnan(Y)).any(axis=1).sum()
    assert seen[0] == n_images < (~np.isnan(Y)).sum()
    assert max(seen) <= len(X)  # predictions are for all images


def test_heads_of_columns_are_chosen_by_their_names():
    X, Y = columns_of_bars()
    model = per_task(max_iter=1).fit(
        X, pd.DataFrame(Y, columns=["dent", "rust", "scratch"])
    )
    with pytest.raises(ValueError, match=r"column whose head.*'dent', 'rust'"):
        model.evidence(X)
    rust = model.evidence(X, np.full(len(X), "rust")).sum(axis=(2, 3))[:, 0]
    shift = model.decision_function(X)[:, 1] - rust
    np.testing.assert_allclose(shift, shift[0], atol=1e-5)


def test_probabilities_of_columns():
    X, Y = columns_of_bars()
    model = per_task().fit(X, Y)
    probabilities = model.predict_proba(X)
    tasks = np.full(len(X), 1)
    assert probabilities.shape == Y.shape
    np.testing.assert_allclose(
        probabilities[:, 1], model.predict_proba(X, tasks)[:, 1], rtol=1e-6
    )
    scores = model.decision_function(X)
    np.testing.assert_array_equal(scores > 0, model.predict(X) == 1)
    three = per_task().fit(X, columns_of_bars(3)[1])
    assert three.predict_proba(X).shape == (90, 3, 3)
    np.testing.assert_allclose(three.predict_proba(X).sum(axis=2), 1, rtol=1e-6)
    assert three.decision_function(X).shape == (90, 3, 3)


def test_early_stopping_weights_and_batches_of_columns():
    X, Y = columns_of_bars()
    weights = np.where(np.arange(90) % 4, 1.0, 2.0)
    rows = np.nonzero(~np.isnan(Y))[0]
    settings = {"early_stopping": True, "task_weight": "equal", "solver": "adam"}
    wide = per_task(**settings).fit(X, Y, sample_weight=weights)
    long = per_task(**settings).fit(*to_long(X, Y), sample_weight=weights[rows])
    assert_same_network(wide, long)
    X = X.astype(np.float64)
    wide, long = per_task(solver="gd"), per_task(solver="gd")
    for part in np.split(np.arange(90), 2):
        wide.partial_fit(X[part], Y[part])
        long.partial_fit(*to_long(X[part], Y[part]))
    assert_same_network(wide, long, rtol=1e-9, atol=1e-9)


def test_names_of_columns_may_come_in_any_order(tmp_path):
    X, Y = columns_of_bars()
    frame = pd.DataFrame(Y, columns=["scratch", "dent", "stain"])
    model = per_task().fit(X, frame)
    assert model.columns_.tolist() == ["scratch", "dent", "stain"]
    assert model.tasks_.tolist() == ["dent", "scratch", "stain"]
    assert model.score(X, frame[["stain", "scratch", "dent"]]) == model.score(X, Y)
    rows, columns = np.nonzero(~np.isnan(Y))
    ids = model.columns_[columns]
    assert model.score(X, Y) == model.score(X[rows], Y[rows, columns], ids)
    own = model.predict(X, np.full(90, "scratch"))
    np.testing.assert_array_equal(model.predict(X)[:, 0], own)
    save(model, tmp_path / "model")
    np.testing.assert_array_equal(
        load(tmp_path / "model").predict_proba(X), model.predict_proba(X)
    )
    other = per_task(warm_start=True, max_iter=3)
    other.fit(X, frame).fit(X, frame[["stain", "scratch", "dent"]])
    assert other.columns_.tolist() == ["scratch", "dent", "stain"]


def test_images_without_labels_are_left_out():
    X, Y = columns_of_bars()
    labelled = ~np.isnan(Y).all(axis=1)
    assert not labelled.all()
    changed = X.copy()
    changed[~labelled] = 77
    first, second, third = (
        per_task(solver="adam").fit(*data)
        for data in ((X, Y), (changed, Y), (X[labelled], Y[labelled]))
    )
    assert_same_network(first, second)
    assert_same_network(first, third)


def test_a_column_without_labels_is_told():
    X, Y = columns_of_bars()
    Y[:, 1] = np.nan
    with pytest.warns(UserWarning, match=r"columns of y: 1 \(1\).*Drop these"):
        model = per_task().fit(X, Y)
    assert model.predict(X).shape == (90, 3)


def test_another_form_of_labels_is_refused_and_changes_nothing():
    X, Y = columns_of_bars()
    wide, long = per_task().fit(X, Y), per_task().fit(*to_long(X, Y))
    shared, t = make().fit(X, np.arange(90) % 3), np.arange(90) % 3
    cases = [
        (
            shared,
            lambda: shared.fit(X, Y),
            r"shape .90, 3., and head='shared'.*'per_task'",
        ),
        (wide, lambda: wide.fit(X, Y, t), r"y should be a 1d.*3\), whose.*Drop tasks="),
        (long, lambda: long.partial_fit(X, Y), "y has 3 columns, but fit had one"),
        (long, lambda: long.score(X, Y), "needs tasks"),
        (wide, lambda: wide.score(X, np.arange(90) % 2), "fit had 3 columns"),
        (wide, lambda: wide.partial_fit(X, Y[:, :2]), r"got 2 .*LinearProbe"),
        (wide, lambda: wide.fit(X, np.full((90, 3), np.nan)), "no observed label"),
        (wide, lambda: wide.fit(X[:50], Y), "inconsistent"),
        (long, lambda: long.predict(X, np.full(90, 7)), r"fitted on 3.*LinearProbe"),
        (long, lambda: long.partial_fit(X, t % 2, t + 1), "without a head: 1 .*Probe"),
        (
            wide,
            lambda: wide.fit(X, pd.DataFrame(Y, columns=["a", "a", "b"])),
            "distinct names",
        ),
    ]
    for model, call, words in cases:
        before = fitted(model)
        with pytest.raises(ValueError, match=words):
            call()
        assert_untouched(model, before)


# Weights of zero


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", ["shared", "per_task"])
def test_a_task_without_weight_is_as_good_as_absent(solver, head):
    X, y, tasks = images_of_bars()
    tasks = np.where(np.arange(90) % 5 == 0, -1, tasks)  # the first of all heads
    kept = tasks >= 0
    settings = {"solver": solver, "head": head, "weight_decay": 0.1}
    weighted = make(**settings).fit(X, y, tasks, sample_weight=kept.astype(float))
    without = make(**settings).fit(X[kept], y[kept], tasks[kept])
    assert weighted.tasks_.tolist() == [0, 1]
    assert_same_network(weighted, without)
    np.testing.assert_array_equal(weighted.loss_curve_, without.loss_curve_)


def test_labels_that_have_no_weight_at_all_are_refused():
    X, Y = columns_of_bars()
    weights = np.isnan(Y).all(axis=1).astype(float)  # of rows without labels
    with pytest.raises(ValueError, match=r"weight of 0 in sample_weight.*positive"):
        per_task().fit(X, Y, sample_weight=weights)
