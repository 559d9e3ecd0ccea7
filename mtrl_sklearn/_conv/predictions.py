"""Classes and tasks of rows as fitted attributes, and predictions of classes."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from mtrl_sklearn._arrays.validation import check_scored, naming_numbers, read_weights
from mtrl_sklearn._conv.labels import (
    PER_TASK,
    RowLabels,
    match_columns,
    read_row_labels,
)
from mtrl_sklearn._group import Group
from mtrl_sklearn._labels.classes import find_classes, find_codes, read_class_labels
from mtrl_sklearn._labels.columns import read_task_ids
from mtrl_sklearn._labels.encoding import brief, check_same_classes
from mtrl_sklearn._labels.shared import join_values
from mtrl_sklearn._labels.values import concatenate_values
from mtrl_sklearn._warnings import warn_user


class ClassPredictionsMixin:
    """One label space for all tasks, and predictions in the caller's encoding.

    A subclass provides ``_head_scores(X)``, which validates X and returns scores of
    shape (n_samples, n_heads, n_columns), or what ``choose`` makes of the scores of
    some rows at a time; the parameter ``class_weight``; and in ``_head_`` the kind of
    head that was fitted. A single column is the score of the second of two classes.
    """

    class_weight: dict | str | None
    _head_: str
    tasks_: np.ndarray
    columns_: np.ndarray

    def _head_scores(
        self, X: Any, choose: Callable[[np.ndarray, slice], np.ndarray] | None = None
    ) -> np.ndarray:
        raise NotImplementedError

    def _learn_classes(self, labels: Any, classes: Any, group: Group) -> None:
        """Set ``classes_``, to those given if there are any."""
        name, given = ("y", labels) if classes is None else ("classes", classes)
        with group.together():
            values = read_class_labels(given, name)
        self.classes_ = find_classes(join_values(values, name, group), name)

    def _check_classes(self, classes: Any) -> None:
        """Refuse other classes than those of the first `partial_fit`."""
        check_same_classes(classes, [self.classes_])

    def _encode_labels(self, labels: np.ndarray) -> np.ndarray:
        """Position of each label in ``classes_``."""
        codes = find_codes(labels, self.classes_)
        if (codes < 0).any():
            raise ValueError(
                f"y holds the label {labels[codes < 0].tolist()[0]!r}, which is not "
                f"among the classes of fit: {self.classes_.tolist()}. Fit on data that "
                "show all labels; for partial_fit, pass classes= in the first call."
            )
        return codes

    def _learn_tasks(
        self, labels: RowLabels, reset: bool, group: Group
    ) -> np.ndarray | None:
        """Set ``tasks_``, or check and extend it by those of further rows.

        Returns the id of the task of each label, if there are any.
        """
        ids, shown = labels.tasks, labels.tasks
        if reset:
            vars(self).pop("columns_", None)
        if labels.columns is not None:
            ids, shown = self._learn_columns(labels, reset, group)
        if not reset and self._head_ == PER_TASK:
            with group.together():
                self._find_heads(shown)
            return ids
        if shown is not None:
            shown = join_values(shown, "tasks", group)
        if reset:
            self.tasks_ = np.array([0]) if shown is None else np.unique(shown)
        elif shown is not None:
            if (shown.dtype.kind in "UT") != (self.tasks_.dtype.kind in "UT"):
                raise ValueError(
                    f"tasks holds ids such as {shown.tolist()[0]!r}, but the ids of "
                    f"fit were {brief(self.tasks_.tolist())}. Use strings or numbers "
                    "throughout, from the first batch on."
                )
            self.tasks_ = np.unique(concatenate_values([self.tasks_, shown], "tasks"))
        return ids

    def _learn_columns(
        self, labels: RowLabels, reset: bool, group: Group
    ) -> tuple[np.ndarray, np.ndarray]:
        """Set ``columns_``, or match those of further rows; ids of labels, and all."""
        columns = np.asarray(labels.columns)
        group.check_same({"the columns of y": columns.tolist()})
        if reset:
            self.columns_ = columns
            counts = np.bincount(np.asarray(labels.tasks), minlength=len(columns))
            is_empty = sum(group.gather(counts)) == 0
            if np.any(is_empty):
                warn_user(
                    "No row has a label in columns of y: "
                    f"{brief(columns[is_empty].tolist(), 20)}. Their heads stay "
                    "untrained. Drop these columns, or add labels."
                )
        return self._find_columns(labels), self.columns_

    def _find_columns(self, labels: RowLabels) -> np.ndarray:
        """The task of each label of a table like that of fit."""
        if not hasattr(self, "columns_"):
            raise ValueError(
                f"y has {len(np.asarray(labels.columns))} columns, but fit had one "
                "label for each row. Pass y of shape (n_samples,) with tasks=, or fit "
                "again."
            )
        order = match_columns(np.asarray(labels.columns), self.columns_)
        return self.columns_[order[labels.tasks]]

    def _find_heads(self, ids: np.ndarray | None) -> np.ndarray | int:
        """Position in ``tasks_`` of the ids of rows, where each task has its head."""
        known = brief(self.tasks_.tolist(), 50)
        if ids is None:
            if len(self.tasks_) == 1:
                return 0
            if hasattr(self, "columns_"):
                raise ValueError(
                    "Each column of y has a head of its own. Pass tasks=, the column "
                    "whose head is to score each row (task= of a display): one of "
                    f"{known}."
                )
            raise ValueError(
                "head='per_task' needs tasks, the source of each row, to choose heads. "
                f"Pass tasks=; fitted on {known}. In cross-validation, tasks reach "
                "score by metadata routing alone: sklearn.set_config("
                "enable_metadata_routing=True), and "
                "set_fit_request(tasks=True).set_score_request(tasks=True)."
            )
        positions = find_codes(ids, self.tasks_)
        if (positions < 0).any():
            unknown = np.unique(ids[positions < 0]).tolist()
            raise ValueError(
                f"tasks holds ids without a head: {brief(unknown)}; fitted on {known}. "
                "Pass known ids, or use head='shared', which predicts for any source. "
                "A new one learns from few labels with mtrl_sklearn.probing.LinearProbe"
                "(this estimator), which leaves the network and its heads as they are."
            )
        return positions

    def _class_weights(
        self, codes: np.ndarray, weights: np.ndarray, group: Group
    ) -> np.ndarray:
        """Weight of each class, of shape (n_classes,)."""
        n_classes = len(self.classes_)
        if self.class_weight is None:
            return np.ones(n_classes)
        if isinstance(self.class_weight, str):  # "balanced"
            counts = sum(group.gather(np.bincount(codes, weights, minlength=n_classes)))
            shown = counts > 0
            return np.divide(1, counts, out=np.zeros(n_classes), where=shown)
        keys = list(self.class_weight)
        codes = find_codes(read_class_labels(keys, "class_weight"), self.classes_)
        if (codes < 0).any():
            raise ValueError(
                f"class_weight has the keys {keys}, which are not all among the "
                f"classes {self.classes_.tolist()}. Remove the others."
            )
        values: list[Any] = list(self.class_weight.values())
        if not all(isinstance(w, Real) for w in values) or not all(
            0 <= w < np.inf for w in values
        ):
            raise ValueError(
                f"class_weight={self.class_weight} holds weights that are negative or "
                "not finite numbers. Pass weights of at least 0."
            )
        of_class = np.ones(n_classes)
        of_class[codes] = values
        return of_class

    def _scores(self, X: Any, tasks: Any) -> np.ndarray:
        """Scores of shape (n_samples, n_columns) by the head of each row.

        Without tasks, after a fit to columns of y: (n_samples, n_tasks, n_columns).
        """
        check_is_fitted(self)
        heads: np.ndarray | int | None = 0
        if tasks is not None:
            ids = read_task_ids(tasks)
            with naming_numbers(X, "X") as rows:
                check_consistent_length(rows, ids)
        elif hasattr(self, "columns_"):
            heads = None
        if self._head_ == PER_TASK and heads is not None:
            heads = self._find_heads(None if tasks is None else ids)

        def choose(scores: np.ndarray, rows: slice) -> np.ndarray:
            if heads is None:
                return scores[:, find_codes(self.columns_, self.tasks_)]
            of_rows = heads if isinstance(heads, int) else heads[rows]
            return scores[np.arange(len(scores)), of_rows]

        return self._head_scores(X, choose)

    def decision_function(self, X, tasks=None):
        """Scores of the classes.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row; only ``head="per_task"`` asks for it, unless y had a
            column for each task.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, positive means the second one. Without ``tasks``, where y
            had columns, (n_samples, n_tasks) or (n_samples, n_tasks, n_classes).
        """
        scores = self._scores(X, tasks)
        return scores[..., 0] if scores.shape[-1] == 1 else scores

    def predict_proba(self, X, tasks=None):
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row; only ``head="per_task"`` asks for it, unless y had a
            column for each task.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``. Without ``tasks``, where y had columns: of two
            classes that of the second, (n_samples, n_tasks), as scikit-learn's
            multi-label classifiers return it; of more (n_samples, n_tasks, n_classes).

        Raises
        ------
        ValueError
            If scores are not finite.
        """
        scores = _check_scores(self._scores(X, tasks))
        probabilities = softmax(class_scores(scores), axis=-1)
        is_positive_alone = scores.ndim == 3 and scores.shape[2] == 1
        return probabilities[..., 1] if is_positive_alone else probabilities

    def source_probabilities(self, X: Any) -> np.ndarray:
        """Probabilities of the classes by all heads, as features of a probe.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_heads * n_classes), or (n_samples, n_heads)
            Of two classes that of the second. There is a single head unless
            ``head="per_task"``.
        """
        check_is_fitted(self)
        scores = self._head_scores(X)
        if scores.shape[2] == 1:
            return expit(scores[:, :, 0])
        n_rows, n_heads, n_classes = scores.shape
        return softmax(scores, axis=2).reshape(n_rows, n_heads * n_classes)

    def predict(self, X, tasks=None):
        """Labels of rows.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row; only ``head="per_task"`` asks for it, unless y had a
            column for each task.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_tasks)
            A column for each of y without ``tasks``, where y had columns.

        Raises
        ------
        ValueError
            If scores are not finite, or ids of tasks are not known.
        """
        scores = _check_scores(self._scores(X, tasks))
        return self.classes_[class_scores(scores).argmax(axis=-1)]

    def score(self, X, y, tasks=None, sample_weight=None):
        """Accuracy; a row whose scores are not finite counts as wrong.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            Labels. One that fit did not see is never predicted. Of columns the mean is
            taken over all labels that were observed.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row; only ``head="per_task"`` asks for it, unless y has a
            column for each task.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of rows.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        ValueError
            If labels, ids of tasks or weights cannot be read, or lengths differ.
        """
        check_scored(X)
        scores = self._scores(X, tasks)
        labels = read_row_labels(scores, y, tasks, self._head_)
        if sample_weight is not None:
            sample_weight = read_weights(sample_weight, scores)[labels.rows]
        if labels.columns is not None:
            ids = self._find_columns(labels)
            places = np.argsort(self.columns_)[find_codes(ids, self.tasks_)]
            scores = scores[labels.rows, places]
        elif scores.ndim == 3:
            raise ValueError(
                f"y has one label for each row, but fit had {scores.shape[1]} columns. "
                "Pass y of shape (n_samples, n_columns), or the column of each label "
                "as tasks=."
            )
        predicted = class_scores(scores).argmax(axis=1)
        right = predicted == find_codes(labels.values, self.classes_)
        right &= np.isfinite(scores).all(axis=1)
        return float(np.average(right, weights=sample_weight))


def class_scores(scores: np.ndarray) -> np.ndarray:
    """A column for each class, where a single one stands for the second of two.

    Parameters
    ----------
    scores : ndarray of shape (..., n_columns)
    """
    if scores.shape[-1] > 1:
        return scores
    return np.concatenate([np.zeros_like(scores), scores], axis=-1)


def _check_scores(scores: np.ndarray) -> np.ndarray:
    finite = np.isfinite(scores).all(axis=tuple(range(1, scores.ndim)))
    if not finite.all():
        raise ValueError(
            f"The scores of {int((~finite).sum())} of {len(scores)} rows are not "
            "finite, so nothing can be predicted for them. Look for extreme values in "
            "X, or fit again with a lower learning_rate."
        )
    return scores
