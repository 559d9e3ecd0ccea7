"""
Are probabilities of many tasks calibrated?
===========================================

Of the labels that get a probability of 0.8, are 80 % positive? On training rows that is
no question: the network has seen their labels. ``cross_val_predict`` of this package
gives each row the probabilities of a network that was trained without it, for all
tasks in one call, and with missing labels. They go into scikit-learn's calibration
curve, and tell by how much scores have to be stretched.

A table is printed, the picture is saved as ``calibration.png``.
"""

# %%
# Out-of-fold probabilities
# -------------------------
# Each of 64 tasks depends on the same four of 100 dimensions, and four of five labels
# are missing. scikit-learn's own ``cross_val_predict`` takes a missing label for a
# class. The labels of a frame name the tasks, and ``pos_label`` says which of them a
# probability is of.

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.model_selection import cross_val_predict

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer rows, for a test
N_BINS = 10

X, Y, *_ = make_subspace_tasks(
    1500 if FAST else 4000, missing_fraction=0.8, random_state=0
)
names = [f"task {k}" for k in range(Y.shape[1])]
labels = pd.DataFrame(np.where(Y == 1, "active", "inactive"), columns=names)
labels = labels.where(~np.isnan(Y), None)

network = MultiTaskReLURepresentation(256, pos_label="active", random_state=0)
out_of_fold = cross_val_predict(network, X, labels, cv=5)
in_sample = network.fit(X, labels).predict_proba(X)

# %%
# Curves
# ------
# Labels that were observed, of all tasks together. A curve of one task would need some
# thousand labels of it. The error of calibration is the mean distance of a curve from
# the diagonal, weighted by the labels in each bin; the Brier score is the mean squared
# distance of probabilities from labels of 0 and 1. Dropout makes scores cautious, the
# more so the longer training goes on: a slope and an intercept that the labels of every
# other row give put that right, and all is judged on the rows in between.

observed = labels.notna().to_numpy()
is_active = labels.to_numpy()[observed] == "active"
log_odds = logit(out_of_fold[observed])[:, None]
of_half = np.nonzero(observed)[0] % 2 == 0
stretch = LogisticRegression(C=np.inf).fit(log_odds[of_half], is_active[of_half])
PROBABILITIES = {
    "out of fold": out_of_fold[observed],
    "out of fold, stretched": stretch.predict_proba(log_odds)[:, 1],
    "training rows": in_sample[observed],
    "base rate of the task": np.broadcast_to(np.nanmean(Y, axis=0), Y.shape)[observed],
}


def calibration_error(is_active, probability):
    """Mean distance from the diagonal, weighted by labels."""
    share, mean = calibration_curve(is_active, probability, n_bins=N_BINS)
    places = np.searchsorted(np.linspace(0, 1, N_BINS + 1)[1:-1], probability)
    counts = np.bincount(places, minlength=N_BINS)
    return np.average(np.abs(share - mean), weights=counts[counts > 0])


print("Probabilities of observed labels, and how they are met")
print(f"{'':24}{'error':>8}{'Brier':>8}")
errors = {}
for name, probability in PROBABILITIES.items():
    others = is_active[~of_half], probability[~of_half]
    errors[name] = calibration_error(*others)
    brier = brier_score_loss(*others)
    print(f"{name:24}{errors[name]:8.3f}{brier:8.3f}")

# %%
# Picture
# -------

STYLES = {
    "out of fold": {"color": "#0072B2", "marker": "o", "linewidth": 2.5},
    "out of fold, stretched": {"color": "#009E73", "marker": "^"},
    "training rows": {"color": "#D55E00", "marker": "s"},
}
fig, (ax, below) = plt.subplots(
    2, 1, figsize=(6, 6.4), height_ratios=[3, 1], sharex=True
)
ax.plot([0, 1], [0, 1], color="grey", linestyle=":", label="calibrated")
for name, style in STYLES.items():
    share, mean = calibration_curve(is_active, PROBABILITIES[name], n_bins=N_BINS)
    ax.plot(mean, share, label=f"{name}, error {errors[name]:.3f}", **style)
    below.hist(
        PROBABILITIES[name],
        np.linspace(0, 1, 21),
        histtype="step",
        color=style["color"],
    )
ax.set_ylabel("share of active ones")
ax.legend()
below.set_xlabel('probability of "active"')
below.set_ylabel("labels")
ax.set_title(f"{observed.sum()} labels of {len(names)} tasks")
fig.savefig("calibration.png")
print("\nCurves: calibration.png")
