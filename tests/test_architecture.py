"""The rules of the code's shape, read from its syntax trees: layers, circles, privacy, sizes, reasons.

A rule is a function of some code that returns the places where the code breaks it. Each is tried on the package, and on a few
lines that break it.
"""

import ast
import collections
import pathlib
import re
import sys
from collections.abc import Callable, Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]

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
TOP = 9  # of `import logtrick` itself
# What makes the package itself: no layer, and imported by nobody but each other.
OUTSIDE = {"__init__", "_lazy", "_pointers", "_version"}
# Imported at the top of a file: everything else is imported in the function that uses it.
DEPENDENCIES = {"jax", "jaxlib", "numpy", "optax", "logtrick"}
# `_core` is private to the package, and open to all of it.
SHARED = "_core"
# No names for odds and ends.
DRAWERS = {"utils", "misc", "helpers", "common", "tools"}
# Lines of a file, and of a function without its docstring: never more than the first, and than the second in nine of ten.
FILE_LINES, FUNCTION_LINES = (400, 250), (60, 25)
USUAL = 0.9


class Code:
    """The modules of a package.

    Attributes:
      texts: by module.
      trees: their syntax trees.
      packages: the modules that are `__init__.py` files.
    """

    def __init__(self, files: dict[str, str]) -> None:
        names = {path: path.removesuffix(".py").replace("/", ".") for path in files}
        self.packages = {n.removesuffix(".__init__") for n in names.values() if "__init__" in n}
        self.texts = {n.removesuffix(".__init__"): files[path] for path, n in names.items()}
        self.trees = {name: ast.parse(text) for name, text in self.texts.items()}

    def imports(self, module: str) -> Iterator[tuple[str, str | None, int]]:
        """(imported module, name or None, line) of every import of our own modules, functions' imports included."""
        for node in nodes(self.trees[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == "logtrick":
                        yield alias.name, None, node.lineno
            elif isinstance(node, ast.ImportFrom):
                origin = node.module or ""
                for alias in node.names if origin.split(".")[0] == "logtrick" else []:
                    if f"{origin}.{alias.name}" in self.trees:
                        yield f"{origin}.{alias.name}", None, node.lineno
                    else:
                        yield origin, alias.name, node.lineno

    def all_imports(self) -> Iterator[tuple[str, str, str | None, str]]:
        """(importing module, imported module, name or None, the place and the import in words)."""
        for module in self.trees:
            for imported, name, line in self.imports(module):
                full = imported if name is None else f"{imported}.{name}"
                yield module, imported, name, f"{module}:{line} imports {full}"

    def home(self, module: str, name: str | None) -> str:
        """The file where a name is defined, through the packages that re-export it."""
        seen = set()
        while name is not None and module in self.packages and (module, name) not in seen:
            seen.add((module, name))
            for node in self.trees[module].body:
                if isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            module, name = node.module or module, alias.name
        return module


def layer(module: str) -> str:
    """The layer's name: the first part below `logtrick`."""
    return module.split(".")[1] if "." in module else "__init__"


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, without what only type checkers read."""
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield child
            yield from nodes(child)


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Strongly connected sets of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
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
                found.append(" – ".join(sorted(members)))

    for node in graph:
        if node not in index:
            visit(node)
    return found


# --- the rules


def every_package_has_a_layer(code: Code) -> list[str]:
    return sorted({layer(module) for module in code.trees} - OUTSIDE - set(LAYERS))


def files_import_from_lower_layers_only(code: Code) -> list[str]:
    """`import logtrick` itself is the top: only what stands on all of it may do so."""
    heights = LAYERS | dict.fromkeys(OUTSIDE, 0) | {"__init__": TOP}
    problems = []
    for module, imported, _, place in code.all_imports():
        own, other = layer(module), layer(imported)
        if own not in OUTSIDE and own != other and heights.get(other, 0) > heights.get(own, 0):
            problems.append(place)
    return problems


def packages_have_no_circles(code: Code) -> list[str]:
    graph = collections.defaultdict(set)
    for module, imported, _, _ in code.all_imports():
        own, other = layer(module), layer(imported)
        if own != other and not {own, other} & OUTSIDE:
            graph[own].add(other)
    return circles(graph)


def files_have_no_circles(code: Code) -> list[str]:
    """Through re-exports and through imports inside of functions as well."""
    graph = collections.defaultdict(set)
    for module, imported, name, _ in code.all_imports():
        if module not in code.packages:
            graph[module].add(code.home(imported, name))
    return circles({module: others - {module} for module, others in graph.items()})


def private_modules_stay_in_their_package(code: Code) -> list[str]:
    problems = []
    for module, imported, name, place in code.all_imports():
        if layer(module) in OUTSIDE:
            continue
        inner = [*imported.split(".")[2:], name or ""]
        private = any(part.startswith("_") for part in inner)
        if private and layer(imported) not in (layer(module), SHARED, *OUTSIDE):
            problems.append(place)
    return problems


def private_names_stay_in_their_file(code: Code) -> list[str]:
    private = re.compile(r"_(?!_)")
    return [place for _, _, name, place in code.all_imports() if private.match(name or "")]


def the_example_application_stands_on_top_of_public_names(code: Code) -> list[str]:
    example, problems = "_variable_selection", []
    for module, imported, _, place in code.all_imports():
        if layer(imported) == example and layer(module) not in (example, "__main__"):
            problems.append(place)
        if layer(module) == example and layer(imported) == SHARED:
            problems.append(place)
    return problems


def init_files_only_re_export(code: Code) -> list[str]:
    problems = []
    for module in code.packages - {"logtrick"}:
        for node in code.trees[module].body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            re_export = isinstance(node, ast.ImportFrom) and all(
                alias.asname == alias.name for alias in node.names
            )
            if not docstring and not re_export:
                problems.append(f"{module}:{node.lineno} {ast.unparse(node).splitlines()[0]}")
    return problems


def no_file_is_a_drawer_for_odds_and_ends(code: Code) -> list[str]:
    return [module for module in code.trees if module.split(".")[-1].strip("_") in DRAWERS]


def files_import_dependencies_only_at_their_top(code: Code) -> list[str]:
    problems = []
    for module, tree in code.trees.items():
        for node in tree.body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if top not in DEPENDENCIES and top not in sys.stdlib_module_names:
                    problems.append(f"{module}:{node.lineno} imports {name}")
    return problems


def no_private_part_of_jax_is_used(code: Code) -> list[str]:
    return [module for module, text in code.texts.items() if "jax._src" in text]


def files_are_short(code: Code) -> list[str]:
    return too_long({module: text.count("\n") for module, text in code.texts.items()}, *FILE_LINES)


def functions_are_short(code: Code) -> list[str]:
    sizes = {
        f"{module}:{node.lineno} {node.name}": body_lines(node)
        for module, tree in code.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return too_long(sizes, *FUNCTION_LINES)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    docstring = ast.get_docstring(function, clean=False)
    all_lines = (function.end_lineno or 0) - function.lineno + 1
    return all_lines if docstring is None else all_lines - docstring.count("\n") - 1


def too_long(sizes: dict[str, int], most: int, usual: int) -> list[str]:
    """What is longer than `most`; and what is longer than `usual`, if that is too large a share."""
    beyond = {name: size for name, size in sizes.items() if size > usual}
    if len(beyond) <= (1 - USUAL) * len(sizes):
        beyond = {name: size for name, size in sizes.items() if size > most}
    return [f"{name} has {size} lines" for name, size in beyond.items()]


IGNORES = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma|fmt:\s*(?:skip|off)|ruff:\s*noqa)")
# A code in brackets or after the colon, then the reason; a formatter's skip shows its reason itself.
REASONED = re.compile(
    r"#\s*(?:type:\s*ignore\[[\w, -]+\]|noqa:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)\s+(?:#\s*)?\S+"
    r"|#\s*fmt:\s*skip"
)


def each_ignore_has_a_code_and_a_reason(code: Code) -> list[str]:
    problems = []
    for module, text in code.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            match = IGNORES.search(line)
            if match and not REASONED.match(line[match.start() :]):
                problems.append(f"{module}:{number} {line.strip()[-80:]}")
    return problems


# --- the package, and code that breaks the rules


def read(folder: str) -> Code:
    """The modules of a folder; of a package that imports its names on first use, the stub that lists them."""
    texts = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        stub = path.with_suffix(".pyi")
        source = stub if stub.exists() else path
        texts[path.relative_to(ROOT).as_posix()] = source.read_text(encoding="utf-8")
    return Code(
        {name: text for name, text in texts.items() if name != "tests/test_architecture.py"}
    )


PACKAGE = read("logtrick")
_SAY = "def say():\n" + "    print()\n" * 60

# Of each rule: files that break it, and the places where they do.
BROKEN: dict[Callable[[Code], list[str]], tuple[dict[str, str], list[str]]] = {
    every_package_has_a_layer: ({"logtrick/extra/_a.py": ""}, ["extra"]),
    files_import_from_lower_layers_only: (
        {
            "logtrick/noise/_a.py": "import jax\ndef f():\n    from logtrick.vi import fit\n",
            "logtrick/vi/__init__.py": "",
            "logtrick/plans/_b.py": "import logtrick\nfrom logtrick.noise import N\n",
        },
        [
            "logtrick.noise._a:3 imports logtrick.vi.fit",
            "logtrick.plans._b:1 imports logtrick",
        ],
    ),
    packages_have_no_circles: (
        {
            "logtrick/vi/_a.py": "from logtrick.rl import x",
            "logtrick/rl/_b.py": "from logtrick.vi import y",
        },
        ["rl – vi"],
    ),
    files_have_no_circles: (
        {
            "logtrick/vi/__init__.py": "from logtrick.vi._b import y as y",
            "logtrick/vi/_a.py": "def f():\n    from logtrick.vi import y\n",
            "logtrick/vi/_b.py": "from logtrick.vi._c import z\n",
            "logtrick/vi/_c.py": "from logtrick.vi import _a\n",
        },
        ["logtrick.vi._a – logtrick.vi._b – logtrick.vi._c"],
    ),
    private_modules_stay_in_their_package: (
        {
            "logtrick/vi/_a.py": "from logtrick.noise._b import x\nfrom logtrick._core.keys import key\n",
            "logtrick/vi/_c.py": "from logtrick.noise import _b\nfrom logtrick.vi._a import f\n",
            "logtrick/noise/_b.py": "",
        },
        [
            "logtrick.vi._a:1 imports logtrick.noise._b.x",
            "logtrick.vi._c:1 imports logtrick.noise._b",
        ],
    ),
    private_names_stay_in_their_file: (
        {"logtrick/vi/_a.py": "from logtrick.vi._b import _x, __doc__, y"},
        ["logtrick.vi._a:1 imports logtrick.vi._b._x"],
    ),
    the_example_application_stands_on_top_of_public_names: (
        {
            "logtrick/vi/_a.py": "import logtrick._variable_selection",
            "logtrick/_variable_selection/_b.py": "from logtrick._core import keys",
        },
        [
            "logtrick.vi._a:1 imports logtrick._variable_selection",
            "logtrick._variable_selection._b:1 imports logtrick._core.keys",
        ],
    ),
    init_files_only_re_export: (
        {"logtrick/vi/__init__.py": '"""."""\nfrom logtrick.vi._a import f as f, g\nX = 1\n'},
        [
            "logtrick.vi:2 from logtrick.vi._a import f as f, g",
            "logtrick.vi:3 X = 1",
        ],
    ),
    no_file_is_a_drawer_for_odds_and_ends: (
        {"logtrick/vi/_utils.py": "", "logtrick/vi/_a.py": ""},
        ["logtrick.vi._utils"],
    ),
    files_import_dependencies_only_at_their_top: (
        {"logtrick/vi/_a.py": "import os, jax.numpy\nfrom scipy import stats\n"},
        ["logtrick.vi._a:2 imports scipy"],
    ),
    no_private_part_of_jax_is_used: (
        {"logtrick/vi/_a.py": "from jax._src import core", "logtrick/vi/_b.py": "import jax"},
        ["logtrick.vi._a"],
    ),
    files_are_short: (
        {f"logtrick/vi/_{i}.py": "\n" * (401 if i == 0 else 250) for i in range(10)},
        ["logtrick.vi._0 has 401 lines"],
    ),
    functions_are_short: (
        {"logtrick/vi/_a.py": _SAY + "def short():\n    '''1\n2\n'''\n" * 9},
        ["logtrick.vi._a:1 say has 61 lines"],
    ),
    each_ignore_has_a_code_and_a_reason: (
        {
            "logtrick/vi/_a.py": "a = 1  # noqa\nb = 1  # noqa: E731\nc = 1  # noqa: E731  # read beside d\n"
            "e = 1  # type: ignore  # why\nf = [1,]  # fmt: skip\n"
        },
        [
            "logtrick.vi._a:1 a = 1  # noqa",
            "logtrick.vi._a:2 b = 1  # noqa: E731",
            "logtrick.vi._a:4 e = 1  # type: ignore  # why",
        ],
    ),
}
RULES = list(BROKEN)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule):
    problems = rule(PACKAGE)
    assert problems == [], "\n".join([f"{len(problems)} places:", *problems])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_code_that_breaks_the_rule_is_seen(rule):
    files, places = BROKEN[rule]
    assert rule(Code(files)) == places


@pytest.mark.parametrize("folder", ["benchmarks", "tests", "notebooks"])
def test_each_ignore_outside_of_the_package_has_a_code_and_a_reason(folder):
    assert each_ignore_has_a_code_and_a_reason(read(folder)) == []


def test_many_files_of_usual_length_are_too_many():
    """Nine of ten must be short: two long ones of ten are named, though neither is too long by itself."""
    assert too_long({"a": 300, "b": 300} | {f"c{i}": 1 for i in range(8)}, 400, 250) == [
        "a has 300 lines",
        "b has 300 lines",
    ]


def test_the_package_is_read():
    assert len(PACKAGE.trees) > 200 and len(list(PACKAGE.all_imports())) > 300
    seen = {(i, name) for i, name, _ in PACKAGE.imports("logtrick.estimators._disarm")}
    assert ("logtrick.noise", "Uniform") in seen
    assert PACKAGE.home("logtrick.noise", "Uniform").startswith("logtrick.noise._")
