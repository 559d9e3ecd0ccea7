"""What every estimator of the package shares, whatever network it trains."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Protocol

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from skorch.callbacks import Callback, LRScheduler

from mtrl_sklearn._arrays.precision import resolve_device
from mtrl_sklearn._arrays.rows import working_dtype
from mtrl_sklearn._group import Group, show
from mtrl_sklearn._training.callbacks import (
    EpochProgress,
    SaveProgress,
    StopOnPlateau,
    ValidationScore,
)
from mtrl_sklearn._training.checkpoint import (
    Checkpoint,
    describe_callbacks,
    digest,
    digest_text,
)
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.net import kind_of_callback
from mtrl_sklearn._training.representation import with_attributes
from mtrl_sklearn._warnings import warn_user

# A final loss that is so many times that of guessing is told.
EXPLODED = 10.0

# Training rows that a network which responds to none of them is called dead for.
N_LOOKED_AT = 256

# Parameters in which ranks may differ: the seed is that of the first one.
OWN_OF_RANKS = {"callbacks", "device", "random_state", "verbose"}

# Parameters that do not tell a call of fit from another one.
NOT_OF_A_CALL = OWN_OF_RANKS | {"checkpoint", "output"}


class Outcome(Protocol):
    """What the solutions of all solvers have in common."""

    @property
    def state(self) -> dict[str, np.ndarray]: ...
    @property
    def loss_curve(self) -> np.ndarray: ...
    @property
    def validation_scores(self) -> np.ndarray: ...
    @property
    def converged(self) -> bool: ...
    @property
    def interrupted(self) -> bool: ...


class TrainedEstimator(BaseEstimator, ABC):
    """An estimator that a solver trains: seed, callbacks, checkpoint, progress.

    A subclass reads its input, and gives what the abstract methods ask for.
    """

    # parameters of a subclass
    max_iter: int | str
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    callbacks: list[Callback] | None
    checkpoint: str | os.PathLike[str] | None
    device: str
    random_state: int | np.random.RandomState | None
    verbose: bool

    loss_curve_: np.ndarray
    _seed_: int
    _state_: dict[str, np.ndarray]

    def _validate_params(self) -> None:
        """Left to `_begin`: scikit-learn skips it in later calls of partial_fit."""

    def snapshot(self) -> Any:
        """A copy that stays as it is when this one is set or fitted anew.

        Arrays are shared: `fit` replaces them and never changes them. Callbacks are
        left out.

        Returns
        -------
        estimator of the same class
        """
        return with_attributes(self, {"callbacks": None})

    @abstractmethod
    def _resolve_options(self, data: Any, resume: bool) -> Any:
        """Settings of a fit to these data, with a field ``max_epochs``."""

    @abstractmethod
    def _solve(self, job: FitJob, options: Any) -> Outcome:
        """Train the network."""

    @abstractmethod
    def _store_network(self, solution: Any, data: Any) -> None:
        """Set the fitted attributes that hold the network."""

    @abstractmethod
    def _warn_of_failure(self, solution: Any, options: Any, data: Any) -> None:
        """Warn of what training ended with, where it is of no use."""

    def _learn(
        self,
        data: Any,
        resume: bool,
        checkpoint: Checkpoint,
        callbacks: list[Callback],
        ends_all: bool,
        max_epochs: int | None = None,
    ) -> bool:
        """Train on data, and store what comes out.

        Parameters
        ----------
        data : TaskData or ClassData
        resume : bool
            Whether to go on from the earlier fit.
        checkpoint : Checkpoint
        callbacks : list of skorch callbacks
        ends_all : bool
            Whether Ctrl-C is to be raised, instead of keeping the state so far.
        max_epochs : int or None, default=None
            A number of epochs for more rows of the same training.

        Returns
        -------
        bool
            Whether training was interrupted.
        """
        is_partial = max_epochs is not None
        options = self._resolve_options(data, resume)
        if is_partial:
            options = options._replace(max_epochs=max_epochs)
        job = FitJob(
            data,
            self._state_ if resume else None,
            checkpoint.seed,
            resolve_device(self.device),
            callbacks,
            checkpoint.progress,
            is_partial,
        )
        solution = self._solve(job, options)
        if solution.interrupted and ends_all:
            raise KeyboardInterrupt
        self._store_progress(solution, resume, checkpoint.seed)
        self._store_network(solution, data)
        if not is_partial:
            self._warn_of_early_end(solution, options)
        self._warn_of_failure(solution, options, data)
        return solution.interrupted

    def _holds_out(self) -> bool:
        """Whether fit scores rows that it does not train on."""
        return self.early_stopping

    def _begin(self, group: Group, goes_on: bool, is_partial: bool = False) -> bool:
        """Check the parameters; all ranks have to have the same.

        Returns whether there is an earlier fit, which this one then goes on from.
        """
        with group.together():
            BaseEstimator._validate_params(self)
            holds_out = not is_partial and self._holds_out()
            _check_callbacks(self.callbacks or [], holds_out)
            resolve_device(self.device)
        resume = goes_on and hasattr(self, "n_iter_")
        if group.n_ranks > 1:
            parameters = self.get_params(deep=False)
            earlier = {"the earlier fit": self._digest_state() if resume else None}
            group.check_same({"the estimator": type(self).__name__})
            group.check_same(
                {k: v for k, v in parameters.items() if k not in OWN_OF_RANKS}
            )
            group.check_same(earlier)
        return resume

    def _digest_state(self) -> str:
        """Checksum of all that a fit would go on from."""
        return digest_text(repr({k: digest(v) for k, v in self._state_.items()}))

    def _draw_seed(self, resume: bool, group: Group) -> int:
        """Seed of a fit; a fit that goes on keeps it, and so its held-out rows."""
        if resume:
            return self._seed_
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return group.from_first(seed)

    def _open_checkpoint(self, resume: bool, group: Group, **data: Any) -> Checkpoint:
        """Where a fit to these arrays is saved, and its seed."""
        seed = self._draw_seed(resume, group)
        if self.checkpoint is None:
            return Checkpoint(seed=seed, group=group)
        if not os.fspath(self.checkpoint):
            raise ValueError("checkpoint='' is no path. Pass that of a file, or None.")
        kinds = map(kind_of_callback, self.callbacks or [])
        if any(issubclass(kind, LRScheduler) for kind in kinds):
            raise ValueError(
                "checkpoint= does not keep the state of the LRScheduler among "
                "callbacks. Remove one of them."
            )
        parameters = self.get_params(deep=False)
        call = {k: show(v) for k, v in parameters.items() if k not in NOT_OF_A_CALL}
        call["class"] = type(self).__qualname__
        if resume:
            call["the earlier fit"] = self._digest_state()
        if self.callbacks:
            call["callbacks"] = describe_callbacks(self.callbacks)
        call |= {name: digest(array) for name, array in data.items()}
        call |= group.from_first(self._show_start(resume, seed))
        return Checkpoint(self.checkpoint, call, seed, group)

    def _show_start(self, resume: bool, seed: int) -> dict[str, str]:
        """What random_state adds to a call; nothing where another call draws anew.

        A RandomState acts by the seed that was drawn from it, and by nothing else.
        """
        if isinstance(self.random_state, Integral):
            return {"random_state": str(int(self.random_state))}
        if resume or self.random_state is not None:
            return {"random_state": f"seed {seed}"}
        return {}

    def _own_callbacks(self) -> list[Callback]:
        """Callbacks of the caller."""
        return list(self.callbacks or [])

    def _make_callbacks(
        self,
        checkpoint: Checkpoint,
        validation_score: Callable[[Any], float] | None,
        min_fall: float | None = 0.0,
    ) -> list[Callback]:
        """List the skorch callbacks of a fit, in the order in which they are called.

        Parameters
        ----------
        checkpoint : Checkpoint
        validation_score : callable or None
            Scores the torch module on held-out rows, if there are any.
        min_fall : float or None, default=0
            Share of its first value by which the loss has to fall before it can settle;
            None runs all epochs.
        """
        callbacks: list[Callback] = []
        validation = None
        if validation_score is not None:
            validation = ValidationScore(validation_score)
            callbacks.append(validation)
        if self.verbose and checkpoint.group.is_first:
            callbacks.append(EpochProgress())
        callbacks += self._own_callbacks()
        if min_fall is not None:
            monitor = "train_loss" if validation is None else "validation_error"
            rule = (self.tol, self.n_iter_no_change, min_fall)
            callbacks.append(StopOnPlateau(monitor, *rule))
        if self.checkpoint is not None:
            callbacks.append(SaveProgress(checkpoint, validation))
        return callbacks

    def _store_progress(self, solution: Outcome, resume: bool, seed: int) -> None:
        """Set the fitted attributes that tell of training and let it go on."""
        for array in solution.state.values():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(
                    "The state of the optimizer is not finite: gradients were too "
                    "large for their squares. Look for extreme values in X, or lower "
                    "learning_rate or weight_decay. Nothing of this fit is kept."
                )
        curves = {
            "loss_curve_": solution.loss_curve,
            "validation_scores_": solution.validation_scores,
        }
        for name, curve in curves.items():
            earlier = self.__dict__.pop(name, curve[:0])
            whole = np.concatenate([earlier, curve]) if resume else curve
            if len(whole) or name == "loss_curve_":
                setattr(self, name, whole)
        self.n_iter_ = len(self.loss_curve_)
        self._state_, self._seed_ = solution.state, seed

    def _warn_of_early_end(self, solution: Outcome, options: Any) -> None:
        n_iter = options.max_epochs
        if solution.interrupted:
            n_done = len(solution.loss_curve)
            place = f"in epoch {n_done + 1} of {n_iter}"
            if n_done == n_iter:
                place = f"after all {n_iter} epochs, while the rank was looked for"
            warn_user(
                f"Training was interrupted {place}. The state so far is kept; "
                "warm_start=True goes on from it."
            )
        elif (
            self.max_iter != "auto"
            and len(solution.loss_curve) == n_iter
            and not solution.converged
        ):
            warn_user(
                f"Training ended at max_iter={self.max_iter} while the loss was still "
                f"falling by more than tol={self.tol} in n_iter_no_change="
                f"{self.n_iter_no_change} epochs. Raise max_iter or tol, or set "
                "max_iter='auto'.",
                ConvergenceWarning,
            )

    def _warn_of_explosion(self, loss_of_guessing: float) -> None:
        if (self.loss_curve_[-1:] > EXPLODED * loss_of_guessing).any():
            warn_user(
                f"The loss has exploded: it ended at {self.loss_curve_[-1]:.3g}, where "
                f"guessing would give {loss_of_guessing:.3g}. Lower learning_rate or "
                "weight_decay.",
                ConvergenceWarning,
            )

    def _warn_of_dead_network(
        self, X: Any, get_features: Callable, group: Group
    ) -> None:
        """Warn if hidden features, of the training rows, do not depend on the row."""
        rows = X[:N_LOOKED_AT]
        is_dead = _vary(rows) and not _vary(get_features(rows))
        if all(group.gather(is_dead)):
            warn_user(
                "The network is dead: its features are the same for all rows, because "
                "no hidden unit responds to any, or all weights have decayed to 0. "
                "Lower learning_rate or weight_decay.",
                ConvergenceWarning,
            )


def _check_callbacks(callbacks: Sequence[Any], validates: bool) -> None:
    names: set[Any] = set()  # under which earlier ones record scores
    for given in callbacks:
        if not issubclass(kind_of_callback(given), Callback):
            raise TypeError(
                "callbacks should be a list of skorch callbacks, got one with "
                f"{given!r}. Pass callbacks, or tuples of a name and a callback."
            )
        callback = given[-1] if isinstance(given, tuple) else given
        callback = callback() if isinstance(callback, type) else callback
        names |= {getattr(callback, "name", None)}
        monitor = getattr(callback, "monitor", None)
        is_there = validates or "valid_loss" in names
        if monitor in ("valid_loss", "valid_loss_best") and not is_there:
            raise ValueError(
                f"callbacks: {kind_of_callback(given).__name__} monitors {monitor!r}, "
                "which only a descent by fit with early_stopping=True records. Use "
                "these, or pass "
                f"monitor={monitor.replace('valid', 'train')!r}."
            )
        if getattr(callback, "on_train", True) is False:
            warn_user(
                f"callbacks: {kind_of_callback(given).__name__} with on_train=False "
                "scores validation batches, of which there are none, and records "
                "nothing. Pass on_train=True; early_stopping=True scores held-out rows."
            )


def _vary(rows: Any) -> bool:
    """Whether some rows differ from others."""
    differ = rows.max(axis=0) != rows.min(axis=0)
    return bool(differ.nnz if issparse(differ) else differ.any())


@contextmanager
def last_good_state(estimator: BaseEstimator) -> Iterator[None]:
    """Give an estimator its fitted attributes back if the block raises.

    Fitted attributes are replaced, never changed in place, so a shallow copy is enough.
    """
    before = {name: v for name, v in vars(estimator).items() if name[-1] == "_"}
    try:
        yield
    except BaseException:
        rest = {name: v for name, v in vars(estimator).items() if name[-1] != "_"}
        estimator.__dict__ = rest | before  # all at once: Ctrl-C may come again
        raise


def unite_rows(estimator: BaseEstimator, rows: Any, group: Group) -> Any:
    """Rows in the dtype that all ranks compute in, of the same features on all."""
    names = getattr(estimator, "feature_names_in_", None)
    group.check_same(
        {
            "the number of features of X": rows.shape[1],
            "the feature names of X": None if names is None else names.tolist(),
        }
    )
    own = working_dtype(rows.dtype)
    common = np.result_type(*group.gather(own))
    return rows if own == common else rows.astype(common)
