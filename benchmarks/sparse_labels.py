"""Memory and time of sparse labels that no machine holds as an array.

100 000 rows of 20 000 tags, five a row: 16 GB as float64, 2 GB as int8. The peak is
that of the whole process, in MB. With ``--quick`` a tenth of the rows and tags.

    python benchmarks/sparse_labels.py
"""

import argparse
import time
import warnings
from contextlib import contextmanager

import numpy as np
from _memory import read_status, reset_peak
from scipy import sparse

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.metrics import multitask_accuracy_score
from mtrl_sklearn.probing import LinearProbe, probe_new_tasks

N_FEATURES, N_HIDDEN, TAGS_PER_ROW = 50, 32, 5


def draw(n_rows, n_tags, seed=0):
    """Rows, and the five tags of each that suit its group best, or come by chance."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, N_FEATURES), dtype=np.float32)
    group = (X @ rng.standard_normal((N_FEATURES, 16), dtype=np.float32)).argmax(axis=1)
    own = 16 * rng.integers(0, n_tags // 16, (n_rows, TAGS_PER_ROW)) + group[:, None]
    any_tag = rng.integers(0, n_tags, own.shape)
    tags = np.where(rng.random(own.shape) < 0.8, own, any_tag).ravel()
    rows = np.repeat(np.arange(n_rows), TAGS_PER_ROW)
    Y = sparse.csr_array((np.ones(len(rows), bool), (rows, tags)), (n_rows, n_tags))
    Y.sum_duplicates()
    return X, Y


@contextmanager
def measured(name):
    reset_peak()
    start = time.perf_counter()
    yield
    seconds, peak = time.perf_counter() - start, read_status("VmHWM") / 1e6
    print(f"{name:<28}{seconds:8.1f} s{peak:8.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    shape = (10_000, 2000) if options.quick else (100_000, 20_000)
    warnings.simplefilter("ignore")
    with measured("data"):
        X, Y = draw(*shape)
    parameters = {"max_iter": options.epochs, "random_state": 0}
    network = MultiTaskReLURepresentation(N_HIDDEN, n_components=None, **parameters)
    with measured("fit"):
        network.fit(X, Y)
    with measured("score"):
        score = network.score(X, Y)
    print(f"mean ROC-AUC of the tags: {score:.3f}")
    nothing = sparse.csr_array(Y.shape, dtype=bool)
    with measured("accuracy of no tags at all"):
        multitask_accuracy_score(Y, nothing)
    # tools that compare features hold all of them: of all rows they would be 8 GB
    some = slice(5000)
    with measured("probe_new_tasks, 5000 rows"):
        probe_new_tasks(
            network, X[some], Y[some, :8], shots=64, n_draws=1, random_state=0
        )
    with measured("LinearProbe, 20 tags"):
        LinearProbe(network).fit(X[:200], Y[:200, :20])
    few = np.full((len(X), 20), np.nan)
    few[:200] = Y[:200, :20].toarray()
    with measured("the same, all rows given"):
        probe = LinearProbe(network).fit(X, few)
    with measured("its predictions, all rows"):
        probe.predict_proba(X)
    with measured("fit, n_components='auto'"):
        network.set_params(n_components="auto").fit(X, Y)


if __name__ == "__main__":
    main()
