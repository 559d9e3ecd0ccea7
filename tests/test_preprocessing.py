"""ContrastNormalizer: each image by itself."""

import numpy as np
import pandas as pd
import pytest
from conv_cases import images_of_bars
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.preprocessing import ContrastNormalizer


@parametrize_with_checks([ContrastNormalizer()])
def test_passes_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("shape", [(12,), (3, 4), (3, 2, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_images_have_mean_0_and_deviation_1(shape, dtype):
    X = (np.random.default_rng(0).random((20, *shape)) * 255).astype(dtype)
    X[3] = 7
    found = ContrastNormalizer().fit_transform(X)
    assert found.shape == X.shape
    assert found.dtype == ("float64" if dtype == "float64" else "float32")
    rows = np.delete(found.reshape(20, -1), 3, axis=0).astype(float)
    np.testing.assert_allclose(rows.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(rows.std(axis=1), 1, atol=1e-6)
    assert not found[3].any()
    expected = (X[0] - X[0].astype(float).mean()) / X[0].astype(float).std()
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_units_and_other_rows_do_not_matter():
    X = np.random.default_rng(0).normal(size=(9, 3, 5, 5))
    normalizer = ContrastNormalizer().fit(X)
    found = normalizer.transform(X)
    for factor in (1e-300, 1e200):
        np.testing.assert_allclose(normalizer.transform(factor * X), found, rtol=1e-9)
    np.testing.assert_array_equal(normalizer.transform(X[4:6]), found[4:6])
    assert normalizer.transform(X[:0]).shape == (0, 3, 5, 5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_pipeline_holds_it():
    X, y, _ = images_of_bars()
    model = make_pipeline(
        ContrastNormalizer(), ConvMultiTaskClassifier(8, max_iter=40, random_state=0)
    ).fit(X, y)
    dim = X / 4 + 90.0
    np.testing.assert_array_equal(model.predict(dim), model.predict(X.astype(float)))
    assert model.score(X, y) > 0.9


def test_names_of_features_stay():
    frame = pd.DataFrame(np.eye(3), columns=list("abc"))
    normalizer = ContrastNormalizer().set_output(transform="pandas")
    assert normalizer.fit_transform(frame).columns.tolist() == list("abc")


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.full((3, 2, 2), np.nan), "X contains NaN"),
        (None, "X is None"),
        (np.zeros((0, 2, 2)), "0 sample"),
        (np.zeros((2, 3, 3)), "X has 9 features, but .* 4 features"),
        (sparse.csr_array(np.eye(4)), "Sparse data was passed for X"),
        (np.array([["a", "b"]]), "X: .*string"),
    ],
)
def test_bad_images_are_refused(X, words):
    normalizer = ContrastNormalizer().fit(np.ones((3, 2, 2)))
    with pytest.raises((ValueError, TypeError), match=words):
        normalizer.transform(X) if np.shape(X)[1:] == (3, 3) else normalizer.fit(X)
    assert normalizer.n_features_in_ == 4
