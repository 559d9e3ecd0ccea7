"""What settings say of the next task, and the scores that they say it from."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe, ProbePrior, ProbeSettings, calibrate
from mtrl_sklearn.probing import _calibration as calibration
from mtrl_sklearn.probing._blocks import compute_blocks
from mtrl_sklearn.probing._draws import Draw
from mtrl_sklearn.probing._forecast import Reached
from mtrl_sklearn.probing._left_out import collect, keep_problems, score_left_out
from mtrl_sklearn.probing._products import move_blocks

TASKS = np.arange(11) / 10
REACHED = Reached(
    (0, 16),
    (tuple(TASKS), tuple(TASKS[:6] + 0.5)),
    (tuple(TASKS / 2), tuple(TASKS[:6])),
    (tuple(2 - TASKS), tuple(1 - TASKS[:6])),
)
SETTINGS = ProbeSettings((16,), ((1, 0, 0),), (1,), reached=REACHED)


@pytest.fixture(scope="module")
def sources():
    return make_subspace_tasks(500, 12, n_components=3, n_tasks=12, random_state=0)


def test_spread_over_tasks_by_hand():
    none, few = SETTINGS.forecast(0), SETTINGS.forecast(16)
    np.testing.assert_allclose(none.roc_auc, [0.5, np.sqrt(0.1), 0.02, 0.5, 0.98])
    np.testing.assert_allclose(
        none.delta_auprc, [0.25, np.sqrt(0.1) / 2, 0.01, 0.25, 0.49]
    )
    np.testing.assert_allclose(none.log_loss, [1.5, np.sqrt(0.1), 1.02, 1.5, 1.98])
    np.testing.assert_allclose(few.roc_auc, [0.75, np.std(TASKS[:6]), 0.5, 0.75, 1.0])
    assert (none.n_tasks, few.n_tasks) == (11, 6)
    assert SETTINGS.forecast(1000).roc_auc == few.roc_auc
    assert str(few) == (
        "16 labels: ROC-AUC 0.75, these tasks between 0.50 and 1.00; average "
        "precision 0.25 above the prevalence, between 0.00 and 0.50; log loss 0.75, "
        "between 0.50 and 1.00 (6 source tasks, left out)."
    )
    assert "ROC-AUC 0.50, 80 % of tasks between 0.02 and 0.98;" in str(none)
    assert few.most_tried == 16
    assert str(SETTINGS.forecast(1000)) == str(few).replace(
        "16 labels:", "1000 labels, as with 16, the most that was tried:"
    )


def test_forecast_between_is_linear_in_the_logarithm():
    """No label counts as half of one, five doublings before 16."""
    between = SETTINGS.forecast(2)
    assert between.roc_auc.mean == pytest.approx(0.5 + 0.4 * 0.25)
    assert between.roc_auc.q90 == pytest.approx(0.98 + 0.4 * 0.02)
    assert (between.n_labels, between.n_tasks) == (2, 6)


@pytest.mark.parametrize("n_tasks", [9, 10, 40])
def test_a_band_holds_four_fifths_of_further_tasks(n_tasks):
    """Of a uniform score exactly, on average over the tasks that were left out."""
    draws = np.random.default_rng(0).random((4000, n_tasks))
    held = []
    for of_tasks in draws.tolist():
        scores = (tuple(of_tasks),)
        band = Reached((4,), scores, scores, scores).at(4).roc_auc
        held.append(band.q90 - band.q10)
    assert abs(np.mean(held) - 0.8) < 3 * np.std(held) / len(held) ** 0.5


def test_tasks_are_those_at_the_number_of_labels():
    scores = ((0.5,), (0.5, 0.6))
    reached = Reached((0, 4), scores, scores, scores)
    assert [reached.at(k).n_tasks for k in (0, 2, 4, 9)] == [1, 1, 2, 2]


@pytest.mark.parametrize("n_labels", [-1, "16", None, np.nan, np.inf])
def test_forecast_of_no_number_of_labels_is_refused(n_labels):
    with pytest.raises(ValueError, match=r"n_labels=.*should be a number of labels"):
        SETTINGS.forecast(n_labels)


def test_settings_of_other_origin_have_no_forecast():
    with pytest.raises(ValueError, match=r"no scores of source tasks.*calibrate"):
        ProbeSettings((16,), ((1, 0, 0),), (1,)).forecast(16)


@pytest.mark.parametrize(
    "values",
    [
        ((), (), (), ()),
        ((4, 4), *[((0.5,), (0.5,))] * 3),
        ((-4,), *[((0.5,),)] * 3),
        ((4,), ((0.5,),), ((0.5, 0.6),), ((0.5,),)),
        ((4,), *[((),)] * 3),
        ((4, 8), *[((0.5,),)] * 3),
    ],
)
def test_scores_that_do_not_fit_together_are_refused(values):
    with pytest.raises(ValueError, match="reached should hold"):
        Reached(*values)


@pytest.mark.parametrize("prior", [ProbePrior(-0.5, 1, 0.7, 0.2, 0.5, 0.1), None])
def test_scores_are_those_of_a_probe(sources, prior):
    X = sources.X
    signs = np.where(sources.Y > 0, 1, -1)
    relu = MultiTaskReLURepresentation(16, random_state=0).fit(X, sources.Y[:, :8])
    blocks = compute_blocks(relu, X)
    rows = np.random.default_rng(0).permutation(500)
    draws = [
        (9, Draw({16: rows[:16], 64: rows[:64]}, rows[64:200], {})),
        (11, Draw({16: rows[200:216]}, rows[300:], {})),
        (11, Draw({16: rows[:16]}, rows[300:], {})),  # a task is scored once
    ]
    settings = ProbeSettings((16, 64), ((0.2, 0.5, 0.3), (1, 0, 0)), (1, 4), prior)
    mean = blocks.probabilities.mean(axis=1, dtype=np.float64)
    left_out = keep_problems(move_blocks(blocks, rows), mean, signs, draws)
    assert {len(b.block) for b in left_out.blocks.values()} == {len(left_out.mean)}
    assert len(left_out.mean) < 500
    found = score_left_out(left_out, settings, (0, 16, 64))
    assert {k: sorted(of_task) for k, of_task in found.items()} == {
        0: [9, 11],
        16: [9, 11],
        64: [9],
    }
    for task, draw in draws[:2]:
        for k in (0, *draw.few):
            few = draw.few.get(k, rows[:0])
            probe = LinearProbe(settings=settings, prior=prior).with_blocks(relu)
            y = signs[:, task] > 0
            probe.fit(blocks.take(few), y[few], classes=[False, True])
            p = probe.predict_proba(blocks.take(draw.test))[:, 1]
            y = y[draw.test]
            expected = [
                roc_auc_score(y, p),
                average_precision_score(y, p) - y.mean(),
                log_loss(y, p),
            ]
            auc, precision, loss = found[k][task]
            assert loss == pytest.approx(expected[2], rel=1e-6)
            # products are float32: two rows of nearly equal scores may swap, which is
            # one pair, and where they are the first two half of a positive one
            assert auc == pytest.approx(expected[0], abs=1.01 / (sum(y) * sum(~y)))
            assert precision == pytest.approx(expected[1], abs=0.5 / sum(y))


def test_scores_of_groups_are_collected_in_the_order_of_tasks():
    first = {8: {3: (0.6, 0.2, 1.5), 1: (0.9, 0.0, 0.5)}}
    reached = collect([first, {8: {2: (0.4, 0.2, 0.7)}}, {}], (4, 8))
    assert reached == Reached(
        (8,), ((0.9, 0.6, 0.4),), ((0.0, 0.2, 0.2),), ((0.5, 1.5, 0.7),)
    )


def test_a_group_is_probed_with_settings_of_the_others(sources, monkeypatch):
    rounds, used = [], []

    def keep_rounds(found, shots):
        rounds.extend(found)
        return reach(found, shots)

    def keep_settings(left_out, settings, shots):
        used.append(settings)
        return score_left_out(left_out, settings, shots)

    reach = calibration._reach
    monkeypatch.setattr(calibration, "_reach", keep_rounds)
    monkeypatch.setattr(calibration, "score_left_out", keep_settings)
    quick = MultiTaskReLURepresentation(8, algorithm="one_step", random_state=0)
    settings = calibrate(
        quick, *sources[:2], n_groups=3, shots=(8, 1000), n_draws=1, random_state=0
    )
    assert len(rounds) == len(used) == 3
    for place, of_group in enumerate(used):
        others = rounds[:place] + rounds[place + 1 :]
        standard = rounds[place].standard
        assert of_group == calibration._conclude(others, (8, 1000), standard)
        assert of_group.prior.centre == standard[0]
    assert settings.reached.n_labels == (0, 8)
    assert settings.forecast(8).n_tasks == 12


def test_what_has_no_source_tasks_says_chance_without_labels(sources):
    settings = calibrate(
        PCA(3), *sources[:2], n_groups=2, shots=(16,), n_draws=1, random_state=0
    )
    assert settings.forecast(0).roc_auc == (0.5, 0, 0.5, 0.5, 0.5)
    np.testing.assert_allclose(settings.forecast(0).log_loss.mean, np.log(2))


def test_more_labels_are_expected_to_be_better_and_new_tasks_lie_in_the_band():
    X, Y, _, problem = make_subspace_tasks(1200, 30, n_tasks=30, random_state=0)
    relu = MultiTaskReLURepresentation(32, random_state=0)
    groups = np.arange(30) % 3  # new tasks are no more unlike than these
    settings = calibrate(relu, X, Y, groups, shots=(8, 64), n_draws=1, random_state=0)
    few, many = settings.forecast(8), settings.forecast(64)
    assert many.roc_auc.mean > few.roc_auc.mean + 0.1
    assert many.log_loss.mean < few.log_loss.mean
    X_new, Y_new = problem.new_tasks(60, random_state=1).sample(600, random_state=2)
    probe = LinearProbe(relu.fit(X, Y), settings=settings).fit(X_new[:64], Y_new[:64])
    p = probe.predict_proba(X_new[64:])
    scores = np.array([roc_auc_score(y, q) for y, q in zip(Y_new[64:].T, p.T)])
    inside = (scores >= many.roc_auc.q10) & (scores <= many.roc_auc.q90)
    # 0.8, with the standard errors of 60 tasks and of quantiles of 30
    error = np.sqrt(0.8 * 0.2 / 60 + 2 * 0.1 * 0.9 / 30)
    assert abs(inside.mean() - 0.8) < 2 * error
