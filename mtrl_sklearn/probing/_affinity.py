"""Similarity of tasks, from their heads and from their labels."""

from typing import Any

import numpy as np
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._blocks import open_representation

# Rows with both labels from which on agreement counts more than the heads.
TRUSTED_ROWS = 30


def task_affinity(representation, X=None, Y=None):
    r"""Similarity of source tasks: correlation of what their heads compute.

    With heads A and hidden features of covariance S, tasks s and t have the affinity

    .. math:: \frac{a_s^T S a_t}{\sqrt{a_s^T S a_s \; a_t^T S a_t}}.

    S is that of the rows X. Without X it is that of a ReLU layer W on isotropic
    Gaussian inputs, whose uncentred moments are known in closed form (the arc-cosine
    kernel), with angle :math:`\theta_{jk}` between :math:`w_j` and :math:`w_k`:

    .. math:: S_{jk} = \frac{\|w_j\| \|w_k\|}{2 \pi}
        (\sin \theta_{jk} + (\pi - \theta_{jk}) \cos \theta_{jk} - 1).

    This measure is an addition of this package.

    Parameters
    ----------
    representation : fitted MultiTaskReLURepresentation or ConvMultiTaskClassifier
        The latter with ``head="per_task"``. Pipelines and `FrozenEstimator` are looked
        into.
    X : array-like, default=None
        Rows that show how hidden features vary together; labels are not needed. A
        convolutional network needs them.
    Y : array-like of shape (n_samples, n_outputs), default=None
        Labels as in fit of a ReLU representation. Where n rows have both labels of two
        tasks, their `label_agreement` enters with weight n / (n + 30).

    Returns
    -------
    ndarray of shape (n_tasks, n_tasks), float64
        In [-1, 1], symmetric, 1 on the diagonal. A task without a head (constant
        scores) has affinity 0 to the others.

    Raises
    ------
    ValueError
        If tasks have no heads of their own, or X is needed.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.probing import task_affinity
    >>> X, Y, *_ = make_subspace_tasks(500, 20, n_tasks=8, random_state=0)
    >>> representation = MultiTaskReLURepresentation(64, random_state=0).fit(X, Y)
    >>> task_affinity(representation).shape
    (8, 8)
    """
    if X is not None:
        with naming_numbers(X, "X"):
            n_samples = _num_samples(X)
        if n_samples < 2:
            raise ValueError(
                f"X has {n_samples} row, in which nothing varies. Pass at least 2."
            )
    estimator, inputs = open_representation(representation, X)
    if isinstance(estimator, ConvMultiTaskClassifier):
        covariance = _conv_covariance(estimator, inputs)
    elif isinstance(estimator, MultiTaskReLURepresentation):
        heads = estimator.task_coef_.astype(np.float64)
        if X is None:
            W = estimator.hidden_weights_.astype(np.float64)
            S = relu_covariance(
                W / (np.abs(W).max() or 1)
            )  # so that squares stay in range
            covariance = heads @ S @ heads.T
        else:
            scores = estimator._task_scores(inputs).astype(np.float64)
            centred = scores - scores.mean(axis=0)
            covariance = centred.T @ centred
    else:
        raise TypeError(
            "representation should be a fitted MultiTaskReLURepresentation or "
            f"ConvMultiTaskClassifier, got {type(estimator).__name__}."
        )
    affinity = _correlation(covariance)
    if Y is None:
        return affinity
    if not isinstance(estimator, MultiTaskReLURepresentation):
        raise ValueError(
            "Y is for tasks that share rows; rows of a ConvMultiTaskClassifier belong "
            "to one task each. Pass Y=None."
        )
    signs = estimator._label_encoding().encode(Y)
    n_both = _common_rows(signs)
    share = n_both / (n_both + TRUSTED_ROWS)
    agreement = sign_agreement(signs)
    share = np.where(np.isnan(agreement), 0, share)
    blended = share * np.nan_to_num(agreement) + (1 - share) * affinity
    np.fill_diagonal(blended, 1)
    return blended


def label_agreement(Y):
    """Correlation of the labels of tasks, over rows that have both.

    Parameters
    ----------
    Y : array-like of shape (n_samples, n_outputs)
        Labels in any encoding; NaN, None and NA stand for "not observed". A column of
        k > 2 classes is k one-vs-rest tasks.

    Returns
    -------
    ndarray of shape (n_tasks, n_tasks), float64
        Phi coefficients; NaN where fewer than two rows have both labels or one of them
        does not vary there. 1 on the diagonal.

    Warns
    -----
    UserWarning
        If that is so for all pairs of tasks.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.probing import label_agreement
    >>> label_agreement([[0, 0], [1, 1], [0, np.nan], [1, 0], [0, 0]]).round(2)
    array([[1.  , 0.58],
           [0.58, 1.  ]])
    """
    signs = learn_encoding(Y).encode(Y)
    agreement = sign_agreement(signs)
    n_tasks = len(agreement)
    if n_tasks > 1 and np.isnan(agreement).sum() == n_tasks * (n_tasks - 1):
        n_both = _common_rows(signs)
        largest = int(n_both[~np.eye(n_tasks, dtype=bool)].max())
        warn_user(
            f"No pair of {n_tasks} tasks has rows that show both classes of both, at "
            f"least 2; the largest number of rows with labels of two is {largest}. All "
            "agreements are NaN. task_affinity compares tasks by their heads instead."
        )
    return agreement


def sign_agreement(signs: np.ndarray) -> np.ndarray:
    """Correlation of the labels of tasks; see `label_agreement`.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_tasks)
        +1, -1, or 0 where nothing was observed.

    Returns
    -------
    ndarray of shape (n_tasks, n_tasks), float64
        Phi coefficients; NaN where fewer than two rows have both labels or one of them
        does not vary there. 1 on the diagonal.
    """
    labels = signs.astype(np.float64)
    observed = np.abs(labels)
    n_both = observed.T @ observed
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = labels.T @ observed / n_both  # of the first, over the rows with both
        covariance = labels.T @ labels / n_both - mean * mean.T
        variance = 1 - mean**2
        agreement = covariance / np.sqrt(variance * variance.T)
    varies = np.minimum(variance, variance.T) > 1e-12
    agreement = np.where((n_both > 1) & varies, np.clip(agreement, -1, 1), np.nan)
    np.fill_diagonal(agreement, 1)
    return agreement


def relu_covariance(W: np.ndarray) -> np.ndarray:
    """Covariance of ``relu(W x)`` for x ~ N(0, I), of shape (n_hidden, n_hidden).

    Parameters
    ----------
    W : ndarray of shape (n_hidden, n_features)
    """
    norms = np.linalg.norm(W, axis=1)
    products = np.outer(norms, norms)
    cosine = np.divide(
        W @ W.T, products, out=np.zeros_like(products), where=products > 0
    )
    angle = np.arccos(np.clip(cosine, -1, 1))
    moment = np.sin(angle) + (np.pi - angle) * np.cos(angle)
    return products * (moment - 1) / (2 * np.pi)


def _conv_covariance(estimator: ConvMultiTaskClassifier, X: Any) -> np.ndarray:
    """Covariance of the scores of tasks, summed over classes."""
    if estimator._head_ != "per_task":
        raise ValueError(
            f"task_affinity compares heads, but head={estimator._head_!r} is one for "
            "all tasks. Fit with head='per_task'."
        )
    if X is None:
        raise ValueError(
            "task_affinity needs X for a convolutional network: pass rows, with or "
            "without labels."
        )
    scores = estimator._head_scores(X).astype(np.float64)
    centred = scores - scores.mean(axis=0)
    return np.einsum("isc,itc->st", centred, centred) / len(scores)


def _common_rows(signs: np.ndarray) -> np.ndarray:
    observed = (signs != 0).astype(np.float64)
    return observed.T @ observed


def _correlation(covariance: np.ndarray) -> np.ndarray:
    variance = np.diag(covariance)
    negligible = 1e-12 * variance.max(initial=0)  # rounding of constant scores
    scale = np.sqrt(np.where(variance > negligible, variance, 0))
    products = np.outer(scale, scale)
    out = np.zeros_like(products)
    np.divide(covariance, products, out=out, where=products > 0)
    out = np.clip((out + out.T) / 2, -1, 1)
    np.fill_diagonal(out, 1)
    return out
