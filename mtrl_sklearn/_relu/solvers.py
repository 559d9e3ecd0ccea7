"""The ways to train the ReLU network, and what all of them have in common.

A solver prepares a `SolverNet`, which one driver trains, saves, resumes and stops. To
add one, write its module and enter it in `SOLVERS`.
"""

from typing import NamedTuple, Protocol

from mtrl_sklearn._relu.descent import Descent
from mtrl_sklearn._relu.one_step import OneStep
from mtrl_sklearn._relu.options import ReLUOptions
from mtrl_sklearn._relu.rank_choice import choose_rank
from mtrl_sklearn._relu.solution import Prepared, Solution, Trained
from mtrl_sklearn._relu.task_data import TaskData
from mtrl_sklearn._training.callbacks import resume
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.net import TrainingLog, train
from mtrl_sklearn._training.state import State


class Solver(Protocol):
    """One way to train the first layer."""

    @property
    def is_descent(self) -> bool:
        """Whether it lowers one loss from epoch to epoch, on batches of rows."""

    @property
    def auto_epochs(self) -> int | None:
        """What ``max_iter="auto"`` stands for; None lets batches decide."""

    def can_resume(self, state: State) -> bool:
        """Whether it can go on from what an earlier fit has left."""

    def prepare(self, job: FitJob, options: ReLUOptions) -> Prepared:
        """A net that is ready to train, at the start or where the state is."""


SOLVERS: dict[str, Solver] = {
    "alternating": Descent(),
    "joint": Descent(),
    "one_step": OneStep(),
}


class _Run(NamedTuple):
    prepared: Prepared
    log: TrainingLog

    def take_network(self, data: TaskData) -> Trained:
        trained = self.prepared.net.take_network(data)
        return trained._replace(rows=self.prepared.rows)


def solve(job: FitJob, options: ReLUOptions) -> Solution:
    """Train the network, and cut its first layer to the wanted rank.

    Parameters
    ----------
    job : FitJob
        Its data are a `TaskData`. A callback whose ``converged_`` is true says that the
        loss had settled.
    options : ReLUOptions
    """
    solver = SOLVERS[options.algorithm]
    run = _run(solver, job, options)
    log = run.log
    is_cut_short = False

    def retrain(part: TaskData) -> Trained | None:
        nonlocal is_cut_short
        again = job._replace(
            data=part, state=None, callbacks=[], progress=None, is_partial=False
        )
        epochs = len(log.loss_curve) if not solver.is_descent else options.max_epochs
        try:
            second = _run(solver, again, options._replace(max_epochs=epochs))
            is_cut_short = second.log.interrupted
        except KeyboardInterrupt:  # before there was a second network
            if job.data.group.n_ranks > 1:
                raise
            is_cut_short = True
        return None if is_cut_short else second.take_network(part)

    first_layer, heads, moments = choose_rank(
        run.take_network(job.data),
        job.data,
        options.n_components,
        job.state if job.is_partial else None,
        None if job.is_partial or log.interrupted else retrain,
    )
    has_settled = any(getattr(c, "converged_", False) for c in job.callbacks)
    return Solution(
        first_layer,
        heads,
        run.prepared.net.export() | moments | run.prepared.waiting,
        log.loss_curve,
        log.validation_scores,
        has_settled or not solver.is_descent,
        log.interrupted or is_cut_short,
    )


def train_whole(job: FitJob, options: ReLUOptions) -> Trained:
    """Train a network, and leave its first layer whole.

    Parameters
    ----------
    job : FitJob
    options : ReLUOptions

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.
    """
    run = _run(SOLVERS[options.algorithm], job, options)
    if run.log.interrupted:
        raise KeyboardInterrupt
    return run.take_network(job.data)._replace(rows=None)


def _run(solver: Solver, job: FitJob, options: ReLUOptions) -> _Run:
    prepared = solver.prepare(job, options)
    if job.progress is not None:
        resume(prepared.net, job.progress)
    allow_tf32 = options.precision.allow_tf32
    log = train(prepared.net, prepared.rows, prepared.operations, allow_tf32)
    return _Run(prepared, log)
