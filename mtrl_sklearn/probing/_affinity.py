"""Similarity of tasks, from their heads and from their labels."""

import numpy as np
from sklearn.utils.validation import _num_samples

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._labels.indicator import is_indicator
from mtrl_sklearn._labels.signs import Signs, unpack_signs
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._blocks import open_representation, read_inputs

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
    representation : fitted Representation
        A `MultiTaskReLURepresentation`, a `ConvMultiTaskClassifier` with
        ``head="per_task"``, or another one with a method ``task_covariance``. Pipelines
        and `FrozenEstimator` are looked into.
    X : array-like or sparse matrix, default=None
        Rows that show how hidden features vary together; labels are not needed. A
        convolutional network needs them.
    Y : array-like of shape (n_samples, n_outputs), default=None
        Labels as in fit, where tasks share rows. Where n rows have both labels of two
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
        X = read_inputs(X)
    estimator, inputs = open_representation(representation, X)
    name = type(estimator).__name__
    if not hasattr(estimator, "task_covariance"):
        raise TypeError(
            "representation should be a fitted MultiTaskReLURepresentation, "
            f"ConvMultiTaskClassifier or another Representation, got {name}, which "
            "lacks a method task_covariance."
        )
    affinity = _correlation(estimator.task_covariance(inputs))
    if Y is None:
        return affinity
    if not hasattr(estimator, "label_signs"):
        raise ValueError(
            f"Y is for tasks that share rows; {name} lacks a method label_signs, as "
            "where rows belong to one task each. Pass Y=None."
        )
    signs = estimator.label_signs(Y)
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
        k > 2 classes is k one-vs-rest tasks. Those that sparse labels do not store are
        negative.

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
    signs = unpack_signs(learn_encoding(Y).encode(Y, sparse=True))
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


def sign_agreement(signs: Signs) -> np.ndarray:
    """Correlation of the labels of tasks; see `label_agreement`.

    Parameters
    ----------
    signs : ndarray or Indicator of shape (n_samples, n_tasks)
        +1, -1, or 0 where nothing was observed.

    Returns
    -------
    ndarray of shape (n_tasks, n_tasks), float64
        Phi coefficients; NaN where fewer than two rows have both labels or one of them
        does not vary there. 1 on the diagonal.
    """
    n_both, sums, products = _pair_sums(signs)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / n_both  # of the first, over the rows with both
        covariance = products / n_both - mean * mean.T
        variance = 1 - mean**2
        agreement = covariance / np.sqrt(variance * variance.T)
    varies = np.minimum(variance, variance.T) > 1e-12
    agreement = np.where((n_both > 1) & varies, np.clip(agreement, -1, 1), np.nan)
    np.fill_diagonal(agreement, 1)
    return agreement


def _pair_sums(signs: Signs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over the rows with labels of two tasks, each of shape (n_tasks, n_tasks).

    Returns
    -------
    n_both : ndarray
        Of 1.
    sums : ndarray
        Of the sign of the first task.
    products : ndarray
        Of the product of both signs.
    """
    if is_indicator(signs):
        n_samples, n_tasks = signs.shape
        positive = signs.positive.astype(np.float64)
        n_positive = positive.sum(axis=0)
        products = 4 * (positive.T @ positive).toarray() + n_samples
        products -= 2 * np.add.outer(n_positive, n_positive)
        sums = np.tile(2 * n_positive[:, None] - n_samples, n_tasks)
        return np.full((n_tasks, n_tasks), float(n_samples)), sums, products
    labels = signs.astype(np.float64)
    observed = np.abs(labels)
    return observed.T @ observed, labels.T @ observed, labels.T @ labels


def _common_rows(signs: Signs) -> np.ndarray:
    if is_indicator(signs):
        return np.full((signs.shape[1],) * 2, float(len(signs)))
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
