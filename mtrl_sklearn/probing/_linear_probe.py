"""LinearProbe: parameters, validation, documentation."""

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from mtrl_sklearn._arrays.rows import map_rows, rows_at_once
from mtrl_sklearn._arrays.threads import blas_threads, fork_safe
from mtrl_sklearn._arrays.validation import naming_numbers, validate_rows
from mtrl_sklearn._labels.encoding import find_classes, find_codes, read_class_labels
from mtrl_sklearn._training.estimator import last_good_state
from mtrl_sklearn._training.representation import with_attributes
from mtrl_sklearn._training.saving import saveable
from mtrl_sklearn._version import DocumentationLinkMixin
from mtrl_sklearn.probing._blocks import (
    Blocks,
    as_rows,
    compute_blocks,
    input_block,
    open_representation,
    pin,
    read_inputs,
    reads_single_rows,
    refuse_sparse,
    rows_differ,
)
from mtrl_sklearn.probing._fine_tune import fine_tune, open_first_layer
from mtrl_sklearn.probing._ridge_logistic import LinearModel, fit_ridge_logistic
from mtrl_sklearn.probing._saved_probe import SavedProbeMixin
from mtrl_sklearn.probing._settings import ProbeSettings, resolve_settings


@saveable
class LinearProbe(
    SavedProbeMixin, DocumentationLinkMixin, ClassifierMixin, BaseEstimator
):
    r"""Linear classifier of a new task on a representation learned from other tasks.

    Logistic regression with a ridge penalty on up to three blocks of features: hidden
    features h of the representation, its probabilities q of the source tasks, and the
    raw inputs x,

    .. math::
        f = \sqrt{u_h}\, w_h^T h + \sqrt{u_q}\, w_q^T q + \sqrt{u_x}\, w_x^T x + c, \\
        \min_{w, c} \; C \sum_i \log(1 + e^{-y_i f_i}) + \tfrac12 \|w\|^2,

    where each block is divided by one factor, so that its centred rows have a mean
    squared norm of 1. Columns are not standardised: features that never vary would
    become noise.

    The weights u and the strength C matter most where labels are few, and few labels
    cannot choose them. `calibrate` learns both from the source tasks. The blocks, their
    weights and their calibration are additions of this package, not of the papers.

    Parameters
    ----------
    representation : fitted transformer, default=None
        It is used as it is: never fitted, never changed, and shared by clones of the
        probe. A pipeline that ends in a representation is fine. None is a probe of
        the raw inputs. In a grid of parameters wrap it in `FrozenEstimator`. What
        happens to it after `fit` shows in the next `fit` only.

    settings : ProbeSettings, default=None
        Weights and strength by the number of labels, as `calibrate` learns them.

    weights : dict or "auto", default="auto"
        Weight of each block, "hidden", "probabilities" and "inputs"; one left out
        counts 0. "auto" takes those of ``settings``, or without any 0.25, 0.5 and 0.25.
        They are divided by their sum over the blocks there are.

    C : float or "auto", default="auto"
        Inverse strength of the penalty. "auto" is that of ``settings``, or without any
        2.

    fine_tune : bool, default=False
        Go on from there and train the first layer of the representation together with
        the probe, on a copy. A penalty holds the copy near the original. Worth a try
        with a thousand labels or more, where a task needs other features than the
        source tasks; with few it changes next to nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels in the caller's encoding.
    weights_ : dict of float
        Weights of the blocks that were used.
    C_ : float
        Strength that was used.
    coef_ : dict of ndarrays of shape (1, n_columns) or (n_classes, n_columns)
        Coefficients of each block that was used, for its raw values.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        c.
    first_layer_ : dict of ndarrays
        Fitted attributes in which the copy differs from the representation; empty
        without ``fine_tune``.
    representation_ : fitted transformer or None
        The representation as it was in `fit`, which predictions come from. Networks of
        this package share its arrays, other transformers are copied.
    n_features_in_ : int
        Number of values of an input.
    feature_names_in_ : ndarray of shape (n_features_in_,)

    See Also
    --------
    calibrate : Learn the settings from the source tasks.
    probe_new_tasks : Measure what a representation gains over raw inputs.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.probing import LinearProbe
    >>> X, Y, components, problem = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(128, random_state=0).fit(X, Y)
    >>> new_task = problem.new_tasks(1, random_state=1)
    >>> X_few, y_few = new_task.sample(64, random_state=2)
    >>> X_test, y_test = new_task.sample(1000, random_state=3)
    >>> probe = LinearProbe(representation).fit(X_few, y_few.ravel())
    >>> raw = LinearProbe().fit(X_few, y_few.ravel())
    >>> gain = probe.score(X_test, y_test.ravel()) - raw.score(X_test, y_test.ravel())
    >>> bool(gain > 0.1)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "representation": [None, HasMethods("transform")],
        "settings": [None, ProbeSettings],
        "weights": [dict, StrOptions({"auto"})],
        "C": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "fine_tune": ["boolean"],
    }

    def __init__(
        self,
        representation=None,
        *,
        settings=None,
        weights="auto",
        C="auto",
        fine_tune=False,
    ):
        self.representation = representation
        self.settings = settings
        self.weights = weights
        self.C = C
        self.fine_tune = fine_tune

    def __sklearn_clone__(self):
        """Clone all but the representation, which a probe takes as it is."""
        params = self.get_params(deep=False)
        representation = params.pop("representation")
        copies = {name: clone(value, safe=False) for name, value in params.items()}
        return type(self)(representation, **copies)

    def get_params(self, deep=True):
        """Parameters of the probe, without those of the representation.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: a probe shares its representation and never changes it.

        Returns
        -------
        dict
            Parameters of the constructor by name.
        """
        return super().get_params(deep=False)

    def set_params(self, **params):
        """Set parameters of the probe.

        Parameters
        ----------
        **params : dict
            Those of the constructor. Parameters of the representation are not among
            them: it is shared, and a probe never changes it.

        Returns
        -------
        self : LinearProbe

        Raises
        ------
        ValueError
            For any other name.
        """
        nested = [name for name in params if "__" in name]
        if nested:
            raise ValueError(
                f"{nested[0]} is a parameter of the representation, which a probe "
                "shares and never changes. Set it before the representation is fitted."
            )
        return super().set_params(**params)

    def with_representation(self, representation):
        """A clone of the probe on another representation.

        Parameters
        ----------
        representation : fitted transformer or None

        Returns
        -------
        LinearProbe
            Not fitted.
        """
        return clone(self).set_params(representation=representation)

    def of_plain_rows(self):
        """A probe of rows without a representation, to compare this one with.

        Returns
        -------
        LinearProbe
            Not fitted, with the same ``C`` and all else at its default.
        """
        return LinearProbe(C=self.C)

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def fit(self, X, y):
        """Fit the probe on the few labels of a new task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, as the representation accepts them.
        y : array-like of shape (n_samples,)
            Labels of two or more classes in any encoding.

        Returns
        -------
        self : LinearProbe

        Raises
        ------
        ValueError
            If y shows a single class, X is not finite, or a weight has no block.
        NotFittedError
            If the representation was not fitted.
        """
        if self.fine_tune and self.representation is None:
            raise ValueError(
                "fine_tune=True needs a representation to start from, got None. Pass "
                "one, or set fine_tune=False."
            )
        with last_good_state(self):
            blocks = self._read_blocks(X)
            labels = read_class_labels(y)
            check_consistent_length(blocks, labels)
            classes = find_classes(labels)
            codes = find_codes(labels, classes)
            weights, C = resolve_settings(
                self.weights, self.C, self.settings, blocks.present, len(labels)
            )
            model = fit_ridge_logistic(blocks.present, codes, weights, C)
            first_layer = {}
            if self.fine_tune:
                layer = open_first_layer(*open_representation(self.representation, X))
                model, first_layer = fine_tune(
                    layer, blocks.present, codes, model, weights, C
                )
            self.classes_, self.weights_, self.C_ = classes, weights, C
            self.coef_, self.intercept_ = model.coef, model.intercept
            self.first_layer_ = first_layer
        return self

    def _read_blocks(self, X):
        """Features of the rows of fit, computed here unless X holds them already."""
        if isinstance(X, Blocks):
            return X
        self.representation_ = None
        vars(self).pop("feature_names_in_", None)
        if self.representation is None:
            _refuse_images(X)
            return input_block(validate_rows(self, X, reset=True))
        blocks = compute_blocks(*self._open(self.representation, X, reset=True))
        self.representation_ = pin(self.representation)
        if rows_differ(X):
            return blocks
        return blocks.take(np.zeros(len(blocks), dtype=int))  # not to the last bit

    def _open(self, representation, X, reset=False):
        """The estimator that makes features, and what it is given."""
        if len(_shape(X)) <= 2:
            with naming_numbers(X, "X"):
                validate_data(self, X, skip_check_array=True, reset=reset)
        elif reset:  # the representation looks at the shape of images
            self.n_features_in_ = math.prod(_shape(X)[1:])
        return open_representation(representation, X)

    def _block_reader(self, X):
        """Function of a slice to the features of these rows, and how many there are."""
        if isinstance(X, Blocks):
            return X.take, len(X)
        if self.representation_ is None:
            _refuse_images(X)
            rows = validate_rows(self, X, reset=False, empty=True)
            return lambda part: input_block(rows[part]), len(rows)
        estimator, X = self._open(self.representation_, X)
        if not reads_single_rows(estimator):
            blocks = self._compute_used(estimator, X)
            return blocks.take, len(blocks)
        if "inputs" in self.coef_:
            refuse_sparse(X)
        rows = read_inputs(X)
        n_rows = _num_samples(rows)

        def read(part):
            some = rows if part == slice(0, n_rows) else _safe_indexing(rows, part)
            return self._compute_used(estimator, some)

        return read, n_rows

    def _compute_used(self, estimator, X):
        """Features with coefficients, hidden ones of the copy that was trained."""
        used = list(self.coef_)
        if not self.first_layer_ or "hidden" not in used:
            return compute_blocks(estimator, X, used, empty=True)
        used.remove("hidden")
        tuned = with_attributes(estimator, self.first_layer_)
        hidden = as_rows(tuned.transform(X), empty=True)
        return replace(compute_blocks(estimator, X, used, empty=True), hidden=hidden)

    def _scores(self, X):
        """Scores of shape (n_samples, 1) or (n_samples, n_classes)."""
        check_is_fitted(self)
        read, n_rows = self._block_reader(X)
        model = LinearModel(self.coef_, self.intercept_)
        width = sum(coef.shape[1] for coef in self.coef_.values())

        def score(part):
            features = read(part).present
            # a second thread of numpy would go on spinning beside those of torch
            with blas_threads(width * (part.stop - part.start)):
                return model.scores(features)

        return map_rows(score, n_rows, rows_at_once(width))

    def decision_function(self, X):
        """Scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, positive means the second one.
        """
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            return expit(np.hstack([-scores, scores]))
        return softmax(scores, axis=1)

    def predict(self, X):
        """Labels of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            return self.classes_[(scores[:, 0] > 0).astype(np.intp)]
        return self.classes_[scores.argmax(axis=1)]


def _refuse_images(X):
    """Refuse inputs of more than two axes, where there is no representation of them."""
    if len(shape := _shape(X)) > 2:
        raise ValueError(
            f"X has shape {shape}, as images or patches have, but a probe without a "
            "representation takes rows. For images pass a fitted "
            "ConvMultiTaskClassifier as representation, or their pixels as "
            "X.reshape(len(X), -1)."
        )


def _shape(X: Any) -> tuple[int, ...]:
    with naming_numbers(X, "X") as values:
        return values.shape if hasattr(values, "shape") else np.asarray(values).shape
