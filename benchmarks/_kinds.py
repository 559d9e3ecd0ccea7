"""Kinds of data on which defaults must not do harm: inputs and labels of a seed.

Assay, gene and compound data come from the folder that MTRL_DATA names, and are left
out where that is unset.
"""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_iris,
    load_wine,
    make_blobs,
    make_multilabel_classification,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from mtrl_sklearn.datasets import make_subspace_tasks


def columns_of(Y):
    """Labels of 0, 1 and NaN, a column for each task."""
    if Y.ndim > 1:
        return Y.astype(float)
    classes = np.unique(Y)[-1:] if len(np.unique(Y)) == 2 else np.unique(Y)
    return (Y[:, None] == classes).astype(float)


def _above(scores, quantile):
    return (scores > np.quantile(scores, quantile, axis=0)).astype(float)


def topics(seed, form):
    """Documents of 20 topics, and rare tags that depend on their mixtures."""
    rng = np.random.default_rng(seed)
    words = rng.dirichlet(np.full(3000, 0.02), size=20)
    mixtures = rng.dirichlet(np.full(20, 0.15), size=1500)
    counts = np.array([rng.multinomial(60, mixture @ words) for mixture in mixtures])
    Y = _above(mixtures @ rng.normal(size=(20, 60)), 0.9)
    if form == "counts":
        return counts.astype(float), Y
    X = TfidfTransformer().fit_transform(counts)
    return (X if form == "sparse" else X.toarray()), Y


def clusters(seed):
    rng = np.random.default_rng(seed)
    X, code = make_blobs(1500, 40, centers=12, cluster_std=4, random_state=seed)
    return X, (rng.random((12, 30)) < 0.4).astype(float)[code]


def mixtures(seed):
    """Gaussian clusters, each with a covariance of its own."""
    rng = np.random.default_rng(seed)
    code, centres = rng.integers(0, 8, 2000), rng.normal(size=(8, 30))
    spread = rng.normal(size=(8, 30, 30))[code] / 6
    X = centres[code] + np.einsum("ni,nij->nj", rng.normal(size=(2000, 30)), spread)
    return X, (rng.random((8, 24)) < 0.5).astype(float)[code]


def poisson_factors(seed):
    rng = np.random.default_rng(seed)
    factors = rng.gamma(0.5, size=(1500, 10))
    X = rng.poisson(factors @ rng.gamma(0.3, size=(10, 200))).astype(float)
    return X, _above(factors @ rng.normal(size=(10, 40)), 0.8)


def noisy_factors(seed):
    """Few Gaussian factors behind all inputs, with noise on inputs and labels."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(1500, 6))
    X = factors @ rng.normal(size=(6, 80)) + 0.5 * rng.normal(size=(1500, 80))
    scores = factors @ rng.normal(size=(6, 30)) + 0.5 * rng.normal(size=(1500, 30))
    return X, (scores > 0).astype(float)


def multilabel(seed):
    X, Y = make_multilabel_classification(
        2000, 50, n_classes=20, n_labels=4, random_state=seed
    )
    return X, Y.astype(float)


def noise(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1500, 40)), (rng.random((1500, 30)) < 0.3).astype(float)


def subspace(seed, n_samples, n_features, kind="balanced", **shape):
    X, Y, *_ = make_subspace_tasks(
        n_samples, n_features, kind=kind, random_state=seed, **shape
    )
    return X, Y


def _classes(load):
    return lambda seed: load(return_X_y=True)


def yeast(seed):
    with np.load(Path(os.environ["MTRL_DATA"]) / "yeast.npz") as data:
        return data["X"], data["Y"].astype(float)


def toxcast(seed):
    with np.load(Path(os.environ["MTRL_DATA"]) / "toxcast.npz") as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        return X, np.where(data["Y"] < 0, np.nan, data["Y"]).astype(float)


def bioassays(seed):
    """Molecules of small assays, nearly all labels missing.

    Hashed substrings of the SMILES stand in for fingerprints, which would need a
    package of chemistry.
    """
    path = Path(os.environ["MTRL_DATA"]) / "bioassays.csv.gz"
    with gzip.open(path, "rt") as file:
        table = list(csv.DictReader(file))
    smiles, row = np.unique([line["smiles"] for line in table], return_inverse=True)
    assays, task = np.unique([line["assay"] for line in table], return_inverse=True)
    Y = np.full((len(smiles), len(assays)), np.nan)
    Y[row, task] = [line["outcome"] == "active" for line in table]
    substrings = HashingVectorizer(
        analyzer="char",
        ngram_range=(2, 4),
        lowercase=False,
        binary=True,
        norm=None,
        alternate_sign=False,
        n_features=1024,
        dtype=np.float32,
    )
    return substrings.fit_transform(smiles).toarray(), Y


KINDS = {
    "topics, counts": lambda seed: topics(seed, "counts"),
    "topics, TF-IDF": lambda seed: topics(seed, "TF-IDF"),
    "topics, sparse": lambda seed: topics(seed, "sparse"),
    "clusters": clusters,
    "mixtures": mixtures,
    "Poisson factors": poisson_factors,
    "noisy factors": noisy_factors,
    "multilabel": multilabel,
    "digits": _classes(load_digits),
    "wine": _classes(load_wine),
    "iris": _classes(load_iris),
    "breast cancer": _classes(load_breast_cancer),
    "subspace": lambda seed: subspace(seed, 2667, 100),
    "subspace, unbalanced": lambda seed: subspace(seed, 2667, 100, "unbalanced"),
    "subspace, few rows": lambda seed: subspace(seed, 667, 30, n_components=2),
    "subspace, few tasks": lambda seed: subspace(
        seed, 1334, 50, n_components=3, n_tasks=16
    ),
    "noise": noise,
}
if "MTRL_DATA" in os.environ:
    KINDS |= {"yeast": yeast, "toxcast": toxcast, "bioassays": bioassays}
