"""The plan of the house, read from the syntax tree: layers, cycles, sizes, heavy imports."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mlffjax"
LAYERS = (
    {"arrays", "errors", "units"},
    {"durable", "health", "registry", "startup", "trees"},
    {"config"},
    {"structures"},
    {"graphs"},
    {"potential"},
    {"analysis", "dynamics", "pathways", "representation", "training"},
    {"active", "probes"},
    {"study"},
    {"report"},
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# Where an import may appear: files or folders below the package.
NUMERICS = {
    "arrays.py",
    "health.py",
    "startup.py",
    "trees.py",
    "graphs",
    "potential",
    "training",
    "dynamics",
} | {
    "pathways",
    "analysis",
    "representation",
    "probes",
    "active",
    "study",
}
ALLOWED = {
    "jax": NUMERICS | {"cli"},  # a program chooses its precision
    "flax": {"potential", "training"},
    "e3nn_jax": {"potential"},
    "optax": {"training"},
    "jax_md": {"dynamics"},
    "ase": {"structures", "graphs", "potential", "active"},
    "matscipy": {"structures", "graphs", "analysis"},
    "sklearn": {"structures", "analysis", "representation", "active"},
    "safetensors": {"potential", "dynamics", "training"},
    "h5py": {"dynamics"},
    "dftd3": {"potential"},
    "mace_jax": {"potential"},
    "dscribe": {"representation"},
    "umap": {"representation"},
    "optuna": {"study/sweep_search.py"},
    "ray": {"study/executors"},
    "submitit": {"study/executors"},
    "yaml": {"config.py"},
    "matplotlib": {"report"},
    "plotly": {"report"},
    "jinja2": {"report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "torch": {"potential/convert"},
    "mace": {"potential/convert"},
    "e3nn": {"potential/convert"},
    "sevenn": set(),
}
# These run on the host only, so that reading data, reporting and asking for help stay quick.
HOST = {"errors", "units", "registry", "startup", "config", "structures", "report", "cli"}
LONGEST = 400

MODULES = sorted(PACKAGE.rglob("*.py"))
pytestmark = pytest.mark.skipif(not MODULES, reason="the package is installed without its tests")


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Level of relativity and full dotted name of everything imported below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, f"{node.module or ''}.{alias.name}") for alias in node.names)


IMPORTS = {path: list(imported(ast.parse(path.read_text()))) for path in MODULES}
each_module = pytest.mark.parametrize("path", MODULES, ids=place)


@each_module
def test_imports_are_absolute(path):
    assert [name for level, name in IMPORTS[path] if level] == []


@each_module
def test_imports_point_downwards(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    assert own in LEVEL, f"{place(path)}: {own} has no layer; give it one in LAYERS"
    for _, name in IMPORTS[path]:
        head, *rest = name.split(".")
        if head == PACKAGE.name and rest and rest[0] != own and rest[0] in LEVEL:
            assert LEVEL[rest[0]] < LEVEL[own], f"{place(path)} may not import {rest[0]}"


@each_module
def test_heavy_imports_stay_where_they_belong(path):
    for _, name in IMPORTS[path]:
        allowed = ALLOWED.get(name.split(".")[0])
        if allowed is None:
            continue
        here = [place(path), *(p.as_posix() for p in path.relative_to(PACKAGE).parents)]
        assert allowed & set(here), f"{place(path)} may not import {name}"


def test_every_dependency_has_its_place():
    """Whatever is imported is of Python, of the package, listed above, or light."""
    light = {"numpy", "pydantic", "pydantic_core", "jaxtyping", "scipy", PACKAGE.name}
    for path, names in IMPORTS.items():
        for _, name in names:
            head = name.split(".")[0]
            known = head in sys.stdlib_module_names or head in light or head in ALLOWED
            assert known, f"{place(path)} imports {head}; say in ALLOWED where it may appear"


def needs(path: Path) -> set[str]:
    """What importing a module imports at once: not what functions or type checkers import."""
    tree = ast.parse(path.read_text())
    kept: list[ast.stmt] = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return {name for _, name in imported(ast.Module(body=kept, type_ignores=[]))}


def own_modules(names: set[str]) -> set[str]:
    """The modules of the package among dotted names, which may end in a name of the module."""
    return {name if name in KNOWN else name.rpartition(".")[0] for name in names} & set(KNOWN)


KNOWN = {dotted(path): path for path in MODULES}
NEEDS = {name: needs(path) for name, path in KNOWN.items()}


def test_no_cycles():
    graph = {name: own_modules(names) - {name} for name, names in NEEDS.items()}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", [n for n in KNOWN if [*n.split("."), ""][1] in HOST])
def test_host_code_does_not_import_jax(name):
    """Not even through others: follow the imports, and the packages they pass through."""
    seen: set[str] = set()
    front = {name}
    while front:
        current = front.pop()
        seen.add(current)
        heads = {imported.split(".")[0] for imported in NEEDS[current]}
        assert not heads & {"jax", "flax", "e3nn_jax", "optax", "jax_md"}, f"through {current}"
        parents = {current.rpartition(".")[0]} & set(KNOWN)
        front |= (own_modules(NEEDS[current]) | parents) - seen


@each_module
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@each_module
def test_modules_are_named_for_what_they_hold(path):
    name = path.stem
    assert name not in {"utils", "util", "helpers", "common", "misc", "core"}
    # A module of a package cannot shadow the standard library, but it misleads its reader.
    assert name == "__init__" or name not in sys.stdlib_module_names


@each_module
def test_annotations_stay_visible_to_the_run_time_checker(path):
    assert "__future__.annotations" not in {name for _, name in IMPORTS[path]}


@each_module
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{place(path)} has no docstring"


@each_module
def test_public_functions_annotate_their_arguments(path):
    for function in public_functions(ast.parse(path.read_text())):
        arguments = function.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            plain = argument.arg in {"self", "cls"} or argument.annotation is not None
            assert plain, (
                f"{place(path)}:{function.lineno} {function.name}({argument.arg}) has none"
            )
        assert arguments.kwarg is None, f"{place(path)}: {function.name} hides choices in **"


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    for node in [*tree.body, *(n for c in classes for n in c.body)]:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
