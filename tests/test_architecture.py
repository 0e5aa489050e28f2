"""The rules of the code's shape, read from its syntax trees: layers, circles, privacy, sizes, reasons."""

import ast
import collections
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "logtrick"

# A file imports from lower layers, or from siblings without a circle.
LAYERS = {
    "_core": 0,
    "noise": 1,
    "supports": 1,
    "bijectors": 1,
    "distributions": 2,
    "plans": 3,
    "baselines": 3,
    "estimators": 4,
    "programs": 5,
    "expectations": 6,
    "eligibility": 6,
    "scoring": 6,
    "training": 7,
    "diagnostics": 7,
    "vi": 8,
    "rl": 8,
    "adapters": 8,
    "testing": 8,
    "_variable_selection": 9,
    "__main__": 10,
}
# What makes the package itself: no layer, and imported by nobody but each other.
OUTSIDE = {"__init__", "_lazy", "_pointers", "_version"}
# Imported at the top of a file: everything else is imported in the function that uses it.
DEPENDENCIES = {"jax", "jaxlib", "numpy", "optax", "logtrick"}
# `_core` is private to the package, and open to all of it.
SHARED = "_core"
MOST_LINES, USUAL_LINES = 400, 250
MOST_STATEMENTS, USUAL_STATEMENTS = 60, 25
USUAL = 0.9  # at least this share of files and functions


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# Of a package that imports its names on first use, the stub that lists them.
SOURCES = {
    n: p.with_suffix(".pyi") if p.with_suffix(".pyi").exists() else p for n, p in PATHS.items()
}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def package_of(module: str) -> str:
    """The layer's name: the first part below `logtrick`."""
    return module.split(".")[1] if "." in module else "__init__"


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def nodes(tree: ast.AST):
    """All nodes, without what only type checkers read."""
    for child in ast.iter_child_nodes(tree):
        if not is_type_checking(child):
            yield child
            yield from nodes(child)


def imports(module: str):
    """(imported module, name or None, line) of every import of our own modules, functions' imports included."""
    for node in nodes(TREES[module]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "logtrick":
                    yield alias.name, None, node.lineno
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "logtrick":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (
                    (inner, None, node.lineno)
                    if inner in PATHS
                    else (
                        node.module,
                        alias.name,
                        node.lineno,
                    )
                )


def home(module: str, name: str | None) -> str:
    """The file where a name is defined, through the packages that re-export it."""
    seen = set()
    while name is not None and PATHS[module].name == "__init__.py" and (module, name) not in seen:
        seen.add((module, name))
        for node in TREES[module].body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        module, name = node.module or module, alias.name
    return module


def listed(problems: list[str]) -> str:
    return f"{len(problems)} places:\n" + "\n".join(f"  {p}" for p in problems)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected sets of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_imports_are_seen_where_the_name_is_defined():
    """The tests below would pass on a reader that sees nothing."""
    seen = {(imported, name) for imported, name, _ in imports("logtrick.estimators._disarm")}
    assert ("logtrick.noise", "Uniform") in seen
    assert home("logtrick.noise", "Uniform").startswith("logtrick.noise._")
    assert sum(len(list(imports(module))) for module in PATHS) > 300


def test_every_package_has_a_layer():
    found = {package_of(module) for module in PATHS}
    assert found - OUTSIDE - set(LAYERS) == set()


def test_a_file_imports_only_from_lower_layers():
    """`import logtrick` itself is the top: only what stands on all of it may do so."""
    problems = []
    for module in PATHS:
        if (package := package_of(module)) in OUTSIDE:
            continue
        for imported, _, line in imports(module):
            other = package_of(imported)
            upward = LAYERS.get(other, 9 if other == "__init__" else 0) > LAYERS[package]
            if other != package and upward:
                problems.append(f"{module}:{line} imports {imported}")
    assert problems == [], listed(problems)


def test_packages_have_no_circles():
    graph = collections.defaultdict(set)
    for module in PATHS:
        for imported, _, _ in imports(module):
            a, b = package_of(module), package_of(imported)
            if a != b and a not in OUTSIDE and b not in OUTSIDE:
                graph[a].add(b)
    assert circles(graph) == []


def test_files_have_no_circles():
    """Through re-exports and through imports inside of functions as well."""
    graph = collections.defaultdict(set)
    for module in PATHS:
        if PATHS[module].name != "__init__.py":
            graph[module] = {home(imported, name) for imported, name, _ in imports(module)}
            graph[module] -= {module}
    assert circles(graph) == []


def test_no_private_import_across_packages():
    problems = []
    for module in PATHS:
        package = package_of(module)
        if package in OUTSIDE or PATHS[module].name == "__init__.py":
            continue
        for imported, name, line in imports(module):
            other = package_of(imported)
            if other in (package, SHARED, *OUTSIDE):
                continue
            inner = imported.split(".")[2:] + ([name] if name else [])
            if any(part.startswith("_") for part in inner):
                problems.append(f"{module}:{line} imports {imported}{f'.{name}' if name else ''}")
    assert problems == [], listed(problems)


def test_no_private_name_across_files():
    problems = [
        f"{module}:{line} imports {imported}.{name}"
        for module in PATHS
        for imported, name, line in imports(module)
        if name is not None and name.startswith("_") and not name.startswith("__")
    ]
    assert problems == [], listed(problems)


def test_the_example_application_is_on_top_and_uses_public_names_only():
    problems = []
    for module in PATHS:
        for imported, name, line in imports(module):
            outside = package_of(module) not in ("_variable_selection", "__main__")
            if package_of(imported) == "_variable_selection" and outside:
                problems.append(f"{module}:{line} imports {imported}")
            if package_of(module) == "_variable_selection" and package_of(imported) == "_core":
                problems.append(f"{module}:{line} imports {imported}.{name}")
    assert problems == [], listed(problems)


def test_init_files_only_re_export():
    problems = []
    for module, path in PATHS.items():
        if path.name != "__init__.py" or module == "logtrick":
            continue
        for node in TREES[module].body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            re_export = isinstance(node, ast.ImportFrom) and all(
                alias.asname == alias.name for alias in node.names
            )
            if not docstring and not re_export:
                problems.append(f"{module}:{node.lineno} {ast.unparse(node).splitlines()[0]}")
    assert problems == [], listed(problems)


@pytest.mark.parametrize("name", ["utils", "misc", "helpers", "common", "tools"])
def test_no_drawer_for_odds_and_ends(name):
    assert [m for m in PATHS if m.split(".")[-1].strip("_") == name] == []


def test_dependencies_at_the_top_of_files():
    problems = []
    for module, tree in TREES.items():
        for node in tree.body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in DEPENDENCIES and top not in sys.stdlib_module_names:
                    problems.append(f"{module}:{node.lineno} imports {name}")
            if any(name.startswith("jax._src") for name in names):
                problems.append(f"{module}:{node.lineno} imports {names}")
    assert problems == [], listed(problems)


def test_no_private_part_of_jax():
    assert [m for m, path in PATHS.items() if "jax._src" in path.read_text()] == []


def test_sizes_of_files():
    lines = {m: path.read_text().count("\n") for m, path in PATHS.items()}
    assert {m: n for m, n in lines.items() if n > MOST_LINES} == {}
    usual = sum(n <= USUAL_LINES for n in lines.values())
    long = {m: n for m, n in lines.items() if n > USUAL_LINES}
    assert usual >= USUAL * len(lines), long


def body_lines(function: ast.AST) -> int:
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    return (
        function.end_lineno - function.lineno + 1 - (docstring or "").count("\n") - bool(docstring)
    )


def test_sizes_of_functions():
    sizes = {
        f"{module}:{node.lineno} {node.name}": body_lines(node)
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: n for name, n in sizes.items() if n > MOST_STATEMENTS} == {}
    usual = sum(n <= USUAL_STATEMENTS for n in sizes.values())
    assert usual >= USUAL * len(sizes), {n: s for n, s in sizes.items() if s > USUAL_STATEMENTS}


IGNORES = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma|fmt:\s*(?:skip|off)|ruff:\s*noqa)")
# A code in brackets or after the colon, then the reason; a formatter's skip shows its reason itself.
REASONED = re.compile(
    r"#\s*(?:type:\s*ignore\[[\w, -]+\]|noqa:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)\s+(?:#\s*)?\S+"
    r"|#\s*fmt:\s*skip"
)


@pytest.mark.parametrize("folder", ["logtrick", "benchmarks", "tests", "notebooks"])
def test_each_ignore_has_a_code_and_a_reason(folder):
    problems = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        if path == pathlib.Path(__file__):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = IGNORES.search(line)
            if match and not REASONED.match(line[match.start() :]):
                problems.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[-80:]}")
    assert problems == [], listed(problems)
