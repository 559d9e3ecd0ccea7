"""Probes of new tasks: default, calibrated, and what they have to beat.

Run as ``python benchmarks/probe_quality.py``. For each data set some tasks are held
out, a representation is trained on the others with default settings, and probes of the
new tasks are trained on few labels of rows that it saw and tested on rows that it did
not. Prints mean ROC-AUC and writes ``probe_quality.json``. Assays and genes are read
from the folder named by the environment variable MTRL_DATA, and skipped where that is
unset.
"""

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_digit_tasks, make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe, calibrate, probe_new_tasks

SHOTS = (16, 32, 64, 128)
N_DRAWS = 4
MAX_TASKS = 40
PLATFORMS = ("random", "ATG", "NVS", "BSK", "APR CLD", "OT Tanguay CEETOX")
REFERENCE = "hidden, standardised, C=.01"


class Problem(NamedTuple):
    """Rows, labels (NaN where not observed), and the tasks that are new."""

    X: np.ndarray
    Y: np.ndarray
    new: np.ndarray  # (n_tasks,), bool


def load_assays(held_out, rng, hidden=0.0):
    with np.load(Path(os.environ["MTRL_DATA"]) / "toxcast.npz") as data:
        X = np.unpackbits(data["X_packed"], axis=1)[:, :1024].astype(np.float32)
        Y = np.where(data["Y"] < 0, np.nan, data["Y"])
        platform = [name.split("_")[0] for name in data["task_names"].tolist()]
    new = np.isin(platform, held_out.split())
    if held_out == "random":
        new[rng.permutation(len(new))[: len(new) // 5]] = True
    Y[:, ~new] = np.where(rng.random(Y[:, ~new].shape) < hidden, np.nan, Y[:, ~new])
    return Problem(X, Y, new)


def load_genes(rng):
    with np.load(Path(os.environ["MTRL_DATA"]) / "yeast.npz") as data:
        X, Y = data["X"].astype(np.float32), data["Y"].astype(float)
    new = np.zeros(Y.shape[1], dtype=bool)
    new[rng.permutation(len(new))[:5]] = True
    return Problem(X, Y, new)


def make_digits(seed):
    drawn = make_digit_tasks(60, random_state=seed)
    X, Y = drawn.X.astype(np.float32), np.asarray(drawn.Y, dtype=float)
    return Problem(X, Y, np.arange(60) >= 40)


def make_subspace(seed, n_samples, n_features):
    X, Y, *_ = make_subspace_tasks(n_samples, n_features, n_tasks=84, random_state=seed)
    return Problem(X.astype(np.float32), Y.astype(float), np.arange(84) >= 64)


def list_problems(seed):
    rng = np.random.default_rng(seed)
    yield "digits", make_digits(seed)
    yield "subspace, d=100", make_subspace(seed, 2000, 100)
    yield "subspace, d=400", make_subspace(seed, 4000, 400)
    if "MTRL_DATA" in os.environ:
        yield "genes", load_genes(rng)
        for platform in PLATFORMS:
            yield f"assays, {platform}", load_assays(platform, rng)
        yield "assays, ATG, 85 % hidden", load_assays("ATG", rng, 0.85)


def compare(problem, seed):
    """Mean ROC-AUC by kind of probe and number of labels, and times."""
    X, Y, new = problem
    rng = np.random.default_rng(seed)
    is_test = np.zeros(len(X), dtype=bool)
    is_test[rng.permutation(len(X))[: len(X) // 5]] = True
    sources = np.array([len(np.unique(y[~np.isnan(y)])) > 1 for y in Y[~is_test].T])
    sources &= ~new
    X_source, Y_source = X[~is_test], Y[~is_test][:, sources]
    start = time.perf_counter()
    estimator = MultiTaskReLURepresentation(random_state=seed)
    representation = estimator.fit(X_source, Y_source)
    fitted = time.perf_counter()
    settings = calibrate(representation, X_source, Y_source, random_state=seed)
    seconds = {"fit": fitted - start, "calibrate": time.perf_counter() - fitted}
    few_labels = [
        min(np.sum(y[part] == label) for label in np.unique(y[~np.isnan(y)])[:2])
        for y in Y.T
        for part in [~is_test]
    ]
    usable = np.flatnonzero(new & (np.array(few_labels) >= SHOTS[-1] // 2))
    if len(usable) < 8:
        usable = np.flatnonzero(new)
    probed = rng.permutation(usable)[:MAX_TASKS]
    probes = {
        REFERENCE: make_pipeline(StandardScaler(), LogisticRegression(C=0.01)),
        "hidden": LinearProbe(weights={"hidden": 1}),
        "hidden + probabilities": LinearProbe(
            weights={"hidden": 1, "probabilities": 1}
        ),
        "default": LinearProbe(),
        "calibrated": LinearProbe(settings=settings),
    }
    curves = {}
    for name, probe in probes.items():
        baselines = ("raw", "random") if name == "default" else ()
        table = probe_new_tasks(
            representation,
            X,
            Y[:, probed],
            shots=SHOTS,
            sampling="balanced",
            n_draws=N_DRAWS,
            test_rows=is_test,
            probe=probe,
            baselines=baselines,
            n_jobs=2,
            random_state=seed,
        )
        means = table.groupby(["features", "shots"])["score"].mean().unstack("shots")
        for features, of_shots in means.reindex(columns=SHOTS).iterrows():
            ours = features == "representation"
            curves[name if ours else features] = of_shots.tolist()
    return {"curves": curves, "settings": vars(settings), "seconds": seconds}


def print_table(title, curves):
    print(f"\n{title}")
    print(f"  {'probe':30}" + "".join(f"  k={k:<4}" for k in SHOTS) + "   mean")
    for name, values in curves.items():
        row = "".join(f"  {value:.3f} " for value in values)
        print(f"  {name:30}{row}  {np.nanmean(values):.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("probe_quality.json"))
    arguments = parser.parse_args()
    if "MTRL_DATA" not in os.environ:
        print("assays and genes: skipped, MTRL_DATA is not set")
    runs = {}
    for seed in range(arguments.seeds):
        for name, problem in list_problems(seed):
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            runs.setdefault(name, []).append(compare(problem, seed))
    overall = []
    for name, of_seeds in runs.items():
        curves = {
            probe: np.mean([run["curves"][probe] for run in of_seeds], axis=0)
            for probe in of_seeds[0]["curves"]
        }
        overall.append(curves)
        times = {
            what: np.mean([run["seconds"][what] for run in of_seeds])
            for what in ("fit", "calibrate")
        }
        print_table(
            f"{name} ({times['fit']:.0f} s, {times['calibrate']:.0f} s)", curves
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no task has so many labels in some data sets
        mean = {k: np.nanmean([c[k] for c in overall], axis=0) for k in overall[0]}
    print_table("mean over data sets", mean)
    better = [np.fmax(c[REFERENCE], c["raw"]) for c in overall]
    for name in ("default", "calibrated"):
        gains = np.array([c[name] - b for c, b in zip(overall, better)])
        worst = np.unravel_index(np.nanargmin(gains), gains.shape)
        where = f"{list(runs)[worst[0]]}, k={SHOTS[worst[1]]}"
        print(
            f"{name} against the better of hidden and raw: mean "
            f"{np.nanmean(gains):+.4f}, worst {np.nanmin(gains):+.4f} ({where})"
        )
    arguments.output.write_text(json.dumps(runs, indent=1, default=float))


if __name__ == "__main__":
    main()
