"""What a TransferTable says, against numbers worked out by hand."""

import numpy as np
import pytest

from mtrl_sklearn.probing._table import TransferTable

COLUMNS = ["task", "shots", "draw", "features", "score"]


def make_table(scores):
    """A table of scores[task, features][shots][draw]; shots are 16, 32, 64, ..."""
    records = [
        (task, 16 * 2**k, draw, features, score)
        for (task, features), curve in scores.items()
        for k, draws in enumerate(curve)
        for draw, score in enumerate(draws)
    ]
    return TransferTable(records, columns=COLUMNS)


@pytest.fixture
def table():
    return make_table(
        {
            ("a", "representation"): [[0.7, 0.9], [0.8, 1.0], [0.9, 0.9]],
            ("a", "raw"): [[0.6, 0.6], [0.7, 0.7], [0.9, 0.9]],
            ("b", "representation"): [[0.6, 0.6], [0.5, 0.7], [0.6, 0.6]],
            ("b", "raw"): [[0.6, 0.6], [0.7, 0.7], [0.9, 0.9]],
        }
    )


def test_summary_by_hand(table):
    summary = table.summary().set_index(["shots", "features"])
    assert summary["n_tasks"].tolist() == [2] * 6
    ours = summary.xs("representation", level="features")
    raw = summary.xs("raw", level="features")
    np.testing.assert_allclose(ours["mean"], [0.7, 0.75, 0.75])
    np.testing.assert_allclose(raw["mean"], [0.6, 0.7, 0.9])
    np.testing.assert_allclose(raw["gain"], [0.1, 0.05, -0.15])
    # a wins, ties, loses; b ties, loses, loses
    np.testing.assert_allclose(raw["tasks_won"], [0.75, 0.5, 0.25])
    # draws have the means .65 and .75, then .65 and .85, then the same
    np.testing.assert_allclose(ours["std"], [0.1 / 2**0.5, 0.2 / 2**0.5, 0], atol=1e-12)
    np.testing.assert_allclose(raw["std"], 0, atol=1e-12)
    # .7 is what raw has at 32; .75 is a quarter of the way from .7 to .9, in logarithm
    np.testing.assert_allclose(raw["labels_to_match"], [32, 32 * 2**0.25, 32 * 2**0.25])
    assert ours[["gain", "tasks_won", "labels_to_match"]].isna().all(axis=None)


def test_report_tells_of_loss_as_plainly_as_of_gain(table):
    lines = table.report().splitlines()
    assert len(lines) == 3
    assert "16 labels" in lines[0]
    assert "gains 0.100 against raw" in lines[0]
    assert "75%" in lines[0]
    assert "LOSES 0.150 against raw" in lines[2]
    assert all("no clear difference" in line for line in lines)  # of two tasks


def test_report_of_clear_differences():
    """Many tasks that agree but for little."""
    names = range(9)
    better = {(t, "representation"): [[0.7], [0.9 + t / 100]] for t in names}
    better |= {(t, "raw"): [[0.6], [0.7]] for t in names}
    first, second = make_table(better).report().splitlines()
    assert "raw needs 32 labels for it" in first
    assert "raw does not reach this with 32 labels" in second
    worse = {(t, "representation"): [[0.5 + t / 100]] for t in names}
    worse |= {(t, "raw"): [[0.7]] for t in names}
    assert "negative transfer" in make_table(worse).report()
    summary = make_table(worse).summary().set_index("features")
    expected = np.std(np.arange(9) / 100, ddof=1) / 3
    np.testing.assert_allclose(summary.loc["raw", "gain_se"], expected)


def test_labels_to_match_at_the_ends():
    table = make_table(
        {
            ("a", "representation"): [[0.5], [0.9]],
            ("a", "raw"): [[0.6], [0.8]],
        }
    )
    raw = table.summary().set_index(["features", "shots"]).loc["raw"]
    assert raw.loc[16, "labels_to_match"] == 16  # at least the smallest number
    assert raw.loc[32, "labels_to_match"] == np.inf
    assert raw["std"].isna().all()  # one draw has no spread


def test_labels_to_match_takes_tasks_with_all_numbers_of_labels():
    """A hard task that lacks labels for 32 must not bend the curve."""
    scores = {
        ("a", "representation"): [[0.7], [0.8]],
        ("a", "raw"): [[0.6], [0.8]],
        ("hard", "representation"): [[0.1]],
        ("hard", "raw"): [[0.0]],
    }
    raw = make_table(scores).summary().set_index(["features", "shots"]).loc["raw"]
    assert raw.loc[16, "labels_to_match"] == pytest.approx(16 * 2**0.5)
    assert raw["n_tasks"].tolist() == [2, 1]
    np.testing.assert_allclose(raw["gain"], [0.1, 0], atol=1e-12)


def test_labels_to_match_from_none_on():
    """No label counts as half a label where numbers of labels are interpolated."""
    records = [
        ("a", k, 0, features, score)
        for features, scores in (
            ("representation", (0.5, 0.65)),
            ("raw", (0.5, 0.8)),
            ("no labels", (0.6, 0.6)),
        )
        for k, score in zip((0, 8), scores)
    ]
    table = TransferTable(records, columns=COLUMNS)
    summary = table.summary().set_index(["features", "shots"])["labels_to_match"]
    assert summary["raw", 0] == 0
    assert summary["raw", 8] == pytest.approx(2)
    assert summary["no labels"].isna().all()
    table.loc[3, "score"] = 0.65
    assert table.report().splitlines()[2] == (
        "8 labels: 0.650 gains 0.000 against raw (0.650), better on 50% of 1 tasks; no "
        "clear difference (standard error nan)."
    )


def test_tasks_count_once_whatever_their_number_of_draws():
    table = make_table(
        {
            ("a", "representation"): [[0.9, 0.9, 0.9]],
            ("a", "raw"): [[0.5, 0.5, 0.5]],
            ("b", "representation"): [[0.5]],
            ("b", "raw"): [[0.7]],
        }
    )
    raw = table.summary().set_index("features").loc["raw"]
    assert raw["mean"] == pytest.approx(0.6)
    assert raw["gain"] == pytest.approx(0.1)
    assert raw["tasks_won"] == 0.5


def test_baselines_alone_are_summed_up(table):
    raw = table[table["features"] == "raw"]
    assert raw.summary()["gain"].isna().all()
    assert isinstance(raw.report(), str)
