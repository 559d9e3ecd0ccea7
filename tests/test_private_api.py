"""Private and undocumented parts of torch that the package uses, all in one place.

torch may change them in any release, which is why pyproject.toml admits tested ones
only. After a new release raise that bound, run this file, and do what it says.
"""

import ast
import inspect
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import mtrl_sklearn
from mtrl_sklearn._training.adamw import LazyAdamW

PACKAGE = Path(mtrl_sklearn.__file__).parent


class Operator(NamedTuple):
    """A function of torch, what it is called by, and what to do without it."""

    name: str  # of the overload that is called
    written: str  # as it stands in the code
    schema: str
    module: str  # which calls it
    instead: str


OPERATORS = [
    Operator(
        "_fused_adamw_.default",
        "torch._fused_adamw_",
        "aten::_fused_adamw_(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] "
        "exp_avgs, Tensor(d!)[] exp_avg_sqs, Tensor(e!)[] max_exp_avg_sqs, Tensor[] "
        "state_steps, *, float lr, float beta1, float beta2, float weight_decay, "
        "float eps, bool amsgrad, bool maximize, Tensor? grad_scale=None, Tensor? "
        "found_inf=None) -> ()",
        "_training/adamw.py",
        "torch.optim.adamw.adamw(..., fused=True) with the same lists",
    ),
    Operator(
        "_foreach_add_.Scalar",
        "torch._foreach_add_",
        "aten::_foreach_add_.Scalar(Tensor(a!)[] self, Scalar scalar) -> ()",
        "_training/adamw.py",
        "step.add_(1) for each step",
    ),
    Operator(
        "threshold_backward.default",
        "torch.ops.aten.threshold_backward",
        "aten::threshold_backward(Tensor grad_output, Tensor self, Scalar threshold) "
        "-> Tensor",
        "_conv/gradients.py",
        "outer * (responses > 0), which takes longer",
    ),
    Operator(
        "threshold_backward.grad_input",
        "torch.ops.aten.threshold_backward.grad_input",
        "aten::threshold_backward.grad_input(Tensor grad_output, Tensor self, Scalar "
        "threshold, *, Tensor(a!) grad_input) -> Tensor(a!)",
        "_relu/gradients.py",
        "outer.mul_(hidden > 0), which takes longer",
    ),
]

# Private methods of tensors, by the module that calls them: see the test of them.
METHODS = {"_indices": "_arrays/conversion.py", "_values": "_arrays/conversion.py"}


def uses_of_private_names():
    """Pairs of a module and what it uses of torch that is private, as written there."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        parts_of_others = {n.value for n in nodes if isinstance(n, ast.Attribute)}
        for node in nodes:
            names = imported_names(node)
            if isinstance(node, ast.Attribute) and node not in parts_of_others:
                names = [dotted_name(node)]
            for name in filter(is_private_of_torch, names):
                yield module, name
            if is_private_method(node):
                yield module, node.attr


def dotted_name(node):
    """``torch.a.b`` of such a node, and nothing of calls and the like."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported_names(node):
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{imported.name}" for imported in node.names]
    if isinstance(node, ast.Import):
        return [imported.name for imported in node.names]
    return []


def is_private_of_torch(name):
    first, *names = name.split(".")
    hidden = any(n.startswith("_") and not n.startswith("__") for n in names)
    return first == "torch" and (hidden or names[:1] == ["ops"])


def is_private_method(node):
    """Whether a method of something is one that tensors have, private to them."""
    if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
        return False
    owner = dotted_name(node.value).partition(".")[0]
    private = node.attr.startswith("_") and hasattr(torch.Tensor, node.attr)
    return private and owner not in ("self", "torch")


def test_all_private_names_of_torch_are_listed_here():
    listed = {(operator.module, operator.written) for operator in OPERATORS}
    listed |= {(module, name) for name, module in METHODS.items()}
    found = set(uses_of_private_names())
    assert found - listed == set(), (
        "These are private to torch. Use what its documentation has, or list them in "
        "tests/test_private_api.py with a check of what the package relies on."
    )
    assert listed - found == set(), "These are no longer used: take them off the list."


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_operators_have_the_signatures_they_are_called_with(operator):
    name, overload = operator.name.split(".")
    packet = getattr(torch.ops.aten, name, None)
    found = getattr(packet, overload, None)
    assert found is not None, (
        f"torch {torch.__version__} has no {operator.written}, which "
        f"mtrl_sklearn/{operator.module} calls. Call instead: {operator.instead}."
    )
    assert str(found._schema) == operator.schema, (
        f"torch {torch.__version__} changed {operator.written}, which "
        f"mtrl_sklearn/{operator.module} calls. Check the call, then write the new "
        f"signature here; or call instead: {operator.instead}."
    )
    top_level = operator.written.removeprefix("torch.")
    if "." not in top_level:
        assert hasattr(torch, top_level), f"{operator.written} is in torch.ops.aten."


def test_sparse_tensors_show_what_they_store():
    """Those of users need not be coalesced, as `indices` and `values` want them."""
    places, values = torch.tensor([[1, 0, 1]]), torch.tensor([1.0, 2.0, 3.0])
    tensor = torch.sparse_coo_tensor(places, values, (2,), check_invariants=True)
    told = (
        f"torch {torch.__version__} changed Tensor._indices or Tensor._values, which "
        f"mtrl_sklearn/{METHODS['_indices']} reads. Call coalesce() there first."
    )
    assert hasattr(tensor, "_indices"), told
    assert hasattr(tensor, "_values"), told
    assert torch.equal(tensor._indices(), places), told
    assert torch.equal(tensor._values(), values), told


def test_a_step_that_is_marked_is_not_wrapped():
    class Plain(torch.optim.SGD):
        def step(self):
            pass

    class Marked(Plain):
        def step(self):
            pass

        step.hooked = True

    before = Plain.step, Marked.step
    for kind in (Plain, Marked):
        kind([torch.zeros(1, requires_grad=True)])
    assert Plain.step is not before[0], (
        f"torch {torch.__version__} no longer wraps the step of optimisers: take "
        "`step.hooked` off LazyAdamW in mtrl_sklearn/_training/adamw.py."
    )
    assert Marked.step is before[1], (
        f"torch {torch.__version__} no longer knows the mark `hooked` of a step, which "
        "LazyAdamW in mtrl_sklearn/_training/adamw.py has: a small step takes a "
        "quarter longer. See torch.optim.Optimizer._patch_step_function."
    )


def test_groups_are_added_by_a_function_that_is_wrapped():
    wrapped = torch.optim.Optimizer.add_param_group
    function = inspect.unwrap(wrapped)
    told = (
        f"torch {torch.__version__} changed Optimizer.add_param_group, which LazyAdamW "
        "in mtrl_sklearn/_training/adamw.py takes without its wrapper. "
    )
    assert function is not wrapped, told + "There is none any more: drop that line."
    assert list(inspect.signature(function).parameters) == ["self", "param_group"], told
    assert LazyAdamW.add_param_group is function


def test_the_state_of_fused_adamw_has_the_names_that_lazy_adamw_uses():
    weight = torch.ones(2, requires_grad=True)
    for kind, options in ((torch.optim.AdamW, {"fused": True}), (LazyAdamW, {})):
        optimizer = kind([weight], **options)
        weight.grad = torch.ones(2)
        optimizer.step()
        state = {name: t.dtype for name, t in optimizer.state[weight].items()}
        assert state == dict.fromkeys(("step", "exp_avg", "exp_avg_sq"), torch.float32)
        assert {"lr", "weight_decay", "eps", "amsgrad", "maximize", "betas"} <= set(
            optimizer.param_groups[0]
        ), f"torch {torch.__version__} renamed options of AdamW: see adamw.py, _update."
