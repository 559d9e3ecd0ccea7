import pickle
import time
import warnings
from inspect import signature

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.metrics import (
    feature_alignment,
    masked_roc_auc,
    multitask_accuracy_score,
    multitask_accuracy_scorer,
    multitask_roc_auc_score,
    multitask_roc_auc_scorer,
    principal_angles,
    signal_to_noise,
    subspace_distance,
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


def rotated_plane(angles, n_features, seed=0):
    """Two sets of orthonormal rows with given principal angles."""
    k = len(angles)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_features, 2 * k)))[0].T
    A = Q[:k]
    B = np.cos(angles)[:, None] * A + np.sin(angles)[:, None] * Q[k:]
    return A, B


def test_principal_angles_of_known_subspaces():
    angles = np.array([1e-3, 0.3, 1.2])
    A, B = rotated_plane(angles, 8)
    assert_allclose(principal_angles(A, B), angles, rtol=1e-6)
    assert_allclose(subspace_distance(A, B), np.sin(1.2))
    assert_allclose(principal_angles(A, A), 0, atol=1e-12)
    assert isinstance(subspace_distance(A, B), float)


def test_principal_angles_do_not_depend_on_the_basis():
    A, B = rotated_plane(np.array([0.2, 0.7, 1.4]), 9)
    mix_a, mix_b = np.random.default_rng(1).normal(size=(2, 3, 3))
    expected = principal_angles(A, B)
    assert_allclose(principal_angles(mix_a @ A, 100 * mix_b @ B), expected)
    assert_allclose(principal_angles(B, A), expected)
    assert_allclose(principal_angles(np.vstack([A, A[0] + A[1]]), B), expected)
    assert_allclose(subspace_distance(mix_a @ A, B), np.sin(1.4))


def test_principal_angles_of_different_dimensions():
    line, plane = [[1.0, 0, 1]], [[1.0, 0, 0], [0, 1, 0]]
    assert_allclose(principal_angles(line, plane), [np.pi / 4])
    assert_allclose(principal_angles(plane, line), [np.pi / 4])
    assert subspace_distance([[1.0, 2, 0]], plane) == pytest.approx(0, abs=1e-12)
    assert subspace_distance([[0, 0, 3.0]], plane) == 1


@pytest.mark.parametrize("function", [principal_angles, subspace_distance])
@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        ([[1, 0]], [[1, 0, 0]], "A has 2 features and B has 3"),
        ([[1, 0]], [[np.nan, 0]], "B contains NaN"),
        ([[np.inf, 0]], [[1, 0]], "A contains infinity"),
        ([[1, 0], [0, 0]], [[1, 0]], r"A has 1 zero rows of 2.*Drop them"),
        ([[1, 0]], [[0, 0]], r"B has 1 zero rows of 1"),
        (np.empty((0, 2)), [[1, 0]], "0 sample"),
        ([1, 0], [[1, 0]], "Expected 2D array"),
    ],
)
def test_principal_angle_errors(function, A, B, message):
    with pytest.raises(ValueError, match=message):
        function(A, B)


@pytest.fixture
def filters():
    return np.random.default_rng(0).normal(size=(7, 12))


def test_feature_alignment_is_the_largest_cosine(filters):
    directions = np.random.default_rng(1).normal(size=(4, 12))
    expected = [
        max(w @ v / np.sqrt((w @ w) * (v @ v)) for w in filters) for v in directions
    ]
    assert_allclose(feature_alignment(filters, directions), expected)
    for v, cosine in zip(directions, expected):
        single = feature_alignment(filters, v)
        assert isinstance(single, float)
        assert single == pytest.approx(cosine)
    assert feature_alignment(filters.tolist(), directions.tolist()).shape == (4,)


def test_feature_alignment_does_not_depend_on_lengths_and_order(filters):
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(4, 12))
    expected = feature_alignment(filters, directions)
    scales = rng.uniform(1, 20, size=(7, 1))
    assert_allclose(feature_alignment(scales * filters, directions), expected)
    assert_allclose(feature_alignment(filters[::-1], 1e-5 * directions), expected)
    assert_allclose(feature_alignment(filters, directions[::-1]), expected[::-1])


def test_feature_alignment_has_a_sign(filters):
    assert_allclose(feature_alignment(filters, filters), 1)
    assert feature_alignment(filters, filters).max() <= 1
    assert_allclose(feature_alignment(filters[:1], -filters[:1]), -1)
    both = np.vstack([filters[:1], -filters[:1]])
    assert_allclose(feature_alignment(both, -filters[:1]), 1)


def test_silent_filters_are_aligned_with_nothing(filters):
    silent = np.zeros((1, 12))
    assert feature_alignment(silent, filters[0]) == 0
    assert feature_alignment(np.vstack([filters[:1], silent]), -filters[0]) == 0
    assert_allclose(feature_alignment(np.vstack([silent, filters]), filters), 1)
    faint = np.vstack([filters[0], 0.001 * filters[1]])
    assert feature_alignment(faint, filters[1]) < 0.9
    assert feature_alignment([[1, 0], [0, 0.001]], [0, 1]) == 0
    assert feature_alignment([[1, 0], [0, 0.1]], [0, 1]) == 1


def test_image_filters_are_flattened(filters):
    directions = np.random.default_rng(1).normal(size=(4, 12))
    expected = feature_alignment(filters, directions)
    images = filters.reshape(7, 3, 2, 2)
    assert_allclose(feature_alignment(images, directions), expected)
    in_shape = directions.reshape(4, 3, 2, 2)
    assert_allclose(feature_alignment(images, in_shape), expected)
    assert_allclose(feature_alignment(images, directions[0]), expected[0])
    stacked = feature_alignment(filters, directions.reshape(2, 2, 12))
    assert_allclose(stacked, expected.reshape(2, 2))


@pytest.mark.parametrize(
    ("filters", "directions", "message"),
    [
        (
            [[1, 0]],
            [[1, 0, 0]],
            r"\(1, 3\), .* has \(2,\) weights .*\(n_directions, 2\)",
        ),
        ([[1, 0]], [1, 0, 0], r"directions has shape \(3,\), but filters"),
        (np.ones((2, 3, 4)), np.ones((2, 4, 3)), r"\(2, 4, 3\), .* \(3, 4\)"),
        ([[np.nan, 0]], [[1, 0]], "filters contains NaN"),
        ([[np.inf, 0]], [[1, 0]], "filters contains infinity"),
        ([[1, 0]], [np.nan, 0], "directions contains NaN"),
        ([[1, 0]], [[1, 0], [0, 0]], "directions has 1 zero rows of 2"),
        ([[1, 0]], [0, 0], "directions has 1 zero rows of 1"),
        ([1, 0], [[1, 0]], "Expected 2D array"),
        (np.empty((0, 2)), [[1, 0]], "0 sample"),
    ],
)
def test_feature_alignment_errors(filters, directions, message):
    with pytest.raises(ValueError, match=message):
        feature_alignment(filters, directions)


def test_signal_to_noise_formula():
    shared, specific = signal_to_noise(
        40, 5, shared_fraction=0.25, shared_strength=0.5, noise_norm=2, power=2
    )
    assert shared == pytest.approx(40 * 5 * 0.25 / 16)
    assert specific == pytest.approx(40 * 0.75 / 4)
    assert isinstance(shared, float)


def test_signal_to_noise_counts_rows_of_the_shared_feature_only_together():
    one, many = signal_to_noise(60), signal_to_noise(60, 16)
    assert many.shared == pytest.approx(16 * one.shared)
    assert many.specific == one.specific
    pooled = signal_to_noise(16 * 60)  # one task with all rows
    assert pooled.shared == pytest.approx(many.shared)
    assert signal_to_noise(60, shared_fraction=0).shared == 0
    assert signal_to_noise(60, shared_fraction=1).specific == 0
    equal = signal_to_noise(60, shared_strength=1)  # p = 1/2: both alike
    assert equal.shared == pytest.approx(equal.specific)
    for noise_norm in (0.5, 3):  # strengths matter relative to the noise
        scaled = signal_to_noise(
            60, shared_strength=0.35 * noise_norm, noise_norm=noise_norm
        )
        assert scaled.shared == pytest.approx(30 * 0.35**3)


def test_signal_to_noise_has_the_defaults_of_the_data():
    data = signature(make_patch_tasks).parameters
    for name, parameter in signature(signal_to_noise).parameters.items():
        if name in data and parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default == data[name].default


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples_per_task": 0}, "'n_samples_per_task' parameter .* Got 0"),
        ({"n_tasks": 1.5}, "'n_tasks' parameter .* Got 1.5"),
        ({"shared_fraction": 1.1}, "'shared_fraction' parameter .* Got 1.1"),
        ({"shared_strength": 0}, "'shared_strength' parameter .* Got 0"),
        ({"noise_norm": 0}, "'noise_norm' parameter .* Got 0"),
        ({"noise_norm": np.inf}, "'noise_norm' parameter .* Got inf"),
        ({"power": 0.5}, "'power' parameter .* Got 0.5"),
        ({"power": np.nan}, "'power' parameter .* Got nan"),
    ],
)
def test_signal_to_noise_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        signal_to_noise(**{"n_samples_per_task": 10, **parameters})


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
