"""Work that is large in one respect: builders for `_timing.Contender`.

Features, tasks, rows on disk, or candidates of a grid.
"""

from multiprocessing.util import Finalize

import numpy as np
import torch
from _contenders import draw, ours
from _memory import AnonymousPeak, read_status
from joblib.externals.loky import get_reusable_executor
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from mtrl_sklearn._arrays.rows import RowDataset, Rows
from mtrl_sklearn._relu.network import normalize_rows
from mtrl_sklearn._relu.one_step import add_rows, start_step

BLOCK_ROWS = 4096  # of the one-step algorithm


def draw_text(problem, per_row):
    """CSR rows with so many values each, and labels that depend on them."""
    rng = np.random.default_rng(0)
    shape = problem.n_samples, problem.n_features
    columns = rng.integers(0, problem.n_features, problem.n_samples * per_row)
    values = rng.random(len(columns), dtype=np.float32) + 0.5
    starts = np.arange(problem.n_samples + 1) * per_row
    X = sparse.csr_matrix((values, columns, starts), shape)
    X.sum_duplicates()
    teacher = rng.standard_normal((problem.n_features, problem.n_tasks))
    return X, (X @ teacher > 0).astype(np.float32)


def build_text(problem, per_row, **settings):
    X, Y = draw_text(problem, per_row)

    def run(n_epochs):
        ours(problem, max_iter=n_epochs, **settings).fit(X, Y)

    return run


def build_long(problem, **settings):
    """One label per row; a single task is the plain form, ``y`` without ``tasks``."""
    n_samples, n_features, _, n_tasks = problem[:4]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    coordinates = X @ rng.standard_normal((n_features, 4), dtype=np.float32)
    tasks = rng.integers(0, n_tasks, n_samples)
    of_tasks = rng.standard_normal((n_tasks, 4), dtype=np.float32)
    y = ((coordinates * of_tasks[tasks]).sum(axis=1) > 0).astype(int)
    given = {} if n_tasks == 1 else {"tasks": tasks}

    def run(n_epochs):
        ours(problem, max_iter=n_epochs, **settings).fit(X, y, **given)

    return run


def build_wide(problem, as_dense, **settings):
    """Labels of which few are observed, on the path for sparse or for dense ones."""
    from mtrl_sklearn._labels import signs as _signs

    if as_dense:
        _signs.MAX_DENSITY = 0
    X, Y = draw(problem)

    def run(n_epochs):
        ours(problem, max_iter=n_epochs, **settings).fit(X, Y)

    return run


def build_one_step(problem):
    X, Y = draw(problem)

    def run():
        ours(problem, algorithm="one_step").fit(X, Y)

    return run


def build_one_step_passes(problem):
    """The two passes of one step over rows that are read, centred and scaled."""
    X, Y = draw(problem)
    signs = (2 * Y - 1).astype(np.int8)
    rows = RowDataset(Rows(X, torch.float32), Rows(signs, torch.float32))
    sums = start_step(torch.randn(problem.n_hidden, problem.n_features), len(Y.T))
    of_tasks = torch.zeros(len(Y.T)), torch.ones(len(Y.T))
    centre = torch.zeros(problem.n_features), torch.ones(())

    def run():
        add_rows(sums, rows, *of_tasks, lambda block: normalize_rows(block, *centre))

    return run


def build_one_step_products(problem):
    """The four products of one step, over blocks of rows."""
    X, residuals = map(torch.from_numpy, draw(problem))
    weights = torch.randn(problem.n_hidden, problem.n_features)

    def run():
        coef = torch.zeros(problem.n_tasks, problem.n_hidden)
        step = torch.zeros_like(weights)
        for rows, of_rows in zip(X.split(BLOCK_ROWS), residuals.split(BLOCK_ROWS)):
            coef += of_rows.T @ (rows @ weights.T)
        for rows, of_rows in zip(X.split(BLOCK_ROWS), residuals.split(BLOCK_ROWS)):
            step += (of_rows @ coef).T @ rows

    return run


def write_rows(path, problem):
    """Write a file of float32 rows in blocks, and labels to ``<path>.labels.npy``."""
    rng = np.random.default_rng(0)
    teacher = rng.standard_normal((problem.n_features, problem.n_tasks))
    labels = []
    with open(path, "wb") as file:
        for start in range(0, problem.n_samples, BLOCK_ROWS):
            n_rows = min(BLOCK_ROWS, problem.n_samples - start)
            size = (n_rows, problem.n_features)
            rows = rng.standard_normal(size, dtype=np.float32)
            file.write(rows.tobytes())
            labels.append((rows @ teacher > 0).astype(np.float32))
    np.save(f"{path}.labels.npy", np.concatenate(labels))


def build_memmap(problem, path, n_blocks=None, **settings):
    """Training on a memory map, at once or by `partial_fit`; bytes that it took."""
    X = np.memmap(path, np.float32, "r").reshape(-1, problem.n_features)
    Y = np.load(f"{path}.labels.npy")
    start = read_status("RssAnon")

    def run():
        with AnonymousPeak() as peak:
            model = ours(problem, max_iter=1, **settings)
            if n_blocks is None:
                model.fit(X, Y)
            else:
                fit_blocks(model, X, Y, n_blocks)
        return peak.bytes - start

    return run


def fit_blocks(model, X, Y, n_blocks):
    """One pass over the rows by `partial_fit`."""
    for rows in np.array_split(np.arange(len(X)), n_blocks):
        block = slice(rows[0], rows[-1] + 1)
        model.partial_fit(X[block], Y[block])


def build_grid(problem, n_epochs, n_jobs, threads=None):
    """Six candidates in three folds, without a fit of the best one.

    ``threads`` limits all libraries of this process; None leaves them their default.
    """
    threadpool_limits(threads)
    X, Y = draw(problem)
    candidates = {"learning_rate": [3e-4, 1e-3, 3e-3], "dropout": [0.0, 0.5]}
    # its idle processes would keep this one from ending, for minutes
    Finalize(None, stop_idle_processes, exitpriority=0)

    def run():
        model = ours(problem, max_iter=n_epochs)
        GridSearchCV(model, candidates, cv=3, n_jobs=n_jobs, refit=False).fit(X, Y)

    return run


def stop_idle_processes():
    """End the processes that joblib keeps for its next call."""
    get_reusable_executor(reuse=True).shutdown(kill_workers=True)
