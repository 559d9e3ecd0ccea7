"""What ``help`` tells: what is in the package, in signatures that fit on a screen."""

import inspect
import pydoc

import pytest
from test_pages import PUBLIC

import mtrl_sklearn


def public_functions(name):
    """Functions of a public module, and methods of its classes, by their names."""
    module = pydoc.locate(name)
    for key in module.__all__:
        value = getattr(module, key)
        if inspect.isclass(value):
            for method, function in inspect.getmembers(value, callable):
                if not method.startswith("_"):
                    yield f"{key}.{method}", function
            value = value.__init__
        if callable(value):
            yield key, value


@pytest.mark.parametrize("name", PUBLIC)
def test_signatures_name_types_and_do_not_spell_them_out(name):
    for key, function in public_functions(name):
        signature = str(inspect.signature(function))
        for spelled in ("numpy._typing", "mtrand", "Literal["):
            assert spelled not in signature, f"{key}{signature}"


def test_help_tells_what_is_in_the_package():
    text = pydoc.plain(pydoc.render_doc(mtrl_sklearn))
    start = text[: text.index("PACKAGE CONTENTS")]
    for name in {*mtrl_sklearn.__all__, *PUBLIC} - {"__version__"}:
        assert name in start, name


@pytest.mark.parametrize("name", PUBLIC)
def test_modules_say_what_is_public(name):
    module = pydoc.locate(name)
    assert module.__doc__
    for key in module.__all__:
        assert hasattr(module, key)


def test_scorers_are_public():
    names = {"multitask_roc_auc_scorer", "multitask_accuracy_scorer"}
    assert names <= set(mtrl_sklearn.metrics.__all__)
