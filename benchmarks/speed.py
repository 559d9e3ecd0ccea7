"""Speed and memory against plain torch, skorch, scikit-learn and the machine.

Run as ``make bench`` or ``python benchmarks/speed.py``. Every contender lives in a
process of its own; they take turns, a first turn is dropped, and a ratio is that of two
times of the same round. Figures are medians over rounds. A fit is measured with two
numbers of epochs: times are those of the longer one, times per epoch are the slope.
"Of square" and "of batch" are shares of the rates that products of large square
matrices and those of one batch reach in the same rounds, on as many threads and in the
same precision. "Growth" is peak memory above what was resident once the data were at
hand. The last table has all comparisons: "limit" is the ratio that the matrix products
of the work alone would have. Writes ``speed.json``.
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
    work_sparse_text,
)
from _memory import CLOCKS
from _task_work import work_digits, work_probes, work_tasks
from _timing import (
    COMPARISON_HEAD,
    Options,
    describe_machine,
    format_comparison,
    fresh_process,
)
from _training_work import work_a, work_b, work_c, work_e, work_f

ON_EACH_NUMBER_OF_THREADS = {"a": work_a, "c": work_c, "one_step": work_one_step}
ON_ONE = {
    "b": work_b,
    "e": work_e,
    "f": work_f,
    "digits": work_digits,
    "tasks": work_tasks,
    "probes": work_probes,
    "sparse-text": work_sparse_text,
    "long": work_long,
    "memmap": work_memmap,
    "import": work_import,
}
# joblib shares the threads out among its processes, unless their number is set
ON_DEFAULT_THREADS = {"grid": work_grid}
WORK = ON_EACH_NUMBER_OF_THREADS | ON_ONE | ON_DEFAULT_THREADS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, 2],
        help=f"most work takes the first; all: {', '.join(ON_EACH_NUMBER_OF_THREADS)}",
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
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: seconds of the processor, where others use the machine, too",
    )
    parser.add_argument("--output", type=Path, default=Path("speed.json"))
    arguments = parser.parse_args()
    machine = describe_machine()
    for name, value in machine.items():
        print(f"{name}: {value}")
    if "bfloat16" not in PRECISIONS:
        print("bfloat16 is left out: this processor has no products of it")
    results = {"machine": machine, "arguments": vars(arguments), "work": {}}
    stages = [(arguments.threads[0], ON_EACH_NUMBER_OF_THREADS | ON_ONE)]
    stages += [(n, ON_EACH_NUMBER_OF_THREADS) for n in arguments.threads[1:]]
    stages += [(None, ON_DEFAULT_THREADS)]
    begin, comparisons = time.perf_counter(), []
    for threads, work in stages:
        options = Options(arguments.rounds, threads, arguments.fast)
        with fresh_process(threads, arguments.clock) as run:
            for name in filter(work.get, arguments.work):
                start = time.perf_counter()
                record, rows = run(WORK[name], options)
                results["work"] |= record
                comparisons += rows
                print(f"  {name} took {time.perf_counter() - start:.0f} s", flush=True)
                arguments.output.write_text(json.dumps(results, indent=1, default=str))
    results["comparisons"] = [row._asdict() for row in comparisons]
    arguments.output.write_text(json.dumps(results, indent=1, default=str))
    print(f"\nall, in {time.perf_counter() - begin:.0f} s")
    print(COMPARISON_HEAD)
    print("\n".join(map(format_comparison, comparisons)))


if __name__ == "__main__":
    main()
