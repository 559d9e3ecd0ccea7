"""Probes of new tasks: default, calibrated, and what they have to beat.

Run as ``python benchmarks/probe_quality.py``. For each data set some tasks are held
out, a representation is trained on the others with default settings, and probes of the
new tasks are trained on few labels of rows that it saw and tested on rows that it did
not. Prints, as they arrive, ROC-AUC and average precision above prevalence beside those
of logistic regression on raw inputs and of no labels; then how far probabilities can be
relied on, and how many new tasks the forecast of ``calibrate`` holds. ``--literature``
adds methods of the few-shot literature, and their differences to the default probe.
Writes ``probe_quality.json`` after each data set. Standard errors are over tasks, of
which draws and seeds were averaged before. Assays, genes
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
    RICH,
    base_rate,
    by_task,
    calibration_error,
    draw_tasks,
    logistic,
    score,
    shows_both,
)
from _literature import LITERATURE, list_literature
from _new_tasks import list_problems

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe, calibrate

SHOTS = (0, 4, 16, 64, 128)
NONE, RAW = "no labels", ("raw C=.1", "raw C=1")
DEFAULT, CALIBRATED = "default", "calibrated"
SHOWN = (NONE, *RAW, DEFAULT, CALIBRATED)
METRICS = {"roc_auc": "ROC-AUC", "delta_auprc": "AP above prevalence"}
PAIRED = METRICS | {"log_loss": "relative log loss"}
RELIABLE = (DEFAULT, "prior=None", RAW[1], "base rate")
# Processor seconds of a problem.
SECONDS, QUICK_SECONDS = 60, 8


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
    found = list_literature(representation, X, X_test) if literature else {}
    return contenders | {name: found[name] for name in literature}


def compare(name, problem, seed, arguments):
    """Scores of all contenders, printed as they arrive, and processor seconds."""
    X_source, Y_source = problem.sources()
    start = time.process_time()
    representation = MultiTaskReLURepresentation(random_state=seed)
    representation.fit(X_source, Y_source)
    fitted = time.process_time()
    groups = None
    if arguments.groups == "random":
        groups = np.random.default_rng(seed).permutation(Y_source.shape[1]) % 3
    settings = calibrate(representation, X_source, Y_source, groups, random_state=seed)
    seconds = [fitted - start, time.process_time() - fitted]
    drawn = draw_tasks(problem, arguments.tasks, arguments.draws, seed, arguments.least)
    n_tasks = len(np.unique(drawn.task))
    print(
        f"\n{name}, seed {seed}: {n_tasks} new tasks, {Y_source.shape[1]} source "
        f"tasks; fit {seconds[0]:.1f} s, calibrate {seconds[1] / seconds[0]:.2f} times "
        f"as long; {np.nanmean(drawn.test, axis=0).mean():.0%} positive"
    )
    contenders = list_contenders(
        problem, representation, settings, arguments.literature
    )
    rows = []
    for sampling in arguments.sampling:
        for k in arguments.shots:
            few, has_all = drawn.few(k, sampling)
            if not has_all.any() or (k == 0 and sampling == "balanced"):
                continue
            row = {"problem": name, "seed": seed, "sampling": sampling, "k": k}
            predicted = {name: predict(few) for name, predict in contenders.items()}
            row |= score_all(drawn, has_all, predicted)
            both = shows_both(few)
            row["share of both"] = float(both.mean())
            if arguments.literature and both.any():
                has_both = has_all.copy()
                has_both[has_all] = both
                kept = {name: P[:, both] for name, P in predicted.items()}
                row["both"] = score_all(drawn, has_both, kept)
            Y = drawn.test[:, has_all]
            reached = score(Y, predicted[CALIBRATED]).roc_auc
            row["band"] = place_in_band(reached, settings.forecast(k).roc_auc)
            rows.append(row)
            print_row(row)
    return rows, seconds


def score_all(drawn, kept, predicted):
    """Names of tasks, and scores of contenders in the same order, of kept columns."""
    Y, found = drawn.test[:, kept], {}
    for contender, P in predicted.items():
        scores = score(Y, P)._asdict()
        found[contender] = {
            metric: by_task(drawn, kept, values).tolist()
            for metric, values in scores.items()
        }
        found[contender]["ece"] = [calibration_error(Y, P)]
    return {"tasks": np.unique(drawn.task[kept]).tolist(), "scores": found}


def place_in_band(reached, band):
    """Shares of draws of new tasks below, in and above the band of 80 %."""
    places = np.digitize(reached, [band.q10, band.q90])
    return [float(np.mean(places == place)) for place in range(3)]


def pool(rows):
    """Scores of each contender by task: means over the seeds of a kind of data.

    Tasks that are made are others for each seed.
    """
    pooled = {}
    for metric in PAIRED:
        for contender in rows[0]["scores"]:
            by_name = {}
            for row in rows:
                made = row["seed"] if row["problem"] == "digits" else None
                for task, value in zip(row["tasks"], row["scores"][contender][metric]):
                    by_name.setdefault((made, task), []).append(value)
            means = np.array([np.mean(values) for values in by_name.values()])
            pooled.setdefault(contender, {})[metric] = means
    return pooled


def group(rows):
    """Rows of all seeds by kind of data, sampling and number of labels."""
    groups = {}
    for row in rows:
        key = row["problem"], row["sampling"], row["k"]
        groups.setdefault(key, []).append(row)
    return groups


def difference(values, other):
    """Mean and standard error over tasks."""
    gain = values - other
    return gain.mean(), gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0


def print_row(row):
    """Means over tasks, and differences with their standard errors over tasks."""
    for metric, title in METRICS.items():
        values = {name: np.array(s[metric]) for name, s in row["scores"].items()}
        best = max((NONE, *RAW), key=lambda name: values[name].mean())
        shown = " ".join(f"{values[name].mean():10.3f}" for name in SHOWN)
        gains = ""
        for name in (DEFAULT, CALIBRATED):
            gain = values[name] - values[best]
            mean, error = difference(values[name], values[best])
            gains += f"  {mean:+.3f} ({error:.3f}, {gain.std():.2f})"
        where = f"{row['sampling']:9} {row['k']:4}  {title:20}"
        others = [n for n in values if n not in (*SHOWN, *RELIABLE)]
        rest = "".join(f" {values[name].mean():10.3f}" for name in others)
        print(where + shown + gains + rest, flush=True)


def print_heading(literature):
    print(
        "The last two columns: default and calibrated less the best of "
        f"{', '.join((NONE, *RAW))}, with standard error and spread over tasks."
    )
    names = (*SHOWN, *literature)
    print(f"{'labels':36}" + " ".join(f"{name:>10}" for name in names))


def print_pooled(rows):
    """Means over seeds, where there are several."""
    if len({row["seed"] for row in rows}) == 1:
        return
    print("\nMeans over seeds")
    for (name, sampling, k), of_key in group(rows).items():
        scores = pool(of_key)
        n_tasks = len(scores[NONE]["roc_auc"])
        print(f"{name}: {n_tasks} tasks, {len(of_key)} seeds")
        print_row({"sampling": sampling, "k": k, "scores": scores})


def print_worst(rows):
    print()
    for metric, title in METRICS.items():
        for name in (DEFAULT, CALIBRATED):
            gains = []
            for key, of_key in group(rows).items():
                scores = {n: s[metric] for n, s in pool(of_key).items()}
                best = max((NONE, *RAW), key=lambda other: scores[other].mean())
                gains.append((*difference(scores[name], scores[best]), key))
            gain, error, (problem, sampling, k) = min(gains)
            mean = np.mean([gain for gain, *_ in gains])
            n_below = sum(gain < -0.005 for gain, *_ in gains)
            print(
                f"{title}, {name} less the best of raw and no labels: mean {mean:+.3f},"
                f" worst {gain:+.3f} ({error:.3f}; {problem}, {k} {sampling}), more "
                f"than .005 below in {n_below} of {len(gains)}"
            )


def print_literature(rows, literature):
    """Other methods less the default probe, on the same features and draws."""
    for name in literature:
        print(f"\n{name} less {DEFAULT}, with standard errors over tasks of it")
        for (problem, sampling, k), of_key in group(rows).items():
            where = f"  {problem:28} {sampling:9}{k:4}"
            print(where + describe_difference(pool(of_key), name))
            share = np.mean([row["share of both"] for row in of_key])
            if 0 < share < 1:
                both = [row | row["both"] for row in of_key if "both" in row]
                where = f"      the {share:.0%} of draws of both classes"
                print(f"{where:43}" + describe_difference(pool(both), name))


def describe_difference(scores, name):
    shown = ""
    for metric, title in PAIRED.items():
        gain, error = difference(scores[name][metric], scores[DEFAULT][metric])
        shown += f"  {title} {gain:+.4f} ({error:.4f})"
    return f"{shown}  {len(scores[name]['roc_auc'])} tasks"


def print_reliability(rows, shots):
    print("\nReliability, labels as they come, means over data sets")
    print(
        "  log loss is divided by that of always saying the prevalence of the test rows"
    )
    for metric, title in (
        ("log_loss", "log loss"),
        ("brier", "Brier score"),
        ("ece", "expected calibration error"),
    ):
        print(f"  {title:28}" + " ".join(f"{f'k={k}':>7}" for k in shots))
        for name in RELIABLE:
            means = [
                np.mean([np.mean(row["scores"][name][metric]) for row in of_k])
                for k in shots
                for of_k in [
                    [r for r in rows if r["k"] == k and r["sampling"] == "random"]
                ]
                if of_k
            ]
            print(f"    {name:26}" + " ".join(f"{mean:7.3f}" for mean in means))


def print_by_data(rows):
    """Log loss of few labels as they come, one data set after the other."""
    print("  log loss of the default by data set")
    for (name, sampling, k), of_key in group(rows).items():
        if sampling == "random" and k in (0, 16):
            losses = [np.mean(row["scores"][DEFAULT]["log_loss"]) for row in of_key]
            print(f"    {name:26} k={k:<3} {np.mean(losses):7.3f}")


def print_forecasts(rows):
    print(
        "\nShares of draws of new tasks whose ROC-AUC lies below, in and above the 10 "
        "and 90 % quantiles of the forecast, for 10, 80 and 10 % of those left out"
    )
    means = {}
    for (name, sampling, k), of_key in group(rows).items():
        if sampling == "random":
            shares = np.mean([row["band"] for row in of_key], axis=0)
            means.setdefault(k, []).append(shares)
            print(f"  {name:28} k={k:<4}" + " ".join(f"{s:5.0%}" for s in shares))
    for k, shares in means.items():
        mean = " ".join(f"{share:5.0%}" for share in np.mean(shares, axis=0))
        print(f"  {'mean over data sets':28} k={k:<4}" + mean)


def print_tables(rows, arguments):
    print_pooled(rows)
    print_worst(rows)
    print_literature(rows, arguments.literature)
    print_reliability(rows, arguments.shots)
    print_by_data(rows)
    print_forecasts(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tasks", type=int, default=25, help="new tasks of a problem")
    parser.add_argument("--draws", type=int, default=2, help="of each task")
    parser.add_argument(
        "--least", type=int, default=RICH, help="labels of the rarer class of a task"
    )
    parser.add_argument("--sampling", nargs="+", default=["random", "balanced"])
    parser.add_argument(
        "--groups",
        choices=["similar", "random"],
        default="similar",
        help="of source tasks that calibrate leaves out together",
    )
    parser.add_argument("--problems", nargs="+", default=None, help="parts of names")
    parser.add_argument("--shots", nargs="+", type=int, default=SHOTS)
    parser.add_argument(
        "--literature", nargs="*", choices=LITERATURE, help="these methods, or all"
    )
    parser.add_argument("--quick", action="store_true", help="two problems, few tasks")
    parser.add_argument("--output", type=Path, default=Path("probe_quality.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.draws = 8, 1
        arguments.problems = arguments.problems or ["digits", "genes"]
    if arguments.literature is None:
        arguments.literature = ()
    elif not arguments.literature:
        arguments.literature = LITERATURE
    if "MTRL_DATA" not in os.environ:
        print("assays, genes and compounds: skipped, MTRL_DATA is not set")
    parts = arguments.problems or [""]
    chosen = [
        (name, make, seed)
        for seed in arguments.seeds
        for name, make in list_problems(seed).items()
        if any(part in name for part in parts)
    ]
    seconds = QUICK_SECONDS if arguments.quick else SECONDS
    print(f"About {len(chosen) * seconds / 60:.1f} minutes of a processor.", flush=True)
    print_heading(arguments.literature)
    rows, times = [], []
    for name, make, seed in chosen:
        found, spent = compare(name, make(), seed, arguments)
        rows += found
        times.append(spent)
        arguments.output.write_text(json.dumps(rows, indent=1))
    print_tables(rows, arguments)
    fit, calibration = np.sum(times, axis=0)
    print(f"\ncalibrate took {calibration / fit:.2f} times as long as the fits")


if __name__ == "__main__":
    main()
