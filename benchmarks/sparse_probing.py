"""Memory and time of probing sparse inputs that no machine holds as an array.

50 000 rows of 100 000 features, .1 % filled: an array of float64 would take 40 GB. The
peak is that of the whole process, data and the fit of the network included, in MB. With
``--quick`` a tenth of the rows and features.

    python benchmarks/sparse_probing.py
"""

import argparse
import time
import warnings
from contextlib import contextmanager

import numpy as np
from _memory import read_status, reset_peak
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

N_TASKS, N_HIDDEN, PER_ROW = 12, 128, 0.001


def draw(n_rows, n_features, seed=0):
    """CSR rows of float32, and labels of tasks that share four hidden units."""
    rng = np.random.default_rng(seed)
    n_stored = round(n_rows * n_features * PER_ROW)
    places = rng.integers(0, n_rows, n_stored), rng.integers(0, n_features, n_stored)
    values = rng.random(n_stored, dtype=np.float32) + 0.5
    X = sparse.csr_array((values, places), shape=(n_rows, n_features))
    units = np.maximum(X @ rng.standard_normal((n_features, 4), dtype=np.float32), 0)
    scores = units @ rng.standard_normal((4, N_TASKS))
    return X, (scores > np.median(scores, axis=0)).astype(np.int8)


@contextmanager
def measured(name):
    reset_peak()
    start = time.perf_counter()
    yield
    seconds, peak = time.perf_counter() - start, read_status("VmHWM") / 1e6
    print(f"{name:<24}{seconds:8.1f} s{peak:8.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    shape = (5000, 10_000) if parser.parse_args().quick else (50_000, 100_000)
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, Y = draw(*shape)
    network = MultiTaskReLURepresentation(N_HIDDEN, max_iter=2, random_state=0)
    with measured("fit of the network"):
        network.fit(X, Y[:, :8])
    draws = {"n_draws": 2, "random_state": 0}
    with measured("LinearProbe, 128 labels"):
        probe = LinearProbe(network).fit(X[:128], Y[:128, 8])
    with measured("LinearProbe, all rows"):
        LinearProbe(network).fit(X, Y[:, 8])
    with measured("predictions"):
        probe.predict_proba(X)
    with measured("probe_new_tasks"):
        probe_new_tasks(network, X, Y[:, 8:], **draws)
    with measured("task_affinity"):
        task_affinity(network, X)
    with measured("calibrate"):
        calibrate(network, X, Y, n_groups=2, **draws)
    with measured("source_task_transfer"):
        source_task_transfer(network, X, Y, n_groups=2, **draws)


if __name__ == "__main__":
    main()
