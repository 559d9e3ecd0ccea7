"""Work that is large in one respect, and what is measured only once per machine."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _large as large
from _contenders import Problem
from _timing import (
    EPOCH_SUMMARY,
    SUMMARY,
    Contender,
    Result,
    compare,
    divide,
    few_rounds,
    print_table,
    summarise,
    summarise_epochs,
    take_turns,
)


def work_sparse_text(options):
    options = few_rounds(options)
    sizes = options.choose((2000, 100_000), (500, 10_000))
    problem, per_row = Problem(*sizes, 64, 20, 128), 100
    contenders = [
        Contender(
            f"ours, {algorithm}",
            large.build_text,
            {"problem": problem, "per_row": per_row, "algorithm": algorithm},
            [(1,), (3,)],
            base="ours, joint",
        )
        for algorithm in ("joint", "alternating", "one_step")
    ]
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise_epochs(contenders, timings)
    # a float32 and an int32 per value
    n_bytes = 8 * problem.n_samples * per_row + 4 * problem.n_features * 64
    for row, contender in zip(rows, contenders):
        times = record[contender.name]["growth_bytes"] / n_bytes
        record[contender.name]["growth_over_values_and_weights"] = times
        row.append(f"{times:.1f} x")
    title = (
        f"sparse-text: CSR n={sizes[0]} d={sizes[1]}, {per_row} values per row, "
        f"m=64 T=20 batch=128; values and weights are {n_bytes / 1e6:.0f} MB"
    )
    columns = ["fit of 3 epochs", *EPOCH_SUMMARY, "of these MB"]
    print_table(title, columns, rows)
    return Result({title: record}, [])


def work_long(options):
    options = few_rounds(options)
    n_samples, n_tasks = options.choose((1_000_000, 100_000), (20_000, 2000))
    problem = Problem(n_samples, 64, 128, n_tasks, 512)
    base, calls = "one task", [(1,), (2,)]
    single = {"problem": problem._replace(n_tasks=1)}
    many = {"problem": problem}
    contenders = [
        Contender(base, large.build_long, single, calls),
        Contender(f"{n_tasks} tasks", large.build_long, many, calls, base),
    ]
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise_epochs(contenders, timings)
    title = f"long: n={n_samples} d=64 m=128 batch=512, one label per row"
    print_table(title, ["fit of 2 epochs", *EPOCH_SUMMARY], rows)
    comparisons = compare("long form", record, [(f"{n_tasks} tasks", "one task")])

    n_samples, n_tasks = options.choose((20_000, 2000), (2000, 400))
    wide = Problem(n_samples, 64, 128, n_tasks, 512, missing=0.991)
    base, calls = "dense labels", [(1,), (3,)]
    settings = {"problem": wide}
    contenders = [
        Contender(base, large.build_wide, settings | {"as_dense": True}, calls),
        Contender(
            "ours", large.build_wide, settings | {"as_dense": False}, calls, base
        ),
    ]
    timings = take_turns(contenders, options.rounds)
    rows, of_wide = summarise_epochs(contenders, timings)
    wide_title = f"long: n={n_samples} d=64 m=128 T={n_tasks} wide, 99.1 % missing"
    print_table(wide_title, ["fit of 3 epochs", *EPOCH_SUMMARY], rows)
    pairs = [("ours", "dense labels")]
    comparisons += compare("wide, 99 % missing", of_wide, pairs)
    return Result({title: record, wide_title: of_wide}, comparisons)


def work_one_step(options):
    options = few_rounds(options)
    problem = Problem(options.choose(200_000, 20_000), 100, 512, 64, 512)
    settings, base, passes = {"problem": problem}, "its four products", "ours, passes"
    contenders = [
        Contender(base, large.build_one_step_products, settings),
        Contender(passes, large.build_one_step_passes, settings, base=base),
        Contender("ours, fit", large.build_one_step, settings, base=base),
    ]
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise(contenders, timings)
    title = f"one_step: n={problem.n_samples} d=100 m=512 T=64"
    title += f", {options.threads} threads"
    print_table(title, ["", *SUMMARY], rows)
    work = f"one step, {options.threads} threads"
    pairs = [(passes, base), ("ours, fit", base)]
    return Result({title: record}, compare(work, record, pairs))


def work_memmap(options):
    problem = Problem(options.choose(100_000, 15_000), 1000, 64, 16, 512)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/rows"
        large.write_rows(path, problem)
        n_bytes = Path(path).stat().st_size
        shared = {"problem": problem, "path": path}
        variants = {
            "fit, alternating": {},
            "fit, one_step": {"algorithm": "one_step"},
            "partial_fit, 10 blocks": {"n_blocks": 10},
            "partial_fit, 10 blocks, one_step": {
                "n_blocks": 10,
                "algorithm": "one_step",
            },
        }
        contenders = [
            Contender(name, large.build_memmap, shared | settings)
            for name, settings in variants.items()
        ]
        timings = take_turns(contenders, 1, warm_up=False)
    rows, record = [], {}
    for name, timing in timings.items():
        seconds, growth = timing.seconds[0][0], timing.values[0][0]
        record[name] = {"seconds": seconds, "growth_bytes": growth}
        share = growth / n_bytes
        record[name]["share_of_file"] = share
        cells = [f"{seconds:.2f}", f"{growth / 1e6:.0f}", f"{100 * share:.1f} %"]
        rows.append([name, *cells])
    title = f"memmap: a file of {n_bytes / 1e6:.0f} MB, d=1000 m=64 T=16, one pass"
    print_table(title, ["", "s", "growth of RssAnon, MB", "of the file"], rows)
    return Result({title: record}, [])


def work_grid(options):
    options = few_rounds(options)
    problem = Problem(options.choose(3000, 600), 64, 512, 40, 128)
    shared = {"problem": problem, "n_epochs": options.choose(5, 2)}
    variants = {
        "n_jobs=1": {"n_jobs": 1},
        "n_jobs=1 on one thread": {"n_jobs": 1, "threads": 1},
        "n_jobs=2": {"n_jobs": 2},
    }
    contenders = [
        Contender(name, large.build_grid, shared | settings, base="n_jobs=1")
        for name, settings in variants.items()
    ]
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise(contenders, timings)
    title = f"grid: GridSearchCV, 18 fits of n={problem.n_samples} d=64 m=512 T=40"
    # the memory of joblib's processes was not looked at
    print_table(title, ["", *SUMMARY[:2]], [row[:3] for row in rows])
    pairs = [("n_jobs=2", "n_jobs=1"), ("n_jobs=2", "n_jobs=1 on one thread")]
    return Result({title: record}, compare("grid search", record, pairs))


def work_import(options):
    statements = ("import torch, sklearn, skorch", "import mtrl_sklearn")
    seconds = {statement: [] for statement in statements}
    for _ in range(options.rounds + 1):
        for statement, of_statement in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            of_statement.append(time.perf_counter() - start)
    rows, record = [], {}
    for statement, of_statement in seconds.items():
        ratios = divide(of_statement[1:], seconds[statements[0]][1:])
        median, ratio = statistics.median(of_statement[1:]), statistics.median(ratios)
        rows.append([statement, f"{median:.3f}", f"{ratio:.2f}"])
        record[statement] = {"seconds": [of_statement[1:]], "ratios": ratios}
    title = "import: a fresh process"
    print_table(title, ["", "s", "ratio"], rows)
    return Result({title: record}, compare("import", record, [statements[::-1]]))
