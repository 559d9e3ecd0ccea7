"""Methods of the few-shot literature, on the features and draws of the probes.

- nearest class mean with shrunk Mahalanobis distance, one covariance for both classes:
  after Bateni et al., "Improved Few-Shot Visual Classification", 2020;
- quadratic probe: a covariance for each class, as in that paper and in Formont et al.,
  "A Strong Baseline for Molecular Few-Shot Learning", 2024;
- Gaussian process with Tanimoto kernel on raw bits: Griffiths et al., "GAUCHE", 2023;
- similarity search: the largest Tanimoto similarity to a positive row.
"""

import numpy as np
from _few_labels import with_few
from scipy.special import expit
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel

from mtrl_sklearn.probing._settings import DEFAULT_WEIGHTS

MAHALANOBIS, QUADRATIC = "class mean", "quadratic"
PROCESS, SEARCH = "GP Tanimoto", "similarity"
LITERATURE = (MAHALANOBIS, QUADRATIC, PROCESS, SEARCH)


def tanimoto(A, B):
    """Sum of minima over sum of maxima; of bits, what both have of what one has."""
    common = A @ B.T
    sizes = (A * A).sum(axis=1)[:, None] + (B * B).sum(axis=1)
    return common / np.maximum(sizes - common, 1e-12)


class Tanimoto(Kernel):
    """The kernel of the same name, without parameters."""

    theta = np.empty(0)
    bounds = np.empty((0, 2))

    def get_params(self, deep=True):
        return {}

    def __call__(self, X, Y=None, eval_gradient=False):
        K = tanimoto(X, X if Y is None else Y)
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X):
        return np.ones(len(X))

    def is_stationary(self):
        return False


def weigh_blocks(blocks, rows):
    """The blocks of a default probe side by side, each divided by one factor."""
    parts = []
    for name, block in blocks.items():
        centred = block - block[rows].mean(axis=0)
        scale = np.sqrt((centred[rows] ** 2).sum(axis=1).mean())
        parts.append(np.sqrt(DEFAULT_WEIGHTS[name]) * centred / (scale or np.inf))
    return np.hstack(parts)


def class_scores(Z, few, y, share_covariance):
    """Log-odds of Gaussian classes, of rows Z, with shrunk covariances.

    With n labels of a class, its covariance has the weight n / (n + 1), that of all
    labels 1 / (n + 1), and the identity, in units of the mean variance, is added. A
    shared covariance, the mean over labels, makes the odds linear.
    """
    basis = np.linalg.svd(few, full_matrices=False)[2]
    Z, few = Z @ basis.T, few @ basis.T
    of_task = np.cov(few.T)
    floor = np.eye(len(of_task)) * np.trace(of_task) / len(of_task)
    classes = [few[y == label] for label in (0, 1)]
    covariances = []
    for members in classes:
        share = len(members) / (len(members) + 1)
        own = np.cov(members.T) if len(members) > 1 else 0 * of_task
        covariances.append(share * own + (1 - share) * of_task + floor)
    if share_covariance:
        sizes = [len(members) for members in classes]
        covariances = [np.average(covariances, axis=0, weights=sizes)] * 2
    scores = []
    for members, covariance in zip(classes, covariances):
        rest = Z - members.mean(axis=0)
        distance = (rest * np.linalg.solve(covariance, rest.T).T).sum(axis=1)
        size = np.linalg.slogdet(covariance)[1]
        scores.append(np.log(len(members)) - (distance + size) / 2)
    return scores[1] - scores[0]


def list_literature(representation, X, X_test):
    """Contenders by name."""
    everything = np.vstack([X, X_test]).astype(np.float64)
    blocks = {
        "hidden": representation.transform(everything),
        "probabilities": representation.source_probabilities(everything),
        "inputs": everything,
    }
    n = len(X)

    def of_classes(share_covariance):
        def fit(rows, y):
            needed = np.concatenate([rows, np.arange(n, len(everything))])
            some = {name: block[needed] for name, block in blocks.items()}
            Z = weigh_blocks(some, np.arange(len(rows)))
            few, test = np.split(Z, [len(rows)])
            return expit(class_scores(test, few, y, share_covariance))

        return with_few(fit, len(X_test))

    def process(rows, y):
        kernel = ConstantKernel(4.0, "fixed") * Tanimoto()
        model = GaussianProcessClassifier(kernel, optimizer=None)
        return model.fit(everything[rows], y).predict_proba(everything[n:])[:, 1]

    def search(rows, y):
        return tanimoto(everything[n:], everything[rows[y == 1]]).max(axis=1)

    return {
        MAHALANOBIS: of_classes(True),
        QUADRATIC: of_classes(False),
        PROCESS: with_few(process, len(X_test)),
        SEARCH: with_few(search, len(X_test)),
    }
