"""Values that no parameter may have, of any estimator or function."""

import functools
import inspect
import re

import numpy as np
import pandas as pd
import pytest
from bad_input_cases import (
    INF,
    NAN,
    QUIET,
    N,
    X,
    Y,
    assert_untouched,
    content,
    conv,
    ids,
    refused,
    relu,
    untouched_models,
    y,
)
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import (
    make_corrupted_digits,
    make_digit_tasks,
    make_patch_tasks,
    make_subspace_tasks,
)
from mtrl_sklearn.metrics import (
    feature_alignment,
    masked_roc_auc,
    multitask_accuracy_score,
    multitask_roc_auc_score,
    principal_angles,
    signal_to_noise,
    subspace_distance,
)
from mtrl_sklearn.plotting import (
    FilterDisplay,
    LossCurveDisplay,
    SpectrumDisplay,
    SubspaceRecoveryDisplay,
    TaskAffinityDisplay,
    TransferCurveDisplay,
)
from mtrl_sklearn.probing import (
    LinearProbe,
    ProbeSettings,
    calibrate,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

pytestmark = QUIET
models = pytest.fixture(untouched_models)


# ------------------------------------------------------------------------- parameters

COUNT = [0, -1, 1.5, NAN, INF, "ten", None, [], object()]
OR_NONE = [value for value in COUNT if value is not None]
POSITIVE = [0, -1.0, NAN, INF, -INF, "high", None, [1.0], 1j]
NOT_NEGATIVE = [-1.0, NAN, INF, "high", None, [1.0]]
SHARE = [0.0, 1.0, -0.5, 1.5, NAN, "half", None]
CHOICE = ["else", "", None, 1, ["auto"], object()]
FLAG = ["yes", None, 2, 1.0, []]
SEED = [-1, 1.5, "now", [1], np.random.default_rng(0)]
# Values that no parameter of the name may have, in any class or function.
SHARED = {
    **dict.fromkeys(["tol", "weight_decay"], NOT_NEGATIVE),
    **dict.fromkeys(["max_iter", "batch_size", "n_iter_no_change"], COUNT),
    **dict.fromkeys(["early_stopping", "warm_start", "verbose"], FLAG),
    **dict.fromkeys(["task_weight", "precision"], CHOICE),
    "learning_rate": POSITIVE,
    "validation_fraction": SHARE,
    "callbacks": ["progress", 1, {}, object()],
    "checkpoint": [1, 1.5, ["a"], object()],
    "device": ["abacus", "", None, 1, ["cpu"]],
    "random_state": SEED,
}
PARAMETERS = {
    MultiTaskReLURepresentation: SHARED
    | {
        "n_hidden": COUNT,
        "n_components": [*OR_NONE, 5, 10**6],  # at most 4 hidden units
        "algorithm": CHOICE,
        "loss": CHOICE,
        "dropout": [1.0, -0.5, NAN, "half", None],
        "output": CHOICE,
        "pos_label": [*("no", 7, NAN, [1], (0, 1), 1j), {"y": 7}, {"z": 1}, {1: 1}],
    },
    ConvMultiTaskClassifier: SHARED
    | {
        "n_filters": COUNT,
        "augment": ["flip", ("mirror",), ("flip", 1), 1, True, ("flip", "flip")],
        "input_shape": [
            "square",
            5,
            (4,),
            (0, 5),
            (-1, -5),
            (1.0, 5),
            (1, 1, 1, 5),
            (),
        ],
        "kernel_size": [*COUNT, 6, (6,), (1, 1), (0,), (1.5,), ()],
        "stride": [*OR_NONE, (1, 1), (0,), (1.5,), ()],
        "power": [0, 0.5, NAN, INF, "high", None],
        "pooling": [*COUNT, 9, (9,), (1, 1), (0,), "max"],
        "head": CHOICE,
        "solver": CHOICE,
        "init_scale": POSITIVE,
        "class_weight": [
            *("equal", 1, [1, 2], {7: 1}, {0: -1}, {0: NAN}, {0: "a"}),
            *({0: None}, {"0": 1}, {0: 0, 1: 0}),
        ],
    },
    LinearProbe: {
        "representation": [
            "relu",
            1,
            LogisticRegression(),
            MultiTaskReLURepresentation,
        ],
        "settings": [{}, "auto", 1],
        "weights": [
            *("equal", None, {}, {"hidden": -1}, {"hidden": NAN}, {"pixels": 1}),
            *({"hidden": "a"}, {"inputs": 0}, [1, 1, 1]),
        ],
        "C": POSITIVE,
        "class_weight": ["even", 1, [1, 2], {0: -1.0}, {0: NAN}, {0: "a"}],
        "prior": [{}, "none", 1, (0, 1, 0, 1)],
        "fine_tune": FLAG,
    },
}


def names_of(table):
    return [
        pytest.param(owner, name, id=f"{owner.__name__}-{name}")
        for owner, values in table.items()
        for name in values
    ]


@pytest.mark.parametrize("owner", PARAMETERS, ids=lambda owner: owner.__name__)
def test_all_parameters_have_bad_values(owner):
    assert set(PARAMETERS[owner]) == set(owner().get_params())


@pytest.mark.parametrize(("owner", "name"), names_of(PARAMETERS))
def test_bad_parameters_of_estimators(owner, name):
    small = {"n_hidden": 4, "n_filters": 4, "max_iter": 1}
    small = {k: v for k, v in small.items() if k in owner().get_params()}
    words = rf"\b{name}\b" + "|instance" * (name == "representation")
    for value in PARAMETERS[owner][name]:
        model = owner(**small | {name: value})
        refused(lambda model=model: model.fit(X, y), words, value)
        if hasattr(model, "partial_fit"):
            refused(lambda model=model: model.partial_fit(X, y), words, value)
        assert not [key for key in vars(model) if key.endswith("_")]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"callbacks": [object()]}, "callbacks.*object"),
        ({"callbacks": ["progress"]}, "callbacks.*'progress'"),
        ({"checkpoint": ""}, "checkpoint="),
    ],
)
@pytest.mark.parametrize("make", [relu, conv])
def test_bad_parts_of_parameters(make, parameters, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(lambda: make(**parameters).fit(X, y), words)


@pytest.mark.parametrize("make", [relu, conv])
def test_a_fit_that_goes_on_keeps_its_width(make):
    model = make(warm_start=True).fit(X, y)
    width = "n_hidden" if make is relu else "n_filters"
    before = content(model.set_params(**{width: 6}))
    refused(lambda: model.fit(X, y), f"{width}=6 differs from the fit to continue")
    refused(lambda: model.partial_fit(X, y), f"{width}=6 differs")
    assert_untouched(model, before)


def test_parameters_of_a_representation_are_not_those_of_a_probe(models):
    probe = models["probe"]
    refused(lambda: probe.set_params(representation__n_hidden=3), "shares and never")
    refused(lambda: probe.set_params(gamma=3), "Invalid parameter 'gamma'")
    refused(lambda: relu().set_params(gamma=3), "Invalid parameter 'gamma'")


SHOTS = [-4, (), (4, -1), 4.5, "four", None, [None], NAN]
FEW = {"shots": 4, "n_draws": 1}
OF_TASKS = {
    "n_groups": [*COUNT, 1],
    "groups_of_tasks": [
        "ab",
        1,
        [],
        [0],
        [0, 0, 0, 0],
        [[0, 9]],
        [[]],
        [["zebra"], [1]],
    ],
}
OF_PROBES = {
    "tasks": [3, "abc", ids[:-1], [None] * N],
    "rows": [3, "abc", range(N)],  # which are asked for with tasks
    "sample_weight": [*("abc", -1, 0.5, np.zeros(N), np.ones(N - 1)), ids[:, None]],
    "shots": SHOTS,
    "sampling": ["stratified", None, 1, True],
    "n_draws": COUNT,
    "n_jobs": ["two", 1.5, []],
    "random_state": SEED,
    "verbose": FLAG,
}
COMPARED = OF_PROBES | {
    "test_size": SHARE,
    "scoring": ["speed", None, 1, [], ["speed"], [1], {"a": 1}, ["accuracy"] * 2],
    "probe": ["logistic", 1, object(), make_pipeline(StandardScaler(), LinearProbe(1))],
    "baselines": [
        *("pca", ("raw", "pca"), 1, NAN, object()),
        *({"raw": LogisticRegression()}, {1: LogisticRegression()}),
        *({"tree": "forest"}, {"tree": LogisticRegression}),
    ],
    "groups": [3, "abc", ids[:-1], ids[:, None], [None] * N],
}
UNFIT = ["relu", 1, None, LogisticRegression(), MultiTaskReLURepresentation, object()]
FUNCTIONS = {
    probe_new_tasks: COMPARED
    | {
        "representation": [*UNFIT, relu(), conv()],
        "test_rows": [
            *(3, [N], [-1], [0.5], "abc", range(N), [], [[0, 1]]),
            *(np.zeros(N, bool), np.ones(N - 1, bool)),
        ],
    },
    source_task_transfer: COMPARED | OF_TASKS | {"estimator": UNFIT},
    calibrate: OF_PROBES
    | OF_TASKS
    | {
        "representation": UNFIT,
        "shots": [*SHOTS, 0],  # settings are for some labels
    },
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_all_parameters_of_functions_have_bad_values(function):
    tested = set(FUNCTIONS[function]) | {"X", "Y"}
    assert tested == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("function", "name"), names_of(FUNCTIONS))
def test_bad_parameters_of_functions(models, function, name):
    learner = next(iter(inspect.signature(function).parameters))
    more = {"representation": "not fitted|instance", "estimator": "instance"}
    more |= {"scoring": "speed", "tasks": "inconsistent|1 task"}
    words = rf"\b{name}\b|{more.get(name, name)}"
    for value in FUNCTIONS[function][name]:
        given = {learner: models["joint"], **FEW, name: value}
        refused(lambda given=given: function(X=X, Y=Y, **given), words, value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: calibrate(m["gd"], X, Y, shots=4), "1d array|belong to one task"),
        (lambda m: calibrate(relu(), X, y, shots=4), "Y holds 1 task.*at least 2"),
        (
            lambda m: calibrate(relu(), X, Y, shots=999),
            "enough labels.*smaller numbers",
        ),
        (lambda m: source_task_transfer(relu(), X, y), "Y holds 1 task"),
        (
            lambda m: source_task_transfer(relu(), X[:2], Y[:2], test_size=0.9),
            "test_size=0.9 of 2 rows leaves no rows",
        ),
        (
            lambda m: probe_new_tasks(m["joint"], X, Y, test_rows=[0, 1], groups=ids),
            "groups have rows among test_rows",
        ),
        (
            lambda m: probe_new_tasks(m["joint"], X, Y, probe=m["probe"]),
            "probe=LinearProbe holds a representation",
        ),
        (lambda m: task_affinity(None), "representation should be .*got None"),
        (lambda m: task_affinity(relu()), "not fitted"),
        (lambda m: task_affinity(m["probe"]), "representation should be"),
        (lambda m: task_affinity(StandardScaler().fit(X)), "got StandardScaler"),
        (lambda m: task_affinity(m["gd"], X), "head='shared'.*head='per_task'"),
        (lambda m: task_affinity(m["per_task"]), "needs X"),
        (lambda m: task_affinity(m["per_task"], X, y), "Pass Y=None"),
        (lambda m: task_affinity(m["joint"], X[:1]), "X has 1 row"),
        (lambda m: task_affinity(m["joint"], X, Y[:, :2]), "columns of y differ"),
        (lambda m: LinearProbe(fine_tune=True).fit(X, y), "fine_tune=True needs"),
        (
            lambda m: LinearProbe(StandardScaler().fit(X), fine_tune=True).fit(X, y),
            "fine_tune=True needs a Multi.*got StandardScaler",
        ),
        (lambda m: LinearProbe(relu()).fit(X, y), "not fitted"),
        (lambda m: ProbeSettings((), (), ()), "same length, got 0"),
        (lambda m: ProbeSettings((4,), ((1, 1, 1),), (1, 2)), "length, got 1, 1 and 2"),
        (lambda m: ProbeSettings((4, 2), ((1, 1, 1),) * 2, (1, 2)), "ascending"),
        (lambda m: ProbeSettings((4,), ((1, 1),), (1,)), "weights=.*each of"),
        (lambda m: ProbeSettings((4,), ((1, -1, 1),), (1,)), "weights=.*at least 0"),
        (lambda m: ProbeSettings((4,), ((1, 1, 1),), (0,)), "C=.*positive"),
    ],
)
def test_calls_that_make_no_sense(models, call, words):
    refused(lambda: call(models), words)


METHODS = {
    relu: ["transform", "predict", "predict_proba", "decision_function"],
    conv: ["transform", "predict", "predict_proba", "decision_function"],
    LinearProbe: ["predict", "predict_proba", "decision_function"],
}


@pytest.mark.parametrize(
    ("make", "method"),
    [(make, m) for make, several in METHODS.items() for m in several],
)
def test_nothing_is_predicted_before_fit(make, method):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(make(), method)(X)
    with pytest.raises(NotFittedError, match="not fitted"):
        make().score(X, y)


# ------------------------------------------------------- metrics, data sets, displays

A = X[:2]
BAD_ROWS = {
    "nothing": (None, "{} is None"),
    "NaN": (A * NAN, "{} contains NaN"),
    "infinity": (np.full(A.shape, INF), "{} contains infinity"),
    "words": (np.full(A.shape, "a"), "{}: .*string"),
    "objects": (np.full(A.shape, object()), "{}: .*not 'object'"),
    "ragged": ([[1.0], [1.0, 2.0]], "{}: .*inhomogeneous"),
    "masked": (np.ma.masked_array(A, A > 0), "{} is a masked array"),
    "dates": (A.astype("M8[s]"), "{} holds times"),
    "sparse": (sparse.csr_array(A), "{}, but dense data is required"),
    "complex": (A + 1j, "Complex data not supported"),
    "no rows": (A[:0], "{}: .*0 sample"),
    "a scalar": (3.0, "{}: "),
}
ROWS_OF = {
    "A": [
        lambda rows: principal_angles(rows, A),
        lambda rows: subspace_distance(rows, A),
    ],
    "B": [
        lambda rows: principal_angles(A, rows),
        lambda rows: subspace_distance(A, rows),
    ],
    "filters": [
        lambda rows: feature_alignment(rows, A),
        lambda rows: FilterDisplay(rows, kind="patch"),
    ],
    "directions": [lambda rows: feature_alignment(A, rows)],
    "y_score": [lambda rows: multitask_roc_auc_score(Y[:2], rows)],
    "signs": [lambda rows: masked_roc_auc(rows, A)],
    "X": [make_subspace_tasks(4, 5, n_tasks=2, random_state=0).problem.label],
    "singular_values": [lambda rows: SpectrumDisplay(rows, 1)],
    "loss_curve": [LossCurveDisplay],
    "validation_scores": [
        lambda rows: LossCurveDisplay([1, 2], validation_scores=rows)
    ],
    "affinity": [TaskAffinityDisplay, TaskAffinityDisplay.from_predictions],
    "x": [lambda rows: SubspaceRecoveryDisplay(rows, [0.1, 0.2])],
    "distances": [lambda rows: SubspaceRecoveryDisplay([1, 2], rows)],
    "shots": [lambda rows: TransferCurveDisplay(rows, {"raw": [0.1, 0.2]})],
    "scores['raw']": [lambda rows: TransferCurveDisplay([1, 2], {"raw": rows})],
}
MAY_BE_NONE = {"validation_scores"}
MAY_BE_NAN = {"distances", "scores['raw']", "affinity"}


@pytest.mark.parametrize("name", ROWS_OF)
def test_arrays_of_numbers_are_named(name):
    for kind, (value, words) in BAD_ROWS.items():
        if (name in MAY_BE_NONE and value is None) or (
            name in MAY_BE_NAN and kind in ("NaN", "infinity")
        ):
            continue
        for call in ROWS_OF[name]:
            told = words.format(re.escape(name))
            refused(functools.partial(call, value), told, kind)


COUNTED = [0, -1, 1.5, NAN, "ten", None]
DATA_SETS = {
    make_subspace_tasks: {
        **dict.fromkeys(["n_samples", "n_features", "n_tasks"], COUNTED),
        "n_components": [*COUNTED, 17, 6],
        "kind": CHOICE,
        "missing_fraction": [-0.1, 1.0, NAN, "half", None],
        "random_state": SEED,
    },
    make_patch_tasks: {
        "n_samples_per_task": COUNTED,
        "n_tasks": [*COUNTED, 50],
        "n_features": COUNTED,
        "n_patches": COUNTED,
        "shared_fraction": [-0.1, 1.1, NAN, "half", None],
        "shared_strength": POSITIVE,
        "noise_norm": POSITIVE,
        "kind": CHOICE,
        "random_state": SEED,
    },
    make_digit_tasks: {
        "n_tasks": [*COUNTED, 127],
        "n_new_tasks": [-1, 1.5, "ten", None, 126],
        "missing_fraction": [-0.1, 1.0, NAN, None],
        "random_state": SEED,
    },
    make_corrupted_digits: {
        "n_samples_per_task": [*COUNTED, 360],
        "random_state": SEED,
    },
    signal_to_noise: {
        **dict.fromkeys(["n_samples_per_task", "n_tasks"], COUNTED),
        "shared_fraction": [-0.1, 1.1, NAN, None],
        "shared_strength": POSITIVE,
        "noise_norm": POSITIVE,
        "power": [0, 0.5, NAN, INF, None],
    },
}
SIZES = {
    make_subspace_tasks: {"n_samples": 4, "n_features": 5, "n_tasks": 2},
    make_patch_tasks: {"n_samples_per_task": 4, "n_tasks": 2, "n_features": 9},
    make_digit_tasks: {"n_tasks": 2, "n_new_tasks": 1},
    make_corrupted_digits: {"n_samples_per_task": 2},
    signal_to_noise: {"n_samples_per_task": 4},
}


@pytest.mark.parametrize("function", DATA_SETS, ids=lambda f: f.__name__)
def test_all_parameters_of_data_sets_have_bad_values(function):
    assert set(DATA_SETS[function]) == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("function", "name"), names_of(DATA_SETS))
def test_bad_parameters_of_data_sets(function, name):
    for value in DATA_SETS[function][name]:
        given = SIZES[function] | {name: value}
        refused(lambda given=given: function(**given), rf"\b{name}\b", value)


SUBSPACES = make_subspace_tasks(4, 5, n_components=2, n_tasks=2, random_state=0).problem
PATCHES = make_patch_tasks(4, 2, n_features=9, random_state=0).problem
SIGNS = np.sign(X[:4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SUBSPACES.sample(0), "n_samples"),
        (lambda: SUBSPACES.sample(3, missing_fraction=1.0), "missing_fraction"),
        (lambda: SUBSPACES.sample(3, random_state="now"), "random_state"),
        (lambda: SUBSPACES.new_tasks(-1), "n_tasks"),
        (lambda: SUBSPACES.label(X[:, :4]), "X has 4 features.*5"),
        (lambda: PATCHES.sample(1.5), "n_samples_per_task"),
        (lambda: PATCHES.sample(3, shared_fraction=2), "shared_fraction"),
        (lambda: PATCHES.new_tasks(0), "n_tasks"),
        (lambda: PATCHES.new_tasks(99), "n_tasks=99.*room for 6"),
        (lambda: principal_angles(A, A[:, :4]), "A has 5 features and B has 4"),
        (lambda: principal_angles(A * 0, A), "A has 2 zero rows of 2"),
        (lambda: feature_alignment(A, A * 0), "directions has 2 zero rows"),
        (lambda: feature_alignment(A, A[:, :4]), r"directions has shape \(2, 4\)"),
        (lambda: masked_roc_auc(SIGNS, SIGNS[:, :2]), "one shape"),
        (lambda: masked_roc_auc(2 * SIGNS, SIGNS), "signs should be .1 for positive"),
        (lambda: masked_roc_auc(SIGNS * NAN, SIGNS), "signs contains NaN"),
        (lambda: masked_roc_auc(SIGNS, SIGNS * NAN), "20 scores of observed.*NaN"),
        (lambda: masked_roc_auc(SIGNS, None), "scores is None"),
        (lambda: multitask_roc_auc_score(Y, Y, average="micro"), "'average'"),
        (lambda: multitask_roc_auc_score(Y, Y[:, :2]), "differ in shape"),
        (lambda: multitask_roc_auc_score(Y[:-1], Y), "differ in shape"),
        (lambda: multitask_roc_auc_score(Y + ids[:, None], Y), "two classes.*has 3"),
        (lambda: multitask_accuracy_score(Y, Y, average=1), "'average'"),
        (lambda: multitask_accuracy_score(Y, Y.astype(str)), "mix strings and numbers"),
        (lambda: multitask_accuracy_score(Y, X[:, :4]), "continuous"),
        (lambda: FilterDisplay(A, kind="row"), "kind should be one of"),
        (lambda: FilterDisplay(A, kind=["patch"]), "kind should be one of"),
        (lambda: FilterDisplay(A, kind="image"), "4 dimensions"),
        (lambda: FilterDisplay(A * 0, kind="patch"), "all 0"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=0), "n_filters.*at least 1"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=2.5), "n_filters.*an int"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=None), "n_filters.*None"),
        (lambda: SpectrumDisplay([1, 2], 1), "descending"),
        (lambda: SpectrumDisplay([2, 1], 3), "n_components.*from 1 to 2"),
        (lambda: SpectrumDisplay([2, 1], 1.5), "n_components should be an int"),
        (lambda: SpectrumDisplay([2, 1], "one"), "n_components should be an int"),
        (lambda: SpectrumDisplay([2, 1], 1).plot("here"), "ax should be.*got str"),
        (lambda: SpectrumDisplay([2, 1], 1).plot([None]), r"ax should be.*axes\[0\]"),
        (lambda: LossCurveDisplay([[1.0]]), "loss_curve should have shape"),
        (lambda: LossCurveDisplay([1], validation_scores=[1, 2]), "has 2 entries"),
        (lambda: TaskAffinityDisplay(A), r"affinity should have shape"),
        (lambda: TaskAffinityDisplay([[1, 0.5], [0, 1]]), "symmetric"),
        (lambda: TaskAffinityDisplay(2 * np.eye(2)), "from -1 to 1"),
        (lambda: TaskAffinityDisplay(np.eye(2), task_names=["a"]), "task_names has 1"),
        (lambda: TaskAffinityDisplay(np.eye(2), task_names=2), "task_names.*got int"),
        (
            lambda: TaskAffinityDisplay(np.eye(2), task_names="ab"),
            "task_names.*got str",
        ),
        (lambda: SubspaceRecoveryDisplay([1], [1.5]), "from 0 to 1"),
        (lambda: SubspaceRecoveryDisplay([1], [0.5], measure=[]), "measure should be"),
        (lambda: SubspaceRecoveryDisplay([1, 2], [0.5]), "distances has shape"),
        (lambda: SubspaceRecoveryDisplay([[1]], [0.5]), "x should have shape"),
        (lambda: SubspaceRecoveryDisplay([1], {}), "distances is an empty dict"),
        (
            lambda: SubspaceRecoveryDisplay.from_estimators(None, A, x=[1]),
            "estimators should be a sequence",
        ),
        (
            lambda: SubspaceRecoveryDisplay.from_estimators([], A, x=[1]),
            "estimators has 0 entries",
        ),
        (
            lambda: TransferCurveDisplay([-1], {"raw": [1]}),
            "shots should be.*at least 0",
        ),
        (lambda: TransferCurveDisplay([1], {}), "scores is an empty dict"),
        (lambda: TransferCurveDisplay.from_table(None), "table lacks the columns"),
        (
            lambda: TransferCurveDisplay.from_table(pd.DataFrame(X)),
            "table lacks the columns",
        ),
        (
            lambda: TransferCurveDisplay.from_table(
                pd.DataFrame(columns=["task", "shots", "draw", "features", "score"])
            ),
            "no rows",
        ),
    ],
)
def test_metrics_data_sets_and_displays_refuse(call, words):
    refused(call, words)


@pytest.mark.parametrize(
    "display",
    [
        FilterDisplay,
        LossCurveDisplay,
        SpectrumDisplay,
        SubspaceRecoveryDisplay,
        TaskAffinityDisplay,
    ],
)
def test_displays_want_fitted_estimators(display):
    more = (A,) if display is SubspaceRecoveryDisplay else ()
    for value in (None, "relu", StandardScaler(), MultiTaskReLURepresentation):
        refused(lambda v=value: display.from_estimator(v, *more), "should be a .*got")
    unfitted = conv() if display is FilterDisplay else relu()
    with pytest.raises(NotFittedError, match="not fitted"):
        display.from_estimator(unfitted, *more)
