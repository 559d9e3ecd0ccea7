"""Memory that calls take of their own, in multiples of their input X.

Run as ``python benchmarks/memory.py``. X is dense, sparse (CSR) or a memory map, and
takes the same bytes in each form; every call runs in a process of its own. What counts
is the highest RssAnon above what was resident before, less the result of the call: a
second copy of X shows as 1. Probes take the rows as they are, with their hidden
features beside them. "-" is a form that the call refuses. Writes ``memory.json``.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from _memory import AnonymousPeak, read_status
from _timing import Contender, fresh_process, take_turns
from scipy import sparse

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe, calibrate

N_FEATURES, N_HIDDEN, N_TASKS = 1000, 32, 12
PER_ROW = N_FEATURES // 20  # of sparse rows
KINDS = ("dense", "sparse", "memory-mapped")
CALLS = (
    "fit",
    "fit, one_step",
    "fit, early stopping",
    "partial_fit",
    "transform",
    "predict_proba",
    "predict",
    "score",
    "LinearProbe.fit",
    "LinearProbe.predict_proba",
    "calibrate",
)


def draw_rows(kind, n_bytes, folder):
    """Float32 rows of so many bytes, and labels of which half are observed."""
    rng = np.random.default_rng(0)
    teacher = rng.standard_normal((N_FEATURES, N_TASKS), dtype=np.float32)
    if kind == "sparse":
        n_rows = n_bytes // (8 * PER_ROW)
        columns = rng.integers(0, N_FEATURES, (n_rows, PER_ROW), dtype=np.int32)
        values = rng.standard_normal(columns.size, dtype=np.float32)
        starts = np.arange(n_rows + 1, dtype=np.int32) * PER_ROW
        shape = n_rows, N_FEATURES
        X = sparse.csr_array((values, columns.ravel(), starts), shape)
        X.sum_duplicates()
    else:
        size = n_bytes // (4 * N_FEATURES), N_FEATURES
        X = rng.standard_normal(size, dtype=np.float32)
    Y = (X @ teacher > 0).astype(np.float32)
    Y[rng.random(Y.shape) < 0.5] = np.nan
    if kind == "memory-mapped":
        X.tofile(f"{folder}/rows")
        X = np.memmap(f"{folder}/rows", np.float32, "r", shape=X.shape)
    return X, Y


def representation(**settings):
    settings = {"max_iter": 2, "tol": 0, "random_state": 0} | settings
    return MultiTaskReLURepresentation(N_HIDDEN, **settings)


def prepare(call, X, Y):
    """The function that is watched."""
    if call.startswith("fit"):
        settings = {
            "fit": {},
            "fit, one_step": {"algorithm": "one_step", "max_iter": 1},
            "fit, early stopping": {
                "algorithm": "joint",
                "early_stopping": True,
            },
        }
        return lambda: representation(**settings[call]).fit(X, Y)
    if call == "partial_fit":
        return lambda: representation().partial_fit(X, Y)
    if call == "calibrate":
        settings = {"n_groups": 2, "shots": (16,), "n_draws": 1, "random_state": 0}
        return lambda: calibrate(representation(), X, Y, **settings)
    model = representation().fit(X[:2000], Y[:2000])
    if call == "score":
        return lambda: model.score(X, Y)
    if not call.startswith("LinearProbe"):
        return lambda: getattr(model, call)(X)
    y = np.where(np.isnan(Y[:, 0]), 0, Y[:, 0])
    if call == "LinearProbe.fit":
        return lambda: LinearProbe(model).fit(X, y)
    probe = LinearProbe(model).fit(X[:200], y[:200])
    return lambda: probe.predict_proba(X)


def build_call(kind, call, n_bytes, folder):
    X, Y = draw_rows(kind, n_bytes, folder)
    parts = (X.data, X.indices, X.indptr) if sparse.issparse(X) else (X,)
    of_input = sum(part.nbytes for part in parts)

    def run():
        """Multiples of X; None if the call refuses it."""
        try:
            watched = prepare(call, X, Y)
            start = read_status("RssAnon")
            with AnonymousPeak() as peak:
                result = watched()
        except TypeError:
            return None
        own = result.nbytes if isinstance(result, np.ndarray) else 0
        return (peak.bytes - start - own) / of_input

    return run


def run_all(options):
    found = {}
    print(f"{'call':28}" + "".join(f"{kind:>15}" for kind in KINDS))
    with tempfile.TemporaryDirectory() as folder:
        for call in options.calls:
            settings = {"n_bytes": options.megabytes * 10**6, "folder": folder}
            found[call] = {}
            for kind in KINDS:
                contender = Contender(
                    kind, build_call, settings | {"kind": kind, "call": call}
                )
                timings = take_turns([contender], 1, warm_up=False)
                found[call][kind] = timings[kind].values[0][0]
            shown = ("-" if v is None else f"{v:.2f}" for v in found[call].values())
            print(f"{call:28}" + "".join(f"{v:>15}" for v in shown), flush=True)
            Path("memory.json").write_text(json.dumps(found, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--calls", nargs="+", choices=CALLS, default=list(CALLS))
    options = parser.parse_args()
    with fresh_process(1) as run:
        run(run_all, options)


if __name__ == "__main__":
    main()
