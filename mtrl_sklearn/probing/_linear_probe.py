"""LinearProbe: parameters, validation, documentation."""

import math
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.sparse import issparse
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import accuracy_score
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from mtrl_sklearn._arrays.conversion import is_sparse_frame
from mtrl_sklearn._arrays.rows import map_rows, rows_at_once
from mtrl_sklearn._arrays.sigmoid import sigmoid
from mtrl_sklearn._arrays.threads import blas_threads, fork_safe
from mtrl_sklearn._arrays.validation import (
    check_scored,
    naming_numbers,
    read_weights,
    validate_rows,
)
from mtrl_sklearn._labels.classes import read_class_column
from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._labels.given import GivenLabels
from mtrl_sklearn._labels.roc_auc import mean_roc_auc, warn_if_undefined
from mtrl_sklearn._training.estimator import last_good_state
from mtrl_sklearn._training.prior import ProbePrior, read_prior
from mtrl_sklearn._training.representation import with_attributes
from mtrl_sklearn._training.saving import saveable
from mtrl_sklearn._version import DocumentationLinkMixin
from mtrl_sklearn._warnings import warn_user
from mtrl_sklearn.probing._blocks import (
    as_rows,
    compute_blocks,
    compute_rows_when_asked,
    first_step,
    input_block,
    one_row_like,
    open_representation,
    pin,
    pos_label_of_sources,
    read_inputs,
    reads_single_rows,
    rows_differ,
)
from mtrl_sklearn.probing._few_labels import is_column, read_probe_labels, read_scored
from mtrl_sklearn.probing._fine_tune import fine_tune, open_first_layer
from mtrl_sklearn.probing._map_logistic import (
    FewLabels,
    Probes,
    fit_probes,
    shared_signal,
)
from mtrl_sklearn.probing._ridge_logistic import LinearModel, fit_classes
from mtrl_sklearn.probing._saved_probe import SavedProbeMixin
from mtrl_sklearn.probing._settings import (
    ProbeSettings,
    resolve_settings,
    trust_labels,
)


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
    cannot choose them. `calibrate` learns both from the source tasks.

    Binary tasks have a prior, which the source tasks have taught: see `ProbePrior`. It
    adds ``beta * s(x)`` to f, with s the standardised mean of q, and draws beta to the
    slope and c to the intercept that source tasks have on average. Without labels, or
    with those of one class, the prior predicts what they do not say; with many labels
    it does not matter. The blocks, their weights, the prior and their calibration are
    additions of this package, not of the papers.

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
        2; beside a prior, ``2 (m + 1) / 17`` where ``m = 4 n_+ n_- / n``, which is the
        number n of labels if half of them are positive, is less than 16.

    prior : ProbePrior, "auto" or None, default="auto"
        "auto" is that of ``settings``, or without any the one that the representation
        has learned in `fit` (``probe_prior_``), where it has: other transformers have
        none. Centre and scale are those of the representation in either case. It
        speaks of the positive label of the source tasks: for a new task with the scalar
        ``pos_label`` of the representation among its two labels that is this one, else
        the last in sorted order ("inactive" of "active" and "inactive"). Without
        ``pos_label`` the source tasks take the last one, too; a dict says nothing of
        new tasks. Labels of another encoding have the positive one last, as booleans
        ``y == "active"`` do. With None
        a task that shows one class, or has no labels, gets the same probability
        everywhere, that of its labels and half a label of each class.

    class_weight : dict, "balanced" or None, default=None
        Weights of the losses by label, as in scikit-learn's LogisticRegression.
        "balanced" gives both classes the same total weight; probabilities are then no
        longer those of the population.

    fine_tune : bool, default=False
        Go on from there and train the first layer of the representation together with
        the probe, on a copy. A penalty holds the copy near the original. Worth a try
        with a thousand labels or more, where a task needs other features than the
        source tasks; with few it changes next to nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,) or list of n_outputs such arrays
        Labels in the caller's encoding, sorted whatever ``pos_label`` is; a list where
        ``y`` had columns.
    weights_ : dict of float, or of ndarrays of shape (n_tasks,)
        Weights of the blocks that were used, for each task where ``y`` had columns.
    C_ : float, or ndarray of shape (n_tasks,)
        Strength that was used.
    prior_ : dict of float or None
        The fields of the `ProbePrior` that was used.
    coef_ : dict of ndarrays of shape (n_scores, n_columns)
        Coefficients of each block that was used, for its raw values, what the prior
        adds to those of "probabilities" included. There is one score for two classes,
        one for each of more, and one for each task where ``y`` had columns.
    intercept_ : ndarray of shape (n_scores,)
        c.
    output_names_ : ndarray of shape (n_outputs,)
        Names of the columns of ``y``, where it had several.
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
        "prior": [ProbePrior, StrOptions({"auto"}), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "fine_tune": ["boolean"],
    }

    def __init__(
        self,
        representation=None,
        *,
        settings=None,
        weights="auto",
        C="auto",
        prior="auto",
        class_weight=None,
        fine_tune=False,
    ):
        self.representation = representation
        self.settings = settings
        self.weights = weights
        self.C = C
        self.prior = prior
        self.class_weight = class_weight
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

    def with_blocks(self, representation):
        """A clone that takes features of the representation for inputs.

        Parameters
        ----------
        representation : fitted transformer
            Whose features these are.

        Returns
        -------
        LinearProbe
            Not fitted. Its methods take `Blocks` as X.
        """
        parameters = self.with_representation(representation).get_params()
        return _ProbeOfBlocks(**parameters)

    def with_signs(self, representation):
        """A clone on another representation, for labels 0 and 1 whatever sources have.

        Parameters
        ----------
        representation : fitted transformer or None

        Returns
        -------
        LinearProbe
            Not fitted. The last class is positive for it: ``pos_label`` of the
            representation is of labels that are encoded already.
        """
        parameters = self.with_representation(representation).get_params()
        return _ProbeOfSigns(**parameters)

    def of_plain_rows(self):
        """A probe of rows without a representation, to compare this one with.

        Returns
        -------
        LinearProbe
            Not fitted, with the same ``C`` and ``class_weight`` and all else at its
            default.
        """
        return LinearProbe(C=self.C, class_weight=self.class_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def fit(self, X, y, sample_weight=None, classes=None, tasks=None, rows=None):
        """Fit the probe on the few labels of a new task, or of many.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Inputs, as the representation accepts them. With ``classes`` there may be no
            rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels in any encoding. Of several columns each is a task of its own, where
            NaN, None and NA stand for "not observed"; one with k > 2 classes is k
            one-vs-rest tasks, and one without labels gets what the prior says. Those
            that sparse labels do not store are negative. A single column is read as
            one label for each row, with a warning, as scikit-learn does; rows where it
            has none are left out.
        sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
            How often each entry of ``y`` counts: integer weights are the same as
            repeated entries, and one of weight 0 is not there. Of weights that are all
            0 the probe is that of no labels, which needs ``classes``.
        classes : array-like of shape (n_classes,), default=None
            All labels, of every column. Without it they are those of ``y``; of a single
            one the other follows for 0 and 1, False and True, -1 and 1.
        tasks : array-like of shape (n_samples,) or (n_labels,), default=None
            The long form of many tasks: ``y`` holds one label per row, of this task.
        rows : array-like of shape (n_labels,), default=None
            The relational form, with ``tasks``: the row of X that each label belongs
            to. X then has each input once. Several labels of the same row and task each
            count.

        Returns
        -------
        self : LinearProbe

        Raises
        ------
        ValueError
            If the classes do not follow from y, labels cannot be read, X is not finite,
            or a weight has no block.
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
            given = GivenLabels(y, tasks, rows, sample_weight)
            labels = read_probe_labels(len(blocks), given, classes, self.class_weight)
            is_wide = labels.of_classes is None
            if is_wide and self.fine_tune:
                raise ValueError(
                    "fine_tune=True trains one copy of the first layer for one task, "
                    f"but y has {len(labels.encoding.outputs)} columns. Fit a probe "
                    "for each, or set fine_tune=False."
                )
            if labels.kept is not None and len(labels.kept) < len(blocks):
                blocks = blocks.take(labels.kept)
            prior = self._find_prior(blocks) if labels.is_binary else None
            is_turned = labels.find_turned(self._pos_label())
            fitted = self._solve(blocks, labels, is_turned, prior, X)
            for found in (*fitted["coef_"].values(), fitted["intercept_"]):
                found[is_turned] *= -1
            vars(self).pop("output_names_", None)
            if is_wide:
                self.output_names_ = labels.encoding.outputs
            known = labels.encoding.classes
            self.classes_ = list(known) if is_wide else known[0]
            self.prior_ = None if prior is None else dict(vars(prior))
            vars(self).update(fitted)
        return self

    def _pos_label(self):
        """The label that source tasks count as positive."""
        return pos_label_of_sources(self.representation)

    def _find_prior(self, blocks):
        """The prior that is meant for these features; None is none."""
        prior = self.prior
        if prior == "auto":
            if blocks.probabilities is None:
                return None
            estimator, _ = open_representation(self.representation, None)
            own = read_prior(first_step(estimator))
            prior = getattr(self.settings, "prior", None)
            if own is None or prior is None:
                return own if prior is None else prior
            return replace(prior, centre=own.centre, scale=own.scale)
        if prior is not None and blocks.probabilities is None:
            raise ValueError(
                f"prior={prior!r} acts on the probabilities of source tasks, which "
                "this representation does not give. Pass prior='auto' or None."
            )
        return prior

    def _solve(self, blocks, labels, is_turned, prior, X):
        """Fitted attributes that hold the model."""
        present = blocks.present

        def settle(row_weights, is_positive=None):
            total = float(row_weights.sum())
            weights, C = resolve_settings(
                self.weights, self.C, self.settings, present, total
            )
            is_default = self.C == "auto" and self.settings is None
            if is_default and prior is not None:
                C *= trust_labels(total, float(row_weights @ is_positive))
            return weights, C

        if not labels.is_binary:
            codes, row_weights, loss_weights = labels.of_classes
            weights, C = settle(row_weights)
            n_classes = len(labels.encoding.classes[0])
            model = fit_classes(
                present, codes, n_classes, weights, C, loss_weights, row_weights
            )
            probes = Probes(model, np.zeros(0))
        else:
            tasks = [
                FewLabels(
                    rows,
                    positive.astype(np.float64),
                    loss_weights,
                    row_weights,
                    *settle(row_weights, positive),
                )
                for rows, positive, row_weights, loss_weights in labels.tasks(is_turned)
            ]
            probes = fit_probes(present, tasks, prior)
            weights, C = tasks[0].weights, tasks[0].C
            if labels.of_classes is None:
                C = np.array([task.C for task in tasks])
                weights = {
                    n: np.array([task.weights[n] for task in tasks]) for n in present
                }
        first_layer = {}
        if self.fine_tune:
            probes, first_layer = self._fine_tune(
                blocks, labels, is_turned[0], prior, probes, weights, C, X
            )
        model = probes.model
        if prior is not None:
            model = probes.with_slopes(prior)
        return {
            "weights_": weights,
            "C_": C,
            "coef_": model.coef,
            "intercept_": model.intercept,
            "first_layer_": first_layer,
        }

    def _fine_tune(self, blocks, labels, is_turned, prior, probes, weights, C, X):
        """The probes after training with a copy of the first layer, and that copy."""
        codes, counts, loss_weights = labels.of_classes
        codes = 1 - codes if is_turned else codes
        n_classes = len(labels.encoding.classes[0])
        if len(np.unique(codes)) < n_classes:
            return probes, {}  # nothing to train on
        if labels.kept is not None:
            X = _safe_indexing(read_inputs(X), labels.kept)
        layer = open_first_layer(*open_representation(self.representation, X))
        offset = np.zeros(len(codes))
        if prior is not None:
            offset = probes.slopes[0] * shared_signal(blocks.present, prior)
        model, first_layer = fine_tune(
            layer,
            blocks.present,
            codes,
            probes.model,
            weights,
            C,
            offset,
            loss_weights,
            counts,
        )
        return Probes(model, probes.slopes), first_layer

    def _read_blocks(self, X):
        """Features of the rows of fit."""
        X = read_inputs(X)
        is_empty = _num_samples(X) == 0
        if is_empty:  # other transformers need a row to tell what they make
            return self._read_blocks(one_row_like(X)).take(slice(0))
        self.representation_ = None
        vars(self).pop("feature_names_in_", None)
        if self.representation is None:
            _refuse_images(X)
            return input_block(validate_rows(self, X, reset=True, sparse=True))
        estimator, inputs = self._open(self.representation, X, reset=True)
        blocks = None
        if not self.fine_tune:
            blocks = compute_rows_when_asked(estimator, inputs)
        if blocks is None:
            blocks = compute_blocks(estimator, inputs)
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
        """What `_scores` needs of rows.

        Returns
        -------
        read : callable
            Function of a slice to the features of these rows.
        n_rows : int
        width : float
            Numbers that are held for a row, on average.
        """
        width = sum(coef.shape[1] for coef in self.coef_.values())
        if self.representation_ is None:
            _refuse_images(X)
            rows = validate_rows(self, X, reset=False, sparse=True, empty=True)
            n_rows = _num_samples(rows)
            width = rows.nnz / max(n_rows, 1) if issparse(rows) else width
            return lambda part: input_block(rows[part]), n_rows, width
        estimator, X = self._open(self.representation_, read_inputs(X))
        if is_sparse_frame(X) or not reads_single_rows(estimator):
            blocks = self._compute_used(estimator, X)
            return blocks.take, len(blocks), width
        rows = read_inputs(X)
        n_rows = _num_samples(rows)
        if issparse(rows) and "inputs" in self.coef_:
            width += rows.nnz / max(n_rows, 1) - rows.shape[1]

        def read(part):
            some = rows if part == slice(0, n_rows) else _safe_indexing(rows, part)
            return self._compute_used(estimator, some)

        return read, n_rows, width

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
        read, n_rows, width = self._block_reader(X)
        model = LinearModel(self.coef_, self.intercept_)

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
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_classes) or (n_samples, n_tasks)
            For two classes, positive means the second one. Where ``y`` had columns,
            positive means the last of a task's classes.
        """
        scores = self._scores(X)
        is_single = not self._is_wide() and scores.shape[1] == 1
        return scores[:, 0] if is_single else scores

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_tasks)
            In the order of ``classes_``. Where ``y`` had columns: the probability of
            each task's positive class.
        """
        scores = self._scores(X)
        if self._is_wide():
            return sigmoid(scores)
        if scores.shape[1] == 1:
            return sigmoid(np.hstack([-scores, scores]))
        return softmax(scores, axis=1)

    def predict(self, X):
        """Labels of rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        scores = self._scores(X)
        if self._is_wide():
            return self._encoding().decode(scores)
        if scores.shape[1] == 1:
            return self.classes_[(scores[:, 0] > 0).astype(np.intp)]
        return self.classes_[scores.argmax(axis=1)]

    def score(self, X, y, sample_weight=None, tasks=None, rows=None):
        """Accuracy, or mean ROC-AUC over tasks where fit had several.

        Rows where a single column of labels has none are left out.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels in the form of fit. Tasks that do not show both classes are left out
            of the mean.
        sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
            Weights of the entries of ``y``.
        tasks, rows : array-like of shape (n_samples,) or (n_labels,), default=None
            As in `fit`, for a probe of many tasks.

        Returns
        -------
        float

        Warns
        -----
        UndefinedMetricWarning
            If no task shows both classes, so that the mean is NaN.
        """
        check_is_fitted(self)
        if not self._is_wide():
            if tasks is not None or rows is not None:
                raise ValueError(
                    "tasks= and rows= are for a probe of several tasks, but this one "
                    "was fitted to one label for each row. Leave them out."
                )
            if not is_column(y):
                return super().score(X, y, sample_weight)
            return self._score_column(X, y, sample_weight)
        check_scored(X)
        form = "wide" if tasks is None else "long"
        encoding = LabelEncoding(form, self.output_names_, self.classes_)
        given = GivenLabels(y, tasks, rows, sample_weight)
        signs = read_scored(encoding, given, _num_samples(X))
        scores = self._scores(X)
        if issparse(signs):  # of whose labels scores are asked for
            of_label = np.repeat(np.arange(signs.shape[0]), np.diff(signs.indptr))
            scores = scores[of_label, signs.indices]
        return warn_if_undefined(mean_roc_auc(signs, scores))

    def _score_column(self, X, y, sample_weight):
        """Accuracy on the labels of a column, of which some may be missing."""
        check_scored(X)
        labels, rows, _ = read_class_column(y)
        predicted = self.predict(X)
        check_consistent_length(predicted, y)
        weights = np.ones(len(predicted))
        if sample_weight is not None:
            weights = read_weights(sample_weight, y)
        if not weights[rows].any():
            warn_user(
                "No row has a label with a weight, so that the score is NaN. Pass more "
                "rows.",
                UndefinedMetricWarning,
            )
            return float("nan")
        return accuracy_score(labels, predicted[rows], sample_weight=weights[rows])

    def __sklearn_tags__(self):
        """Tags of scikit-learn: sparse inputs are welcome."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _is_wide(self):
        return "output_names_" in vars(self)

    def _encoding(self):
        return LabelEncoding("wide", self.output_names_, self.classes_)


class _ProbeOfSigns(LinearProbe):
    """A LinearProbe of labels of which the last class is the positive one."""

    def _pos_label(self):
        return None


class _ProbeOfBlocks(_ProbeOfSigns):
    """A LinearProbe whose inputs are features that were computed before."""

    def _read_blocks(self, X):
        return X

    def _block_reader(self, X):
        return X.take, len(X), X.shape[1]


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
