r"""
One fit on many machines
========================

Each of two sites has rows of its own, and labels of its own tasks: half of the columns
of ``y`` are missing at the one, the other half at the other. Inside a group of
processes that `torch.distributed` has set up, ``fit`` takes what each of them passes
for its share of the rows. They exchange sums of gradients, never rows, and end with the
same network: that of one process with all rows, up to rounding. New tasks tell what a
site gains over learning alone.

Start it once on each machine (``ADDRESS`` is that of one of them)::

    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d \
        --rdzv-endpoint ADDRESS:29500 plot_09_one_fit_on_two_machines.py

Started by ``python``, it runs two processes on this one. A table is printed, the
picture is saved as ``two_machines.png``.
"""

# %%
# Two processes
# -------------
# Every process runs the same script. Gradients are small, and the network between the
# processes is slower than memory: see :doc:`/guide/many_machines` for what that
# means for the size of batches.

import os
import subprocess
import sys

import numpy as np
from torch import distributed

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe

FAST = "--fast" in sys.argv  # fewer seeds, for a test

N_SITES, N_ROWS, N_TASKS = 2, 600, 48
SEEDS = range(1 if FAST else 5)
SHOTS = [16, 64] if FAST else [16, 32, 64, 128]
TOGETHER, ALONE, RAW = "together", "alone", "raw inputs"

if "RANK" not in os.environ:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launch += ["--nproc-per-node", str(N_SITES), *sys.argv]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(launch, env=environment, capture_output=True, text=True)
    print(run.stdout)
    if run.returncode:
        raise RuntimeError(run.stderr)


# %%
# The share of a site
# -------------------
# Here both draw all rows and keep their own; in earnest each reads its own file.


def rows_of_site(site, seed):
    X, Y, _, problem = make_subspace_tasks(
        N_SITES * N_ROWS, 60, n_components=3, n_tasks=N_TASKS, random_state=seed
    )
    mine = np.arange(len(X)) % N_SITES == site
    of_others = np.arange(N_TASKS) % N_SITES != site
    X, Y = X[mine].astype(np.float32), Y[mine].astype(float)
    Y[:, of_others] = np.nan
    return X, Y, problem


def accuracy_on_new_tasks(representation, problem, seed):
    """Mean accuracy of probes on ten new tasks, by the number of their labels."""
    new = problem.new_tasks(10, random_state=seed + 1000)
    X_test, Y_test = new.sample(1000, random_state=seed + 2000)
    X_few, Y_few = new.sample(SHOTS[-1], random_state=seed + 3000)
    probe = LinearProbe(representation)
    return [
        np.mean(
            [
                probe.fit(X_few[:n], few[:n]).score(X_test, test)
                for few, test in zip(Y_few.T, Y_test.T)
                if 0 < few[:n].mean() < 1  # both classes are there
            ]
        )
        for n in SHOTS
    ]


# %%
# Together and alone
# ------------------
# Outside of a group a fit is one of this process alone, so the group comes second.


def fit(X, Y, seed):
    return MultiTaskReLURepresentation(128, random_state=seed).fit(X, Y)


def fit_alone(site, seed):
    X, Y, problem = rows_of_site(site, seed)
    own = ~np.isnan(Y).all(axis=0)
    return accuracy_on_new_tasks(fit(X, Y[:, own], seed), problem, seed)


def fit_together(site, seed):
    X, Y, problem = rows_of_site(site, seed)
    representation = fit(X, Y, seed)
    weights = [None] * N_SITES
    distributed.all_gather_object(weights, representation.hidden_weights_)
    assert all(np.array_equal(weights[0], other) for other in weights)
    return accuracy_on_new_tasks(representation, problem, seed)


def use_inputs(site, seed):
    return accuracy_on_new_tasks(None, rows_of_site(site, seed)[2], seed)


def draw(means):
    import matplotlib.pyplot as plt

    plt.style.use("mtrl_sklearn.plotting.style")
    figure, axes = plt.subplots(figsize=(7, 4))
    for name, style in {TOGETHER: "o-", ALONE: "s--", RAW: "D:"}.items():
        axes.plot(SHOTS, means[name], style, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SHOTS, SHOTS)
    axes.set(
        xlabel="labels of a new task",
        ylabel=f"accuracy on new rows, mean over {len(SEEDS)} draws",
        title="A site with rows and tasks of its own learns more together",
    )
    axes.legend()
    figure.savefig("two_machines.png")


if "RANK" in os.environ:
    site = int(os.environ["RANK"])
    runs = {RAW: [use_inputs(site, seed) for seed in SEEDS]}
    runs[ALONE] = [fit_alone(site, seed) for seed in SEEDS]
    distributed.init_process_group("gloo")
    runs[TOGETHER] = [fit_together(site, seed) for seed in SEEDS]
    distributed.destroy_process_group()
    if site == 0:
        means = {name: np.mean(runs[name], axis=0) for name in (TOGETHER, ALONE, RAW)}
        print("Accuracy on new tasks of the first site, by the number of labels")
        print(f"{'':12}" + "".join(f"{n:7}" for n in SHOTS))
        for name, values in means.items():
            print(f"{name:12}" + "".join(f"{value:7.3f}" for value in values))
        draw(means)
        print("\nCurves: two_machines.png")
