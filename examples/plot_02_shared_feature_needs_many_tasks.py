"""
A shared feature needs many tasks
=================================

Each task has 120 labelled rows. About half of them show a strong feature of the task's
own, the others a weak one that all tasks share. A convolutional network that is trained
on one task learns the task's own feature, memorises the noise of the other rows, and
guesses on new rows of that sort. Trained on many tasks it learns the shared feature
too, and new tasks need few labels. After Li et al. (AISTATS 2025), reconstructed.

What is gained are the rows of the other tasks: one task with as many rows does as well
or better, and is shown beside them. Tables are printed, the picture is saved as
``shared_feature.png``.
"""

# %%
# Contenders
# ----------
# The sign of a feature is random, so that no linear method sees the label. Errors are
# those on new rows of the training tasks. Random filters, as many as the network has,
# show what training is good for.

from itertools import product
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from matplotlib.ticker import PercentFormatter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.metrics import feature_alignment, signal_to_noise

N_ROWS = 120  # of each task
NOISE_NORM = 1.4
N_TASKS = np.array([1, 2, 4, 8, 16, 32])
MANY = 16
N_DRAWS = 5
MULTI = "network, all tasks"
CONTROL = "network, one task with all those rows"
ALONE = "network, one task"
RANDOM = "random filters + logistic, all tasks"
RAW = "raw rows + logistic, all tasks"


def make_tasks(n_rows, n_tasks, seed):
    """Tasks with float32 rows, on which networks train faster."""
    drawn = make_patch_tasks(
        n_rows, n_tasks, kind="symmetric", noise_norm=NOISE_NORM, random_state=seed
    )
    return drawn._replace(X=drawn.X.astype(np.float32))


def make_network(seed, callbacks=None):
    return ConvMultiTaskClassifier(head="fixed", callbacks=callbacks, random_state=seed)


def random_filters(seed):
    """Features of a network that was never trained."""
    W = np.random.default_rng(seed).standard_normal((64, 200))
    return lambda X: (np.maximum(0, X @ W.T) ** 3).sum(axis=1)


def raw_rows(X):
    return X.reshape(len(X), -1)


def fit_probe(features, X, y):
    """Logistic regression on features, divided by one global factor."""
    scale = features(X).std()
    scaled = FunctionTransformer(lambda X: features(X) / scale)
    return make_pipeline(scaled, LogisticRegression(max_iter=1000)).fit(X, y)


# %%
# Error against the number of tasks
# ---------------------------------
# Half of the test rows show the shared feature, the others a task's own. The network
# should begin to learn the shared feature where its signal to noise has passed the
# bounds of :func:`~mtrl_sklearn.metrics.signal_to_noise`, which are about twice as high
# for features of random sign.

TRANSITION = 2 * np.array([1.5, 4])
KINDS = ["rows with the shared feature", "rows with the task's own feature"]


def measure(model, problem, seed):
    """Error on new rows with the shared feature, and on new rows without it."""
    n_rows = 800 // len(problem.task_directions)
    samples = [
        problem.sample(n_rows, shared_fraction=fraction, random_state=seed)
        for fraction in (1, 0)
    ]
    return [1 - model.score(sample.X, sample.y) for sample in samples]


def compare(n_tasks, seed):
    X, y, tasks, *_, problem = make_tasks(N_ROWS, n_tasks, seed)
    large = make_tasks(N_ROWS * n_tasks, 1, seed)
    alone = make_tasks(N_ROWS, 1, 100 * n_tasks + seed)
    models = {
        MULTI: (make_network(seed).fit(X, y, tasks), problem),
        CONTROL: (make_network(seed).fit(large.X, large.y), large.problem),
        ALONE: (make_network(seed).fit(alone.X, alone.y), alone.problem),
        RANDOM: (fit_probe(random_filters(seed), X, y), problem),
        RAW: (fit_probe(raw_rows, X, y), problem),
    }
    return {name: measure(*model, seed) for name, model in models.items()}


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:7}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:7.3f}" for value in values))


runs = Parallel(n_jobs=2)(
    delayed(compare)(n_tasks, seed)
    for seed, n_tasks in product(range(N_DRAWS), N_TASKS)
)
errors = {  # of shape (n_draws, n_task_counts, n_kinds)
    name: np.reshape([run[name] for run in runs], (N_DRAWS, len(N_TASKS), 2))
    for name in runs[0]
}
for k, kind in enumerate(KINDS):
    means = {name: error.mean(axis=0)[:, k] for name, error in errors.items()}
    print_table(f"Error on new {kind}, by the number of tasks", N_TASKS, means)
strengths = [
    signal_to_noise(N_ROWS, n_tasks, noise_norm=NOISE_NORM).shared
    for n_tasks in N_TASKS
]
print_table("Signal to noise", N_TASKS, {"of the shared feature": strengths})

# %%
# Filters in training
# -------------------
# A callback compares filters with the features after each step, which is an epoch of
# full-batch descent. Each class has a direction of the shared feature, and filters look
# for both its signs: for four directions in all. Filters that have all but died out
# count as not aligned.


class Alignment(Callback):
    """Largest cosine of a filter with each direction, after each step."""

    def __init__(self, directions):
        self.directions = np.concatenate([directions, -directions])
        self.cosines = []

    def on_epoch_end(self, net, **kwargs):
        """Keep the cosines of this step."""
        filters = net.module_.filters.numpy(force=True)
        self.cosines.append(feature_alignment(filters, self.directions))


class Trained(NamedTuple):
    """A network, and what its filters learned and when."""

    network: ConvMultiTaskClassifier
    shared_cosines: np.ndarray  # (n_steps, n_shared_directions)
    own_cosines: np.ndarray  # (n_steps, n_own_directions)
    energies: np.ndarray  # (n_filters, 3): squared norms along shared, own, the rest


def train(drawn, n_tasks, seed):
    """Train on the first tasks."""
    rows = drawn.tasks < n_tasks
    shared, own = drawn.shared_directions, np.vstack(drawn.task_directions[:n_tasks])
    watched = Alignment(shared), Alignment(own)
    network = make_network(seed, watched)
    network.fit(drawn.X[rows], drawn.y[rows], drawn.tasks[rows])
    along = [((network.filters_ @ part.T) ** 2).sum(axis=1) for part in (shared, own)]
    rest = (network.filters_**2).sum(axis=1) - sum(along)
    cosines = [np.array(callback.cosines) for callback in watched]
    return Trained(network, *cosines, np.column_stack([*along, rest]))


# %%
# A new task
# ----------
# New tasks show the shared feature only. Their few labels train a logistic regression
# on the responses of the filters.

N_LABELS = [8, 16, 32, 64]


def probe_task(features, few, test, task):
    """Test error on one task."""
    rows, new_rows = few.tasks == task, test.tasks == task
    probe = fit_probe(features, few.X[rows], few.y[rows])
    return 1 - probe.score(test.X[new_rows], test.y[new_rows])


def transfer(drawn, many, one, seed, n_new=10):
    """Mean error over new tasks for each number of labels, on each kind of features."""
    new = drawn.problem.new_tasks(n_new, random_state=seed)
    test = new.sample(400, shared_fraction=1, random_state=seed)
    draws = [
        new.sample(n_labels, shared_fraction=1, random_state=seed + n_labels)
        for n_labels in N_LABELS
    ]
    kinds = {
        f"filters of {MANY} tasks": many.network.transform,
        "filters of one task": one.network.transform,
        "random filters": random_filters(seed),
        "raw rows": raw_rows,
    }
    return {
        name: [
            np.mean([probe_task(features, few, test, task) for task in range(n_new)])
            for few in draws
        ]
        for name, features in kinds.items()
    }


def watch(seed):
    drawn = make_tasks(N_ROWS, MANY, seed)
    many, one = train(drawn, MANY, seed), train(drawn, 1, seed)
    return many, one, transfer(drawn, many, one, seed)


watched = Parallel(n_jobs=2)(delayed(watch)(seed) for seed in range(N_DRAWS))
many, one, transfers = zip(*watched)
means = {
    name: np.mean([draw[name] for draw in transfers], axis=0) for name in transfers[0]
}
print_table("Error on new tasks, by their number of labels", N_LABELS, means)

# %%
# Picture
# -------
# Errors are means over draws of the tasks, and bars reach from the best draw to the
# worst. Cosines are those of all draws: the line is their median, half of them lie in
# the band. They stay below 1 where one filter serves several features. The energy of a
# filter is its squared norm, shown for the first draw; what lies off all features is
# memorised noise.

STYLES = {  # colours that differ without colour vision as well, and markers
    MULTI: {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    CONTROL: {"color": "#3D9BD6", "marker": "v", "linestyle": "--"},
    ALONE: {"color": "#D55E00", "marker": "s"},
    RANDOM: {"color": "#009E73", "marker": "^"},
    RAW: {"color": "#000000", "marker": "D"},
}
PLACES = {  # of the names of curves
    MULTI: (34, 0.12, "right"),
    CONTROL: (4.7, 0.11, "right"),
    ALONE: (34, 0.275, "right"),
    RANDOM: (0.95, 0.32, "left"),
    RAW: (0.95, 0.545, "left"),
}
PARTS = {  # of filters
    "shared feature": {"color": "#AA4499"},
    "own features": {"color": "#DD8800", "linestyle": "--"},
    "noise": {"color": "#808080"},
}


def draw_errors(ax, errors):
    bounds = N_TASKS[0] * TRANSITION / strengths[0]
    ax.axvspan(*bounds, color="#F0E442", alpha=0.35, linewidth=0)
    where = "signal to noise\nfrom {:g} to {:g}".format(*TRANSITION)
    ax.text(np.sqrt(bounds.prod()), 0.645, where, ha="center", va="top", size=9)
    for k, (name, error) in enumerate(errors.items()):
        total = error.mean(axis=2)  # over both kinds of rows
        mean = total.mean(axis=0)
        spread = np.abs([total.min(axis=0), total.max(axis=0)] - mean)
        x = N_TASKS * 1.03 ** (k - 2)  # so that bars do not cover each other
        ax.errorbar(x, mean, spread, elinewidth=1.2, **STYLES[name])
        x, y, side = PLACES[name]
        text = name.replace("task with", "task\nwith")
        ax.text(x, y, text, color=STYLES[name]["color"], ha=side, va="center", size=9)
    ax.set_xscale("log", base=2)
    ax.set_xticks(N_TASKS, N_TASKS)
    ax.set_ylim(-0.02, 0.66)
    ax.set_xlabel(f"tasks, with {N_ROWS} labelled rows each")
    ax.set_title("Error on new rows", loc="left", size=10)
    ax.grid(axis="y", alpha=0.3)


def draw_training(ax, draws):
    n_steps = max(len(draw.shared_cosines) for draw in draws)
    curves = {
        "shared feature": [draw.shared_cosines for draw in draws],
        "own features": [draw.own_cosines for draw in draws],
    }
    for name, parts in curves.items():
        ends = [[(0, n_steps - len(part)), (0, 0)] for part in parts]
        cosines = np.hstack(
            [np.pad(part, end, "edge") for part, end in zip(parts, ends)]
        )
        low, median, high = np.quantile(cosines, [0.25, 0.5, 0.75], axis=1)
        color = PARTS[name]["color"]
        ax.fill_between(range(n_steps), low, high, alpha=0.2, color=color)
        ax.plot(median, linewidth=2.5, **PARTS[name])
    ax.set_ylim(-0.02, 1.05)


def draw_filters(ax, energies):
    shares = energies / energies.sum()
    shares = shares[shares.sum(axis=1).argsort()[::-1]]
    below = np.zeros(len(shares))
    for k, (name, style) in enumerate(PARTS.items()):
        ax.bar(range(len(shares)), shares[:, k], 1, below, color=style["color"])
        below += shares[:, k]
        text = f"{name} {shares[:, k].sum():.0%}"
        ax.text(62, 0.1 - 0.013 * k, text, color=style["color"], ha="right", size=9)
    ax.set_ylim(0, 0.115)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def headline(errors):
    """The fewest tasks that do, and the errors of one task and of the control."""
    means = {name: error.mean(axis=(0, 2)) for name, error in errors.items()}
    if means[MULTI].min() > 0.01:
        return "No number of tasks suffices here"
    k = np.argmax(means[MULTI] <= 0.01)
    multi, alone, control = (means[name][k] for name in (MULTI, ALONE, CONTROL))
    return (
        f"{N_TASKS[k]} tasks learn the feature that they share: error {multi:.3f}, "
        f"one task {alone:.3f}, one task with all those rows {control:.3f}"
    )


fig, axes = plt.subplot_mosaic(
    [["errors", "steps, many", "many"], ["errors", "steps, one", "one"]],
    figsize=(11, 5.2),
    width_ratios=[1.5, 1, 1],
    layout="constrained",
)
draw_errors(axes["errors"], errors)
for key, title, draws in (("many", f"{MANY} tasks", many), ("one", "One task", one)):
    draw_training(axes[f"steps, {key}"], draws)
    draw_filters(axes[key], draws[0].energies)
    axes[f"steps, {key}"].set_title(
        f"{title}: cosine with features", loc="left", size=10
    )
    axes[key].set_title(f"{title}: energy of filters", loc="left", size=10)
axes["steps, one"].set_xlabel("steps of descent")
axes["one"].set_xlabel("filters, the strongest first")
for k, (name, style) in enumerate(list(PARTS.items())[:2]):
    axes["steps, one"].text(
        300, 0.08 + 0.64 * k, name, color=style["color"], ha="right", size=9
    )
for ax in axes.values():
    ax.spines[["top", "right"]].set_visible(False)
fig.suptitle(headline(errors), weight="bold", x=0.01, ha="left")
fig.savefig("shared_feature.png", dpi=100)
print("\nCurves: shared_feature.png")
