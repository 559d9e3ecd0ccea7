"""Predictions for the source tasks, in the caller's encoding, from their scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack
from scipy.special import log_expit, softmax
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _num_samples,
    check_consistent_length,
    check_is_fitted,
)

from mtrl_sklearn._arrays.sigmoid import sigmoid
from mtrl_sklearn._arrays.validation import check_scored, read_weights
from mtrl_sklearn._group import Group
from mtrl_sklearn._labels.classes import find_codes
from mtrl_sklearn._labels.columns import (
    Labels,
    as_array,
    check_label_per_row,
    read_labels,
    read_task_ids,
)
from mtrl_sklearn._labels.encoding import (
    LabelEncoding,
    check_same_classes,
    find_encoding,
    warn_of_missing_codes,
    warn_of_names,
)
from mtrl_sklearn._labels.indicator import is_indicator
from mtrl_sklearn._labels.positive import (
    check_same_positive,
    put_positive_last,
    warn_of_more_classes,
)
from mtrl_sklearn._labels.roc_auc import (
    indicator_roc_auc,
    mean_of_defined,
    mean_roc_auc,
    warn_if_undefined,
)
from mtrl_sklearn._labels.shared import share_labels
from mtrl_sklearn._labels.signs import Signs
from mtrl_sklearn._optional import require


def _has_probabilities(estimator: Any) -> bool:
    if estimator.loss != "logistic":
        raise AttributeError(
            f"predict_proba needs loss='logistic'; loss={estimator.loss!r} gives "
            "scores that are no log-odds. Use decision_function."
        )
    return True


class ClassesOfOutputs(list):
    """Classes of each output; told apart from an array of the classes of one."""

    @property
    def shape(self):
        """Refused: scikit-learn's `cross_val_predict` looks for it, and for no list."""
        raise AttributeError(
            "cross_val_predict of scikit-learn takes a missing label for a class, and "
            "expects one array of classes for all tasks. Use "
            "mtrl_sklearn.model_selection.cross_val_predict."
        )


class _FittedClasses:
    """The attribute ``classes_``, an array or a list of arrays, where it is read."""

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self
        if "classes_" not in vars(estimator):
            name = type(estimator).__name__
            raise AttributeError(f"{name!r} object has no attribute 'classes_'")
        classes = vars(estimator)["classes_"]
        return ClassesOfOutputs(classes) if isinstance(classes, list) else classes

    def __set__(self, estimator, classes):
        vars(estimator)["classes_"] = classes

    def __delete__(self, estimator):
        del vars(estimator)["classes_"]


class TaskPredictionsMixin:
    """Labels of many tasks as fitted attributes, and predictions of them.

    A subclass provides ``_task_scores(X)``, which validates X and returns scores of
    shape (n_samples, n_tasks), or with CSR ``signs`` those of their labels, or what
    ``finish`` makes of the scores of some rows at a time, or with ``squash`` their
    probabilities; ``_score_tasks(X)``, a function of slices of tasks to their scores;
    and the parameters ``loss`` and ``pos_label``.
    """

    pos_label: Any

    classes_ = _FittedClasses()

    head_scale_: float
    head_shift_: np.ndarray

    def _task_scores(
        self,
        X: Any,
        signs: Signs | None = None,
        finish: Callable[[np.ndarray], np.ndarray] | None = None,
        squash: bool = False,
    ) -> np.ndarray:
        raise NotImplementedError

    def _score_tasks(self, X: Any) -> Callable[[slice], np.ndarray]:
        raise NotImplementedError

    def _learn_labels(self, labels: Labels, classes: Any, group: Group) -> None:
        """Set the fitted attributes that describe the labels of all ranks."""
        encoding = find_encoding(share_labels(labels, group), classes)
        encoding = put_positive_last(encoding, self.pos_label)
        if classes is None:
            warn_of_missing_codes(encoding)
            counts = group.gather(encoding.count_places(labels))
            warn_of_names(encoding, np.sum(counts, axis=0))
            warn_of_more_classes(encoding, self.pos_label)
        single = encoding.form == "single"
        vars(self).pop("sparse_output_", None)
        if labels.positive is not None:
            self.sparse_output_ = True
        self.label_form_ = encoding.form
        self.output_names_ = encoding.outputs
        self.classes_ = encoding.classes[0] if single else list(encoding.classes)
        self.task_names_ = encoding.task_names
        self.n_tasks_ = encoding.n_tasks

    def _check_classes(self, classes: Any) -> None:
        """Refuse other classes than those of the fit that goes on."""
        check_same_classes(classes, self._label_encoding().classes)
        check_same_positive(self._label_encoding(), self.pos_label)

    def _label_encoding(self) -> LabelEncoding:
        """The encoding that the fitted attributes describe."""
        classes: Any = self.classes_
        if self.label_form_ == "single":
            classes = [classes]
        return LabelEncoding(self.label_form_, self.output_names_, classes)

    def decision_function(self, X):
        """Scores of the source tasks; positive means the positive label of a task.

        That is the last of its ``classes_``: the one of ``pos_label``, else the last in
        sorted order; of a task "name=class" that class.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_tasks), or (n_samples,)
            One dimension where ``y`` was a single binary task of shape (n_samples,).
        """
        check_is_fitted(self)
        scores = self._task_scores(X)
        single = self.label_form_ == "single" and self.n_tasks_ == 1
        return scores[:, 0] if single else scores

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Probabilities of the source tasks' classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_tasks), or (n_samples, n_classes)
            Probability of each task's positive label, as scikit-learn's multi-label
            classifiers return it: that of ``pos_label``, else the last in sorted order
            (1 of 0 and 1, "inactive" of "active" and "inactive"); of a task
            "name=class" that class. Where ``y`` had shape (n_samples,): probabilities
            of its classes, in the order of ``classes_``, summing to 1.
        """
        check_is_fitted(self)
        if self.label_form_ != "single":
            return self._task_scores(X, squash=True)
        return self._task_scores(X, finish=self._probabilities)

    @available_if(_has_probabilities)
    def predict_proba_frame(self, X):
        """What `predict_proba` returns, with the names of tasks.

        `set_output` is for `transform`, with which methods that predict have no part.
        It needs pandas, extra ``probing``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        pandas.DataFrame of shape (n_samples, n_tasks), or (n_samples, n_classes)
            Columns are named as in ``task_names_``: by the columns of ``y`` in fit, or
            ids of tasks. Where ``y`` had shape (n_samples,) they are its classes. The
            index is that of X, if it is a pandas DataFrame.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ImportError
            If pandas is not installed.

        Examples
        --------
        >>> import pandas as pd
        >>> from mtrl_sklearn import MultiTaskReLURepresentation
        >>> X = pd.DataFrame({"size": [0, 1, 2, 3]}, index=list("abcd"))
        >>> y = pd.DataFrame({"heavy": [0, 0, 1, 1], "cheap": [1, None, 0, 0]})
        >>> model = MultiTaskReLURepresentation(random_state=0).fit(X, y)
        >>> model.predict_proba_frame(X).gt(0.5)
           heavy  cheap
        a  False   True
        b  False   True
        c   True  False
        d   True  False
        """
        check_is_fitted(self)
        pandas = require("pandas", "probing", "predict_proba_frame")
        columns = self.classes_ if self.label_form_ == "single" else self.task_names_
        index = X.index if isinstance(X, pandas.DataFrame) else None
        return pandas.DataFrame(self.predict_proba(X), index, columns)

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Of the classes of a single output."""
        if self.n_tasks_ == 1:
            return sigmoid(np.hstack([-scores, scores]))
        return softmax(log_expit(scores), axis=1)  # one-vs-rest, normalised

    def source_probabilities(self, X: Any) -> np.ndarray:
        """Probabilities of the source tasks, as features of a probe.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_tasks)
            Of each binary task, one-vs-rest where a column has more than two classes;
            with ``loss="hinge"`` squashed scores, which are no probabilities. They are
            those of heads as they were trained: weaker ones tell probes less.
        """
        check_is_fitted(self)
        scale = getattr(self, "head_scale_", None)
        if scale is None:
            return self._task_scores(X, squash=True)
        shift = self.head_shift_

        def as_trained(scores):
            return sigmoid(((scores - shift) / scale).astype(scores.dtype))

        return self._task_scores(X, finish=as_trained)

    def predict(self, X):
        """Labels of the source tasks in the encoding of ``y``.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Shaped as ``y`` was in fit; a column per task id for the long form. A CSR
            array where ``y`` was sparse.
        """
        check_is_fitted(self)
        decode = self._label_encoding().decode
        if "sparse_output_" not in vars(self):
            return self._task_scores(X, finish=decode)
        parts = []

        def keep_positive(scores):
            parts.append(csr_array(decode(scores)))
            return scores[:, :0]

        self._task_scores(X, finish=keep_positive)
        return vstack(parts, format="csr")

    def score(self, X, y, tasks=None, sample_weight=None, rows=None):
        """Mean ROC-AUC over source tasks, each on its observed labels.

        It is no accuracy, which `score` of a classifier of scikit-learn is: for one,
        `mtrl_sklearn.metrics.multitask_accuracy_score` compares labels that `predict`
        gives, and searches take ``scoring=multitask_accuracy_scorer`` of that module.
        Both leave missing labels out, as ``multitask_roc_auc_scorer`` does, and take
        the wide form.

        Tasks that do not show both classes are left out, and so are rows of the long
        form whose task was not part of fit. A label that fit did not see belongs to
        none of a column's classes, and is left out of a binary task.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            In the form and encoding of fit.
        tasks : array-like of shape (n_samples,), default=None
            Task ids of the long form.
        sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
            Weights of the entries of ``y`` in the ROC-AUC.
        rows : array-like of shape (n_labels,), default=None
            The row of X of each label, for the relational form of `fit`.

        Returns
        -------
        float
            In [0, 1]; 0.5 is chance. NaN if no task shows both classes.

        Raises
        ------
        ValueError
            If labels, ids of tasks or weights cannot be read, or lengths differ.

        Warns
        -----
        UndefinedMetricWarning
            If no task shows both classes.
        """
        check_is_fitted(self)
        check_scored(X)
        if tasks is not None and self.label_form_ == "long":
            y, tasks = as_array(y), read_task_ids(tasks)
            check_consistent_length(y, tasks)
            if rows is None:
                check_label_per_row(len(y), _num_samples(X))
            known = find_codes(tasks, self.output_names_) >= 0
            if not known.any():
                return warn_if_undefined(float("nan"))
            if not known.all():  # a label that is missing counts for no task
                y, tasks = (
                    np.where(known, y, None),
                    np.where(known, tasks, tasks[known][0]),
                )
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, y)
        of_labels = None if rows is None else sample_weight
        labels = read_labels(y, tasks, rows, of_labels, _num_samples(X))
        signs = self._label_encoding().encode_labels(labels, strict=False, sparse=True)
        check_consistent_length(X, signs)
        if rows is not None:
            return warn_if_undefined(mean_roc_auc(signs, self._task_scores(X, signs)))
        if is_indicator(signs):
            score = self._score_tasks(X)
            found = mean_of_defined(indicator_roc_auc(signs, score, sample_weight))
            return warn_if_undefined(found)
        scores = self._task_scores(X, signs)
        return warn_if_undefined(mean_roc_auc(signs, scores, sample_weight))
