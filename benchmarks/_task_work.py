"""Small fits, predictions of many tasks, probes of many new ones."""

import statistics

import _tasks as tasks
from _timing import (
    SUMMARY,
    Contender,
    Result,
    compare,
    few_rounds,
    print_table,
    summarise,
    take_turns,
)


def measure(title, work, contenders, options, pairs, products=None):
    """Let contenders take turns; ``products`` is the one that only multiplies."""
    timings = take_turns(contenders, options.rounds)
    rows, record = summarise(contenders, timings)
    print_table(title, ["", *SUMMARY], rows)
    limits = None
    if products is not None:
        seconds = statistics.median(record[products]["seconds"][-1])
        limits = {ours: seconds for ours, _ in pairs}
    return Result({title: record}, compare(work, record, pairs, limits))


def work_digits(options):
    """The default fit of the digits, all that it does besides training included."""
    loop, scikit, products = "plain torch loop", "MLPClassifier", "its products"
    contenders = [
        Contender(loop, tasks.build_plain_digits),
        Contender(scikit, tasks.build_scikit_digits, base=loop),
        Contender("ours, default", tasks.build_our_digits, base=loop),
        Contender(products, tasks.build_digits_products, base=loop),
    ]
    title = f"digits: default fit of 40 tasks, {options.threads} threads"
    pairs = [("ours, default", peer) for peer in (loop, scikit, products)]
    return measure(title, "digits, default fit", contenders, options, pairs, products)


def work_tasks(options):
    """Probabilities of many tasks against both products."""
    options = few_rounds(options)
    shared = {"n_samples": options.choose(200_000, 20_000)}
    loop, products = "plain torch", "its two products"
    only = shared | {"only_products": True}
    contenders = [
        Contender(products, tasks.build_plain_probabilities, only),
        Contender(loop, tasks.build_plain_probabilities, shared, base=products),
        Contender("ours", tasks.build_our_probabilities, shared, base=products),
    ]
    sizes = tasks.Sizes
    title = (
        f"tasks: predict_proba of {shared['n_samples']} rows d={sizes.n_features} "
        f"m={sizes.n_hidden} T={sizes.n_tasks}, {options.threads} threads"
    )
    pairs = [("ours", products), ("ours", loop)]
    work = f"predict_proba, {sizes.n_tasks} tasks"
    return measure(title, work, contenders, options, pairs, products)


def work_probes(options):
    """Probes of many new tasks, which share their rows."""
    options = few_rounds(options)
    n_tasks = options.choose(1000, 100)
    settings = {"n_samples": 10_000, "n_tasks": n_tasks, "n_labels": 64}
    scikit = "LogisticRegression"
    contenders = [
        Contender(scikit, tasks.build_scikit_probes, settings),
        Contender("LinearProbe", tasks.build_our_probes, settings, base=scikit),
    ]
    title = f"probes: {n_tasks} tasks of 64 labels, 512 features"
    pairs = [("LinearProbe", scikit)]
    return measure(title, f"{n_tasks} new tasks", contenders, options, pairs)
