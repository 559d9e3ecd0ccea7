"""
Predict for more rows than fit into memory
==========================================

A representation is learned from some thousand rows, and then asked about all there are.
A matrix of so many rows lies on disk, where `transform` and `predict_proba` can read it
as a memory map, but what they return is a matrix as well, and often the larger one.
Rows know nothing of each other, so dask takes them block by block: nothing is computed
before it is asked for, and then blocks are read, mapped and written or summed up, as
many at a time as there are cores. No more than these is ever in memory.

The tables are printed, the picture is saved as ``blocks.png``.
"""

# %%
# A representation, and a probe of a new task
# -------------------------------------------

import sys
import tempfile
import threading
import time
from pathlib import Path

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
import psutil

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe

plt.style.use("mtrl_sklearn.plotting.style")

FAST = "--fast" in sys.argv  # fewer rows, for a test
N_ROWS = np.array([50, 100, 200] if FAST else [50, 100, 200, 400]) * 1000
N_PER_BLOCK = 2000

X, Y, _, problem = make_subspace_tasks(4000, 50, n_tasks=40, random_state=0)
representation = MultiTaskReLURepresentation(256, random_state=0)
representation.fit(X.astype(np.float32), Y)
new_task = problem.new_tasks(1, random_state=1)
X_few, y_few = new_task.sample(64, random_state=2)
probe = LinearProbe(representation).fit(X_few.astype(np.float32), y_few.ravel())

# %%
# Rows on disk
# ------------
# They are written block by block, and read where they lie.

folder = tempfile.TemporaryDirectory()
shape = (N_ROWS.max(), X.shape[1])
X_all = np.memmap(Path(folder.name) / "X", np.float32, "w+", shape=shape)
positive = np.empty(len(X_all), bool)
for start in range(0, len(X_all), N_PER_BLOCK):
    block = slice(start, start + N_PER_BLOCK)
    X_block, y_block = new_task.sample(N_PER_BLOCK, random_state=3 + start)
    X_all[block], positive[block] = X_block, y_block.ravel() > 0

# %%
# Block by block
# --------------
# ``map_blocks`` needs to know what comes back: the shapes of blocks, and their type.


def in_blocks(method, rows, n_columns):
    """The result of a method for a dask array of rows, which is one as well."""
    return rows.map_blocks(
        method, chunks=(rows.chunks[0], (n_columns,)), dtype=rows.dtype
    )


rows = da.from_array(X_all, chunks=(N_PER_BLOCK, -1))
features = in_blocks(representation.transform, rows, 256)
print(f"Features that nobody has computed: {features.shape}, {features.nbytes:,} bytes")

# %%
# On a cluster (see :doc:`plot_10_search_on_a_cluster`) the model is sent to each worker
# once, ``model = client.scatter(probe, broadcast=True)``, and
# ``rows.map_blocks(predict, model=model, ...)`` hands it to a function ``predict(block,
# model)``. Workers then read rows themselves, from files that all of them can see.

# %%
# Memory
# ------
# What the process takes for itself: pages of files in memory are not counted, because
# the system takes them back when it needs them.


def own_memory():
    """Megabytes of this process that no file backs."""
    memory = psutil.Process().memory_info()
    return (memory.rss - getattr(memory, "shared", 0)) / 1e6


def measure(work, n_rows):
    """Megabytes that the process has at most in that time, and seconds it takes."""
    sizes, done = [], threading.Event()

    def sample():
        while not done.is_set():
            sizes.append(own_memory())
            time.sleep(0.002)

    sampler = threading.Thread(target=sample)
    sampler.start()
    begin = time.perf_counter()
    work(n_rows)
    seconds = time.perf_counter() - begin
    done.set()
    sampler.join()
    return max(sizes), seconds


def make_map(name, n_rows):
    """A matrix on disk for the features of so many rows."""
    return np.memmap(Path(folder.name) / name, np.float32, "w+", shape=(n_rows, 256))


def in_blocks_to_disk(n_rows):
    """Features from map to map."""
    da.store(features[:n_rows], make_map("blocks", n_rows), lock=False)


def at_once_to_disk(n_rows):
    """All features in memory, and then on disk."""
    make_map("at once", n_rows)[:] = representation.transform(X_all[:n_rows])


before = own_memory()
works = {"at once": at_once_to_disk, "in blocks": in_blocks_to_disk}
measured = {
    name: np.array([measure(work, n_rows) for n_rows in N_ROWS])
    for name, work in works.items()
}
megabytes = {name: values[:, 0] - before for name, values in measured.items()}
seconds = {name: values[:, 1] for name, values in measured.items()}
for title, table in (("Megabytes taken", megabytes), ("Seconds", seconds)):
    print(f"\n{title:20}" + "".join(f"{n_rows:>9}" for n_rows in N_ROWS))
    for name, values in table.items():
        print(f"{name:20}" + "".join(f"{value:9.1f}" for value in values))

kept = [
    da.from_array(np.memmap(path, np.float32, "r", shape=features.shape))
    for path in (Path(folder.name) / "blocks", Path(folder.name) / "at once")
]
print(f"\nLargest difference: {abs(kept[0] - kept[1]).max().compute():.1e}")

# %%
# Screening
# ---------
# Which rows are most likely to be positive? Probabilities are sorted out as they come.

probabilities = in_blocks(probe.predict_proba, rows, 2)[:, 1]
best = da.argtopk(probabilities, 100).compute()
print(f"Positive among all rows: {positive.mean():.2f}")
print(f"Positive among the 100 most likely ones: {positive[best].mean():.2f}")

# %%
# Picture
# -------

fig, ax = plt.subplots(figsize=(7, 4))
curves = {"at once": ("#D55E00", "s", "--"), "in blocks": ("#0072B2", "o", "-")}
for name, (color, marker, line) in curves.items():
    values = megabytes[name]
    ax.plot(N_ROWS, values, color=color, marker=marker, linestyle=line)
    ax.annotate(
        name,
        (N_ROWS[-1], values[-1]),
        xytext=(10, 0),
        textcoords="offset points",
        color=color,
        va="center",
    )
ax.set_xlim(0, N_ROWS[-1] * 1.2)
ax.set_ylim(bottom=0)
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.set_xlabel("rows")
ax.set_ylabel("megabytes taken at most")
ax.set_title("256 features of each row: in blocks hardly more for more rows")
fig.savefig("blocks.png")
folder.cleanup()
print("\nMemory: blocks.png")
