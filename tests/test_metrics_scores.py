"""Scores of many tasks with missing labels, and their scorers."""

import pickle
import time
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from mtrl_sklearn.metrics import (
    masked_roc_auc,
    multitask_accuracy_score,
    multitask_accuracy_scorer,
    multitask_roc_auc_score,
    multitask_roc_auc_scorer,
)


class MeanDifference(ClassifierMixin, BaseEstimator):
    """The simplest linear method that skips missing labels of many tasks."""

    def __init__(self, flip=False):
        self.flip = flip

    def fit(self, X, Y):
        signs = np.nan_to_num(2 * np.asarray(Y) - 1) * (-1 if self.flip else 1)
        self.coef_ = signs.T @ X
        self.classes_ = [np.array([0.0, 1.0])] * signs.shape[1]
        return self

    def decision_function(self, X):
        return X @ self.coef_.T

    def predict(self, X):
        return (self.decision_function(X) > 0).astype(float)


@pytest.fixture
def data():
    """Inputs, linear labels of six tasks with a third missing, and scores with ties."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 5))
    Y = (X @ rng.normal(size=(5, 6)) > 0).astype(float)
    scores = np.round(Y + rng.normal(size=Y.shape), 1)  # ties across the classes
    Y[rng.random(Y.shape) < 1 / 3] = np.nan
    return X, Y, scores


def expected_auc(Y, scores):
    out = []
    for y, s in zip(Y.T, scores.T):
        seen = ~np.isnan(y)
        defined = len(np.unique(y[seen])) == 2
        out.append(roc_auc_score(y[seen], s[seen]) if defined else np.nan)
    return np.array(out)


def test_roc_auc_equals_scikit_learn_task_by_task(data):
    _, Y, scores = data
    Y[:, 1] = np.nan
    Y[:, 4] = np.where(np.isnan(Y[:, 4]), np.nan, 1)
    expected = expected_auc(Y, scores)
    assert_array_equal(np.isnan(expected), [0, 1, 0, 0, 1, 0])
    per_task = multitask_roc_auc_score(Y, scores, average=None)
    assert_allclose(per_task, expected, rtol=1e-12)
    macro = multitask_roc_auc_score(Y, scores)
    assert isinstance(macro, float)
    assert_allclose(macro, np.nanmean(expected), rtol=1e-12)


def test_roc_auc_without_missing_labels(data):
    _, _, scores = data
    Y = (np.random.default_rng(1).random(scores.shape) < 0.2).astype(int)
    assert_allclose(multitask_roc_auc_score(Y, scores), roc_auc_score(Y, scores))
    single = multitask_roc_auc_score(Y[:, 0], scores[:, 0])
    assert_allclose(single, roc_auc_score(Y[:, 0], scores[:, 0]))


def test_roc_auc_ignores_scores_of_missing_labels(data):
    _, Y, scores = data
    shifted = np.where(np.isnan(Y), 1e6, scores)
    expected = multitask_roc_auc_score(Y, scores, average=None)
    assert_array_equal(multitask_roc_auc_score(Y, shifted, average=None), expected)


def test_roc_auc_of_extreme_scores(data):
    _, Y, scores = data
    perfect, reverse = np.nan_to_num(Y), -np.nan_to_num(Y)
    assert multitask_roc_auc_score(Y, perfect) == 1
    assert multitask_roc_auc_score(Y, reverse) == 0
    assert multitask_roc_auc_score(Y, np.zeros_like(scores)) == 0.5


def encode(kind, Y):
    """The labels 0, 1, NaN in another encoding."""
    missing = np.isnan(Y)
    words = np.where(missing, None, np.where(Y == 1, "yes", "no"))
    match kind:
        case "signs":
            return 2 * Y - 1
        case "words":
            return words
        case "list":
            return words.tolist()
        case "objects":
            return np.where(missing, None, Y == 1)
        case "pandas words":
            return pd.DataFrame(words)
        case "pandas nullable":
            return pd.DataFrame(Y).astype("Int64")
        case "polars":
            return pl.DataFrame(words.tolist(), orient="row")


ENCODINGS = [
    "signs",
    "words",
    "list",
    "objects",
    "pandas words",
    "pandas nullable",
    "polars",
]


@pytest.mark.parametrize("kind", ENCODINGS)
def test_encodings_do_not_change_the_scores(kind, data):
    _, Y, scores = data
    predicted = (scores > 0.5).astype(float)
    labels, predicted_labels = encode(kind, Y), encode(kind, predicted)
    for average in (None, "macro"):
        assert_array_equal(
            multitask_roc_auc_score(labels, scores, average=average),
            multitask_roc_auc_score(Y, scores, average=average),
        )
        assert_array_equal(
            multitask_accuracy_score(labels, predicted_labels, average=average),
            multitask_accuracy_score(Y, predicted, average=average),
        )


def test_one_dimensional_words():
    y_true = ["spam", None, "ham", "spam"]
    assert multitask_roc_auc_score(y_true, [2.0, 9.0, 1.0, 0.0]) == 0.5
    y_pred = np.array(["spam", "ham", "spam", "spam"])
    assert_allclose(multitask_accuracy_score(y_true, y_pred), 2 / 3)


def test_roc_auc_takes_lists_of_probabilities(data):
    X, _, _ = data
    Y = (X[:, :2] > 0).astype(int)
    proba = KNeighborsClassifier(3).fit(X, Y).predict_proba(X)
    assert isinstance(proba, list)
    expected = roc_auc_score(Y, np.column_stack([p[:, 1] for p in proba]))
    assert_allclose(multitask_roc_auc_score(Y, proba), expected)


def test_accuracy_equals_scikit_learn_task_by_task(data):
    _, Y, scores = data
    Y[:, 2] = np.nan
    predicted = (scores > 0.5).astype(int)
    expected = [
        accuracy_score(y[~np.isnan(y)], p[~np.isnan(y)]) if k != 2 else np.nan
        for k, (y, p) in enumerate(zip(Y.T, predicted.T))
    ]
    per_task = multitask_accuracy_score(Y, predicted, average=None)
    assert_allclose(per_task, expected)
    assert_allclose(multitask_accuracy_score(Y, predicted), np.nanmean(expected))
    # A mean over labels instead of tasks would differ.
    assert np.std(np.isnan(Y).sum(axis=0)) > 0


def test_accuracy_of_many_classes_and_mixed_columns():
    y_true = pd.DataFrame({"digit": [0, 1, 2, 9], "word": ["a", None, "b", "c"]})
    y_pred = pd.DataFrame({"digit": [0, 1, 3, 9], "word": ["a", "b", "c", "c"]})
    assert_allclose(
        multitask_accuracy_score(y_true, y_pred, average=None), [3 / 4, 2 / 3]
    )
    y_pred = y_pred.to_numpy()
    assert_allclose(
        multitask_accuracy_score(y_true, y_pred, average=None), [3 / 4, 2 / 3]
    )


def test_missing_predictions_are_wrong():
    y_true = [[0.0, 1], [1, 0], [np.nan, 2], [np.nan, 0]]
    y_pred = [[0.0, 1], [np.nan, 0], [1, np.nan], [np.nan, 0]]
    assert_allclose(
        multitask_accuracy_score(y_true, y_pred, average=None), [1 / 2, 3 / 4]
    )
    assert multitask_accuracy_score([0, 1], [np.nan, np.nan]) == 0
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(multitask_accuracy_score([np.nan], [np.nan]))


@pytest.mark.parametrize("score", [multitask_roc_auc_score, multitask_accuracy_score])
@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_nothing_observed_is_undefined(score, missing):
    y_true = np.full((3, 2), missing)
    with pytest.warns(UndefinedMetricWarning, match="undefined for all 2 tasks") as w:
        assert np.isnan(score(y_true, np.eye(3, 2)))
    assert w[0].filename == __file__
    assert_array_equal(score(y_true, np.eye(3, 2), average=None), [np.nan, np.nan])


def test_one_class_only_is_undefined_for_roc_auc():
    y_true, y = [[1, 0], [np.nan, 0], [1, 0]], np.arange(6.0).reshape(3, 2)
    assert_array_equal(multitask_roc_auc_score(y_true, y, average=None), [np.nan] * 2)
    with pytest.warns(UndefinedMetricWarning, match="both classes"):
        assert np.isnan(multitask_roc_auc_score(y_true, y))
    assert_array_equal(
        multitask_accuracy_score(y_true, np.zeros((3, 2)), average=None), [0, 1]
    )


@pytest.mark.parametrize(
    ("y_true", "y_score", "message"),
    [
        ([0, 1, 2], [0.0, 1, 2], "two classes per task, but y in y_true has 3"),
        ([[0, 0], [1, 1], [1, 2]], np.eye(3, 2), "but task1 in y_true has 3"),
        ([0, 1, np.nan], [0.0, 1, np.nan], "y_score contains NaN"),
        ([0, 1, 1], [0.0, 1, np.inf], "y_score contains infinity"),
        ([0, 1], [0.0, 1, 2], r"differ in shape: \(2, 1\) and \(3, 1\)"),
        ([[0, 1], [1, 0]], [0.0, 1], r"differ in shape: \(2, 2\) and \(2, 1\)"),
        ([0.1, 0.2, 0.7], [0.0, 1, 2], "continuous"),
        ([0, 1, np.inf], [0.0, 1, 2], "infinity"),
        (None, [0.0, 1], "y_true should be a dense array"),
        (np.zeros((2, 2, 2)), [0.0, 1], "y_true should be a dense array"),
    ],
)
def test_roc_auc_errors(y_true, y_score, message):
    with pytest.raises(ValueError, match=message):
        multitask_roc_auc_score(y_true, y_score)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 1, 1], [0.2, 0.7, 0.9], "continuous"),
        (["a", "b", "a"], [0, 1, 0], "mix strings and numbers"),
        (np.array(["0", "1"]), np.array([0, 1]), "mix strings and numbers"),
        ([0, 1], [0, 1, 1], r"differ in shape: \(2, 1\) and \(3, 1\)"),
        ([0, 1], None, "y_pred should be a dense array"),
    ],
)
def test_accuracy_errors(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        multitask_accuracy_score(y_true, y_pred)


@pytest.mark.parametrize("score", [multitask_roc_auc_score, multitask_accuracy_score])
def test_common_errors(score):
    with pytest.raises(ValueError, match=r"'average' parameter .* Got 'micro'"):
        score([0, 1], [0, 1], average="micro")
    table = pd.DataFrame({"a": [0, 1], "b": [1, 0]})
    assert score(table, table) == 1
    with pytest.raises(ValueError, match="different columns"):
        score(table, table[["b", "a"]])


def test_masked_roc_auc_core(data):
    _, Y, scores = data
    signs = np.nan_to_num(2 * Y - 1).astype(np.int8)
    assert_allclose(masked_roc_auc(signs, scores), expected_auc(Y, scores))
    single = masked_roc_auc(signs, scores.astype(np.float32))
    assert_allclose(single, expected_auc(Y, scores))
    hidden = np.where(signs == 0, np.nan, scores)
    assert_array_equal(masked_roc_auc(signs, hidden), masked_roc_auc(signs, scores))
    # Ranks do not change, also where the largest score is infinite.
    infinite = np.where(scores == scores.max(), np.inf, scores)
    assert_array_equal(masked_roc_auc(signs, infinite), masked_roc_auc(signs, scores))


def test_masked_roc_auc_errors():
    signs, scores = np.array([[1], [-1], [0]], np.int8), np.zeros((3, 1))
    with pytest.raises(ValueError, match=r"one shape, got \(3, 1\) and \(3,\)"):
        masked_roc_auc(signs, scores[:, 0])
    scores[0] = np.nan
    with pytest.raises(ValueError, match="1 scores of observed labels are NaN"):
        masked_roc_auc(signs, scores)


def test_masked_roc_auc_is_fast():
    rng = np.random.default_rng(0)
    signs = rng.integers(-1, 2, size=(3000, 500)).astype(np.int8)
    scores = rng.normal(size=signs.shape)
    start = time.perf_counter()
    masked_roc_auc(signs, scores)
    assert time.perf_counter() - start < 3  # takes about 0.2 s


@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_weights_are_repeated_rows(data, form):
    _, Y, scores = data
    Y = Y if form is np.asarray else np.nan_to_num(Y).astype(int)
    weights = np.arange(len(Y)) % 3
    again = np.repeat(np.arange(len(Y)), weights)
    for score, found in (
        (multitask_roc_auc_score, scores),
        (multitask_accuracy_score, (scores > 0.5) * 1),
    ):
        expected = score(form(Y[again]), found[again], average=None)
        for counts in (weights, (weights / 4).tolist()):
            weighted = score(form(Y), found, average=None, sample_weight=counts)
            assert_allclose(weighted, expected, rtol=1e-12)
        for wrong, words in ((-weights, "Negative"), (weights[1:], r"\(119,\)")):
            with pytest.raises(ValueError, match=words):
                score(form(Y), found, sample_weight=wrong)


@pytest.mark.parametrize(
    "scorer", [multitask_roc_auc_scorer, multitask_accuracy_scorer]
)
def test_weights_reach_scorers(data, scorer):
    X, Y, _ = data
    weights = np.arange(len(Y)) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_val_score(
            MeanDifference(),
            X,
            Y,
            cv=KFold(3),
            scoring=scorer.set_score_request(sample_weight=True),
            params={"sample_weight": weights},
        )
    expected = []
    for train, test in KFold(3).split(X):
        again = np.repeat(test, weights[test])
        fitted = MeanDifference().fit(X[train], Y[train])
        expected.append(scorer(fitted, X[again], Y[again]))
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("routing", [False, True])
def test_scorers_in_model_selection(data, routing):
    X, Y, _ = data
    cv = KFold(3)
    fitted = [MeanDifference().fit(X[tr], Y[tr]) for tr, _ in cv.split(X)]
    tests = [te for _, te in cv.split(X)]
    with sklearn.config_context(enable_metadata_routing=routing):
        auc, accuracy = (
            cross_val_score(MeanDifference(), X, Y, cv=cv, scoring=scorer)
            for scorer in (multitask_roc_auc_scorer, multitask_accuracy_scorer)
        )
        search = GridSearchCV(
            MeanDifference(),
            {"flip": [True, False]},
            scoring=multitask_roc_auc_scorer,
            cv=cv,
        ).fit(X, Y)
    expected = [
        np.nanmean(expected_auc(Y[te], e.decision_function(X[te])))
        for e, te in zip(fitted, tests)
    ]
    assert_allclose(auc, expected)
    assert auc.min() > 0.8
    expected = [
        multitask_accuracy_score(Y[te], e.predict(X[te]))
        for e, te in zip(fitted, tests)
    ]
    assert_allclose(accuracy, expected)
    assert search.best_params_ == {"flip": False}
    assert_allclose(search.best_score_, auc.mean())


def test_fold_without_labels_scores_nan(data):
    X, Y, _ = data
    Y[:40] = np.nan
    with pytest.warns(UndefinedMetricWarning):
        scores = cross_val_score(
            MeanDifference(), X, Y, cv=KFold(3), scoring=multitask_roc_auc_scorer
        )
    assert_array_equal(np.isnan(scores), [True, False, False])


def test_scorers_of_scikit_learn_classifiers(data):
    X, _, _ = data
    words = np.where(X[:, 0] > 0.3, "pos", "neg")
    for estimator in (LogisticRegression(), GaussianNB()):
        estimator.fit(X, words)
        expected = roc_auc_score(words, estimator.predict_proba(X)[:, 1])
        assert_allclose(multitask_roc_auc_scorer(estimator, X, words), expected)
        accuracy = multitask_accuracy_scorer(estimator, X, words)
        assert_allclose(accuracy, estimator.score(X, words))
    words = np.where(X[:, :2] > 0.3, "pos", "neg")
    estimator = KNeighborsClassifier(3).fit(X, words)
    score = multitask_roc_auc_scorer(estimator, X, words)
    proba = np.column_stack([p[:, 1] for p in estimator.predict_proba(X)])
    assert_allclose(score, roc_auc_score(words == "pos", proba))


@pytest.mark.parametrize(
    "scorer", [multitask_roc_auc_scorer, multitask_accuracy_scorer]
)
def test_scorers_can_be_pickled_and_run_in_parallel(scorer, data):
    X, _, _ = data
    Y = (X[:, :3] > 0).astype(int)
    copy = pickle.loads(pickle.dumps(scorer))
    estimator = RidgeClassifier().fit(X, Y)
    assert copy(estimator, X, Y) == scorer(estimator, X, Y) > 0.5
    one, two = (
        cross_val_score(estimator, X, Y, cv=KFold(2), scoring=scorer, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    assert_array_equal(one, two)


def test_warnings_are_raised_only_where_undefined(data):
    _, Y, scores = data
    Y[:, 0] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert multitask_roc_auc_score(Y, scores) > 0.5
        assert multitask_accuracy_score(Y, scores > 0.5) > 0.5


def test_what_scores_cannot_take_comes_with_the_remedy(data):
    _, Y, scores = data
    for score in (multitask_roc_auc_score, multitask_accuracy_score):
        with pytest.raises(ValueError, match=r"long form .*score\(X, y, tasks=tasks\)"):
            score(Y[:, 0], np.round(scores))
        with pytest.raises(ValueError, match=r"y_true is sparse.*y_true\.toarray\(\)"):
            score(csr_array(np.where(Y == 1, np.nan, 1)), scores)
