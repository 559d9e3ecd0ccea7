"""What parts of the work would take alone: limits of the ratios that `speed.py` finds.

Run as ``OMP_NUM_THREADS=1 python benchmarks/limits.py``. One thread, seconds of the
processor; calls take turns, and a ratio is the median of those within a round.
"Products" are the six of one step of "alternating".
"""

import argparse
import statistics
import time

import torch
from scipy import sparse

from mtrl_sklearn._arrays.precision import has_bfloat16_products
from mtrl_sklearn._arrays.products import ShiftedRows, multiply, multiply_transposed
from mtrl_sklearn._arrays.rows import to_tensor
from mtrl_sklearn._relu.gradients import dropout_

# Rows of a batch, features, units, tasks.
SHAPES = {
    "(a)": (512, 256, 512, 64),
    "(b), batches of 512": (512, 1024, 512, 494),
    "(b), batches of 128": (128, 1024, 512, 494),
}
N_CALLS = 15


def seconds(call, n_calls=N_CALLS):
    start = time.process_time()
    for _ in range(n_calls):
        call()
    return (time.process_time() - start) / n_calls


def compare(title, calls, n_rounds):
    """Print times, and ratios to the first of the calls."""
    base, *_ = calls
    found = {name: [] for name in calls}
    for _ in range(n_rounds + 1):
        for name, call in calls.items():
            found[name].append(seconds(call))
    print(title)
    for name, times in found.items():
        ratios = [a / b for a, b in zip(times[1:], found[base][1:])]
        ms = 1e3 * statistics.median(times[1:])
        print(f"  {name:36s}{ms:8.3f} ms{statistics.median(ratios):8.3f}", flush=True)


def draw(shape, dtype=torch.float32):
    n, d, m, t = shape
    sizes = {"X": (n, d), "W": (d, m), "H": (n, m), "A": (t, m), "G": (n, t)}
    return {name: torch.randn(*size).to(dtype) for name, size in sizes.items()}


def products(shape, dtype=torch.float32):
    """The six products of a step of "alternating"; ``H`` stands for what is gated."""
    X, W, H, A, G = draw(shape, dtype).values()

    def run():
        return X @ W, H @ A.T, H @ A.T, G.T @ H, G @ A, X.T @ H

    return run


def compare_bfloat16(n_rounds):
    for name, shape in SHAPES.items():
        of_step, matrices = products(shape, torch.bfloat16), draw(shape)

        def with_casts(of_step=of_step, matrices=matrices):
            for key in "XWAA":  # heads twice: they change within a step
                matrices[key].bfloat16()
            of_step()

        calls = {"products": products(shape), "in bfloat16": of_step}
        compare(f"{name}, bfloat16", calls | {"and casts": with_casts}, n_rounds)


def compare_dropout(n_rounds):
    shape = SHAPES["(a)"]
    generator = torch.Generator().manual_seed(0)
    hidden, floats = torch.rand(shape[0], shape[2]), torch.empty(shape[0], shape[2])
    words = torch.empty(hidden.numel() // 8, dtype=torch.int64)
    draws = words.view(torch.int8).view_as(hidden)

    def draw_words():
        words.random_(-(2**63), None, generator=generator)

    def mask():
        draw_words()
        floats.copy_(draws)
        torch.ops.aten.threshold_backward.grad_input(
            hidden, floats, -1e9, grad_input=hidden
        )

    calls = {
        "products": products(shape),
        "random numbers": draw_words,
        "and a mask of them": mask,
        "dropout": lambda: dropout_(hidden.fill_(1.0), 0.5, generator),
    }
    compare("(a), dropout", calls, n_rounds)


def compare_sparse(n_rounds):
    for name in list(SHAPES)[1:]:
        shape = SHAPES[name]
        X, W, H, A, G = draw(shape).values()
        X = (X > 1.88).float()  # 3 %
        rows = to_tensor(sparse.csr_array(X.numpy()), "cpu")
        centred = ShiftedRows(rows, X.mean(0))

        def heads(H=H, A=A, G=G):
            return H @ A.T, H @ A.T, G.T @ H, G @ A

        def of_sparse(left, W=W, H=H, heads=heads):
            return multiply(left, W), multiply_transposed(left, H), heads()

        calls = {
            "products": products(shape),
            "of CSR": lambda rows=rows, run=of_sparse: run(rows),
            "of CSR, centred": lambda centred=centred, run=of_sparse: run(centred),
        }
        compare(f"{name}, 3 % filled", calls, n_rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if has_bfloat16_products("cpu"):
        compare_bfloat16(options.rounds)
    compare_dropout(options.rounds)
    compare_sparse(options.rounds)


if __name__ == "__main__":
    main()
