"""Kinds of data on which source tasks are predicted, split and with labels hidden."""

import os
from typing import Any, NamedTuple

import numpy as np
from _kinds import KINDS, columns_of
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

from mtrl_sklearn.datasets import make_subspace_tasks

MIN_TEST = 5  # labels of each class that a measured task has among new rows
MIN_TRAIN = 2  # ... and in training, after labels were hidden


class SourceData(NamedTuple):
    """Rows and labels of source tasks: 1, 0, and NaN where not observed."""

    X: Any  # array or CSR matrix of shape (n_samples, n_features)
    Y: np.ndarray  # (n_samples, n_tasks)
    X_test: Any  # (n_test, n_features)
    Y_test: np.ndarray  # (n_test, n_tasks)
    measured: np.ndarray  # (n_measured,), tasks of which predictions are wanted
    has_units: bool  # whether it is sensible to standardise columns


def high_columns(X, columns):
    """Labels that say which rows are in the upper third of these columns."""
    return (X[:, columns] > np.quantile(X[:, columns], 2 / 3, axis=0)).astype(float)


def breast_cancer(seed):
    """Diagnosis, and which worst values of a tumour are high, from the other values."""
    X, y = load_breast_cancer(return_X_y=True)
    worst = np.arange(20, 30)
    return X[:, :20], np.column_stack([y, high_columns(X, worst)]).astype(float)


def diabetes(seed):
    """Disease, and which blood values are high, from the rest of a patient's."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    blood = np.arange(4, 10)
    disease = y[:, None] > np.quantile(y, [0.25, 0.5, 0.75])
    return X[:, :4], np.hstack([disease, high_columns(X, blood)]).astype(float)


def few_factors(seed, n_features=40):
    """Normal inputs, and labels of which each depends on four nonlinear factors."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, n_features))
    factors = np.maximum(X @ rng.normal(size=(n_features, 4)) / n_features**0.5, 0)
    scores = factors @ rng.normal(size=(4, 24)) + X[:, :8] @ rng.normal(size=(8, 24))
    scores += 0.5 * scores.std() * rng.normal(size=scores.shape)
    return X, (scores > np.quantile(scores, 0.7, axis=0)).astype(float)


def lognormal(seed):
    X, Y = few_factors(seed)
    return np.exp(1.5 * X), Y


def uneven_scales(seed):
    """Features whose scales differ by e^2 normal."""
    X, Y = few_factors(seed)
    return X * np.exp(2 * np.random.default_rng(seed + 1).normal(size=X.shape[1])), Y


def fingerprints(seed):
    """Hashed pairs of 150 substructures, which scaffolds share; 40 % not measured.

    A task asks for some of 12 groups of substructures; one label in ten is wrong.
    """
    rng = np.random.default_rng(seed)
    scaffolds = rng.beta(0.15, 1.2, size=(60, 150))
    parts = rng.random((2000, 150)) < scaffolds[rng.integers(0, 60, 2000)]
    first, second = rng.integers(0, 150, (2, 1024))
    X = (parts[:, first] & parts[:, second]).astype(np.float32)
    groups = parts @ (rng.random((150, 12)) < 0.06)
    scores = groups @ rng.normal(size=(12, 60)) + 0.3 * rng.normal(size=(2000, 60))
    Y = scores > np.quantile(scores, 0.85, axis=0)
    Y = np.where(rng.random(Y.shape) < 0.1, ~Y, Y).astype(float)
    Y[rng.random(Y.shape) < 0.4] = np.nan
    return X, Y


def wide_subspace(seed):
    X, Y, *_ = make_subspace_tasks(1334, 300, n_components=3, random_state=seed)
    return X, Y


MEASURED_KINDS = {  # each with whether its columns have units
    "digits": (KINDS["digits"], False),
    "wine": (KINDS["wine"], True),
    "breast cancer": (breast_cancer, True),
    "diabetes": (diabetes, True),
    "multilabel": (KINDS["multilabel"], False),
    "subspace, d=100": (KINDS["subspace"], True),
    "subspace, d=300": (wide_subspace, True),
    "subspace, few rows": (KINDS["subspace, few rows"], True),
    "few factors": (few_factors, True),
    "lognormal features": (lognormal, True),
    "scales of e^2": (uneven_scales, True),
    "noisy factors": (KINDS["noisy factors"], True),
    "mixtures": (KINDS["mixtures"], True),
    "Poisson factors": (KINDS["Poisson factors"], False),
    "topics, counts": (KINDS["topics, counts"], False),
    "topics, sparse": (KINDS["topics, sparse"], False),
    "fingerprints": (fingerprints, False),
}
if "MTRL_DATA" in os.environ:
    MEASURED_KINDS |= {
        "yeast": (KINDS["yeast"], True),
        "toxcast": (KINDS["toxcast"], False),
        "bioassays": (KINDS["bioassays"], False),
    }
# Tasks of a kind that are measured; fewer where single models take long: a forest and
# seven logistic regressions for each task of many rows or features.
MANY = ("topics, counts", "topics, sparse", "fingerprints", "toxcast", "bioassays")
N_TASKS = dict.fromkeys(MEASURED_KINDS, 30) | dict.fromkeys((*MANY, "yeast"), 10)
QUICK_KINDS = ("digits", "wine", "subspace, few rows", "scales of e^2")


def _has_both(Y, least):
    return ((Y == 1).sum(axis=0) >= least) & ((Y == 0).sum(axis=0) >= least)


def draw_source_data(kind, hidden, seed, n_tasks):
    """Three quarters of the rows with a share of labels hidden, and the others whole.

    The tasks that are measured, at most `n_tasks`, do not depend on the share: all have
    labels enough where 80 % are hidden, and a task that has not is left out.
    """
    make, has_units = MEASURED_KINDS[kind]
    X, Y = make(seed)
    Y = columns_of(Y)
    train, test = train_test_split(np.arange(len(Y)), random_state=seed)
    rng = np.random.default_rng(seed)
    draws, order = rng.random((len(train), Y.shape[1])), rng.permutation(Y.shape[1])
    few, Y_train = (
        np.where(draws < share, np.nan, Y[train]) for share in (0.8, hidden)
    )
    usable = _has_both(few, MIN_TRAIN) & _has_both(Y[test], MIN_TEST)
    kept = _has_both(Y_train, MIN_TRAIN)
    measured = np.cumsum(kept)[order[usable[order]]][:n_tasks] - 1
    Y_train, Y_test = Y_train[:, kept], Y[test][:, kept]
    rows = ~np.isnan(Y_train).all(axis=1)
    return SourceData(
        X[train][rows], Y_train[rows], X[test], Y_test, measured, has_units
    )
