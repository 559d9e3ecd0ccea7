"""The package is built in floors, and its parts stay small enough to be read.

A room is a module or a folder directly under ``mtrl_sklearn``. Imports run down: a room
imports rooms of lower floors only, and none of its own floor. All imports count, also
those inside functions and those for type checkers.

``python tests/test_structure.py`` prints rooms, imports and lengths.
"""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "mtrl_sklearn"

FLOORS = [  # top down
    {"__init__"},
    {"plotting", "persistence", "model_selection"},
    {"probing"},
    {"_relu", "_conv"},
    {"_training", "metrics", "datasets", "preprocessing"},
    {"_labels", "_files"},
    {"_arrays"},
    {"_group", "_warnings", "_version", "_optional"},
]
LEVELS = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

MOST_PRIVATE_ROOMS = 10
MOST_ROOMS = 20
MOST_FLOORS = 9
MOST_ARROWS = 60
LONGEST_FUNCTION = 60  # lines of its body, but for the docstring
LONGEST_MODULE = 500  # lines, but for all docstrings

WITH_DOCSTRING = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef


class Import(NamedTuple):
    """One module that imports another one of the package."""

    source: str  # path, such as "_files/arrays.py"
    target: str
    at_start: bool  # when the module is imported

    def __str__(self):
        return f"{self.source} -> {self.target}"


class Function(NamedTuple):
    """A function of the package."""

    module: str
    name: str
    n_lines: int

    def __str__(self):
        return f"{self.module}: {self.name} has {self.n_lines} lines"


def read_modules():
    """Syntax trees by path."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = read_modules()


def room_of(module):
    return module.partition("/")[0].removesuffix(".py")


def find_module(*names):
    """Path of a module by the names after that of the package, or None."""
    path = ".".join(filter(None, names)).replace(".", "/")
    candidates = f"{path}.py", f"{path}/__init__.py".lstrip("/")
    return next((path for path in candidates if path in MODULES), None)


def imported_names(node):
    """Pairs of a module and a name in it, which may be a module itself, or None."""
    if isinstance(node, ast.Import):
        return [(imported.name, None) for imported in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "Imports name the whole path."
        return [(node.module, imported.name) for imported in node.names]
    return []


def read_imports():
    """All imports of modules of the package in modules of the package."""
    found = set()
    for source, tree in MODULES.items():
        for node in ast.walk(tree):
            for module, name in imported_names(node):
                first, _, rest = module.partition(".")
                if first == PACKAGE.name:
                    target = find_module(rest, name) or find_module(rest)
                    found.add(Import(source, target, node in tree.body))
    return sorted(found)


def find_arrows(imports):
    """How many imports lead from one room to another, by pairs of rooms."""
    pairs = ((room_of(i.source), room_of(i.target)) for i in imports)
    return Counter((source, target) for source, target in pairs if source != target)


def find_circle(imports):
    """Modules that import each other when they are imported, or nothing."""
    needs = {}
    for source, target, at_start in imports:
        if at_start and room_of(source) == room_of(target):
            needs.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def docstring_of(node):
    """The statement that is the docstring, or None."""
    first = node.body[0] if node.body else None
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return first if is_text and isinstance(first.value.value, str) else None


def count_lines(node):
    return node.end_lineno - node.lineno + 1


def count_module_lines(module):
    """Lines of a module but for docstrings."""
    nodes = [n for n in ast.walk(MODULES[module]) if isinstance(n, WITH_DOCSTRING)]
    docstrings = filter(None, map(docstring_of, nodes))
    n_lines = len((PACKAGE / module).read_text("utf-8").splitlines())
    return n_lines - sum(map(count_lines, docstrings))


def read_functions():
    """All functions, with the lines of their bodies but for docstrings."""
    found = []
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, FUNCTIONS):
                first, docstring = node.body[0], docstring_of(node)
                start = first.lineno if docstring is None else first.end_lineno + 1
                n_lines = node.end_lineno - start + 1
                found.append(Function(module, node.name, n_lines))
    return found


IMPORTS = read_imports()
FUNCTIONS_OF_PACKAGE = read_functions()


def listed(lines):
    return "\n".join(map(str, lines))


def test_every_room_is_on_a_floor():
    rooms = set(map(room_of, MODULES))
    assert rooms == set(LEVELS), "FLOORS in this file lists other rooms than there are."


def test_imports_run_down():
    wrong = [
        found
        for found in IMPORTS
        for source, target in [(room_of(found.source), room_of(found.target))]
        if source != target and LEVELS[source] >= LEVELS[target]
    ]
    assert not wrong, f"These imports do not run down:\n{listed(wrong)}"


def test_no_modules_import_each_other():
    circle = find_circle(IMPORTS)
    assert not circle, f"Each of these imports the one before it:\n{listed(circle)}"


def test_a_visitor_can_keep_the_house_in_mind():
    private = [room for room in LEVELS if room.startswith("_") and room != "__init__"]
    arrows = find_arrows(IMPORTS)
    assert len(private) <= MOST_PRIVATE_ROOMS, private
    assert len(LEVELS) <= MOST_ROOMS
    assert len(FLOORS) <= MOST_FLOORS
    assert len(arrows) <= MOST_ARROWS, listed(arrows)


def test_functions_are_short():
    long = [f for f in FUNCTIONS_OF_PACKAGE if f.n_lines > LONGEST_FUNCTION]
    assert not long, f"More than {LONGEST_FUNCTION} lines:\n{listed(long)}"


def test_modules_are_short():
    lengths = {module: count_module_lines(module) for module in MODULES}
    long = {module: n for module, n in lengths.items() if n > LONGEST_MODULE}
    assert not long, f"More than {LONGEST_MODULE} lines: {long}"


def test_contributors_are_told_of_files_that_are_there():
    root = PACKAGE.parent
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(named) > 10
    there = {
        path.relative_to(root).as_posix()
        for folder in ("mtrl_sklearn", "tests", "benchmarks", "examples")
        for path in (root / folder).rglob("*.py")
    }
    lost = [
        name
        for name in named
        if not any(f"/{path}".endswith(f"/{name}") for path in there)
    ]
    assert not lost, f"CONTRIBUTING.md names {lost}, which are not there"


def print_structure():
    arrows = find_arrows(IMPORTS)
    print("floors, each room with what it imports:")
    for level, rooms in enumerate(FLOORS, start=1):
        for room in sorted(rooms):
            below = sorted(target for source, target in arrows if source == room)
            print(f"  {level} {room:16} {' '.join(below)}")
    n_up = sum(LEVELS[source] >= LEVELS[target] for source, target in arrows)
    lengths = sorted(((count_module_lines(m), m) for m in MODULES), reverse=True)
    longest = sorted(FUNCTIONS_OF_PACKAGE, key=lambda f: f.n_lines, reverse=True)
    print(
        f"{len(LEVELS)} rooms on {len(FLOORS)} floors, {len(arrows)} arrows, {n_up} up"
    )
    print(f"circle of modules in a room: {' '.join(find_circle(IMPORTS)) or 'none'}")
    print(f"{len(MODULES)} modules, {sum(n for n, _ in lengths)} lines but docstrings")
    print(
        "longest modules:", *(f"{module} {n}" for n, module in lengths[:5]), sep="\n  "
    )
    print("longest functions:", *longest[:5], sep="\n  ")


if __name__ == "__main__":
    print_structure()
