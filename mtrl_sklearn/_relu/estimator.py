"""MultiTaskReLURepresentation: parameters, validation, documentation."""

import os
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse, vstack
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import ClassifierTags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
)

from mtrl_sklearn._arrays.precision import PRECISIONS, resolve_device, resolve_precision
from mtrl_sklearn._arrays.rows import Rows
from mtrl_sklearn._arrays.threads import fork_safe
from mtrl_sklearn._arrays.validation import validate_rows
from mtrl_sklearn._group import current_group
from mtrl_sklearn._labels.encoding import check_usable_tasks
from mtrl_sklearn._labels.given import GivenLabels, read_given
from mtrl_sklearn._labels.indicator import is_indicator, stack_indicators
from mtrl_sklearn._labels.signs import Signs
from mtrl_sklearn._relu.feature_scales import find_outsized, find_skewed
from mtrl_sklearn._relu.features import (
    hidden_features,
    project,
    score_all,
    score_labels,
    score_tasks,
)
from mtrl_sklearn._relu.head_decay import choose_head_decay
from mtrl_sklearn._relu.head_strength import learn_head_strength
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.options import AUTO_EPOCHS, resolve_options
from mtrl_sklearn._relu.predictions import TaskPredictionsMixin, mean_roc_auc
from mtrl_sklearn._relu.probe_prior import learn_probe_prior
from mtrl_sklearn._relu.representation import ReLURepresentationMixin
from mtrl_sklearn._relu.second_network import Judge, train_second
from mtrl_sklearn._relu.solution import FirstLayer, Heads
from mtrl_sklearn._relu.solvers import SOLVERS, solve
from mtrl_sklearn._relu.task_data import (
    TaskData,
    count_all_signs,
    count_labels,
    find_copies,
    split_rows,
)
from mtrl_sklearn._training.adamw import check_decay
from mtrl_sklearn._training.checkpoint import Checkpoint
from mtrl_sklearn._training.estimator import (
    TrainedEstimator,
    last_good_state,
    unite_rows,
)
from mtrl_sklearn._training.net import (
    kind_of_callback,
    needs_descent,
    watches_batches,
)
from mtrl_sklearn._training.saving import saveable
from mtrl_sklearn._version import DocumentationLinkMixin
from mtrl_sklearn._warnings import is_within_another_call, warn_user


@saveable
class MultiTaskReLURepresentation(
    TaskPredictionsMixin,
    ReLURepresentationMixin,
    DocumentationLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    TrainedEstimator,
):
    r"""Representation learned from many binary tasks by a two-layer ReLU network.

    Tasks are columns of labels, with classes of their own; a row may have many labels:
    assays of a molecule, tags of a text. In `ConvMultiTaskClassifier` tasks are sources
    of rows that share one set of classes.

    The network scores all tasks on shared hidden features,

    .. math:: F = H A^T + c, \qquad H = \max(0, X W^T + b),

    and minimises a loss averaged over the labels that were observed. The heads A serve
    training only: what `transform` returns is H, on which a linear model solves a new
    task from few labels.

    Setting and algorithm are reconstructed from the abstract of Collins et al. [1]_:
    when the labels of all tasks depend on one projection of the inputs, gradient
    descent that updates the heads first and then the first layer aligns points that
    share labels, and W recovers the projection. Centring inputs and labels, choosing
    the rank and truncating W to it, and the discriminant heads after truncation are
    additions of this package.

    Parameters
    ----------
    n_hidden : int, default=512
        Number of hidden units.

    n_components : int, "auto" or None, default="auto"
        Rank of the first layer. An int replaces the trained W by its best
        approximation of that rank; weight outside the shared subspace is noise for a
        probe. None keeps W. "auto" truncates only where it does no harm. The singular
        values of W have to show an edge: a drop after value r by a factor of at least
        1.25 that, in logarithm, is 1.5 times the drop over the next ``max(r, 5)``
        values together (four times for r = 1). And the truncated network has to predict
        the source tasks as well as the whole one, up to .005 in mean ROC-AUC: on the
        rows that ``early_stopping`` holds out, else on a quarter of the training rows,
        with heads of the cut that were found on the others; or, since the whole network
        has adapted to all of them, after training another network on the others. That
        second training happens only where there is an edge and this quarter speaks
        against it; `partial_fit` does without.

    algorithm : {"alternating", "joint", "one_step"}, default="alternating"
        "alternating" updates the heads first, then the first
        layer at the updated heads; "joint" updates both at once. Both use AdamW on
        mini-batches. "one_step" takes one gradient step of the heads and then one of
        the first layer in closed form, on labels centred per task, and repeats it
        ``max_iter`` times.

    loss : {"logistic", "hinge"}, default="logistic"
        Loss of one label, averaged over observed labels. At a score of 0 both have the
        same gradient up to scale, so "one_step" does not depend on it.

    learning_rate : float, default=1e-3
        Step size of AdamW.

    weight_decay : float, default=1.0
        Decoupled decay of W per unit of learning rate: a step takes away the share
        ``learning_rate * weight_decay`` of it, which is at most 1. A decays
        ``head_decay_`` times as fast, biases do not decay.

    dropout : float, default=0.5
        Probability with which a hidden unit is dropped for a row in training.

    max_iter : int or "auto", default="auto"
        Epochs, or repetitions of "one_step". "auto" is 1 for "one_step", else as many
        epochs as make about 1000 updates, between 10 and 200: a budget that was best
        on synthetic and on real data alike, without a claim of convergence.

    batch_size : int or "auto", default="auto"
        Rows of a mini-batch, at most the number of rows. "auto" is a tenth of the rows,
        between 8 and 128, and a hundredth of them from 12800 rows on, up to 8192.
        Copies of a row count as one, and are in the same batch and under the same
        dropout, where all inputs that differ fit into one batch, or are at most 128 of
        up to 10,000 rows: a row that is repeated is then a row of more weight.

    tol : float, default=1e-3
        Training has converged, and stops, when the loss (with ``early_stopping``: 1 -
        validation score) fell by less than this share in ``n_iter_no_change`` epochs.

    early_stopping : bool, default=False
        Hold out a share ``validation_fraction`` of the rows, score the source tasks on
        them after each epoch by mean ROC-AUC of the network in training, that is before
        truncation, and return to the best epoch. `partial_fit` holds nothing out.

    validation_fraction : float, default=0.1
        Share of rows held out by ``early_stopping``.

    n_iter_no_change : int, default=10
        Epochs over which ``tol`` is measured.

    output : {"hidden", "projection", "scores"}, default="hidden"
        What `transform` returns: hidden features, coordinates in the recovered subspace
        (``X @ components_.T``), or scores of the source tasks.

    task_weight : {"observed", "equal"}, default="observed"
        Weight of a task's mean loss in the objective: its share of all observed labels,
        so that every label counts once, or the same for all tasks.

    pos_label : str, number, bool or dict, default=None
        The label that counts as positive, whose probability `predict_proba` returns: of
        all tasks with two classes, or by name of the task (column of ``y`` or task id).
        None, and tasks that a dict leaves out, take the last label in sorted order: 1
        of 0 and 1, but "inactive" of "active" and "inactive". A column with more
        classes has a task for each of them, and no use for it. `LinearProbe` takes a
        single one for new tasks, too. ``score`` and ``multitask_roc_auc_scorer`` know
        it; scikit-learn's own "roc_auc" takes the last label in sorted order.

    warm_start : bool, default=False
        Continue from the previous fit: weights, optimiser and random stream. The tasks
        must be the same.

    callbacks : list of skorch callbacks, default=None
        Called during training; by "one_step" at each of its steps, which have neither
        batches nor a torch module. The history has "train_loss", and with
        ``early_stopping`` "validation_score" and, for monitors of skorch, 1 minus it as
        "valid_loss". A callback ends training by ``raise KeyboardInterrupt``. Scorers
        get labels of 0 and 1, NaN where none was observed. A parameter of the torch
        module that they freeze (`skorch.callbacks.Freezer`: "hidden_weights",
        "hidden_biases", "task_coef", "task_intercept") stays as it is until it is
        unfrozen; ``n_components``, the heads after a cut, and the strength of heads
        are found once training is over.

    checkpoint : path-like, default=None
        File in which `fit` saves, after epochs or steps, all that it needs to go on: a
        fit that was killed, and is started again by the same call with the same data,
        ends bit for bit where it would have ended. In a folder each call has a file of
        its own. At most a tenth of the time goes into writing. A file of another call
        is refused; one of a fit that had ended gives its result at once, so remove it
        to start anew. A call is told by its parameters, data and callbacks, and by
        ``random_state``, of a RandomState by the state it is in. None tells no calls
        apart: a file goes on with the seed it has, and warns where its fit had ended;
        a folder is refused. ``callbacks`` start anew where a fit goes on: one that
        counts epochs may then act elsewhere. `partial_fit` does without.

    precision : {"auto", "float32", "tf32", "bfloat16"}, default="auto"
        What training computes in. "auto" is float64 for inputs of float64 and float32
        for all others. "bfloat16" multiplies matrices of 8 significant bits and keeps
        weights, optimiser and loss in float32. Where the processor or GPU has such
        products (it warns and uses float32 elsewhere), descent is 1.5 to 2 times faster
        from some hundred features, units and rows per batch on; small networks lose.
        "tf32" lets products of float32 on a GPU round to 11 bits; elsewhere it is
        "float32".

    device : str, default="auto"
        Torch device; "auto" is "cuda" where available, else "cpu".

    random_state : int, RandomState instance or None, default=None
        Initial weights, order of rows, dropout, held-out rows. An int repeats a fit bit
        for bit on the same machine with the same number of threads.

    verbose : bool, default=False
        Show a progress bar with the loss.

    Attributes
    ----------
    hidden_weights_ : ndarray of shape (n_hidden, n_features)
        W after truncation, for raw inputs: the centring and scaling of inputs that
        training uses is folded into W and b.
    hidden_biases_ : ndarray of shape (n_hidden,)
        b.
    task_coef_ : ndarray of shape (n_tasks, n_hidden)
        A. Discriminants on the truncated features where W was truncated.
    task_intercept_ : ndarray of shape (n_tasks,)
        c.
    head_decay_ : float
        How many times as fast as W the heads A decay: 1, 10 or 30. Before it trains the
        network, `fit` trains a small one on half of the inputs with 1, another one with
        10 and, if that is better, one with 30, and judges them by the mean ROC-AUC of
        source tasks on the other inputs: the best is taken if it gains more than 1.64
        standard errors, otherwise 1. It is 1 for "one_step", with ``early_stopping``,
        for less than 60 inputs, and where ``n_components="auto"`` finds an edge, which
        faster decay may hide, in the first small network or in another one that is
        trained on all inputs before more than 1 is taken. It is 1 after a first
        `partial_fit`, too: a batch says too little of what is to come. A fit that goes
        on from an earlier one has that of the earlier one, and so has `partial_fit`
        after `fit`, which is how a stream gets one that was chosen. A step takes away
        at most half of the heads, whatever the learning rate has become. The best small
        network also tells ``head_scale_`` and ``probe_prior_``; if training ends before
        ``max_iter`` or goes beyond 200 epochs, one more is trained for these.
    head_scale_ : float
        What the scores of all tasks were multiplied by after training, so that rows
        that were not trained on have the likeliest probabilities. Only with the
        logistic loss, and where these are clearly better than before. Rows that
        ``early_stopping`` holds out tell it, or else the small network of
        ``head_decay_`` and the inputs that it was not trained on. `fit` alone does
        that; after `partial_fit` heads are as they were trained.
    head_shift_ : ndarray of shape (n_tasks,)
        What was then added to them, for the mean probability of each task to be that
        of its labels. Where there is a ``head_scale_``.
    components_ : ndarray of shape (n_components_, n_features)
        Orthonormal basis of the row space of W, leading direction first.
    singular_values_ : ndarray of shape (min(n_hidden, n_features),)
        All singular values of W before truncation, descending.
    n_components_ : int
        Rank of W.
    n_tasks_ : int
        Number of binary tasks.
    task_names_ : ndarray of shape (n_tasks,)
        Column names of ``y`` or task ids; "name=class" where a column with more than
        two classes became one-vs-rest tasks.
    output_names_ : ndarray of shape (n_outputs,)
        The same before such columns are taken apart.
    classes_ : ndarray of shape (n_classes,) or list of n_outputs such arrays
        Labels in the caller's encoding, sorted, but for the positive one of two, which
        is the last; a list where ``y`` had columns or ``tasks``.
    label_form_ : {"single", "wide", "long"}
        Form of ``y`` in fit.
    sparse_output_ : bool
        True where ``y`` was sparse in fit, so that `predict` returns a CSR array.
    n_positive_, n_negative_ : ndarray of shape (n_tasks,)
        Labels of each class in the rows of `fit`, or of all calls of `partial_fit`;
        with ``sample_weight`` the sums of their weights.
    loss_curve_ : ndarray of shape (n_iter_,)
        Training loss per epoch, under dropout and, for "alternating", at the updated
        heads; for "one_step" the pseudo-contrastive loss at the start of each step.
    validation_scores_ : ndarray of shape (n_iter_,)
        Mean ROC-AUC on held-out rows per epoch. Only with ``early_stopping``.
    n_iter_ : int
        Epochs or repetitions that were run, those before a warm start included.
    probe_prior_ : dict of float
        What source tasks say of a new one before it has labels: the fields of
        `mtrl_sklearn.probing.ProbePrior`, as a `LinearProbe` uses them. They are
        learned on the rows that ``early_stopping`` holds out, or else from the small
        network of ``head_decay_``. There is none where fewer than two tasks show both
        classes, or training was interrupted; `partial_fit` leaves it as it is.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Sparse inputs are never densified, and their centring happens inside the products.
    Arrays of other numbers than ``precision`` asks for are converted batch by batch:
    memory maps (`numpy.memmap`) are not copied, and may be larger than memory. Arrays
    in memory are copied if not C-ordered, and all of unsigned integers beyond 8 bits.
    No rows have no predictions: a block of a larger array may be empty.
    Of many tasks with few labels per row only heads with labels in a batch are touched;
    the result is the same.

    Inside a `torch.distributed` group `fit` and `partial_fit` take the rows of one
    process each. All end with the network of one process with the rows of all, in the
    order of ranks: tasks and classes are those of all rows, batches are spread over
    them, and sums of gradients are exchanged. Parameters and callbacks have to be the
    same everywhere, `predict` and `score` stay local, and worker processes (``n_jobs``)
    are no part of the group.

    "one_step" has no use for ``loss``, ``learning_rate``,
    ``weight_decay``, ``dropout``, ``batch_size``, and the parameters of
    early stopping, and takes "bfloat16" and "tf32" for "float32".

    References
    ----------
    .. [1] Collins, Hassani, Soltanolkotabi, Mokhtari, Shakkottai, "Provable Multi-Task
       Representation Learning by Two-Layer ReLU Neural Networks", ICML 2024.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, components, problem = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(128, random_state=0).fit(X, Y)
    >>> representation.n_components_
    4
    >>> new_task = problem.new_tasks(1, random_state=1)
    >>> X_few, y_few = new_task.sample(100, random_state=2)
    >>> probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    >>> probe = probe.fit(representation.transform(X_few), y_few.ravel())
    >>> X_test, y_test = new_task.sample(1000, random_state=3)
    >>> bool(probe.score(representation.transform(X_test), y_test.ravel()) > 0.7)
    True
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "n_hidden": [Interval(Integral, 1, None, closed="left")],
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
            None,
        ],
        "algorithm": [StrOptions(SOLVERS.keys())],
        "loss": [StrOptions({"logistic", "hinge"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "output": [StrOptions({"hidden", "projection", "scores"})],
        "task_weight": [StrOptions({"observed", "equal"})],
        "pos_label": [Real, str, "boolean", dict, None],
        "warm_start": ["boolean"],
        "callbacks": [list, tuple, None],
        "checkpoint": [str, os.PathLike, None],
        "precision": [StrOptions(PRECISIONS)],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    }

    def __init__(
        self,
        n_hidden=512,
        *,
        n_components="auto",
        algorithm="alternating",
        loss="logistic",
        learning_rate=1e-3,
        weight_decay=1.0,
        dropout=0.5,
        max_iter="auto",
        batch_size="auto",
        tol=1e-3,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        output="hidden",
        task_weight="observed",
        pos_label=None,
        warm_start=False,
        callbacks=None,
        checkpoint=None,
        precision="auto",
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.n_hidden = n_hidden
        self.n_components = n_components
        self.algorithm = algorithm
        self.loss = loss
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.output = output
        self.task_weight = task_weight
        self.pos_label = pos_label
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def fit(self, X, y, tasks=None, rows=None, sample_weight=None):
        """Learn the representation.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Inputs. Arrays and tensors of integers, booleans or float16 count as
            float32; lists, and frames that are not float32 throughout, as float64. See
            ``precision``. Frames of sparse columns and sparse tensors are read as CSR.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
            Labels in any encoding (bool, int, float, string); NaN, None and NA stand
            for "not observed"; rows without any label are left out. A column with two
            values is one task, a column with k > 2 values is k one-vs-rest tasks. A
            DataFrame names its tasks. Sparse labels are a multilabel indicator: 1,
            stored once, is positive, and what is not stored is negative.
        tasks : array-like of shape (n_samples,), default=None
            The long form: ``y`` holds one label per row, and ``tasks`` the id of the
            task it belongs to. Rows whose label is missing are left out, as with weight
            0, and the others copied: a memory map wants labels for all, or ``rows``.
            The objective is that of the wide form, and where nothing is drawn per row
            or batch ("one_step" of at most 50,000 rows, or one batch with
            ``dropout=0``) the result is the same.
        rows : array-like of shape (n_labels,), default=None
            The relational form, with ``tasks``: the row of X that each label belongs
            to, from 0 on. X then has each input once, and ``y`` and ``tasks`` an entry
            for each label. Several labels of the same row and task each count, also
            where they contradict each other. Memory grows with the number of labels.
            The objective is that of the long form with repeated rows of X.
        sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
            One weight for each entry of ``y`` along its first axis. An integer counts
            as so many repeated entries, an entry of weight 0 is left out, and weights
            of 1 change nothing. Up to rounding, integers give the network of repeated
            entries where copies of a row are drawn as one, see ``batch_size``, or
            nothing is drawn per row ("one_step" of at most 50,000 rows with all
            copies); else a network of the same distribution. ``early_stopping`` then
            holds out inputs with all their copies. Not so ``probe_prior_``, for which
            all labels weigh the same. Their sum counts, not only their ratios: weights
            that sum to 1 are one label.

        Returns
        -------
        self : MultiTaskReLURepresentation

        Raises
        ------
        ValueError
            If no task has observed labels of both classes, labels cannot be read, X is
            not finite, rows are none of X, ``pos_label`` is no label of a task, weights
            are negative or all 0, ``learning_rate * weight_decay`` is more than 1, or
            the loss becomes infinite or NaN. An estimator that was fitted before stays
            as it was.
        KeyboardInterrupt
            If Ctrl-C comes while ``head_decay_`` is looked for, before there is a
            network. An estimator that was fitted before stays as it was.

        Warns
        -----
        UserWarning
            If some tasks lack a class: they are named and have no influence. If dense
            features that are not mostly 0, or bits beside them, have very different
            scales: the wide ones outweigh the others, see `StandardScaler`. If one of
            ``callbacks`` watches batches, of which "one_step" has none, or scores
            validation batches, of which there are none. If Ctrl-C interrupts training:
            the state so far is kept. Inside another call, as that of a search or a
            pipeline, KeyboardInterrupt is raised instead.
        ConvergenceWarning
            If ``max_iter`` was given and the loss was still falling at the end, if the
            loss ended far above that of guessing, or if no hidden unit tells training
            rows apart.
        """
        group = current_group()
        resume = self._begin(group, self.warm_start)
        ends_all = is_within_another_call()
        with last_good_state(self):
            given = GivenLabels(y, tasks, rows, sample_weight)
            X, signs = self._read_training_data(X, given, group, not resume)
            shard = group.locate_rows(signs.shape[0])
            counts = count_all_signs(signs, group)
            check_usable_tasks(*counts, self.task_names_, shard.n_rows)
            self._warn_of_scales(X)
            stored = signs.positive if is_indicator(signs) else signs
            inputs = self._find_copies(X, signs, given, group)
            drawn = {} if inputs is None else {"copies": inputs}
            checkpoint = self._open_checkpoint(resume, group, X=X, y=stored, **drawn)
            train, held_out = self._split_rows(X, signs, inputs, checkpoint)
            data = count_labels(
                X,
                signs,
                self.task_weight,
                rows=train,
                held_out=held_out,
                group=group,
                inputs=inputs,
            )
            callbacks = self._list_callbacks(data, signs, checkpoint)
            second = self._choose_head_decay(data, resume, checkpoint)
            interrupted = self._learn(data, resume, checkpoint, callbacks, ends_all)
            vars(self).pop("probe_prior_", None)
            if not interrupted and self._known_head_decay is None:
                self._learn_from_rows_aside(
                    data, resume, checkpoint.seed, ends_all, second
                )
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def partial_fit(
        self, X, y, tasks=None, classes=None, rows=None, sample_weight=None
    ):
        """Train on one more batch of rows: one epoch, or more rows of the one step.

        For "one_step" the heads of the rows so far are used, so early rows count with
        less exact heads than in `fit`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Inputs. Their centre and scale are those of the rows up to the first batch
            in which some differ.
        y : array-like or sparse matrix of shape (n_samples,) or (n_samples, n_outputs)
            Labels, as in `fit`. The first batch sets the tasks.
        tasks : array-like of shape (n_samples,), default=None
            Task ids of the long form.
        classes : array-like of shape (n_classes,), default=None
            All label values. Needed in the first call where that batch may not show
            both classes of a task.
        rows : array-like of shape (n_labels,), default=None
            Rows of X of the relational form, as in `fit`.
        sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
            Weights of the entries of ``y``, as in `fit`.

        Returns
        -------
        self : MultiTaskReLURepresentation

        Raises
        ------
        ValueError
            As in `fit`, and for labels or tasks that the first batch did not have.
        KeyboardInterrupt
            If Ctrl-C interrupts the epoch. As after any error, the estimator is as it
            was before the call.

        Warns
        -----
        ConvergenceWarning
            If the loss ended far above that of guessing, or if no hidden unit tells
            these rows apart.
        """
        group = current_group()
        resume = self._begin(group, True, is_partial=True)
        with last_good_state(self):
            given = GivenLabels(y, tasks, rows, sample_weight)
            X, signs = self._read_training_data(X, given, group, not resume, classes)
            earlier = (self.n_positive_, self.n_negative_) if resume else None
            inputs = self._find_copies(X, signs, given, group)
            data = count_labels(
                X, signs, self.task_weight, earlier, group=group, inputs=inputs
            )
            if not resume:
                self.head_decay_ = 1.0
            once = Checkpoint(seed=self._draw_seed(resume, group), group=group)
            callbacks = self._own_callbacks()
            self._learn(data, resume, once, callbacks, ends_all=True, max_epochs=1)
        return self

    def _solve(self, job, options):
        return solve(job, options)

    def _store_network(self, solution, data):
        vars(self).update(_network_attributes(solution.first_layer, solution.heads))
        for name in ("head_scale_", "head_shift_"):  # heads are as they were trained
            vars(self).pop(name, None)
        self.n_positive_, self.n_negative_ = data.n_positive, data.n_negative

    def _choose_head_decay(self, data, resume, checkpoint):
        """Set the decay of heads; returns the small network that was trained so."""
        if resume:
            return None
        if self._known_head_decay is not None:
            self.head_decay_ = self._known_head_decay
            return None
        if checkpoint.progress is not None:  # fits of before chose none
            self.head_decay_ = checkpoint.chosen.get("head_decay", 1.0)
            return None
        self.head_decay_, second = 1.0, None
        if SOLVERS[self.algorithm].is_descent and data.held_out is None:
            options = self._resolve_options(data, resume)
            device = resolve_device(self.device)
            known = data, options, checkpoint.seed, device
            self.head_decay_, second = choose_head_decay(*known)
        checkpoint.chosen["head_decay"] = self.head_decay_
        return second

    def _learn_from_rows_aside(self, data, resume, seed, ends_all, second):
        """Set the strength of heads and the prior of probes, if data tell them."""
        options = self._resolve_options(data, resume)
        # all epochs, those before a warm start included
        n_epochs = min(self.n_iter_, max(options.max_epochs, AUTO_EPOCHS[1]))
        is_cut = self.n_components_ < len(self.singular_values_)
        rank = self.n_components_ if is_cut else None
        try:
            if data.held_out is not None:
                whole = like_this = Judge(self._network(), data)
            else:
                if second is None or second.n_epochs != n_epochs:
                    options = options._replace(max_epochs=n_epochs)
                    device = resolve_device(self.device)
                    second = train_second(data, options, seed, device)
                if second is None:
                    return
                whole, like_this = second.judge(), second.judge(rank)
            prior = learn_probe_prior(self._network(), data, whole, seed)
            if prior is not None:
                self.probe_prior_ = dict(vars(prior))
            if self.loss == "logistic":  # no other one gives probabilities
                self._scale_heads(
                    learn_head_strength(self._network(), data, like_this, seed)
                )
        except KeyboardInterrupt:
            if ends_all or data.group.n_ranks > 1:
                raise
            warn_user(
                "Training was interrupted while the prior of probes or the strength of "
                "heads was learned. The network is whole, and does without."
            )

    def _scale_heads(self, strength):
        """Make the heads as strong as they are to be; None leaves them as they are."""
        if strength is None:
            return
        dtype = self.task_coef_.dtype
        self.head_scale_, self.head_shift_ = strength.scale, strength.shift
        self.task_coef_ = (self.task_coef_ * strength.scale).astype(dtype)
        intercept = self.task_intercept_ * strength.scale + strength.shift
        self.task_intercept_ = intercept.astype(dtype)

    def _warn_of_failure(self, solution, options, data):
        if SOLVERS[self.algorithm].is_descent:  # others have losses of another scale
            self._warn_of_explosion(np.log(2) if self.loss == "logistic" else 1.0)
        network = self._network()
        self._warn_of_dead_network(
            data.X, lambda rows: hidden_features(rows, network), data.group
        )

    def _warn_of_scales(self, X):
        """Tell of features that outweigh the others, or of which few values do."""
        names = getattr(self, "feature_names_in_", np.arange(X.shape[1]))

        def name(columns):
            worst = ", ".join(str(names[k]) for k in columns[:3])
            return worst + (", ..." if len(columns) > 3 else "")

        found, skewed = find_outsized(X), find_skewed(X)
        if found is not None:
            warn_user(
                f"X has features of very different scales: the widest one varies "
                f"{found.ratio:.3g} times as much as the narrower ones, which hardly "
                f"count beside it. The widest are {name(found.columns)}. Put a "
                f"StandardScaler before {type(self).__name__} in a pipeline, or take "
                "the logarithm of skewed features."
            )
        elif skewed is not None:
            warn_user(
                f"X has {len(skewed)} features of which a few large values outweigh "
                f"all others. The most skewed are {name(skewed)}. Take their logarithm "
                f"before {type(self).__name__} in a pipeline, as with "
                "FunctionTransformer(numpy.log), and a StandardScaler after it."
            )

    def _holds_out(self):
        return self.early_stopping and SOLVERS[self.algorithm].is_descent

    def _own_callbacks(self):
        """Callbacks of the caller, but for those of skorch that can do nothing."""
        if SOLVERS[self.algorithm].is_descent:
            return super()._own_callbacks()
        given = super()._own_callbacks()
        blind = [c for c in given if watches_batches(c) or needs_descent(c)]
        if blind:
            names = ", ".join(kind_of_callback(c).__name__ for c in blind)
            warn_user(
                f"algorithm={self.algorithm!r} calls callbacks at each of its steps, "
                "but has no batches, optimiser or torch parameters: what "
                f"{names} does with these is left out. Remove it from callbacks=, or "
                "set another algorithm."
            )
        return [c for c in given if not needs_descent(c)]

    def _read_training_data(self, X, given, group, reset, classes=None):
        """Validated inputs and signs; sets what describes features and labels."""
        with group.together():
            X = validate_rows(self, X, reset, sparse=True)
            if not reset:
                self._check_resumable()
            labels, kept = read_given(given, X.shape[0])
            X = X if kept is None else X[kept]
        X = unite_rows(self, X, group)
        if reset:
            self._learn_labels(labels, classes, group)
        else:
            self._check_classes(classes)
        with group.together():
            signs = self._label_encoding().encode_labels(labels, sparse=True)
            check_consistent_length(X, signs)
        group.check_same({"whether y is sparse": is_indicator(signs)})
        if any(group.gather(issparse(signs))):
            signs = csr_array(signs)
        most = min(self.n_hidden, X.shape[1])
        if isinstance(self.n_components, Integral) and self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} exceeds min(n_hidden, n_features)="
                f"{most}. Lower n_components, or pass 'auto' or None."
            )
        return X, signs

    def _check_resumable(self):
        if self.hidden_weights_.shape[0] != self.n_hidden:
            raise ValueError(
                f"n_hidden={self.n_hidden} differs from the fit to continue, which has "
                f"{len(self.hidden_weights_)} hidden units. Set it back, or clone the "
                "estimator to start anew."
            )
        if not SOLVERS[self.algorithm].can_resume(self._state_):
            raise ValueError(
                f"algorithm={self.algorithm!r} cannot continue the earlier fit, which "
                "another kind of algorithm has trained. Set it back, or clone the "
                "estimator to start anew."
            )

    def _find_copies(self, X, signs, given, group):
        has_weights = given.rows is None and signs.dtype.kind == "f"
        return find_copies(X, has_weights, self.batch_size, group)

    def _split_rows(self, X, signs, inputs, checkpoint):
        """Rows to train on, None for all, and those to hold out."""
        if not self._holds_out():
            return None, None
        is_long = self.label_form_ == "long"
        how = self.validation_fraction, checkpoint.seed, checkpoint.group
        return split_rows(X, signs, inputs, is_long, *how)

    def _begin(self, group, goes_on, is_partial=False):
        resume = super()._begin(group, goes_on, is_partial)
        if SOLVERS[self.algorithm].is_descent:
            check_decay(self.learning_rate, self.weight_decay)
        return resume

    def _resolve_options(self, data, resume):
        options = resolve_options(
            self.get_params(deep=False),
            data.n_inputs,
            self._resolve_precision(data, resume),
            SOLVERS[self.algorithm].auto_epochs,
        )
        return options._replace(head_decay=self.head_decay_)

    def _resolve_precision(self, data, resume):
        """Dtypes to compute in; a fit that goes on keeps that of its weights."""
        dtype = self.hidden_weights_.dtype if resume else data.X.dtype
        precision = self.precision
        is_descent = SOLVERS[self.algorithm].is_descent
        if precision in ("bfloat16", "tf32") and not is_descent:
            precision = "float32"
        return resolve_precision(precision, dtype, resolve_device(self.device))

    def _list_callbacks(self, data, signs, checkpoint):
        is_descent = SOLVERS[self.algorithm].is_descent
        score = None if data.held_out is None else _validation_score(data, signs)
        return self._make_callbacks(checkpoint, score, 0.0 if is_descent else None)

    @fork_safe()
    def transform(self, X):
        """Map inputs to the learned representation.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
            ``n_hidden``, ``n_components_`` or ``n_tasks_`` columns for ``output``
            "hidden", "projection" and "scores"; of the dtype of X.
        """
        check_is_fitted(self)
        if self.output == "scores":
            return self._task_scores(X)
        if self.output == "projection":
            return project(self._validate_rows(X), self.components_)
        return hidden_features(self._validate_rows(X), self._network())

    @fork_safe()
    def _task_scores(self, X, signs=None, finish=None, squash=False):
        """Scores of all tasks; with CSR signs, of the labels that these store."""
        X = self._validate_rows(X)
        if issparse(signs):
            return score_labels(X, self._network(), signs)
        return score_all(X, self._network(), finish, squash)

    @fork_safe()
    def _score_tasks(self, X):
        """A function of slices of tasks to their scores."""
        hidden = hidden_features(self._validate_rows(X), self._network())
        return score_tasks(hidden, self._network())

    def _validate_rows(self, X):
        return validate_rows(self, X, reset=False, sparse=True, empty=True)

    def _network(self):
        return ReLUNetwork(
            self.hidden_weights_,
            self.hidden_biases_,
            self.task_coef_,
            self.task_intercept_,
        )

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored.

        Returns
        -------
        ndarray of str objects
            Task names for ``output="scores"``, else the class name and a number.
        """
        if self.output == "scores":
            check_is_fitted(self)
            return np.array([str(name) for name in self.task_names_], dtype=object)
        return super().get_feature_names_out(input_features)

    @property
    def _n_features_out(self):
        by_output = {"projection": self.components_, "scores": self.task_coef_}
        return len(by_output.get(self.output, self.hidden_weights_))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags = ClassifierTags()  # it has predict_proba
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _network_attributes(first_layer: FirstLayer, heads: Heads) -> dict[str, Any]:
    """Fitted attributes that hold the network."""
    return {
        "hidden_weights_": first_layer.hidden_weights,
        "hidden_biases_": first_layer.hidden_biases,
        "components_": first_layer.components,
        "n_components_": len(first_layer.components),
        "singular_values_": first_layer.singular_values,
        "task_coef_": heads.task_coef,
        "task_intercept_": heads.task_intercept,
    }


def _validation_score(data: TaskData, signs: Signs) -> Callable[[Any], float]:
    """Function of the torch module: mean ROC-AUC on the rows held out."""
    signs = signs[data.held_out]
    stack: Callable[[Any], Any] = vstack if issparse(signs) else np.concatenate
    if is_indicator(signs):
        stack = stack_indicators
    all_signs = stack(data.group.gather(signs))

    def score(module):
        dtype = module.hidden_weights.dtype
        rows = Rows(data.X, dtype, positions=data.held_out)
        scores = data.group.gather(module.score_rows(rows, signs))
        return mean_roc_auc(all_signs, np.concatenate(scores))

    return score
