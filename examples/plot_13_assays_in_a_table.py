"""
A table of molecules, assays and outcomes
=========================================

Measurements lie in a table: a molecule, an assay, an outcome, and nearly all pairs of
molecules and assays are missing. Here the table is in an embedded DuckDB file. It is
read by batches, each molecule gets its fingerprint once, and a new assay is predicted
from 20 measurements, with a forecast of how well that works.

Tables are printed, the picture is saved as ``assays.png``. This needs the packages
duckdb, pyarrow (extra ``tables``) and scikit-fingerprints, and the environment variable
``MTRL_DATA`` that names a folder with ``bioassays.csv.gz``. Where one of them is
missing, a table of made-up molecules takes its place, and a frame that of DuckDB.
"""

# %%
# The table
# ---------
# A relation of DuckDB is no table in memory: ``from_table`` reads the three columns
# that it is asked for, and returns each molecule once.

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import from_table
from mtrl_sklearn.probing import LinearProbe, calibrate

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer draws, for a test
N_LABELS = 20
COLUMNS = {"input": "smiles", "task": "assay", "label": "outcome"}

packages = ("duckdb", "pyarrow", "skfp")
lacking = [name for name in packages if importlib.util.find_spec(name) is None]
if "MTRL_DATA" not in os.environ:
    lacking.append("MTRL_DATA")


def read_assays(folder):
    """Measurements in a DuckDB file, as it keeps them."""
    import duckdb

    path = Path(os.environ["MTRL_DATA"], "bioassays.csv.gz")
    with duckdb.connect(Path(folder, "assays.duckdb")) as base:
        base.execute("CREATE TABLE measured AS FROM read_csv(?)", [str(path)])
        return from_table(base.table("measured"), **COLUMNS)


def make_assays():
    """Words in place of molecules, whose letters decide."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("CNOSPF"), 12)) for _ in range(2000)]
    counts = CountVectorizer(analyzer="char", ngram_range=(1, 2)).fit_transform(words)
    scores = counts @ rng.normal(size=(counts.shape[1], 4)) @ rng.normal(size=(4, 60))
    row, task = rng.integers(2000, size=9000), rng.integers(60, size=9000)
    is_active = (scores > np.median(scores, axis=0))[row, task]
    return from_table(
        pd.DataFrame(
            {
                "smiles": np.array(words)[row],
                "assay": task,
                "outcome": np.where(is_active, "active", "inactive"),
            }
        ),
        **COLUMNS,
    )


if lacking:
    print(f"\nDuckDB and fingerprints: skipped without {', '.join(lacking)}.")
    data = make_assays()
    to_bits = CountVectorizer(analyzer="char", ngram_range=(1, 2), dtype=np.float32)
else:
    from skfp.fingerprints import ECFPFingerprint

    with tempfile.TemporaryDirectory() as folder:
        data = read_assays(folder)
    to_bits = ECFPFingerprint(sparse=True)
print(
    f"\n{len(data.y)} labels of {len(data.inputs)} molecules "
    f"in {len(np.unique(data.tasks))} assays"
)

# %%
# A pipeline
# ----------
# The new assay is the one with the most measurements. All others are learned from; the
# pipeline turns each of their molecules into bits once, and ``rows`` says which label
# belongs to which of them. "active" is what a probability is to be of.

names, sizes = np.unique(data.tasks, return_counts=True)
new_task = names[sizes.argmax()]
is_new = data.tasks == new_task
source = data._replace(**{k: getattr(data, k)[~is_new] for k in ("y", "tasks", "rows")})
pipeline = make_pipeline(
    to_bits, MultiTaskReLURepresentation(256, pos_label="active", random_state=0)
)
step = "multitaskrelurepresentation"
pipeline.fit(
    source.inputs,
    source.y,
    **{f"{step}__tasks": source.tasks, f"{step}__rows": source.rows},
)
X, representation = pipeline[:-1].transform(data.inputs).toarray(), pipeline[-1]

# %%
# A new assay, and what to expect of it
# -------------------------------------
# ``calibrate`` leaves source assays out and learns from them how a probe should weigh
# features, and how well it will do. The forecast is made before the labels of the new
# assay are seen.

labels = pd.DataFrame({"row": source.rows, "task": source.tasks})
labels["outcome"] = source.y
labels = labels.drop_duplicates(["row", "task"])
settings = calibrate(
    representation,
    X[labels["row"]],
    labels["outcome"],
    tasks=labels["task"],
    shots=(16, 32),
    n_draws=1 if FAST else 2,
    n_groups=2 if FAST else 3,
    random_state=0,
)
forecast = settings.forecast(N_LABELS)
print(f"\n{forecast}")

rows, is_active = data.rows[is_new], data.y[is_new] == "active"
scores = []
for seed in range(20):
    few, rest = np.split(np.random.default_rng(seed).permutation(len(rows)), [N_LABELS])
    probe = LinearProbe(representation, settings=settings)
    probe.fit(X[rows[few]], is_active[few], classes=[False, True])
    probability = probe.predict_proba(X[rows[rest]])[:, 1]
    scores.append(roc_auc_score(is_active[rest], probability))
print(f"\nAssay {new_task}, {N_LABELS} labels: ROC-AUC on its other molecules")
print(f"{'':14}{'mean':>8}{'worst':>8}{'best':>8}")
print(f"{'forecast':14}{forecast.roc_auc.mean:8.3f}", end="")
print(f"{forecast.roc_auc.q10:8.3f}{forecast.roc_auc.q90:8.3f}")
print(f"{'20 draws':14}{np.mean(scores):8.3f}{min(scores):8.3f}{max(scores):8.3f}")

# %%
# Picture
# -------

fig, ax = plt.subplots(figsize=(6, 4))
ax.hist(scores, np.linspace(0.3, 1, 29), color="#0072B2", label="20 draws of labels")
spread = forecast.roc_auc
band = ax.axvspan(spread.q10, spread.q90, color="#E69F00", alpha=0.3, zorder=0)
band.set_label("forecast, 80 % of tasks")
ax.axvline(spread.mean, color="#E69F00", linewidth=2.5, label="forecast, mean")
ax.set_xlabel(f"ROC-AUC on a new assay with {N_LABELS} labels")
ax.set_ylabel("draws")
ax.legend()
fig.savefig("assays.png")
print("\nDraws and forecast: assays.png")
