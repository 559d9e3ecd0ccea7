"""ConvMultiTaskClassifier: parameters, validation, documentation."""

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
)

from mtrl_sklearn._arrays.conversion import as_numpy
from mtrl_sklearn._arrays.precision import PRECISIONS, resolve_device, resolve_precision
from mtrl_sklearn._arrays.rows import Rows
from mtrl_sklearn._arrays.threads import blas_threads, fork_safe
from mtrl_sklearn._arrays.validation import validate_rows
from mtrl_sklearn._conv.augmentation import NAMES, read_augment
from mtrl_sklearn._conv.class_data import ClassData, weigh_rows
from mtrl_sklearn._conv.descent import SOLVERS, descend_conv
from mtrl_sklearn._conv.inputs import (
    flatten_inputs,
    read_input_shape,
    resolve_input_shape,
)
from mtrl_sklearn._conv.labels import PER_TASK, read_row_labels
from mtrl_sklearn._conv.maps import FeatureMapsMixin
from mtrl_sklearn._conv.network import ConvNetwork
from mtrl_sklearn._conv.options import resolve_options, resolve_power, resolve_solver
from mtrl_sklearn._conv.patches import PatchGrid, make_patch_grid
from mtrl_sklearn._conv.pooling import pool_rows
from mtrl_sklearn._conv.predictions import ClassPredictionsMixin, class_scores
from mtrl_sklearn._conv.representation import ConvRepresentationMixin
from mtrl_sklearn._group import current_group
from mtrl_sklearn._labels.classes import find_codes
from mtrl_sklearn._training.adamw import check_decay
from mtrl_sklearn._training.checkpoint import Checkpoint
from mtrl_sklearn._training.estimator import (
    TrainedEstimator,
    last_good_state,
    unite_rows,
)
from mtrl_sklearn._training.job import hold_out
from mtrl_sklearn._training.saving import saveable
from mtrl_sklearn._version import DocumentationLinkMixin
from mtrl_sklearn._warnings import is_within_another_call, warn_user


@saveable
class ConvMultiTaskClassifier(
    ClassPredictionsMixin,
    FeatureMapsMixin,
    ConvRepresentationMixin,
    DocumentationLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    ClassifierMixin,
    TransformerMixin,
    TrainedEstimator,
):
    r"""Two-layer convolutional network trained on tasks that share their labels.

    Tasks are sources of rows: hospitals, instruments, kinds of image. Each row comes
    from one of them, and all have the same classes. In `MultiTaskReLURepresentation`
    tasks are columns of labels, of which a row may have many, each with classes of its
    own. Where rows have several labels here, as an image that is searched for several
    defects, y has a column for each: with ``head="per_task"`` these are the tasks.

    Filters w_r act on all patches x_h of an input, and heads are linear in the pooled
    responses,

    .. math:: f(x) = \sum_r a_r \sum_h \max(0, \langle w_r, x_h \rangle + b_r)^q.

    After Li et al. [1]_: gradient descent on many tasks learns a weak feature that they
    share, where one task alone memorises noise instead and guesses on new rows that
    carry the feature. Data, network with fixed heads and loss are reconstructed from
    the paper's abstract, its public reviews and its authors' neighbouring papers. The
    step rule, trained heads, images and grids of cells are additions of this package.
    What is gained are the other tasks' rows: one task with as many does as well; see
    `mtrl_sklearn.metrics.signal_to_noise`.

    The defaults of ``kernel_size``, ``power``, ``pooling`` and ``solver`` follow the
    kind of input: for rows of patches they are those of the theory.

    Parameters
    ----------
    n_filters : int, default=64
        Number of filters, of all classes together.

    input_shape : tuple of int, default=None
        What the columns of a two-dimensional X are: (channels, height, width) of an
        image, (n_patches, patch_dim) of a row of patches or (length,) of a signal.
        None takes the shape of X, whose rows are signals where it has two dimensions.

    kernel_size : int, tuple of int or "auto", default="auto"
        Extent of a filter along the axes it moves on: height and width of an image,
        patches of a row, or the length of a signal. "auto" is one patch of a row; else
        5, or 3 where an axis is shorter than 16, at most the axis.

    stride : int, tuple of int or None, default=None
        Distance of neighbouring positions of a filter. None is half the kernel, at
        least 1.

    power : float >= 1 or "auto", default="auto"
        Exponent q of the responses; 1 is the plain ReLU. Above 1 the network is that of
        the theory: biases and intercepts stay 0, and heads start as the fixed ones.
        "auto" is 3 for rows of patches, else 1.

    pooling : {"sum", "mean", "auto"}, int or tuple of int, default="auto"
        How responses are pooled over positions. Numbers ask for means over a grid of so
        many cells along each axis, which keep track of place. "auto" is "sum" for rows
        of patches, else 4 cells along each axis.

    head : {"shared", "fixed", "per_task"}, default="shared"
        "shared" trains one linear head for all tasks, "per_task" one for each; these
        predict with the ids of tasks, or for all columns of y. "fixed" is the head of
        the theory: each class has
        its own filters, whose responses count +1, and for two classes -1 for the first
        one; only filters are trained.

    solver : {"gd", "adam", "auto"}, default="auto"
        "gd" is gradient descent on all rows: its steps are at most 0.3 long, grow by a
        tenth after each, and are taken back and halved where the loss would rise.
        "adam" is AdamW on mini-batches. "auto" is "gd" for rows of patches with at most
        20000 patches in all, else "adam".

    learning_rate : float or "auto", default="auto"
        Step size at the start: 10 for "gd"; 0.003 for "adam", where it falls to 0 along
        a cosine, but not in `partial_fit`. Inputs are scaled, so it does not depend on
        their units.

    weight_decay : float or "auto", default="auto"
        For "gd" the penalty is ``weight_decay / (2 * n_tasks)`` times the squared norm
        of filters and trained heads, by default 1e-4. For "adam" it is a decoupled
        decay of both per unit of learning rate, by default 1: a step takes away the
        share ``learning_rate * weight_decay``, which is at most 1.

    init_scale : float or "auto", default="auto"
        Standard deviation of responses to patches of unit norm at the start. "auto" is
        0.03 where ``power`` exceeds 1, else 3 ** -0.5.

    max_iter : int or "auto", default="auto"
        Epochs; one is a step for "gd". "auto" is 300 for "gd" and, for "adam", as many
        as make about 500 updates, between 10 and 200: budgets, without a claim of
        convergence. With ``augment`` it is three times as many.

    batch_size : int or "auto", default="auto"
        Rows of a mini-batch, at most the number of rows. "auto" is a tenth of the rows,
        between 64 and 128. "gd" always takes all rows.

    augment : {"flip", "shift"}, tuple of these or None, default=None
        How images are changed while the network learns from them, drawn anew in each
        epoch: "flip" mirrors half of them left to right, "shift" moves them by up to an
        eighth of their height and width. Only what leaves labels as they are will help:
        photographs may be flipped, digits not. Predictions take images as they are.

    tol : float, default=1e-6
        Training has converged, and stops, when the loss (with ``early_stopping``: 1 -
        validation score) fell by less than this share in ``n_iter_no_change`` epochs;
        for "gd", which starts on a plateau, only after it fell by 1 % in all.

    early_stopping : bool, default=False
        Hold out a share ``validation_fraction`` of the rows, score them after each
        epoch by the mean log-probability of their labels, and return to the best
        epoch. `partial_fit` holds nothing out.

    validation_fraction : float, default=0.1
        Share of rows held out by ``early_stopping``.

    n_iter_no_change : int, default=10
        Epochs over which ``tol`` is measured.

    class_weight : dict, "balanced" or None, default=None
        Weights of classes. "balanced" makes them count equally.

    task_weight : {"observed", "equal"}, default="observed"
        Weight of a task: its share of all rows, so that every row counts once, or the
        same for all tasks.

    warm_start : bool, default=False
        Continue from the previous fit: weights, optimiser and random stream.

    callbacks : list of skorch callbacks, default=None
        Called during training. The history has "train_loss", and with
        ``early_stopping`` "validation_score" and, for monitors of skorch, 1 minus it as
        "valid_loss". They find the torch module, with its ``filters`` of
        shape (n_filters, n_weights), in ``net.module_``. A parameter that they freeze
        (`skorch.callbacks.Freezer`: "filters", "biases", "head_coef",
        "head_intercept") stays as it is until it is unfrozen.

    checkpoint : path-like, default=None
        File in which `fit` saves, after its epochs, all that it needs to go on: a
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
        for all others. "bfloat16" multiplies matrices of 8 significant bits in "adam",
        where the processor or GPU has such products (it warns and uses float32
        elsewhere), and keeps parameters and loss in float32. "tf32" lets products of
        float32 on a GPU round to 11 bits; elsewhere it is "float32".

    device : str, default="auto"
        Torch device; "auto" is "cuda" where available, else "cpu".

    random_state : int, RandomState instance or None, default=None
        Initial weights, order of rows, held-out rows. An int repeats a fit bit for bit
        on the same machine with the same number of threads.

    verbose : bool, default=False
        Show a progress bar with the loss.

    Attributes
    ----------
    filters_ : ndarray of shape (n_filters, ...)
        W, for inputs divided by ``scale_``: of shape (n_filters, channels, height,
        width) for images, (n_filters, patch_dim) for patches and (n_filters,
        kernel_size) for signals. Filters over several patches of a row have shape
        (n_filters, kernel_size, patch_dim).
    biases_ : ndarray of shape (n_filters,)
        b; zeros for ``head="fixed"`` and for powers above 1.
    head_coef_ : ndarray of shape (1, n_features_out) or (n_classes, n_features_out)
        Heads on the features of `transform`, a single row for two classes. With a
        leading axis of tasks for ``head="per_task"``.
    head_intercept_ : ndarray of shape (1,) or (n_classes,)
        Likewise.
    scale_ : float
        Root of the mean squared norm of a patch; inputs are divided by it. Where there
        are biases, norms are taken after subtraction of the mean of all entries, which
        ``biases_`` take up.
    classes_ : ndarray of shape (n_classes,)
        Labels in the caller's encoding.
    tasks_ : ndarray of shape (n_tasks,)
        Sorted ids of tasks; [0] where fit had none.
    columns_ : ndarray of shape (n_tasks,)
        Names of the columns of y in their order, or numbers from 0 on. Only where y
        had a column for each task.
    loss_curve_ : ndarray of shape (n_iter_,)
        Training loss per epoch; for "gd" with its penalty, at the end of a step.
    validation_scores_ : ndarray of shape (n_iter_,)
        Mean log-probability of held-out labels. Only with ``early_stopping``.
    n_iter_ : int
        Epochs that were run, those before a warm start included.
    solver_ : {"gd", "adam"}
        Solver that was used.
    power_ : float
        Exponent that was used.
    input_shape_, kernel_size_, stride_ : tuple of int
        Geometry that was used.
    pooling_ : str or tuple of int
        Pooling that was used.
    n_features_in_ : int
        Product of ``input_shape_``.
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Training runs in the precision of X: convert float64 inputs to float32 where speed
    matters. Arrays of integers, such as uint8 images, become float32. No rows have
    no predictions: a block of a larger array may be empty.

    Inside a `torch.distributed` group `fit` and `partial_fit` take the rows of one
    process each. All end with the network of one process with the rows of all, in the
    order of ranks: tasks and classes are those of all rows, batches are spread over
    them, and sums of gradients are exchanged. Parameters and callbacks have to be the
    same everywhere, `predict` and `score` stay local, and worker processes (``n_jobs``)
    are no part of the group.

    The probe on `transform` wants one global scale, not one per column: filters that
    never respond become noise when columns are standardised.

    References
    ----------
    .. [1] Li, Chen, Deng, Kou, Cao, Gu, "On the Power of Multitask Representation
       Learning with Gradient Descent", AISTATS 2025.

    Examples
    --------
    Sixteen tasks learn the feature that they share, one task cannot:

    >>> from mtrl_sklearn import ConvMultiTaskClassifier
    >>> from mtrl_sklearn.datasets import make_patch_tasks
    >>> X, y, tasks, is_shared, *_, problem = make_patch_tasks(random_state=0)
    >>> X_test, y_test, *_ = problem.sample(100, shared_fraction=1, random_state=1)
    >>> classifier = ConvMultiTaskClassifier(head="fixed", random_state=0)
    >>> many = classifier.fit(X, y, tasks).score(X_test, y_test)
    >>> one = classifier.fit(X[tasks == 0], y[tasks == 0]).score(X_test, y_test)
    >>> bool(many > 0.99), bool(one < 0.6)
    (True, True)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "n_filters": [Interval(Integral, 1, None, closed="left")],
        "input_shape": ["array-like", None],
        "kernel_size": [
            Interval(Integral, 1, None, closed="left"),
            tuple,
            list,
            StrOptions({"auto"}),
        ],
        "stride": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "power": [Interval(Real, 1, None, closed="left"), StrOptions({"auto"})],
        "pooling": [
            Interval(Integral, 1, None, closed="left"),
            tuple,
            list,
            StrOptions({"sum", "mean", "auto"}),
        ],
        "head": [StrOptions({"shared", "fixed", "per_task"})],
        "solver": [StrOptions(SOLVERS.keys()), StrOptions({"auto"})],
        "learning_rate": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "init_scale": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "augment": [tuple, list, StrOptions({*NAMES}), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "task_weight": [StrOptions({"observed", "equal"})],
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
        n_filters=64,
        *,
        input_shape=None,
        kernel_size="auto",
        stride=None,
        power="auto",
        pooling="auto",
        head="shared",
        solver="auto",
        learning_rate="auto",
        weight_decay="auto",
        init_scale="auto",
        max_iter="auto",
        batch_size="auto",
        augment=None,
        tol=1e-6,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        class_weight=None,
        task_weight="observed",
        warm_start=False,
        callbacks=None,
        checkpoint=None,
        precision="auto",
        device="auto",
        random_state=None,
        verbose=False,
    ):
        self.n_filters = n_filters
        self.input_shape = input_shape
        self.kernel_size = kernel_size
        self.stride = stride
        self.power = power
        self.pooling = pooling
        self.head = head
        self.solver = solver
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.init_scale = init_scale
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.augment = augment
        self.tol = tol
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.task_weight = task_weight
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def fit(self, X, y, tasks=None, sample_weight=None):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), \
                (n_samples, n_patches, patch_dim) or \
                (n_samples, channels, height, width)
            Inputs. float32 and float64 keep their type, arrays and tensors of integers
            or booleans become float32, all else becomes float64.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            Labels of two or more classes in any encoding. With ``head="per_task"`` a
            row may have several, a column for each: NaN, None and pandas.NA stand for
            "not observed", and rows without any label are left out. What is learned is
            that of the same labels one by one, each with a copy of its row and its
            column as its task.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row, as a string or a number. None is a single source, or
            the columns of y.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of rows, on top of those of classes and tasks. A row of weight 0 is
            as good as absent, with its class and its task.

        Returns
        -------
        self : ConvMultiTaskClassifier

        Raises
        ------
        ValueError
            If shapes do not fit together, labels or ids are missing, y shows a single
            class, X looks like images with channels last or without an axis of
            channels and ``input_shape`` is None, y has columns but ``head`` is not
            "per_task", X is not finite, or the loss becomes infinite or NaN. An
            estimator that was fitted before stays as it was.

        Warns
        -----
        UserWarning
            If Ctrl-C interrupts training: the state so far is kept. Inside another
            call, as that of a search or a pipeline, KeyboardInterrupt is raised
            instead. If a column of y has no label, so that nothing trains its head.
        ConvergenceWarning
            If ``max_iter`` was given and the loss of "gd" was still falling at the end,
            if it never left its start, if it ended far above that of guessing, or if no
            filter tells training rows apart.
        """
        group = current_group()
        resume = self._begin(group, self.warm_start)
        ends_all = is_within_another_call()
        with last_good_state(self):
            data = self._read_data(X, y, tasks, None, sample_weight, group, not resume)
            arrays = {"y": data.codes, "tasks": data.tasks, "weights": data.weights}
            arrays["input_shape"] = np.array(self.input_shape_)
            if data.rows is not None:
                arrays["rows"] = data.rows
            checkpoint = self._open_checkpoint(resume, group, X=data.X, **arrays)
            train, held_out = self._split_rows(data, checkpoint.seed)
            callbacks = self._list_callbacks(held_out, checkpoint)
            self._learn(train, resume, checkpoint, callbacks, ends_all)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    @fork_safe()
    def partial_fit(self, X, y, tasks=None, classes=None, sample_weight=None):
        """Train on one more batch of rows: one epoch, which is one step of "gd".

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`. Their scale is that of the rows up to the first batch
            in which some entries differ.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            Labels, as in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            Source of each row. New ones may come later, but for ``head="per_task"``:
            there `mtrl_sklearn.probing.LinearProbe` learns a new source, or a new
            column, from few labels and leaves the network as it is.
        classes : array-like of shape (n_classes,), default=None
            All labels. Needed in the first call where that batch lacks one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of rows.

        Returns
        -------
        self : ConvMultiTaskClassifier

        Raises
        ------
        ValueError
            As in `fit`, for labels that the first batch did not have, and for
            ``class_weight="balanced"``, which needs all rows.
        KeyboardInterrupt
            If Ctrl-C interrupts the epoch. As after any error, the estimator is as it
            was before the call.

        Warns
        -----
        ConvergenceWarning
            If the loss ended far above that of guessing, or if no filter tells these
            rows apart.
        """
        group = current_group()
        resume = self._begin(group, True, is_partial=True)
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' cannot be used with partial_fit, which does "
                "not know how often classes occur. Pass a dict of weights."
            )
        with last_good_state(self):
            data = self._read_data(
                X, y, tasks, classes, sample_weight, group, not resume
            )
            once = Checkpoint(seed=self._draw_seed(resume, group), group=group)
            callbacks = self._own_callbacks()
            self._learn(data, resume, once, callbacks, ends_all=True, max_epochs=1)
        return self

    def _solve(self, job, options):
        return descend_conv(job, self._patch_grid(), options)

    def _store_network(self, solution, data):
        vars(self).update(self._network_attributes(solution.network))

    def _warn_of_failure(self, solution, options, data):
        self._warn_of_explosion(np.log(len(self.classes_)))
        self._warn_of_dead_network(data.X, self._pool_rows, data.group)

    def _read_data(self, X, y, tasks, classes, sample_weight, group, reset):
        """Validated rows; sets what describes inputs, labels and tasks."""
        with group.together():
            rows = self._read_rows(X, reset)
            labels = read_row_labels(rows, y, tasks, self.head)
            weights = _check_sample_weight(
                as_numpy(sample_weight, "sample_weight"),
                rows,
                dtype=np.float64,
                ensure_non_negative=True,
            )
        labels = labels.select(weights[labels.rows] > 0)  # the others are as absent
        shard = group.locate_rows(len(labels.rows))
        if not shard.n_rows:
            raise ValueError(
                "All rows with a label have a weight of 0 in sample_weight. Give some "
                "a positive weight."
            )
        rows = unite_rows(self, rows, group)
        group.check_same(
            {"the shape of X": self.input_shape_, "tasks=None": labels.tasks is None}
        )
        self._resolve_network(shard.n_rows, reset)
        read_augment(self.augment, self.input_shape_, self.solver_)
        if reset:
            self._learn_classes(labels.values, classes, group)
            self._check_shares()
        else:
            self._check_classes(classes)
        ids = self._learn_tasks(labels, reset, group)
        with group.together():
            codes = self._encode_labels(labels.values)
        weights = weights[labels.rows]
        positions = np.zeros(len(codes), dtype=np.int64)
        if ids is not None:
            positions = find_codes(ids, self.tasks_)
        is_whole = labels.columns is None and len(codes) == len(rows)
        return weigh_rows(
            ClassData(
                rows,
                codes,
                positions,
                weights,
                len(self.classes_),
                len(self.tasks_),
                shard,
                group,
                None if is_whole else labels.rows,
            ),
            self._class_weights(codes, weights, group),
            self.task_weight,
        )

    def _check_shares(self):
        n_classes = len(self.classes_)
        if self.head == "fixed" and self.n_filters < n_classes:
            raise ValueError(
                f"n_filters={self.n_filters} cannot be shared out over {n_classes} "
                "classes, as head='fixed' does. Raise n_filters."
            )

    def _read_rows(self, X, reset=False, empty=False):
        """Inputs as rows of shape (n_samples, prod(input_shape_))."""
        known = None if reset else self.input_shape_
        rows, shape = flatten_inputs(X, self.input_shape, known)
        rows = validate_rows(self, rows, reset, empty=empty)
        if reset:
            self.input_shape_ = resolve_input_shape(
                self.input_shape, shape, rows.shape[1]
            )
        return rows

    def _resolve_network(self, n_samples, reset):
        """Set the geometry, the power and the solver; refuse to change them later."""
        grid = make_patch_grid(
            self.input_shape_, self.kernel_size, self.stride, self.pooling
        )
        solver = resolve_solver(self.solver, grid, n_samples)
        if self.solver == "auto" and not reset:
            solver = self.solver_
        network = {
            "kernel_size_": grid.kernel_size,
            "stride_": grid.stride,
            "pooling_": grid.pooling,
            "power_": resolve_power(self.power, grid),
            "solver_": solver,
            "_head_": self.head,
        }
        if reset:
            vars(self).update(network)
            return
        if self.input_shape is not None:
            network["input_shape_"] = read_input_shape(self.input_shape)
        fitted = {name: getattr(self, name) for name in network}
        network["n_filters"], fitted["n_filters"] = self.n_filters, len(self.filters_)
        for name, value in network.items():
            if value != fitted[name]:
                raise ValueError(
                    f"{name.strip('_')}={value!r} differs from the fit to continue, "
                    f"which has {fitted[name]!r}. Set it back, or clone the estimator "
                    "to start anew."
                )

    def _split_rows(self, data, seed):
        """Rows to train on, and to hold out if any."""
        if not self.early_stopping:
            return data, None
        parts = hold_out(data.shard.part, self.validation_fraction, seed)
        for rows, what in zip(parts, ("training", "held-out")):
            codes = data.group.gather(
                np.unique(data.codes[rows[data.weights[rows] > 0]])
            )
            n_classes = len(np.unique(np.concatenate(codes)))
            if n_classes < 2:
                n_rows = data.group.locate_rows(len(rows)).n_rows
                raise ValueError(
                    f"early_stopping=True with validation_fraction="
                    f"{self.validation_fraction} leaves {n_rows} {what} rows, which "
                    f"show {n_classes} class. Change validation_fraction, or set "
                    "early_stopping=False."
                )
        return [data.take(rows) for rows in parts]

    def _resolve_options(self, data, resume):
        options = resolve_options(
            self.get_params(deep=False),
            self.power_,
            self.solver_,
            SOLVERS[self.solver_],
            data.n_rows,
            self._resolve_precision(data, resume),
            read_augment(self.augment, self.input_shape_, self.solver_),
        )
        if options.solver == "adam":
            check_decay(options.learning_rate, options.weight_decay)
        return options

    def _resolve_precision(self, data, resume):
        """Dtypes to compute in; a fit that goes on keeps that of its weights."""
        dtype = self.filters_.dtype if resume else data.X.dtype
        precision = self.precision
        if precision == "bfloat16" and SOLVERS[self.solver_].is_full_batch:
            precision = "float32"
        return resolve_precision(precision, dtype, resolve_device(self.device))

    def _list_callbacks(self, held_out, checkpoint):
        def validation_score(module):
            rows = np.arange(len(held_out.codes))
            heads = held_out.tasks if self._head_ == PER_TASK else 0
            inputs = Rows(held_out.X, module.filters.dtype, positions=held_out.rows)
            scores = module.score_rows(inputs)
            n_heads = scores.shape[1] // module.n_columns
            scores = scores.reshape(len(rows), n_heads, module.n_columns)
            log_probability = log_softmax(class_scores(scores[rows, heads]), axis=1)
            score = float(held_out.weights @ log_probability[rows, held_out.codes])
            return sum(held_out.group.gather(score))

        return self._make_callbacks(
            checkpoint,
            None if held_out is None else validation_score,
            SOLVERS[self.solver_].min_fall,
        )

    def _patch_grid(self):
        """The geometry that the fitted attributes describe."""
        return PatchGrid(
            self.input_shape_, self.kernel_size_, self.stride_, self.pooling_
        )

    def _network_attributes(self, network):
        """Fitted attributes that hold the network."""
        coef, intercept = network.head_coef, network.head_intercept
        if self._head_ == PER_TASK:
            n_tasks = len(self.tasks_)
            coef = coef.reshape(n_tasks, -1, coef.shape[1])
            intercept = intercept.reshape(n_tasks, -1)
        shape = self._patch_grid().filter_shape
        return {
            "filters_": network.filters.reshape(-1, *shape),
            "biases_": network.biases,
            "head_coef_": coef,
            "head_intercept_": intercept,
            "scale_": network.scale,
        }

    def _network(self):
        """The network that the fitted attributes hold."""
        n_pooled = self.head_coef_.shape[-1]
        return ConvNetwork(
            self.filters_.reshape(len(self.filters_), -1),
            self.biases_,
            self.head_coef_.reshape(-1, n_pooled),
            self.head_intercept_.ravel(),
            self.scale_,
        )

    def _warn_of_early_end(self, solution, options):
        super()._warn_of_early_end(solution, options)
        curve, min_fall = solution.loss_curve, SOLVERS[options.solver].min_fall
        if (
            min_fall > 0
            and self.max_iter == "auto"
            and len(curve) == options.max_epochs
            and curve[-1] > (1 - min_fall) * self.loss_curve_[0]
        ):
            warn_user(
                f"The loss fell from {self.loss_curve_[0]:.4g} to {curve[-1]:.4g} in "
                f"{len(curve)} steps: training has not left its start. Raise "
                f"init_scale (now {options.init_scale:.3g}) or max_iter, or lower "
                "power.",
                ConvergenceWarning,
            )

    def transform(self, X):
        """Pooled responses of the filters.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_cells * n_filters)
            Of the dtype of X; all filters in the first cell come first.
        """
        check_is_fitted(self)
        return self._pool_rows(self._read_rows(X, empty=True))

    @fork_safe()
    def _pool_rows(self, rows, finish=None):
        network, device = self._network(), resolve_device(self.device)
        grid = self._patch_grid()
        return pool_rows(rows, network, grid, self.power_, device, finish)

    def _head_scores(self, X, choose=None):
        network = self._network()
        n_columns = self.head_coef_.shape[-2]

        def score(features, rows):
            coef = network.head_coef.T.astype(features.dtype, copy=False)
            intercept = network.head_intercept.astype(features.dtype, copy=False)
            # a second thread of numpy would go on spinning beside those of torch
            with blas_threads(features.size * coef.shape[1]):
                scores = features @ coef + intercept
            scores = scores.reshape(len(scores), len(intercept) // n_columns, n_columns)
            return scores if choose is None else choose(scores, rows)

        with np.errstate(over="ignore", invalid="ignore"):  # NaN never counts as right
            return self._pool_rows(self._read_rows(X, empty=True), score)

    @property
    def _n_features_out(self):
        return self.head_coef_.shape[-1]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = self.head == PER_TASK
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
