"""The table of source tasks: ours and what users come from, on many kinds of data."""

import time

import numpy as np
from _source_contenders import OURS, SOURCE_CONTENDERS
from _source_kinds import draw_source_data
from joblib import Parallel, delayed
from sklearn.metrics import average_precision_score, roc_auc_score
from threadpoolctl import threadpool_limits

HIDDEN = (0.0, 0.8)  # shares of labels that are missing at random
SURE = 1e-3  # probabilities are clipped to this for the log loss: forests say 0
N_BINS = 10  # of equal width, of the calibration error
TOLERANCE = 0.01  # how far below the best of the others ours may be
CELL_SECONDS, TASK_SECONDS = 10, 0.5  # of a kind and share, one seed and core


def measure(y, probability):
    """Scores of one task on its observed labels."""
    observed = ~np.isnan(y)
    y, probability = y[observed], probability[observed]
    clipped = np.clip(np.where(y == 1, probability, 1 - probability), SURE, 1 - SURE)
    return {
        "ROC-AUC": roc_auc_score(y, probability),
        "precision": average_precision_score(y, probability),
        "log loss": -np.log(clipped).mean(),
        "Brier": np.mean((y - probability) ** 2),
    }


def calibration_error(Y, probabilities):
    """Expected calibration error: |mean label - mean probability| over all labels.

    Bins are those of the probability of the positive class, pooled over tasks, since
    most have too few labels for bins of their own (Guo et al. 2017, equation 3).
    """
    observed = ~np.isnan(Y)
    excess = Y[observed] - probabilities[observed]
    bins = np.minimum((probabilities[observed] * N_BINS).astype(int), N_BINS - 1)
    return np.abs(np.bincount(bins, excess, N_BINS)).sum() / len(excess)


def compare_sources(kind, hidden, seeds, n_tasks):
    """The cell, and scores of contenders by name: lists over tasks and seeds."""
    found = {}
    with threadpool_limits(1):
        for seed in seeds:
            data = draw_source_data(kind, hidden, seed, n_tasks)
            for name, predict in SOURCE_CONTENDERS.items():
                start = time.perf_counter()
                probabilities = predict(data, seed)
                if probabilities is None:
                    continue
                seconds = time.perf_counter() - start
                Y = data.Y_test[:, data.measured]
                tasks = [measure(*pair) for pair in zip(Y.T, probabilities.T)]
                scores = {key: [task[key] for task in tasks] for key in tasks[0]}
                scores["calibration"] = [calibration_error(Y, probabilities)]
                scores["seconds"] = [seconds]
                for key, values in scores.items():
                    found.setdefault(name, {}).setdefault(key, []).extend(values)
    return (kind, hidden), found


def print_cell(kind, hidden, found):
    n_tasks = len(found["ours"]["ROC-AUC"])
    print(f"\n{kind}, {hidden:.0%} of labels missing, {n_tasks} tasks")
    for name, scores in found.items():
        parts = [
            f"{np.mean(scores[key]):.3f} ±{np.std(scores[key]):.3f}"
            for key in ("ROC-AUC", "precision", "log loss", "Brier")
        ]
        print(
            f"  {name:14s} {'   '.join(parts)}   {np.mean(scores['calibration']):.3f}"
            f"  {np.mean(scores['seconds']):6.1f} s",
            flush=True,
        )


def gain(found, name, key):
    """What a contender is better by than the best of the others, and its error.

    The best has the best mean on the very rows that are scored, which flatters it. The
    standard error is that of the difference, over tasks.
    """
    sign = 1 if key in ("ROC-AUC", "precision") else -1
    others = [other for other in found if other not in OURS]
    best = max(others, key=lambda other: sign * np.mean(found[other][key]))
    differences = sign * np.subtract(found[name][key], found[best][key])
    error = differences.std() / max(len(differences) - 1, 1) ** 0.5
    return differences.mean(), error, best


def print_gains(results):
    """What ours is better by, for each kind and share, and how often."""
    print("\nOurs less the best of the others, ± standard error over tasks")
    print(f"  {'':34s}ROC-AUC                       scaled   precision  log loss")
    shown = {}
    for (kind, hidden), found in results.items():
        auc, error, best = shown[kind, hidden] = gain(found, "ours", "ROC-AUC")
        scaled = "      "
        if "ours, scaled" in found:
            scaled = f"{gain(found, 'ours, scaled', 'ROC-AUC')[0]:+.3f}"
        rest = [gain(found, "ours", key)[0] for key in ("precision", "log loss")]
        print(
            f"  {kind:22s} {hidden:4.0%}       {auc:+.3f} ±{error:.3f} {best:15s} "
            f"{scaled}   {rest[0]:+.3f}     {rest[1]:+.3f}"
        )
    for hidden in sorted({hidden for _, hidden in results}):
        gains = np.array([g[0] for (_, h), g in shown.items() if h == hidden])
        print(
            f"  {hidden:.0%} missing: never more than {TOLERANCE} below on "
            f"{(gains >= -TOLERANCE).sum()} of {len(gains)}, ahead on "
            f"{(gains > 0).sum()}, mean {gains.mean():+.4f}"
        )


def report_sources(kinds, seeds, n_tasks, n_jobs):
    """Print all rows as they come, then what ours is better by; return all scores.

    At most ``n_tasks[kind]`` tasks of a kind are measured.
    """
    cells = [(kind, hidden) for kind in kinds for hidden in HIDDEN]
    of_cells = (CELL_SECONDS + TASK_SECONDS * n_tasks[kind] for kind, _ in cells)
    seconds = len(seeds) * sum(of_cells) / n_jobs
    print(
        f"\nSource tasks on new rows: {len(cells)} tables, about {seconds / 60:.0f} "
        "minutes\nROC-AUC, average precision, log loss and Brier score ± spread over "
        "tasks, calibration error, time",
        flush=True,
    )
    start, results = time.perf_counter(), {}
    jobs = (
        delayed(compare_sources)(kind, hidden, seeds, n_tasks[kind])
        for kind, hidden in cells
    )
    for cell, found in Parallel(n_jobs, return_as="generator_unordered")(jobs):
        results[cell] = found
        print_cell(*cell, found)
        elapsed = time.perf_counter() - start
        left = elapsed / len(results) * (len(cells) - len(results))
        print(f"  {elapsed / 60:.1f} min, {left / 60:.0f} left", flush=True)
    results = {cell: results[cell] for cell in cells}
    print_gains(results)
    return {f"{kind}, {hidden:.0%}": found for (kind, hidden), found in results.items()}
