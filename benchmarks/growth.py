"""How the time and memory of a fit grow with each of its sizes.

Run as ``python benchmarks/growth.py``. Every size in turn takes five values over two
decades while the others stay; each fit runs in a process of its own, takes 1 and 9
epochs, and the slope between them is the time of an epoch. Times are medians over
rounds, of the processor, on one thread. "Exponent" is the slope of log seconds over log
size; "upper" is that of the upper decade. Memory is the peak of the process above what
was resident once the data were at hand. Writes ``growth.json``, and with ``--picture
FILE`` draws it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _contenders import Problem, draw, ours
from _timing import Contender, fresh_process, take_turns

BASE = Problem(4000, 64, 128, 32, 128)
WIDE = Problem(4000, 64, 128, 1000, 128)
EPOCHS = (1, 9)
SIZES = {
    "rows": ("n_samples", BASE, (500, 50_000)),
    "features": ("n_features", BASE, (32, 3200)),
    "units": ("n_hidden", BASE, (32, 3200)),
    "tasks": ("n_tasks", BASE, (32, 3200)),
    "observed labels": ("missing", WIDE, (10_000, 1_000_000)),
}


def set_size(name, size):
    """The problem of one size."""
    field, problem, _ = SIZES[name]
    if field == "missing":
        size = 1 - size / (problem.n_samples * problem.n_tasks)
    return problem._replace(**{field: size})


def build_fit(name, size):
    problem = set_size(name, size)
    X, Y = draw(problem)

    def run(n_epochs):
        ours(problem, max_iter=n_epochs).fit(X, Y)

    return run


def measure(names, n_points, rounds):
    """Seconds of an epoch and bytes of a fit, by name of the size."""
    found = {}
    for name in names:
        sizes = np.geomspace(*SIZES[name][2], n_points).round().astype(int).tolist()
        calls = [(n_epochs,) for n_epochs in EPOCHS]
        contenders = [
            Contender(f"{size}", build_fit, {"name": name, "size": size}, calls)
            for size in sizes
        ]
        timings = take_turns(contenders, rounds)
        seconds = [per_epoch(timings[f"{size}"]) for size in sizes]
        memory = [timings[f"{size}"].peak - timings[f"{size}"].start for size in sizes]
        found[name] = describe(sizes, seconds, memory)
        print_row(name, found[name])
    return found


def per_epoch(timing):
    short, long = (np.median(seconds) for seconds in timing.seconds)
    return float(long - short) / (EPOCHS[1] - EPOCHS[0])


def describe(sizes, seconds, memory):
    upper = slice(len(sizes) // 2, None)
    return {
        "sizes": sizes,
        "seconds": seconds,
        "bytes": memory,
        "exponent": exponent(sizes, seconds),
        "upper": exponent(sizes[upper], seconds[upper]),
        "exponent of memory": exponent(sizes[upper], memory[upper]),
    }


def exponent(sizes, values):
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0])


def print_row(name, row):
    points = zip(row["sizes"], row["seconds"], row["bytes"])
    shown = "  ".join(f"{n}: {s:.3g} s, {b / 1e6:.0f} MB" for n, s, b in points)
    numbers = (row[k] for k in ("exponent", "upper", "exponent of memory"))
    print(f"{name:16} " + " ".join(f"{k:9.2f}" for k in numbers), f"  {shown}")


def draw_picture(found, path):
    """Time and memory over size, each relative to the first one."""
    import matplotlib.pyplot as plt

    plt.style.use("mtrl_sklearn.plotting.style")
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6))
    for axis, key, what in zip(axes, ("seconds", "bytes"), ("seconds", "memory")):
        for marker, (name, row) in zip("osD^v", found.items()):
            sizes = np.divide(row["sizes"], row["sizes"][0])
            values = np.array(row[key], dtype=float)
            values = values / (1e6 if key == "bytes" else 1)
            slope = row["upper"] if key == "seconds" else row["exponent of memory"]
            axis.plot(sizes, values, marker=marker, label=f"{name}: {slope:.2f}")
        ends = np.array([1, 100])
        floor = min(min(row[key]) for row in found.values())
        floor = floor / (1e6 if key == "bytes" else 1)
        axis.plot(ends, floor * ends, color="0.7", linestyle=":", label="proportional")
        axis.set(xscale="log", yscale="log", xlabel="times the smallest size")
        axis.minorticks_off()
        title = f"exponent of {what}, upper decade"
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.18), "ncols": 3}
        axis.legend(title=title, **place)
    axes[0].set_ylabel("seconds of an epoch")
    axes[1].set_ylabel("memory of a fit, MB")
    figure.savefig(path)


def run_all(options):
    """In a process that has imported torch with one thread."""
    print(f"{'size':16} exponent     upper  of memory   an epoch, and memory of a fit")
    found = measure(options.sizes, options.points, options.rounds)
    Path("growth.json").write_text(json.dumps(found, indent=1))
    if options.picture is not None:
        draw_picture(found, options.picture)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    with fresh_process(1, "cpu") as run:
        run(run_all, options)


if __name__ == "__main__":
    main()
