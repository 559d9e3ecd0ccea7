"""
Many tasks recover the subspace, one cannot
===========================================

Inputs have 100 dimensions, but the labels of all tasks depend on four directions of
them. One gradient step of the heads and then one of the first layer, in closed form,
turns the first layer towards these directions if it sees many tasks. After Collins et
al. (ICML 2024), reconstructed from its abstract.

Tasks with more labels of one class than of the other drown that signal, however many
there are, unless the labels of each task are centred. Centring is an addition of this
package, and no claim of the paper.

Tables are printed, the picture is saved as ``subspace.png``.
"""

# %%
# The step
# --------
# Weights start at random, heads at zero. The step of the heads adds up the hidden
# features of the rows by their labels; that of the first layer then pulls together
# rows that share labels. It is written out here, because the package centres labels
# always.

import sys

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.metrics import subspace_distance

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer rows, draws and numbers of tasks, for a test

N_TASKS = np.array([1, 4, 16, 64] if FAST else [1, 2, 4, 8, 16, 32, 64, 128, 256])
N_DRAWS = 3 if FAST else 10
N_ROWS = 5000 if FAST else 10_000
N_DIRECTIONS = 4
N_HIDDEN = 200


def draw_tasks(kind, n_rows, n_tasks, seed):
    """Rows, signs of shape (n_rows, n_tasks), and the directions to be found."""
    X, Y, components, _ = make_subspace_tasks(
        n_rows,
        100,
        n_components=N_DIRECTIONS,
        n_tasks=n_tasks,
        kind=kind,
        random_state=seed,
    )
    return X.astype(np.float32), (2 * Y - 1).astype(np.float32), components


def take_one_step(X, labels, seed):
    """First layer of shape (n_hidden, n_features) after one step."""
    start = np.random.default_rng(seed).standard_normal((N_HIDDEN, X.shape[1]))
    start = start.astype(np.float32) / np.linalg.norm(start, axis=1, keepdims=True)
    activations = X @ start.T.astype(np.float32)
    heads = labels.T @ np.maximum(0, activations) / len(X)
    return ((labels @ heads) * (activations > 0)).T @ X / labels.size


def measure(weights, components):
    """Sine of the largest angle between the leading directions and the true ones."""
    leading = np.linalg.svd(weights, full_matrices=False)[2][: len(components)]
    return subspace_distance(leading, components)


# %%
# Distance against the number of tasks
# ------------------------------------
# Balanced tasks are positive for half of the sign patterns of the four directions;
# unbalanced ones for a random number of them, so that most tasks have more labels of
# one class. Each number of tasks takes the first ones of a draw.

BALANCED = "balanced tasks"
RAW = "unbalanced tasks"
CENTRED = "unbalanced tasks, labels centred"
PACKAGE_BALANCED = 'algorithm="one_step", balanced'
PACKAGE_UNBALANCED = 'algorithm="one_step", unbalanced'


def compare(seed):
    """Distances of each contender, by the number of tasks."""
    distances = {}
    for kind, names in {
        "balanced": {"raw": BALANCED, "package": PACKAGE_BALANCED},
        "unbalanced": {"raw": RAW, "centred": CENTRED, "package": PACKAGE_UNBALANCED},
    }.items():
        X, signs, components = draw_tasks(kind, N_ROWS, N_TASKS[-1], seed)
        package = MultiTaskReLURepresentation(
            N_HIDDEN, n_components=None, algorithm="one_step", random_state=seed
        )
        ways = {
            "raw": lambda y, X=X: take_one_step(X, y, seed),
            "centred": lambda y, X=X: take_one_step(X, y - y.mean(axis=0), seed),
            "package": lambda y, X=X, model=package: model.fit(X, y).hidden_weights_,
        }
        for way, name in names.items():
            distances[name] = [
                measure(ways[way](signs[:, :n_tasks]), components)
                for n_tasks in N_TASKS
            ]
    return distances


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:7}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:7.3f}" for value in values))


runs = Parallel(n_jobs=2)(delayed(compare)(seed) for seed in range(N_DRAWS))
distances = {  # of shape (n_draws, n_task_counts)
    name: np.array([run[name] for run in runs]) for name in runs[0]
}
means = {name: values.mean(axis=0) for name, values in distances.items()}
print_table("Distance from the subspace, by the number of tasks", N_TASKS, means)

# %%
# More rows for one task
# ----------------------
# "Cannot" is a matter of rows. A Boolean function of signs bears weak traces of all its
# directions, and the rows of one task bring them out in the end; many tasks need far
# fewer rows.

N_ROWS_SWEPT = [2500, 5000] if FAST else [2500, 5000, 10_000, 20_000, 40_000]


def sweep_rows(seed):
    """Distances of one task and of 64, by the number of rows."""
    X, signs, components = draw_tasks("balanced", N_ROWS_SWEPT[-1], 64, seed)
    return [
        [
            measure(take_one_step(X[:n], signs[:n, :n_tasks], seed), components)
            for n in N_ROWS_SWEPT
        ]
        for n_tasks in (1, 64)
    ]


swept = np.mean(
    Parallel(n_jobs=2)(delayed(sweep_rows)(seed) for seed in range(N_DRAWS)), axis=0
)
print_table(
    "Distance of balanced tasks, by the number of rows",
    N_ROWS_SWEPT,
    {"one task": swept[0], "64 tasks": swept[1]},
)

# %%
# Picture
# -------
# Points are means over draws, bars reach from the best draw to the worst. The package
# is left out: from 16 tasks on its points lie on those of balanced tasks and of centred
# labels.

STYLES = {  # colours that differ without colour vision as well, and markers
    RAW: {"color": "#D55E00", "marker": "s"},
    CENTRED: {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    BALANCED: {"color": "#000000", "marker": "D", "linestyle": "--"},
}
HEIGHTS = {RAW: 0.91, CENTRED: 0.25, BALANCED: 0.06}  # of the names of curves


def headline(means):
    one, many = means[CENTRED][[0, -1]]
    return (
        f"With centred labels one task is {one:.2f} from the subspace, {N_TASKS[-1]} "
        f"tasks {many:.2f}; without, {means[RAW][-1]:.2f}"
    )


fig, ax = plt.subplots(figsize=(7.5, 4.2))
for k, (name, style) in enumerate(STYLES.items()):
    spread = [distances[name].min(axis=0), distances[name].max(axis=0)]
    x = N_TASKS * 1.03 ** (k - 1)  # so that bars do not cover each other
    ax.errorbar(x, means[name], np.abs(spread - means[name]), elinewidth=1.2, **style)
    ax.text(N_TASKS[-1], HEIGHTS[name], name, color=style["color"], ha="right")
ax.set_xscale("log", base=2)
ax.set_xticks(N_TASKS, N_TASKS)
ax.set_ylim(0, 1.03)
ax.set_xlabel(
    f"tasks, with labels of the same {N_ROWS} rows\n"
    f"points: mean of {N_DRAWS} draws, bars: from the best draw to the worst"
)
ax.set_ylabel("distance from the subspace\n(0 found, 1 missed)")
fig.suptitle(headline(means), x=0.01, ha="left")
fig.savefig("subspace.png")
print("\nCurves: subspace.png")
