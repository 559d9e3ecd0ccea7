"""The examples run, draw their picture, and print numbers that bear out the claims.

Each example runs in its fast mode, in this process and without worker processes, so
that a failure shows its line and a warning is an error. Numbers are read from the
tables it prints: they are what a reader sees.
"""

import re
import runpy
import sys
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn import config_context

FOLDER = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in FOLDER.glob("plot_*.py"))
NUMBER = r"-?\d+\.\d+|nan"
ROW = re.compile(rf"^(\S.*?)\s\s+((?:{NUMBER})(?:\s+(?:{NUMBER}))*)(?:\s|$)")

Table = dict[str, np.ndarray]  # a row by its name


class Run(NamedTuple):
    """What an example printed and left behind."""

    tables: dict[str, Table]  # by the title
    text: str
    namespace: dict[str, Any]


def read_tables(text):
    """Tables in the order of print: blocks with a title and rows of numbers.

    >>> read_tables("Errors, by kind\\n         a      b\\nnet   0.125  nan\\n")
    {'Errors, by kind': {'net': array([0.125,   nan])}}
    """
    tables = {}
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        title, *lines = block.split("\n")
        rows = [match for line in lines if (match := ROW.match(line))]
        if rows:
            tables[title] = {row[1]: np.array(row[2].split(), float) for row in rows}
    return tables


def find_table(run, start):
    """The one table whose title starts like this."""
    found = [table for title, table in run.tables.items() if title.startswith(start)]
    assert len(found) == 1, f"{len(found)} of {list(run.tables)} start with {start!r}"
    return found[0]


def check_01(run):
    """Sixteen labels of a new task are worth many on raw inputs or random features."""
    accuracy = find_table(run, "Digits: accuracy")
    learned = accuracy["representation"]
    for name in ("raw", "random"):
        assert (learned > accuracy[name] + 0.05).all(), name
        assert learned[0] > accuracy[name][0] + 0.1, name
        assert learned[1] > accuracy[name][-1], name  # 32 labels against 128
    assert "16 labels" in run.text
    assert "gains" in run.text


def check_02(run):
    """Many tasks recover the subspace, one cannot, nor unbalanced ones uncentred."""
    distances = find_table(run, "Distance from the subspace")
    uncentred = distances.pop("unbalanced tasks")
    assert (uncentred > 0.8).all()
    assert len(distances) == 4
    for name, distance in distances.items():
        assert distance[0] > 0.6, name
        assert distance[-1] < 0.3, name
    by_rows = find_table(run, "Distance of balanced tasks")
    assert (by_rows["one task"] > by_rows["64 tasks"] + 0.3).all()


def check_03(run):
    """Labels that suffice do not depend on the dimension; parities are learned."""
    accuracy = find_table(run, "Accuracy on new balanced tasks")
    learned, raw = accuracy["learned representation"], accuracy["raw inputs"]
    assert (learned > 0.7).all()
    for name in ("learned representation", "learned, rank not cut"):
        assert np.ptp(accuracy[name]) < 0.05, name
    assert (learned > accuracy["true directions"] - 0.05).all()
    assert (learned > accuracy["partial least squares"]).all()
    assert (learned > accuracy["learned, rank not cut"] + 0.02).all()
    for name in ("raw inputs", "random ReLU features"):
        assert accuracy[name][0] > accuracy[name][-1] + 0.015, name
    assert (learned > raw + 0.12).all()
    symmetric = find_table(run, "Accuracy on symmetric tasks")
    assert (symmetric.pop("learned representation") > 0.68).all()
    assert (symmetric.pop("learned, rank not cut") > 0.55).all()
    assert (symmetric.pop("true directions") > 0.75).all()
    assert len(symmetric) == 5
    for name, values in symmetric.items():
        assert (np.abs(values - 0.5) < 0.05).all(), name


def check_04(run):
    """The step is a gradient step of the loss, and points that agree get similar."""
    difference = re.search(r"negative gradient: (\S+)", run.text)[1]
    assert float(difference) < 1e-12
    summary = find_table(run, "Correlation with the agreement")
    correlation, all_agree, disagree = summary["similarity after one step"]
    assert correlation > 0.35
    assert all_agree > 0.4
    assert disagree < 0
    assert (np.abs(summary["similarity before training"]) < 0.15).all()


def check_05(run):
    """One task guesses where many, or as many rows of one, are right; S_v tells."""
    errors = find_table(run, "Errors")
    for name in ("network, 16 tasks", "network, one task with all those rows"):
        training, shared, own = errors.pop(name)
        assert training == 0, name
        assert shared < 0.03, name
        assert own < 0.1, name
    training, shared, own = errors["network, one task"]
    assert training == 0
    assert own < 0.03
    for name, values in errors.items():
        assert 0.4 < values[1] < 0.6, name
    steps = find_table(run, "Steps until")
    own, shared = steps["network, 16 tasks"]
    assert own < shared
    own, shared = steps["network, one task"]
    assert own < 50
    assert np.isnan(shared)
    by_ratio = find_table(run, "The same errors")
    assert by_ratio["signal to noise below 3"][1] > 0.35  # the lowest
    assert by_ratio["signal to noise above 8"][2] < 0.05  # the highest


def check_06(run):
    """Filling costs nothing where no label is missing, and much where most are."""
    for problem, cost, gain in (("Digits", 0.015, 0.05), ("Synthetic", 0.05, 0.05)):
        accuracy = find_table(run, problem)
        costs = accuracy["cost of filling"]
        assert costs[0] == 0, problem
        assert costs[-1] > cost, problem
        skipped = accuracy["missing labels skipped"]
        assert (skipped > accuracy["raw inputs"] + gain).all(), problem


def check_07(run):
    """The rank that is best for source tasks, the true one, is best for new tasks."""
    assert run.namespace["best"] == 4
    by_rank = find_table(run, "rank")
    source, new = by_rank["ROC-AUC of source tasks"], by_rank["ROC-AUC of new tasks"]
    assert source.argmax() == new.argmax() == run.namespace["RANKS"].index(4)
    assert (new > run.namespace["raw_score"]).all()
    assert run.namespace["probe_score"] > 0.65


def check_08(run):
    """Labels of all corruptions are a gain, to random filters as well."""
    accuracy = find_table(run, "Digits: accuracy, by labels")
    for kind, gain in (("network", 0.05), ("random filters + logistic", 0.03)):
        pooled, alone = (accuracy[f"{kind}, for {group}"] for group in ("all", "each"))
        assert (pooled > alone + gain).all(), kind
    control = accuracy["network, 5 times the images, for each"]
    assert (control > accuracy["network, for all"]).all()
    per_task = find_table(run, "Digits: accuracy of networks")
    assert (per_task["labels of all"] > per_task["its own labels only"]).all()


def check_09(run):
    """A site learns more together with another one than alone."""
    accuracy = find_table(run, "Accuracy on new tasks of the first site")
    assert (accuracy["together"] > accuracy["alone"] + 0.03).all()
    assert (accuracy["alone"] > accuracy["raw inputs"] + 0.05).all()


def check_10(run):
    """Both workers fit, and the search finds what it finds without a cluster."""
    scores = find_table(run, "Mean ROC-AUC")
    assert len(scores) >= 2
    for name, (cluster, processes) in scores.items():
        assert cluster == processes > 0.5, name
    assert "Largest difference of scores: 0.0\n" in run.text
    best = re.findall(r"^Best .*(\{.*\})$", run.text, re.MULTILINE)
    assert best == ["{'n_components': 4}"] * 2
    shares = re.search(r"Shares of the workers: (\d+) (\d+)", run.text)
    assert min(int(share) for share in shares.groups()) >= 1


def check_11(run):
    """Blocks give the same features in a memory that does not grow with the rows."""
    taken = find_table(run, "Megabytes taken")
    assert (np.diff(taken["at once"]) > 40).all()
    assert taken["in blocks"][-1] < taken["at once"][-1] / 2
    difference = re.search(r"Largest difference: (\S+)", run.text)[1]
    assert float(difference) < 1e-5
    shares = re.findall(r"^Positive among .*: (\S+)$", run.text, re.MULTILINE)
    among_all, among_best = map(float, shares)
    assert 0.45 < among_all < 0.55
    assert among_best > 0.95


def check_12(run):
    """Probabilities out of fold can be put right; those of training rows flatter."""
    found = find_table(run, "Probabilities of observed labels")
    errors = {name: values[0] for name, values in found.items()}
    brier = {name: values[1] for name, values in found.items()}
    assert errors["out of fold, stretched"] < 0.03
    assert errors["out of fold"] < errors["training rows"] - 0.03
    assert brier["training rows"] < brier["out of fold, stretched"] - 0.01
    assert brier["out of fold"] < brier["base rate of the task"] - 0.05


def check_13(run):
    """A new assay does as well as its forecast says."""
    found = find_table(run, "Assay ")
    mean, low, high = found["forecast"]
    assert low < found["20 draws"][0] < high
    assert abs(found["20 draws"][0] - mean) < 0.1
    assert "skipped without" in run.text
    assert re.search(r"^9000 labels of 19\d\d molecules in 60 assays", run.text, re.M)


CHECKS = {
    "plot_01_new_task_from_16_labels": check_01,
    "plot_02_many_tasks_recover_the_subspace": check_02,
    "plot_03_accuracy_whatever_the_dimension": check_03,
    "plot_04_pseudo_contrastive_loss": check_04,
    "plot_05_shared_and_specific_features": check_05,
    "plot_06_missing_labels": check_06,
    "plot_07_search_with_routed_tasks": check_07,
    "plot_08_corrupted_images": check_08,
    "plot_09_one_fit_on_two_machines": check_09,
    "plot_10_search_on_a_cluster": check_10,
    "plot_11_large_inference": check_11,
    "plot_12_calibration_out_of_fold": check_12,
    "plot_13_assays_in_a_table": check_13,
}


def check_picture(text):
    """The picture that the last line names was drawn, and shows something."""
    path = re.search(r"(\S+\.png)\s*$", text)[1]
    assert np.ptp(plt.imread(path)[..., :3]) > 0.5


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Runs an example in fast mode, in an empty folder and without real data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MTRL_DATA", raising=False)

    def run(name):
        path = FOLDER / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), "--fast"])
        with (
            config_context(),
            joblib.parallel_config(backend="sequential"),
            plt.rc_context(),
        ):
            namespace = runpy.run_path(str(path), run_name="__main__")
        text = capsys.readouterr().out
        return Run(read_tables(text), text, namespace)

    plt.switch_backend("Agg")
    yield run
    plt.close("all")


# Ten seconds and more each on slow machines: `pytest -m slow` runs them
SLOW = {
    "plot_03_accuracy_whatever_the_dimension",
    "plot_05_shared_and_specific_features",
    "plot_06_missing_labels",
    "plot_07_search_with_routed_tasks",
    "plot_08_corrupted_images",
    "plot_09_one_fit_on_two_machines",
    "plot_10_search_on_a_cluster",
    "plot_11_large_inference",
    "plot_12_calibration_out_of_fold",
    "plot_13_assays_in_a_table",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NAMES],
)
def test_numbers_bear_out_the_claims(run_example, name):
    run = run_example(name)
    check_picture(run.text)
    CHECKS[name](run)


def test_every_example_is_checked():
    assert set(CHECKS) == set(NAMES)
    assert set(NAMES) > SLOW
