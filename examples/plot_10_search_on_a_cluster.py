"""
A search on several machines
============================

A grid search fits the same model many times, with other parameters and on other rows.
Fits know nothing of each other, so any machine can do any of them: joblib hands them to
the workers of a dask cluster where it would otherwise hand them to processes of its
own. The search stays as it is, and so do its numbers, to the last bit.

The cluster here is two worker processes on this machine. On many machines, each with
this package installed, run ``dask scheduler`` on one of them, ``dask worker
tcp://its-address:8786 --nthreads 1`` on all, and call ``Client`` with that address. A
cluster executes whatever it is sent: let only trusted machines reach it.

The table is printed, the picture is saved as ``cluster.png``.
"""

# %%
# Source tasks
# ------------
# 40 tasks depend on 4 of 60 dimensions, and half of their labels are missing.

import sys
import time

import joblib
import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster, get_task_stream
from sklearn.model_selection import GridSearchCV, KFold

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # smaller, for a quick look
N_ROWS, RANKS = (1500, [2, 4]) if FAST else (2000, [1, 2, 4, 8, None])

COLORS = ("#0072B2", "#D55E00")


def make_search():
    """A search of the rank, scored by the source tasks."""
    return GridSearchCV(
        MultiTaskReLURepresentation(64, random_state=0),
        {"n_components": RANKS},
        cv=KFold(3, shuffle=True, random_state=0),
    )


# %%
# The same search twice
# ---------------------
# Arrays that all fits share are sent to each worker once: that is what ``scatter`` is
# for. A worker has one thread, since there are as many workers as cores.


def search_on_cluster(client, X, Y):
    """Fitted search, and worker, start and seconds of what was done for it."""
    begin = time.time()
    with (
        get_task_stream(client) as stream,
        joblib.parallel_config("dask", client=client, scatter=[X, Y]),
    ):
        search = make_search().fit(X, Y)
    fits = [
        (task["worker"], step["start"] - begin, step["stop"] - step["start"])
        for task in stream.data
        for step in task["startstops"]
        if "fit_and_score" in task["key"] and step["action"] == "compute"
    ]
    return search, fits


def search_in_processes(X, Y):
    """Fitted search, with joblib's own processes."""
    with joblib.parallel_config("loky", n_jobs=2):
        return make_search().fit(X, Y)


# %%
# Picture
# -------


def draw(cluster_scores, process_scores, names, fits):
    """Who fitted what when, and what came of it."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(3, 2))
    workers = sorted({worker for worker, *_ in fits})
    for worker, start, seconds in fits:
        place = workers.index(worker)
        left.barh(place, seconds, left=start, color=COLORS[place], edgecolor="white")
    left.set_yticks(
        range(len(workers)), [f"worker {place + 1}" for place in range(len(workers))]
    )
    left.set_xlim(left=0)
    left.set_ylim(len(workers) - 0.4, -0.6)
    left.set_xlabel("seconds since the search began, a box for each fit")
    left.set_title("Fits on the cluster")
    places = np.arange(len(names))
    right.plot(process_scores, places, "o", color="0.75", ms=13, label="processes")
    right.plot(cluster_scores, places, ".", color="k", label="cluster")
    right.set_yticks(places, names)
    right.invert_yaxis()
    right.margins(y=0.1)
    right.set_xlabel("mean ROC-AUC of source tasks")
    right.set_title("Scores are the same")
    right.legend()
    fig.savefig("cluster.png")


# %%
# Processes import the script that starts them, so what starts them stands apart.


def main():
    """Search on a cluster of two workers and in two processes, and compare."""
    X, Y, *_ = make_subspace_tasks(
        N_ROWS, 60, n_tasks=40, missing_fraction=0.5, random_state=0
    )
    X = X.astype(np.float32)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="tcp://127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        search, fits = search_on_cluster(client, X, Y)
    other = search_in_processes(X, Y)

    scores = search.cv_results_["mean_test_score"]
    other_scores = other.cv_results_["mean_test_score"]
    names = ["whole" if rank is None else f"rank {rank}" for rank in RANKS]
    print(f"{'Mean ROC-AUC':24} cluster processes")
    for row in zip(names, scores, other_scores):
        print("{:24}{:8.4f}{:10.4f}".format(*row))
    print(f"\nBest on the cluster: {search.best_params_}")
    print(f"Best in processes:   {other.best_params_}")
    print(f"Largest difference of scores: {np.abs(scores - other_scores).max()}")
    workers = [worker for worker, *_ in fits]
    print("Shares of the workers:", *(workers.count(worker) for worker in set(workers)))
    draw(scores, other_scores, names, fits)
    print("\nWho fitted what: cluster.png")


if __name__ == "__main__":
    main()
