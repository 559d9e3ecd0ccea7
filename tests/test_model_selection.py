"""Out-of-fold predictions, ours and the refusal of scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
import sklearn.model_selection
from relu_cases import subspace_rows, to_long
from scipy.sparse import csr_array
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.model_selection import cross_val_predict

X, Y = subspace_rows()
METHODS = ["predict_proba", "decision_function"]


def quick(**parameters):
    defaults = {"n_hidden": 8, "algorithm": "one_step", "random_state": 0}
    return MultiTaskReLURepresentation(**defaults | parameters)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [np.nan_to_num(Y), Y], ids=["complete", "missing"])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_scikit_learns_function_names_ours(method, labels, in_pipeline):
    estimator = make_pipeline(StandardScaler(), quick()) if in_pipeline else quick()
    with pytest.raises(
        AttributeError, match=r"missing.*mtrl_sklearn\.model_selection\.cross_val_pred"
    ):
        sklearn.model_selection.cross_val_predict(estimator, X, labels, method=method)
    found = sklearn.model_selection.cross_val_predict(estimator, X, labels, cv=3)
    assert found.shape == Y.shape


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [np.nan_to_num(Y), Y], ids=["complete", "missing"])
def test_each_row_is_predicted_without_it(method, labels):
    splitter = KFold(3, shuffle=True, random_state=0)
    expected = np.empty(Y.shape)
    for train, test in splitter.split(X):
        fitted = quick().fit(X[train], labels[train])
        expected[test] = getattr(fitted, method)(X[test])
    found = cross_val_predict(quick(), X, labels, cv=splitter, method=method)
    np.testing.assert_array_equal(found, expected)
    words = pd.DataFrame(np.where(labels == 1, "yes", "no"), columns=list("uvwxyz"))
    named = words.where(~np.isnan(labels), None)
    given = cross_val_predict(quick(), csr_array(X), named, cv=splitter, method=method)
    np.testing.assert_allclose(given, expected, atol=1e-8)


def test_numbers_of_folds_are_those_of_scikit_learn():
    found = [cross_val_predict(quick(), X, Y, cv=cv) for cv in (None, 5, KFold(5))]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_the_long_form_is_predicted_like_the_wide_one(in_pipeline):
    estimator = quick()
    if in_pipeline:
        estimator = make_pipeline("passthrough", estimator)
    fold = np.arange(len(X)) % 3
    rows = np.nonzero(~np.isnan(Y))[0]
    wide, long = ([(f != k, f == k) for k in range(3)] for f in (fold, fold[rows]))
    wide, long = (
        [tuple(map(np.flatnonzero, pair)) for pair in pairs] for pairs in (wide, long)
    )
    expected = cross_val_predict(estimator, X, Y, cv=wide)
    X_long, y, tasks = to_long(X, Y)
    found = cross_val_predict(estimator, X_long, y, tasks=tasks, cv=long)
    np.testing.assert_allclose(found, expected[rows], atol=1e-6)
    grouped = cross_val_predict(
        estimator, X_long, y, tasks=tasks, cv=GroupKFold(3), groups=rows
    )
    assert grouped.shape == (len(rows), 6)
    assert np.isfinite(grouped).all()


def test_one_column_of_labels():
    y = Y[:, 0]
    assert np.isnan(y).any()
    found = cross_val_predict(quick(), X, y, cv=3)
    assert found.shape == (len(X), 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    scores = cross_val_predict(quick(), X, y, cv=3, method="decision_function")
    np.testing.assert_array_equal(found[:, 1] > 0.5, scores > 0)
    levels = np.digitize(X[:, 0], [-0.5, 0.5])
    assert cross_val_predict(quick(), X, levels, cv=3).shape == (len(X), 3)


def test_tasks_of_which_a_fold_lacks_a_class_are_nan_there():
    labels = pd.DataFrame(Y[:, :2], columns=list("ab"))
    labels["level"] = np.digitize(X[:, 0], [-0.5, 0.5])
    labels["rare"] = np.where(np.arange(len(X)) < 50, "yes", "no")
    with (
        pytest.warns(UserWarning, match=r"NaN there.*: 1 \('rare'\)"),
        pytest.warns(UserWarning, match="at most 1 class"),
    ):
        found = cross_val_predict(quick(), X, labels, cv=3)
    unknown = np.isnan(found)
    assert found.shape == (len(X), 6)
    assert unknown[:100, 5].all()
    assert not unknown[100:, 5].any()
    assert not unknown[:, :5].any()


def test_what_is_no_partition_or_no_task_is_refused():
    with pytest.raises(ValueError, match=r"cv=ShuffleSplit.*each row once"):
        cross_val_predict(quick(), X, Y, cv=ShuffleSplit(2, random_state=0))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_predict(quick(), X[:-1], Y)
    with pytest.raises(ValueError, match="'method' parameter"):
        cross_val_predict(quick(), X, Y, method="predict")
    conv = ConvMultiTaskClassifier(4, max_iter=1, random_state=0)
    rows, y, tasks = to_long(X, Y)
    with pytest.raises(ValueError, match="Use cross_val_predict of scikit-learn"):
        cross_val_predict(conv, rows, y, tasks=tasks)


def test_classes_are_still_a_list():
    fitted = quick().fit(X, Y)
    assert isinstance(fitted.classes_, list)
    assert len(fitted.classes_) == 6
    assert not hasattr(fitted.classes_, "shape")
    assert not hasattr(quick(), "classes_")
    assert type(vars(fitted)["classes_"]) is list
    assert isinstance(quick().fit(X, Y[:, 0]).classes_, np.ndarray)
    assert FrozenEstimator(fitted).classes_ == fitted.classes_
