"""Work a, b, c, e and f: training and prediction against other libraries."""

import statistics

import _contenders as training
from _contenders import Images, Problem
from _timing import (
    EPOCH_SUMMARY,
    RATE_SUMMARY,
    SUMMARY,
    Contender,
    Result,
    compare,
    few_rounds,
    print_table,
    summarise,
    summarise_epochs,
    take_turns,
)

LOOP = "plain torch loop"
LOOP_DROPOUT = f"{LOOP}, dropout"
SKORCH = "skorch's NeuralNet"
SCIKIT = "MLPClassifier"
DEEPCHEM = "loop in DeepChem's shape"
JOINT = "ours, joint"


def list_training(problem, calls):
    """Contenders of one training problem; of many missing labels, without dropout."""

    def reference(name, build, base=LOOP, **settings):
        operations = training.count_operations(problem, "joint")
        settings["problem"] = problem
        return Contender(name, build, settings, calls, base, operations)

    def ours(variant, algorithm, base=LOOP, precision="float32", **settings):
        operations = training.count_operations(problem, algorithm)
        settings = {"dropout": 0.0, "precision": precision} | settings
        return Contender(
            f"ours, {algorithm}{variant}",
            training.build_ours,
            {"problem": problem, "algorithm": algorithm} | settings,
            calls,
            base,
            0 if settings.get("as_csr") else operations,
            precision,
        )

    contenders = [
        reference(LOOP, training.build_plain),
        reference(SKORCH, training.build_skorch),
    ]
    if problem.missing:
        contenders.append(reference(DEEPCHEM, training.build_deepchem))
    else:
        contenders.append(reference(SCIKIT, training.build_scikit))
    variants = [("", algorithm, {}) for algorithm in ("joint", "alternating")]
    if problem.ones:
        variants.append((", CSR", "joint", {"as_csr": True}))
    contenders += [ours(variant, kind, **more) for variant, kind, more in variants]
    contenders += [
        ours(f", {precision}", "joint", precision=precision)
        for precision in training.PRECISIONS
        if precision != "float32"
    ]
    if problem.missing:
        return contenders
    dropout = {"base": LOOP_DROPOUT, "dropout": 0.5}
    contenders.append(reference(LOOP_DROPOUT, training.build_plain, **dropout))
    for algorithm in ("joint", "alternating"):
        contenders.append(ours(", dropout", algorithm, **dropout))
    return contenders


def list_pairs(contenders):
    """Ours and theirs, for the last table: what was trained in the same way."""
    names = {contender.name for contender in contenders}
    pairs = [
        (JOINT, LOOP),
        (JOINT, SKORCH),
        (JOINT, SCIKIT),
        (JOINT, DEEPCHEM),
        ("ours, alternating", LOOP),
        ("ours, joint, CSR", JOINT),
        ("ours, joint, bfloat16", JOINT),
        ("ours, joint, dropout", LOOP_DROPOUT),
        ("ours, joint, dropout", JOINT),
    ]
    return [pair for pair in pairs if names.issuperset(pair)]


def train(name, problem, n_epochs, options):
    """Time of training, share of the machine's rate, memory."""
    contenders = list_training(problem, [(epochs,) for epochs in n_epochs])
    machine = Contender(
        "machine",
        training.build_rates,
        {
            "problem": problem,
            "side": options.choose(2048, 512),
            "at_least": options.choose(0.2, 0.02),
        },
    )
    timings = take_turns([machine, *contenders], options.rounds)
    of_rounds = timings["machine"].values[0]
    rates = {kind: [rate[kind] for rate in of_rounds] for kind in of_rounds[0]}
    rows, record = summarise_epochs(contenders, timings, rates)
    title = (
        f"{name}: n={problem.n_samples} d={problem.n_features} m={problem.n_hidden} "
        f"T={problem.n_tasks} batch={problem.batch_size}, "
        f"{100 * problem.missing:.0f} % missing, {options.threads} threads"
    )
    print_table(title, [f"fit of {n_epochs[-1]} epochs", *RATE_SUMMARY], rows)
    medians = {kind: statistics.median(rate) for kind, rate in rates.items()}
    print("  Gflop/s of", ", ".join(f"{k}: {v:.0f}" for k, v in medians.items()))
    work = f"{name}, {options.threads} threads, {problem.batch_size} rows"
    products = {
        contender.name: contender.operations / medians[f"{contender.precision} batch"]
        for contender in contenders
        if contender.operations
    }
    products = {name: seconds / 1e9 for name, seconds in products.items()}
    rows = compare(work, record, list_pairs(contenders), products)
    return Result({title: {"rates": rates, "contenders": record}}, rows)


def work_a(options):
    problem = Problem(20000, 256, 512, 64, 512)
    small = problem._replace(n_samples=2000, n_hidden=128)
    return train("a", options.choose(problem, small), (1, 3), options)


def work_b(options):
    record, rows, options = {}, [], few_rounds(options)
    for batch_size in (128, 512):
        problem = Problem(8192, 1024, 512, 494, batch_size, missing=0.7, ones=0.03)
        small = problem._replace(n_samples=1024, n_features=256, n_hidden=64)
        result = train("b", options.choose(problem, small), (1, 2), options)
        record |= result.record
        rows += result.comparisons
    return Result(record, rows)


def work_c(options):
    problem = Problem(1500, 64, 512, 40, 128)
    return train("c", problem, options.choose((5, 20), (2, 6)), options)


def work_e(options):
    problem = Problem(2000, 256, 512, 64, 512)
    shared = {"problem": problem, "n_samples": options.choose(100_000, 5000)}
    contenders = []
    for method in ("transform", "predict"):
        base = f"plain torch, {method}"
        settings = shared | {"method": method}
        builders = {
            base: training.build_plain_prediction,
            f"ours, {method}": training.build_our_prediction,
        }
        for name, build in builders.items():
            contenders.append(Contender(name, build, settings, base=base))
    contenders.append(
        Contender(
            "scikit-learn, predict",
            training.build_scikit_prediction,
            shared,
            base="plain torch, predict",
        )
    )
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise(contenders, timings)
    title = f"e: {shared['n_samples']} rows d=256 m=512 T=64, {options.threads} threads"
    print_table(title, ["", *SUMMARY], rows)
    pairs = [(f"ours, {m}", f"plain torch, {m}") for m in ("transform", "predict")]
    pairs.append(("ours, predict", "scikit-learn, predict"))
    return Result({title: record}, compare("e, prediction", record, pairs))


def work_f(options):
    images = Images(options.choose(1600, 320), options.choose(64, 16), 128)
    settings, calls, base = {"problem": images}, [(2,), (6,)], "plain torch loop"
    contenders = [Contender(base, training.build_plain_convolution, settings, calls)]
    for head in ("shared", "per_task"):
        contenders.append(
            Contender(
                f"ours, {head} head",
                training.build_our_convolution,
                settings | {"head": head},
                calls,
                base,
            )
        )
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise_epochs(contenders, timings)
    title = f"f: {images.n_samples} images 3x32x32, {options.threads} threads"
    print_table(title, [f"fit of {calls[-1][0]} epochs", *EPOCH_SUMMARY], rows)

    theory = [Contender("ours, fixed head", training.build_theory)]
    timings = take_turns(theory, options.rounds)
    rows, of_theory = summarise(theory, timings)
    theory_title = f"f: 16 tasks of the theory, {options.threads} threads"
    print_table(theory_title, ["default fit", *SUMMARY], rows)
    pairs = [(f"ours, {head} head", base) for head in ("shared", "per_task")]
    comparisons = compare("f, images", record, pairs)
    return Result({title: record, theory_title: of_theory}, comparisons)
