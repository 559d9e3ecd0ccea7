"""
Search a pipeline by the labels of its source tasks
===================================================

How large should a representation be that new tasks can use? The labels of the new
tasks are too few to say. Those of the source tasks say it: a grid search over the
pipeline that learns the representation, scored on rows left out, finds the setting on
which new tasks do best. Labels come in the long form, one per row, and scikit-learn
routes the task ids through search, folds and pipeline.

The table is printed, the picture is saved as ``search.png``.
"""

# %%
# Labels in the long form
# -----------------------
# 48 tasks depend on 4 of 60 dimensions. Each row has the label of a single task.

import sys

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe, probe_new_tasks

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # smaller, for a quick look
N_ROWS, N_NEW = (5000, 6) if FAST else (12000, 30)
N_LABELS = 256  # of the new task that a probe is searched for
RANKS = [1, 4, None] if FAST else [1, 2, 4, 8, 16, None]

X, Y, _, problem = make_subspace_tasks(N_ROWS, 60, n_tasks=48, random_state=0)
X = X.astype(np.float32)
tasks = np.random.default_rng(0).integers(48, size=N_ROWS)
y = Y[np.arange(N_ROWS), tasks]
print(f"{N_ROWS} rows with one label each, of {len(np.unique(tasks))} tasks")

# %%
# The search
# ----------
# ``set_fit_request`` and ``set_score_request`` ask for the task ids; the search passes
# the right part of them to each fold. The score is the mean ROC-AUC of the source
# tasks on rows left out.

sklearn.set_config(enable_metadata_routing=True)
representation = MultiTaskReLURepresentation(128, random_state=0)
representation.set_fit_request(tasks=True).set_score_request(tasks=True)
pipeline = Pipeline([("scale", StandardScaler()), ("represent", representation)])
search = GridSearchCV(
    pipeline,
    {"represent__n_components": RANKS},
    cv=KFold(3, shuffle=True, random_state=0),
    n_jobs=2,
)
search.fit(X, y, tasks=tasks)
source_scores = search.cv_results_["mean_test_score"]
best = RANKS[search.best_index_]
print(f"Rank with the best ROC-AUC of source tasks on rows left out: {best}")

# %%
# New tasks
# ---------
# They were no part of the search. Were their labels many, this is how ranks would fare.

X_new, Y_new = problem.new_tasks(N_NEW, random_state=1).sample(2000, random_state=2)
X_new = X_new.astype(np.float32)


def probe(rank):
    """Mean ROC-AUC of new tasks with 32 labels, on a representation of this rank."""
    fitted = sklearn.clone(pipeline).set_params(represent__n_components=rank)
    table = probe_new_tasks(
        fitted.fit(X, y, tasks=tasks),
        X_new,
        Y_new,
        shots=(32,),
        sampling="balanced",
        n_draws=3,
        probe=LinearProbe(weights={"hidden": 1}),
        baselines=("raw",),
        n_jobs=2,
        random_state=0,
    )
    return table.groupby("features")["score"].mean()


probed = [probe(rank) for rank in RANKS]
new_scores = np.array([scores["representation"] for scores in probed])
raw_score = probed[0]["raw"]
names = ["whole" if rank is None else str(rank) for rank in RANKS]
print(f"\n{'rank':32}" + "".join(f"{name:>7}" for name in names))
for name, scores in (("source tasks", source_scores), ("new tasks", new_scores)):
    print(f"ROC-AUC of {name:21}" + "".join(f"{score:7.3f}" for score in scores))
print(f"ROC-AUC of new tasks, raw inputs: {raw_score:.3f}")

# %%
# A probe in a search
# -------------------
# The pipeline that was found is the representation of a `LinearProbe`, which is
# searched on the labels of one new task as any classifier is. Folds do not fit the
# representation again. It takes some hundred labels to tell nine candidates apart: with
# 64 of them chance decides, and settings of source tasks (`calibrate`) serve better.

y_few = Y_new[:N_LABELS, 0]
probe_search = GridSearchCV(
    LinearProbe(search.best_estimator_),
    {"C": [0.1, 1, 10], "weights": ["auto", {"hidden": 1}, {"inputs": 1}]},
    cv=StratifiedKFold(4),
    scoring="roc_auc",
)
probe_search.fit(X_new[:N_LABELS], y_few)
probe_score = probe_search.score(X_new[N_LABELS:], Y_new[N_LABELS:, 0])
print(f"\nProbe of one new task, {N_LABELS} labels: {probe_search.best_params_}")
print(f"ROC-AUC on new rows: {probe_score:.3f}")

# %%
# Picture
# -------

fig, ax = plt.subplots(figsize=(7, 4))
places = np.arange(len(RANKS))
curves = {
    "source tasks, rows left out": (source_scores, "#0072B2", "o", "-"),
    "new tasks, 32 labels": (new_scores, "#D55E00", "s", "--"),
}
for name, (scores, color, marker, line) in curves.items():
    ax.plot(places, scores, color=color, marker=marker, linestyle=line)
    ax.annotate(
        name,
        (places[-1], scores[-1]),
        xytext=(10, 0),
        textcoords="offset points",
        color=color,
        va="center",
    )
ax.axvline(places[search.best_index_], color="0.8", zorder=0)
ax.text(places[-1] + 0.2, raw_score, "raw inputs, 32 labels", va="bottom")
ax.axhline(raw_score, color="k", linestyle=":")
ax.set_xticks(places, names)
ax.set_xlim(-0.3, len(RANKS) + 1.2)
ax.set_xlabel("rank of the representation; the search chose the one at the line")
ax.set_ylabel("mean ROC-AUC")
ax.set_title("Source tasks tell what is good for new ones")
fig.savefig("search.png")
print("\nCurves: search.png")
