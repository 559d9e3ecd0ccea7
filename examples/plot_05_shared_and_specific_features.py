"""
Shared and specific features
============================

Each task has 40 labelled rows. About half of them show a strong feature of the task's
own, the others a weak one that all tasks share. A convolutional network that is trained
on one task learns the task's own feature, memorises the noise of the other rows, and
guesses on new rows of that sort. Trained on many tasks it learns the shared feature
too, in a second stage. After Li et al. (AISTATS 2025), reconstructed from its abstract
and reviews.

Whether rows suffice can be told beforehand from a ratio of signal to noise. This law is
an addition of the package, measured and not proved. It counts rows, whatever tasks they
come from: one task with as many rows does as well, and is shown beside many.

Tables are printed, the picture is saved as ``shared_feature.png``.
"""

# %%
# Contenders
# ----------
# The sign of a feature is random, so that no linear method sees the label. Random
# filters, as many as the network has, show what training is good for.

import sys
from itertools import product

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

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer draws, tasks and strengths, for a test

N_ROWS = 40  # of each task
NOISE_NORM = 1.1
STRENGTH = 0.35  # of the shared feature; a task's own has 1
MANY = 16
N_FEATURES = 300
N_DRAWS = 1 if FAST else 3
MULTI = f"network, {MANY} tasks"
CONTROL = "network, one task with all those rows"
ALONE = "network, one task"
RANDOM = f"random filters + logistic, {MANY} tasks"
RAW = f"raw rows + logistic, {MANY} tasks"


def draw_tasks(n_rows, n_tasks, seed, strength=STRENGTH):
    """Tasks with float32 rows, on which networks train faster."""
    drawn = make_patch_tasks(
        n_rows,
        n_tasks,
        n_features=N_FEATURES,
        shared_strength=strength,
        noise_norm=NOISE_NORM,
        kind="symmetric",
        random_state=seed,
    )
    return drawn._replace(X=drawn.X.astype(np.float32))


def fit_network(drawn, seed, callbacks=None):
    network = ConvMultiTaskClassifier(
        head="fixed", callbacks=callbacks, random_state=seed
    )
    return network.fit(drawn.X, drawn.y, drawn.tasks)


def fit_logistic(features, drawn):
    """Logistic regression on features, divided by one global factor."""
    scale = features(drawn.X).std()
    scaled = FunctionTransformer(lambda X: features(X) / scale)
    probe = make_pipeline(scaled, LogisticRegression(max_iter=1000))
    return probe.fit(drawn.X, drawn.y)


def measure(model, drawn, seed):
    """Error on training rows, and on new rows with the shared feature and without."""
    n_rows = 1600 // len(drawn.task_directions)
    samples = [drawn] + [
        drawn.problem.sample(n_rows, shared_fraction=fraction, random_state=seed)
        for fraction in (1, 0)
    ]
    return [1 - model.score(sample.X, sample.y) for sample in samples]


# %%
# Two stages
# ----------
# A callback compares filters with the features after each step of full-batch descent.
# Each class has a direction of the shared feature, and filters look for both its signs:
# for four directions in all. Filters that have all but died out count as not aligned.


class Alignment(Callback):
    """Largest cosine of a filter with each direction, after each step."""

    def __init__(self, directions):
        self.directions = np.concatenate([directions, -directions])
        self.cosines = []

    def on_epoch_end(self, net, **kwargs):
        """Keep the cosines of this step."""
        filters = net.module_.filters.numpy(force=True)
        self.cosines.append(feature_alignment(filters, self.directions))


def watch(drawn, seed):
    """A network, and cosines of shape (n_steps, n_directions), by the feature."""
    watched = {
        "shared feature": Alignment(drawn.shared_directions),
        "own features": Alignment(np.vstack(drawn.task_directions)),
    }
    network = fit_network(drawn, seed, list(watched.values()))
    return network, {name: np.array(c.cosines) for name, c in watched.items()}


def compare(seed):
    """Errors of each contender, and the cosines of the networks."""
    many = draw_tasks(N_ROWS, MANY, seed)
    control, alone = draw_tasks(N_ROWS * MANY, 1, seed), draw_tasks(N_ROWS, 1, seed)
    networks = {MULTI: watch(many, seed), ALONE: watch(alone, seed)}
    W = np.random.default_rng(seed).standard_normal((64, N_FEATURES))
    models = {
        MULTI: (networks[MULTI][0], many),
        CONTROL: (fit_network(control, seed), control),
        ALONE: (networks[ALONE][0], alone),
        RANDOM: (
            fit_logistic(lambda X: (np.maximum(0, X @ W.T) ** 3).sum(axis=1), many),
            many,
        ),
        RAW: (fit_logistic(lambda X: X.reshape(len(X), -1), many), many),
    }
    errors = {name: measure(*model, seed) for name, model in models.items()}
    return errors, {name: cosines for name, (_, cosines) in networks.items()}


def print_table(title, columns, rows):
    print(f"\n{title}")
    print(f"{'':40}" + "".join(f"{column:>9}" for column in columns))
    for name, values in rows.items():
        print(f"{name:40}" + "".join(f"{value:9.3f}" for value in values))


errors, cosines = zip(*Parallel(n_jobs=2)(delayed(compare)(s) for s in range(N_DRAWS)))
means = {name: np.mean([draw[name] for draw in errors], axis=0) for name in errors[0]}
print_table("Errors, by the kind of rows", ["training", "shared", "own"], means)


def join_draws(name, feature):
    """Cosines of all draws side by side; descent that stopped early stays there."""
    parts = [draw[name][feature] for draw in cosines]
    n_steps = max(map(len, parts))
    ends = [[(0, n_steps - len(part)), (0, 0)] for part in parts]
    return np.hstack([np.pad(part, end, "edge") for part, end in zip(parts, ends)])


FEATURES = ["own features", "shared feature"]
curves = {  # quartiles of shape (3, n_steps)
    (name, feature): np.quantile(join_draws(name, feature), [0.25, 0.5, 0.75], axis=1)
    for name, feature in product((MULTI, ALONE), FEATURES)
}
steps = {  # until the median cosine exceeds 0.5; NaN where it never does
    name: [
        np.argmax(curves[name, feature][1] > 0.5) + 1
        if curves[name, feature][1].max() > 0.5
        else np.nan
        for feature in FEATURES
    ]
    for name in (MULTI, ALONE)
}
print_table(
    "Steps until features are learned, by the feature", ["own", "shared"], steps
)

# %%
# The law
# -------
# The ratio of :func:`~mtrl_sklearn.metrics.signal_to_noise` grows with the rows of all
# tasks and with the cube of the strength. The network guesses below 1.5 and is right
# above 4; both bounds are about twice as high for features of random sign, as here.

TRANSITION = 2 * np.array([1.5, 4])
N_TASKS = np.array([1, 4, 16] if FAST else [1, 2, 4, 8, 16, 32])
STRENGTHS = np.geomspace(0.175, 0.7, 3 if FAST else 7)
N_DIAGRAMS = 1 if FAST else 2


def sample_error(n_tasks, strength, seed):
    """Error on new rows with the shared feature."""
    drawn = draw_tasks(N_ROWS, n_tasks, seed, strength)
    return measure(fit_network(drawn, seed), drawn, seed)[1]


def ratio(n_tasks, strength):
    return signal_to_noise(
        N_ROWS, int(n_tasks), shared_strength=strength, noise_norm=NOISE_NORM
    ).shared


cells = list(product(STRENGTHS, N_TASKS))
sampled = Parallel(n_jobs=2)(
    delayed(sample_error)(n_tasks, strength, seed)
    for (strength, n_tasks), seed in product(cells, range(N_DIAGRAMS))
)
shape = len(STRENGTHS), len(N_TASKS)
diagram = np.mean(np.reshape(sampled, (*shape, N_DIAGRAMS)), axis=2)
ratios = np.reshape([ratio(n_tasks, strength) for strength, n_tasks in cells], shape)
for title, table in (
    ("Error on new rows with the shared feature, by the number of tasks", diagram),
    ("Signal to noise of the shared feature, by the number of tasks", ratios),
):
    names = [f"strength {strength:.3f}" for strength in STRENGTHS]
    print_table(title, N_TASKS, dict(zip(names, table)))
regions = np.digitize(ratios, TRANSITION)
REGIONS = ["below {:g}", "from {:g} to {:g}", "above {1:g}"]
summary = {
    "signal to noise " + name.format(*TRANSITION): [
        np.mean(part),
        np.min(part),
        np.max(part),
    ]
    for k, name in enumerate(REGIONS)
    if len(part := diagram[regions == k])
}
print_table("The same errors, by the ratio", ["mean", "lowest", "highest"], summary)

# %%
# Picture
# -------
# On the left, dark cells are guesses, and points mark the two networks on the right.
# Cosines are those of all draws: the line is their median, half of them lie in the
# band. They stay below 1 where one filter serves several features.

STYLES = {  # colours that differ without colour vision as well
    "shared feature": {"color": "#AA4499", "linewidth": 2.5},
    "own features": {"color": "#DD8800", "linewidth": 2.5, "linestyle": "--"},
}
PLACES = {  # of the names of curves
    (MULTI, "own features"): (230, 0.4),
    (MULTI, "shared feature"): (5, 0.97),
    (ALONE, "own features"): (190, 0.95),
    (ALONE, "shared feature"): (190, 0.03),
}


def draw_diagram(ax):
    x, y = np.log2(N_TASKS), np.log2(STRENGTHS)
    mesh = ax.pcolormesh(x, y, diagram, cmap="Blues", vmin=0, vmax=0.5)
    bar = ax.figure.colorbar(mesh, ax=ax, aspect=30, pad=0.02, ticks=[0, 0.25, 0.5])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
    bar.set_label("error; 50 % are guesses")
    across = np.array(ax.get_xlim())
    ax.set(xlim=across, ylim=ax.get_ylim())
    for bound in TRANSITION:
        # The ratio is proportional to the number of tasks and the cube of the strength.
        start = np.log2(bound / ratio(1, 1)) / 3
        ax.plot(across, start - across / 3, color="#D55E00", linewidth=2)
        ax.text(
            1.4,
            start - 1.4 / 3,
            f"signal to noise {bound:g}",
            color="#D55E00",
            rotation=np.rad2deg(np.arctan(-1 / 3)),
            rotation_mode="anchor",
            transform_rotates_text=True,
            va="center",
            size=9,
            bbox={"color": "#FFFFFF", "pad": 1},
        )
    for n_tasks, name in ((1, ALONE), (MANY, MULTI)):
        point = np.log2([n_tasks, STRENGTH])
        ax.plot(*point, "o", markersize=10, color="#FFFFFF", markeredgecolor="#000000")
        tasks = "one task" if n_tasks == 1 else f"{n_tasks} tasks"
        ax.annotate(
            f"{tasks},\nerror {means[name][1]:.2f},\non the right",
            point,
            (0, 9),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=8,
            color="#FFFFFF" if n_tasks == 1 else "#000000",
        )
    ax.set_xticks(x, N_TASKS)
    ax.set_yticks(y, [f"{strength:.3g}" for strength in STRENGTHS])
    ax.set_xlabel(f"tasks, with {N_ROWS} labelled rows each")
    ax.set_ylabel("strength of the shared feature")
    ax.set_title("Error on new rows with the shared feature")


def draw_training(ax, name):
    for feature, style in STYLES.items():
        low, median, high = curves[name, feature]
        ax.fill_between(range(len(low)), low, high, alpha=0.2, color=style["color"])
        ax.plot(median, **style)
        x, y = PLACES[name, feature]
        ax.text(x, y, feature, color=style["color"], size=9)
    ax.set_xlim(0, 300)
    ax.set_ylim(-0.05, 1.1)
    ax.set_ylabel("largest cosine of\na filter with it")
    ax.set_title(f"What is learned when: {name}")


fig, axes = plt.subplot_mosaic(
    [["diagram", MULTI], ["diagram", ALONE]],
    figsize=(10.5, 4.8),
    width_ratios=[1.25, 1],
)
draw_diagram(axes["diagram"])
for name in (MULTI, ALONE):
    draw_training(axes[name], name)
axes[ALONE].set_xlabel(
    "steps of descent\nlines: median of all draws, bands: half of them"
)
fig.suptitle(
    f"The shared feature: one task guesses (error {means[ALONE][1]:.2f}), "
    f"{MANY} tasks learn it (error {means[MULTI][1]:.2f})",
    x=0.01,
    ha="left",
)
fig.savefig("shared_feature.png")
print("\nCurves: shared_feature.png")
