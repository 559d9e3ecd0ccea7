"""Labels that LinearProbe takes: long and relational, weighted, missing."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.exceptions import DataConversionWarning, UndefinedMetricWarning

from mtrl_sklearn import load, save
from mtrl_sklearn.probing import LinearProbe, ProbePrior

PRIOR = ProbePrior(-1.0, 0.7, 0.9, 0.3, centre=0.4, scale=0.1)


@pytest.fixture(scope="module")
def few(sources):
    """Inputs, labels with missing ones, and these one by one."""
    X, Y = sources.problem.new_tasks(5, random_state=1).sample(60, random_state=2)
    Y = np.where(np.random.default_rng(0).random(Y.shape) < 0.5, np.nan, Y)
    rows, tasks = np.random.default_rng(1).permutation(np.argwhere(~np.isnan(Y))).T
    return X, Y, rows, tasks, Y[rows, tasks]


@pytest.mark.parametrize("prior", [PRIOR, None])
@pytest.mark.parametrize("class_weight", [None, "balanced", {1: 3.0}])
def test_the_long_forms_are_the_wide_one(relu, few, prior, class_weight, tmp_path):
    X, Y, rows, tasks, y = few
    probe = LinearProbe(relu, prior=prior, class_weight=class_weight)
    expected = probe.fit(X, Y).predict_proba(X)
    score = probe.score(X, Y)
    long = probe.fit(X[rows], y, tasks=tasks).predict_proba(X)
    np.testing.assert_allclose(long, expected, rtol=1e-6)
    probe.fit(X, y, tasks=tasks.tolist(), rows=rows.tolist())
    np.testing.assert_allclose(probe.predict_proba(X), expected, rtol=1e-6)
    assert probe.output_names_.tolist() == list(range(5))
    assert probe.predict(X).shape == (60, 5)
    assert probe.score(X[rows], y, tasks=tasks) == pytest.approx(score)
    assert probe.score(X, y, tasks=tasks, rows=rows) == pytest.approx(score)
    save(probe, tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    assert again.score(X, y, tasks=tasks, rows=rows) == pytest.approx(score)


@pytest.mark.parametrize("prior", [PRIOR, None])
def test_labels_of_one_row_and_task_each_count(relu, few, prior):
    X, _, rows, tasks, y = few
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    again = np.repeat(np.arange(len(y)), counts)
    rows, tasks = np.r_[rows, rows[:9]], np.r_[tasks, tasks[:9]]
    y, counts = np.r_[y, 1 - y[:9]], np.r_[counts, np.ones(9, int)]
    again = np.repeat(np.arange(len(y)), counts)
    probe = LinearProbe(relu, prior=prior)
    probe.fit(X[rows[again]], y[again], tasks=tasks[again])
    expected = probe.predict_proba(X)
    score = probe.score(X[rows[again]], y[again], tasks=tasks[again])
    probe.fit(X, y, counts, tasks=tasks, rows=rows)
    np.testing.assert_allclose(probe.predict_proba(X), expected, rtol=1e-6)
    weighted = probe.score(X, y, counts, tasks=tasks, rows=rows)
    assert weighted == pytest.approx(score)
    of_others = np.r_[tasks, 77, 78]  # which fit did not have
    more = np.r_[rows, 0, 1], np.r_[y, 0, 1], np.r_[counts, 1, 1]
    found = probe.score(X, more[1], more[2], tasks=of_others, rows=more[0])
    assert found == pytest.approx(score)


def test_scores_without_both_classes_are_told_of(relu, few):
    X, _, rows, tasks, y = few
    probe = LinearProbe(relu).fit(X, y, tasks=tasks, rows=rows)
    for call in (
        lambda: probe.score(X[:4], np.ones((4, 5))),
        lambda: probe.score(X, y, tasks=tasks + 10, rows=rows),
        lambda: probe.score(X[rows], y, tasks=tasks + 10),
    ):
        with pytest.warns(UndefinedMetricWarning, match="No task shows"):
            assert np.isnan(call())
    single = LinearProbe(relu).fit(X, np.arange(60) % 2)
    with pytest.raises(ValueError, match="tasks= and rows= are for a probe of several"):
        single.score(X[rows], y, tasks=tasks)


@pytest.mark.parametrize("kind", ["two", "three", "wide"])
def test_what_has_weight_0_is_absent(relu, few, kind):
    X, Y, *_ = few
    y = {"two": Y[:, 0] > 0, "three": np.digitize(X[:, 0], [-0.5, 0.5]), "wide": Y}
    y = np.where(np.isnan(y[kind]), 0, y[kind]).astype(int)
    kept = np.arange(60) % 3 > 0
    probe = LinearProbe(relu)
    expected = probe.fit(X[kept], y[kept]).predict_proba(X)
    other = y.copy()
    other[~kept] = 9  # a class that nothing else has
    found = probe.fit(X, other, kept.astype(float)).predict_proba(X)
    np.testing.assert_array_equal(found, expected)
    assert 9 not in np.ravel(probe.classes_)


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame])
@pytest.mark.filterwarnings("ignore:A column-vector")
def test_a_column_is_one_label_for_each_row_that_has_one(relu, few, form):
    X, Y, *_ = few
    seen, weights = ~np.isnan(Y[:, 0]), np.arange(60) % 4
    y, column = Y[seen, 0], form(Y[:, :1])
    assert 0 < seen.sum() < 60
    probe = LinearProbe(relu).fit(X[seen], y, weights[seen])
    expected = probe.predict_proba(X), probe.predict(X)
    scores = probe.score(X[seen], y), probe.score(X[seen], y, weights[seen])
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        probe.fit(X, column, weights)
    found = probe.score(X, column), probe.score(X, column, weights)
    assert found == pytest.approx(scores)
    np.testing.assert_array_equal(probe.predict_proba(X), expected[0])
    np.testing.assert_array_equal(probe.predict(X), expected[1])
    with pytest.warns(UndefinedMetricWarning, match="No row has a label"):
        assert np.isnan(probe.score(X, column * np.nan))


@pytest.mark.parametrize("kind", ["two", "three", "column", "wide"])
@pytest.mark.filterwarnings("ignore:A column-vector")
def test_weights_of_0_are_no_labels(relu, few, kind):
    X, Y, *_ = few
    classes = [0, 1, 2] if kind == "three" else [0, 1]
    y = Y if kind == "wide" else Y[:, :1] if kind == "column" else np.arange(60) % 2
    probe = LinearProbe(relu)
    expected = probe.fit(X[:0], y[:0], classes=classes).predict_proba(X)
    found = probe.fit(X, y, np.zeros(60), classes).predict_proba(X)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", ["two", "three", "many"])
@pytest.mark.parametrize("prior", [PRIOR, None])
def test_weights_of_any_size(relu, few, prior, kind):
    """From some size on only their ratios count, and few digits of the smallest."""
    X = np.tile(few[0], (20 if kind == "many" else 1, 1))
    noise = np.random.default_rng(0).standard_normal(len(X))
    y = np.digitize(X[:, 0] + noise, [-0.5, 0.5] if kind == "three" else [0])
    probe = LinearProbe(relu, prior=prior)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        large = probe.fit(X, y, np.full(len(y), 1e6)).predict_proba(X)
        for weight in (1e20, 1e150, 1.7e308):
            found = probe.fit(X, y, np.full(len(y), weight)).predict_proba(X)
            np.testing.assert_allclose(found, large, atol=1e-6)
        expected = probe.fit(X[9:], y[9:]).predict_proba(X)
        weights = np.where(np.arange(len(y)) < 9, 1e-300, 1.0)
        found = probe.fit(X, y, weights).predict_proba(X)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.warns(UserWarning, match="sum of sample_weight"):
        tiny = probe.fit(X, y, np.full(len(y), 1e-15)).predict_proba(X)
    assert np.isfinite(tiny).all()
    with pytest.raises(ValueError, match=r"largest sample_weight is 1e-300.*mean"):
        probe.fit(X, y, np.full(len(y), 1e-300))


def test_sparse_labels_have_weights(relu, few):
    X, Y, *_ = few
    Y = (np.nan_to_num(Y) > 0).astype(int)
    weights = np.arange(60) % 3
    probe = LinearProbe(relu)
    expected = probe.fit(X, Y, weights).predict_proba(X)
    score = probe.score(X, Y, weights)
    found = probe.fit(X, csr_array(Y), weights).predict_proba(X)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert probe.score(X, csr_array(Y), weights) == pytest.approx(score)


@pytest.mark.parametrize("prior", [PRIOR, None])
@pytest.mark.parametrize(
    "kind", ["two", "three", "wide", "primal", "primal of three", "primal held"]
)
def test_probabilities_may_be_computed_by_rows(relu, few, monkeypatch, prior, kind):
    X, Y, *_ = few
    y = np.arange(60) % 3 if "three" in kind else (X[:, 0] > X[:, 1]).astype(int)
    labels = Y if kind == "wide" else y
    weights = np.arange(60) % 4
    if "primal" in kind:
        for module in ("_map_logistic", "_ridge_logistic"):
            monkeypatch.setattr(f"mtrl_sklearn.probing.{module}.MAX_DUAL", 10)
    probe = LinearProbe(relu, prior=prior)
    expected = probe.fit(X, labels, weights).predict_proba(X)
    seen = []

    class Spy(type(relu)):
        def source_probabilities(self, X):
            seen.append(len(X))
            return super().source_probabilities(X)

    spy = Spy()
    vars(spy).update(vars(relu))
    monkeypatch.setattr("mtrl_sklearn.probing._blocks.MOST_PROBABILITIES", 0)
    monkeypatch.setattr("mtrl_sklearn._arrays.computed.rows_at_once", lambda width: 7)
    if "held" not in kind:
        monkeypatch.setattr("mtrl_sklearn.probing._ridge_logistic.MOST_HELD", 0)
    probe.set_params(representation=spy).fit(X, labels, weights)
    counted = ~np.isnan(np.reshape(labels, (60, -1)))[weights > 0]
    assert max(seen) == (7 if "primal" in kind else counted.sum(axis=0).max())
    if "held" in kind:  # once for what the prior sees, and once for good
        assert sum(seen) == 1 + np.count_nonzero(weights) * (1 + (prior is not None))
    found = probe.predict_proba(X)
    atol = 3e-4 if "primal" in kind else 1e-6
    np.testing.assert_allclose(found, expected, atol=atol)
