"""Speed and memory against plain torch, skorch, scikit-learn and the machine.

Run as ``make bench`` or ``python benchmarks/speed.py``. Every contender lives in a
process of its own; they take turns, a first turn is dropped, and a ratio is that of two
times of the same round. Figures are medians over rounds. A fit is measured with two
numbers of epochs: times are those of the longer one, times per epoch are the slope.
"Of square" and "of batch" are shares of the rates that products of large square
matrices and those of one batch reach in the same rounds, on as many threads and in the
same precision. "Growth" is peak memory above what was resident once the data were at
hand. Writes ``speed.json``.
"""

import argparse
import json
import time
from pathlib import Path

from _contenders import PRECISIONS
from _large_work import (
    work_grid,
    work_import,
    work_long,
    work_memmap,
    work_one_step,
    work_slopes,
    work_sparse_text,
)
from _timing import Options, describe_machine, fresh_process
from _training_work import work_a, work_b, work_c, work_d, work_e, work_f

ON_EACH_NUMBER_OF_THREADS = {
    "a": work_a,
    "b": work_b,
    "c": work_c,
    "d": work_d,
    "e": work_e,
    "f": work_f,
    "one_step": work_one_step,
}
ON_THE_LAST = {
    "sparse-text": work_sparse_text,
    "long": work_long,
    "memmap": work_memmap,
    "import": work_import,
    "slopes": work_slopes,
}
# joblib shares the threads out among its processes, unless their number is set
ON_DEFAULT_THREADS = {"grid": work_grid}
WORK = ON_EACH_NUMBER_OF_THREADS | ON_THE_LAST | ON_DEFAULT_THREADS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, 2],
        help="some work takes the last",
    )
    parser.add_argument(
        "--work",
        nargs="+",
        choices=WORK,
        default=list(WORK),
        metavar="NAME",
        help=f"of {', '.join(WORK)}",
    )
    parser.add_argument("--fast", action="store_true", help="small sizes, a quick look")
    parser.add_argument("--output", type=Path, default=Path("speed.json"))
    arguments = parser.parse_args()
    machine = describe_machine()
    for name, value in machine.items():
        print(f"{name}: {value}")
    if "bfloat16" not in PRECISIONS:
        print("bfloat16 is left out: this processor has no products of it")
    results = {"machine": machine, "arguments": vars(arguments), "work": {}}
    stages = [(threads, ON_EACH_NUMBER_OF_THREADS) for threads in arguments.threads]
    stages += [(arguments.threads[-1], ON_THE_LAST), (None, ON_DEFAULT_THREADS)]
    for threads, work in stages:
        options = Options(arguments.rounds, threads, arguments.fast)
        with fresh_process(threads) as run:
            for name in filter(work.get, arguments.work):
                start = time.perf_counter()
                results["work"] |= run(WORK[name], options)
                print(f"  {name} took {time.perf_counter() - start:.0f} s", flush=True)
                arguments.output.write_text(json.dumps(results, indent=1, default=str))


if __name__ == "__main__":
    main()
