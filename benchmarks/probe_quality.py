"""Probes of new tasks: default, calibrated, and what they have to beat.

Run as ``python benchmarks/probe_quality.py``. For each data set some tasks are held
out, a representation is trained on the others with default settings, and probes of the
new tasks are trained on few labels of rows that it saw and tested on rows that it did
not. Prints, as they arrive, ROC-AUC and average precision above prevalence beside those
of logistic regression on raw inputs and of no labels; then how far probabilities can be
relied on, and how many new tasks the forecast of ``calibrate`` holds. ``--literature``
adds methods of the few-shot literature. Writes ``probe_quality.json``. Assays, genes
and compounds are read from the folder named by the environment variable MTRL_DATA, and
skipped where that is unset.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from _few_labels import (
    base_rate,
    by_task,
    calibration_error,
    draw_tasks,
    logistic,
    score,
)
from _literature import list_literature
from _new_tasks import list_problems

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe, calibrate

SHOTS = (0, 4, 16, 64, 128)
NONE, RAW = "no labels", ("raw C=.1", "raw C=1")
DEFAULT, CALIBRATED = "default", "calibrated"
SHOWN = (NONE, *RAW, DEFAULT, CALIBRATED)
METRICS = {"roc_auc": "ROC-AUC", "delta_auprc": "AP above prevalence"}
RELIABLE = (DEFAULT, "prior=None", RAW[1], "base rate")
# Seconds of a problem, on two cores of 2020.
SECONDS, QUICK_SECONDS = 60, 15


def probe_of(problem, representation, **parameters):
    """A contender: a column of ``y`` for each draw of each task, all at once."""
    X, X_test = problem.X[~problem.is_test], problem.X[problem.is_test]

    def contender(few):
        probe = LinearProbe(representation, **parameters)
        rows = ~np.isnan(few).all(axis=1)
        y = np.column_stack([few[rows], np.full(rows.sum(), np.nan)])
        probe.fit(X[rows], y, classes=[0, 1])  # of one column, too, y stays wide
        return probe.predict_proba(X_test)[:, :-1]

    return contender


def list_contenders(problem, representation, settings, literature):
    X, X_test = problem.X[~problem.is_test], problem.X[problem.is_test]
    nothing = representation.source_probabilities(X_test).mean(axis=1, keepdims=True)
    contenders = {
        NONE: lambda few: np.repeat(nothing, few.shape[1], axis=1),
        RAW[0]: logistic(X, X_test, 0.1),
        RAW[1]: logistic(X, X_test, 1.0),
        DEFAULT: probe_of(problem, representation),
        CALIBRATED: probe_of(problem, representation, settings=settings),
        "prior=None": probe_of(problem, representation, prior=None),
        "base rate": lambda few: np.tile(base_rate(few), (len(X_test), 1)),
    }
    if literature:
        contenders |= list_literature(representation, X, X_test)
    return contenders


def compare(name, problem, seed, arguments):
    """Scores of all contenders, printed as they arrive."""
    X_source, Y_source = problem.sources()
    start = time.perf_counter()
    representation = MultiTaskReLURepresentation(random_state=seed)
    representation.fit(X_source, Y_source)
    fitted = time.perf_counter()
    settings = calibrate(representation, X_source, Y_source, random_state=seed)
    seconds = [fitted - start, time.perf_counter() - fitted]
    drawn = draw_tasks(problem, arguments.tasks, arguments.draws, seed)
    n_tasks = len(np.unique(drawn.task))
    print(
        f"\n{name}: {n_tasks} new tasks, {Y_source.shape[1]} source tasks; fit "
        f"{seconds[0]:.0f} s, calibrate {seconds[1] / seconds[0]:.1f} times as long"
    )
    contenders = list_contenders(
        problem, representation, settings, arguments.literature
    )
    rows = []
    for sampling in arguments.sampling:
        for k in SHOTS:
            few, has_all = drawn.few(k, sampling)
            if not has_all.any() or (k == 0 and sampling == "balanced"):
                continue
            Y = drawn.test[:, has_all]
            row = {"problem": name, "sampling": sampling, "k": k, "scores": {}}
            for contender, predict in contenders.items():
                P = predict(few)
                scores = {
                    metric: by_task(drawn, has_all, values).tolist()
                    for metric, values in score(Y, P)._asdict().items()
                }
                scores["ece"] = [calibration_error(Y, P)]
                row["scores"][contender] = scores
            row["inside"] = is_inside(row, settings)
            rows.append(row)
            print_row(row)
    return rows, seconds


def is_inside(row, settings):
    """Share of tasks between the 10 and 90 % quantiles that settings forecast."""
    band = settings.forecast(row["k"]).roc_auc
    reached = np.array(row["scores"][CALIBRATED]["roc_auc"])
    return float(np.mean((reached >= band.q10) & (reached <= band.q90)))


def print_row(row):
    """Means over tasks, and differences with their standard errors over tasks."""
    for metric, title in METRICS.items():
        values = {name: np.array(s[metric]) for name, s in row["scores"].items()}
        best = max((NONE, *RAW), key=lambda name: values[name].mean())
        shown = " ".join(f"{values[name].mean():10.3f}" for name in SHOWN)
        gains = ""
        for name in (DEFAULT, CALIBRATED):
            gain = values[name] - values[best]
            error = gain.std() / len(gain) ** 0.5
            gains += f"  {gain.mean():+.3f} ({error:.3f}, {gain.std():.2f})"
        where = f"{row['sampling']:9} {row['k']:4}  {title:20}"
        others = [n for n in values if n not in (*SHOWN, *RELIABLE)]
        rest = "".join(f" {values[name].mean():10.3f}" for name in others)
        print(where + shown + gains + rest, flush=True)


def print_heading(literature):
    print(
        "The last two columns: default and calibrated less the best of "
        f"{', '.join((NONE, *RAW))}, with standard error and spread over tasks."
    )
    names = SHOWN + (tuple(list_literature(None, None, None)) if literature else ())
    print(f"{'labels':36}" + " ".join(f"{name:>10}" for name in names))


def print_worst(rows):
    for metric, title in METRICS.items():
        for name in (DEFAULT, CALIBRATED):
            gains = []
            for row in rows:
                means = {n: np.mean(s[metric]) for n, s in row["scores"].items()}
                best = max(means[other] for other in (NONE, *RAW))
                gains.append((means[name] - best, row))
            worst, row = min(gains, key=lambda pair: pair[0])
            mean = np.mean([gain for gain, _ in gains])
            print(
                f"{title}, {name} less the best of raw and no labels: mean {mean:+.3f},"
                f" worst {worst:+.3f} ({row['problem']}, {row['k']} {row['sampling']})"
            )


def print_reliability(rows):
    print("\nReliability, labels as they come, means over data sets")
    print(
        "  log loss is divided by that of always saying the prevalence of the test rows"
    )
    for metric, title in (
        ("log_loss", "log loss"),
        ("brier", "Brier score"),
        ("ece", "expected calibration error"),
    ):
        print(f"  {title:28}" + " ".join(f"{f'k={k}':>7}" for k in SHOTS))
        for name in RELIABLE:
            means = [
                np.mean([np.mean(row["scores"][name][metric]) for row in of_k])
                for k in SHOTS
                for of_k in [
                    [r for r in rows if r["k"] == k and r["sampling"] == "random"]
                ]
                if of_k
            ]
            print(f"    {name:26}" + " ".join(f"{mean:7.3f}" for mean in means))


def print_forecasts(rows):
    print(
        "\nShare of new tasks whose ROC-AUC lies between the 10 and 90 % quantiles of "
        "the forecast, which holds for 80 % of tasks like those left out"
    )
    shown = [row for row in rows if row["sampling"] == "random"]
    for name in dict.fromkeys(row["problem"] for row in shown):
        shares = [
            f"k={r['k']} {r['inside']:.0%}" for r in shown if r["problem"] == name
        ]
        print(f"  {name:28}" + "  ".join(shares))
    for k in SHOTS:
        of_k = [row["inside"] for row in shown if row["k"] == k]
        print(f"  mean, k={k}: {np.mean(of_k):.0%}" if of_k else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=25, help="new tasks of a problem")
    parser.add_argument("--draws", type=int, default=2, help="of each task")
    parser.add_argument("--sampling", nargs="+", default=["random", "balanced"])
    parser.add_argument("--problems", nargs="+", default=None, help="parts of names")
    parser.add_argument("--literature", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two problems, few tasks")
    parser.add_argument("--output", type=Path, default=Path("probe_quality.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.draws = 8, 1
        arguments.problems = arguments.problems or ["digits", "genes"]
    if "MTRL_DATA" not in os.environ:
        print("assays, genes and compounds: skipped, MTRL_DATA is not set")
    parts = arguments.problems or [""]
    chosen = [
        (name, make, seed)
        for seed in range(arguments.seeds)
        for name, make in list_problems(seed).items()
        if any(part in name for part in parts)
    ]
    seconds = QUICK_SECONDS if arguments.quick else SECONDS
    print(f"About {len(chosen) * seconds / 60:.0f} minutes on two cores.", flush=True)
    print_heading(arguments.literature)
    rows, times = [], []
    for name, make, seed in chosen:
        found, spent = compare(name, make(), seed, arguments)
        rows += found
        times.append(spent)
    print()
    print_worst(rows)
    print_reliability(rows)
    print_forecasts(rows)
    fit, calibration = np.sum(times, axis=0)
    print(f"\ncalibrate took {calibration / fit:.2f} times as long as the fits")
    arguments.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
