"""Features that outweigh others are told, where scaling each of them would help."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._relu.feature_scales import MOST, find_outsized, find_skewed

rng = np.random.default_rng(0)
NORMAL = rng.normal(size=(400, 20))
Y = (NORMAL @ rng.normal(size=(20, 6)) > 0).astype(float)
SCALES = np.ones(20)
SCALES[[3, 7]] = 1000, 200


def fast():
    return MultiTaskReLURepresentation(8, algorithm="one_step", random_state=0)


def test_the_widest_features_are_found_with_their_ratio():
    found = find_outsized(NORMAL * SCALES)
    assert found.columns.tolist() == [3, 7]
    spread = (NORMAL * SCALES).std(axis=0)
    narrow = np.sort(spread)[1]  # a tenth of the others are narrower
    assert found.ratio == pytest.approx(spread.max() / narrow)


BITS = np.eye(30)[rng.integers(0, 30, 400)]


@pytest.mark.parametrize(
    ("X", "columns", "ratio"),
    [
        (NORMAL[:, :2] * [1, 1000], [1], 1000),
        (NORMAL[:, :3] * [14, 0.1, 4], [0, 2], 140),
        (np.hstack([NORMAL[:, :2] * [13, 1], BITS]), [0], 26),
        (np.hstack([NORMAL[:, :2] * [1e4, 13], BITS, BITS]), [0], 2e4),
    ],
    ids=["two", "three", "age and bits", "money, age and bits"],
)
def test_few_features_of_different_units_are_found(X, columns, ratio):
    found = find_outsized(X)
    assert found.columns.tolist() == columns
    assert found.ratio == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize(("share", "is_told"), [(0.9, False), (1.2, True)])
def test_the_bound(share, is_told):
    spread = NORMAL.std(axis=0)
    X = NORMAL / spread
    X[:, 0] *= share * MOST
    assert (find_outsized(X) is not None) == is_told


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1, 1e30, 1e300])
def test_only_ratios_matter(scale):
    assert find_outsized(NORMAL * SCALES * scale).columns.tolist() == [3, 7]
    assert find_outsized(NORMAL * scale) is None


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_columns_of_different_units_are_told(load):
    assert find_outsized(load().data) is not None


@pytest.mark.parametrize(
    "X",
    [
        load_digits().data,
        load_iris().data,
        (rng.random((500, 300)) < rng.random(300) ** 4).astype(np.uint8),
        rng.poisson(rng.gamma(0.3, 20, size=300), size=(500, 300)),
        csr_array(NORMAL * SCALES),
        np.hstack([NORMAL, np.full((400, 1), 1e12)]),
        np.hstack([NORMAL, BITS]),
        np.hstack([rng.poisson([90, 0.3, 0.3], (400, 3)), rng.random((400, 9)) < 0.01]),
        NORMAL[:, :1] * 1e6,
        np.zeros((5, 3)),
    ],
    ids=[
        *("pixels", "flowers", "bits", "counts", "sparse", "a constant"),
        *("numbers and bits", "rare words", "one feature", "nothing varies"),
    ],
)
def test_others_are_not(X):
    assert find_outsized(X) is None
    assert find_skewed(X) is None


@pytest.mark.parametrize("scale", [1e-300, 1, 1e9])
def test_skewed_features_are_found(scale):
    X = NORMAL.copy()
    X[:, [2, 9, *range(10, 20)]] = np.exp(X[:, [2, 9, *range(10, 20)]])
    X[:, 9] **= 2
    X[:, 10] **= 1.5
    found = find_skewed(scale * X)
    assert found[:2].tolist() == [9, 10]
    assert sorted(found) == [2, *range(9, 20)]
    assert find_skewed(scale * X[:, :10]) is None  # few of them


@pytest.mark.parametrize(
    "change",
    [np.ceil, np.negative, lambda X: X - 1, np.log, lambda X: 1 / (1 + X)],
    ids=["counts", "negative ones", "both signs", "logarithms", "bounded"],
)
def test_of_others_no_logarithm_is_asked(change):
    assert find_skewed(change(np.exp(NORMAL))) is None


def test_fit_names_skewed_columns_and_the_remedy():
    X = np.exp(NORMAL * np.linspace(0.8, 1.2, 20))
    with pytest.warns(UserWarning, match=r"20 features .* Take their logarithm"):
        fast().fit(X, Y)
    remedy = make_pipeline(FunctionTransformer(np.log), StandardScaler(), fast())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remedy.fit(X, Y)


def test_fit_names_columns_and_the_remedy():
    with pytest.warns(UserWarning, match=r"widest are 3, 7\. Put a StandardScaler"):
        fast().fit(NORMAL * SCALES, Y)


def test_fit_names_columns_of_a_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(NORMAL * SCALES, columns=[f"c{k}" for k in range(20)])
    with pytest.warns(UserWarning, match=r"widest are c3, c7\."):
        fast().fit(frame, Y)


def test_the_remedy_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_pipeline(StandardScaler(), fast()).fit(NORMAL * SCALES, Y)
