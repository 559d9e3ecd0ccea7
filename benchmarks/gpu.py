"""A GPU against the machine: right numbers, rates, memory. Prepared, and short.

Run as ``python benchmarks/gpu.py`` where a GPU is; elsewhere it says so and ends. It
takes about two minutes. Four parts, each printed as it comes:

- results: features after a fit on the GPU against those after the same fit on the CPU,
  relative to their largest, and ROC-AUC on new rows, by precision;
- rate: matrix products of an epoch over its seconds, and its share of what large square
  products of the same precision reach, at 512 and 4096 units;
- held-out rows: memory of the GPU beyond its training rows, while many are held out;
- peak memory of a fit as a multiple of the training rows, which the GPU holds.

Writes ``gpu.json``.
"""

import argparse
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from mtrl_sklearn import MultiTaskReLURepresentation

PRECISIONS = ("float32", "tf32", "bfloat16")
# Largest difference of features, relative to the largest one, after few steps; and of
# ROC-AUC on new rows after many.
TOLERANCES = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2}
ROC_AUC_TOLERANCE = 0.01
SIDE = 8192  # of square products


def draw(n_samples, n_features, n_tasks, seed=0):
    rng = np.random.default_rng(seed)
    teacher = np.random.default_rng(1).standard_normal((4, n_tasks), dtype=np.float32)
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32)
    return X, (X[:, :4] @ teacher > 0).astype(np.float32)


def make(n_hidden=512, **settings):
    settings = {"n_components": None, "tol": 0, "random_state": 0} | settings
    return MultiTaskReLURepresentation(n_hidden, **settings)


def check_results(device):
    """Differences between devices, and whether they are within tolerance."""
    X, Y = draw(4000, 128, 32)
    X_new, Y_new = draw(4000, 128, 32, seed=2)
    # full batches draw nothing, so that both devices take the same steps
    few = {"max_iter": 3, "batch_size": len(X), "dropout": 0.0}
    many = {"max_iter": 20, "batch_size": 256}
    reference = start_alike(X, Y, "cpu", "float32", **few).transform(X_new)
    best = make(device="cpu", **many).fit(X, Y).score(X_new, Y_new)
    rows = []
    for precision in PRECISIONS:
        model = start_alike(X, Y, device, precision, **few)
        largest = np.abs(model.transform(X_new) - reference).max()
        difference = float(largest / np.abs(reference).max())
        model = make(device=device, precision=precision, **many).fit(X, Y)
        loss = best - model.score(X_new, Y_new)
        is_right = difference < TOLERANCES[precision] and loss < ROC_AUC_TOLERANCE
        rows.append((precision, difference, float(loss), bool(is_right)))
        print(
            f"  {precision:10} features differ by {difference:.1e}, ROC-AUC by "
            f"{loss:+.4f}: {'right' if is_right else 'WRONG'}",
            flush=True,
        )
    return rows


def start_alike(X, Y, device, precision, **settings):
    """A fit from the same weights on every device, which has random numbers of its own.

    The first epoch is one of the CPU; a warm start takes it to the other device.
    """
    model = make(device="cpu", **settings | {"max_iter": 1}).fit(X, Y)
    settings |= {"device": device, "precision": precision, "warm_start": True}
    return model.set_params(**settings).fit(X, Y)


def product_rate(device, precision, side):
    """Operations a second of square products."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    left @ right
    synchronize(device)
    start, n_times = time.perf_counter(), 10
    for _ in range(n_times):
        left @ right
    synchronize(device)
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * side**3 * n_times / (time.perf_counter() - start)


def synchronize(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def measure_rates(device, n_samples, side):
    """Rates of training at two widths, as shares of that of large products."""
    n_features, n_tasks, rows = 1024, 512, []
    X, Y = draw(n_samples, n_features, n_tasks)
    for precision in PRECISIONS:
        limit = product_rate(device, precision, side)
        for n_hidden in (512, 4096):
            seconds = statistics.median(
                epoch_seconds(X, Y, n_hidden, device, precision) for _ in range(3)
            )
            # "joint": two products of inputs, three of scores
            operations = 2 * n_samples * n_hidden * (2 * n_features + 3 * n_tasks)
            rate = operations / seconds
            rows.append((precision, n_hidden, seconds, rate, rate / limit))
            print(
                f"  {precision:10} {n_hidden:5} units: {seconds:.3f} s an epoch, "
                f"{rate / 1e12:.1f} Tflop/s, {rate / limit:.0%} of {limit / 1e12:.1f}",
                flush=True,
            )
    return rows


def epoch_seconds(X, Y, n_hidden, device, precision):
    """Of an epoch of `fit`, from the slope between two numbers of them."""
    times = []
    for n_epochs in (1, 4):
        settings = {"algorithm": "joint", "batch_size": 8192, "max_iter": n_epochs}
        settings |= {"device": device, "precision": precision}
        start = time.perf_counter()
        make(n_hidden, **settings).fit(X, Y)
        synchronize(device)
        times.append(time.perf_counter() - start)
    return (times[1] - times[0]) / 3


def measure_memory(device, n_samples):
    """Peak of the GPU's memory, over the bytes of the rows it is to hold."""
    X, Y = draw(n_samples, 1024, 64)
    rows = []
    for name, held_out in (("no rows held out", None), ("80 % held out", 0.8)):
        settings = {"early_stopping": held_out is not None, "max_iter": 2}
        settings |= {"validation_fraction": held_out or 0.1, "batch_size": 2048}
        torch.cuda.reset_peak_memory_stats()
        make(device=device, **settings).fit(X, Y)
        peak = torch.cuda.max_memory_allocated()
        trained = X.nbytes * (1 - (held_out or 0))
        rows.append((name, peak, trained, peak / trained, peak / X.nbytes))
        print(
            f"  {name:17} peak {peak / 1e6:.0f} MB, {peak / trained:.2f} of the "
            f"training rows, {peak / X.nbytes:.2f} of all",
            flush=True,
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", default="cuda", help="cpu: small sizes, to try the script itself"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs will do
    on_gpu = torch.device(options.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        print("There is no GPU here: nothing was measured.")
        return
    print(torch.cuda.get_device_name() if on_gpu else "cpu", torch.__version__)
    found = {}
    print("results against the CPU")
    found["results"] = check_results(options.device)
    print("rate of training")
    sizes = (200_000, SIDE) if on_gpu else (8192, 512)
    found["rates"] = measure_rates(options.device, *sizes)
    if on_gpu:
        print("memory")
        found["memory"] = measure_memory(options.device, 200_000)
    Path("gpu.json").write_text(json.dumps(found, indent=1))
    if not all(is_right for *_, is_right in found["results"]):
        raise SystemExit("Some results are not those of the CPU.")


if __name__ == "__main__":
    main()
