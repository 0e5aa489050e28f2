"""What the package says of itself: docstrings against signatures, one spelling, one text for each reference."""

import ast
import collections
import dataclasses
import inspect
import pathlib
import re

import pytest

import logtrick as lt

ROOT = pathlib.Path(__file__).parents[1]
ORDER = ("Attributes", "Args", "Returns", "Raises", "References", "Example")
SECTION = re.compile(rf"^(\s*)({'|'.join(ORDER)}):\s*$", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:")


# The engine's own package: what users need of it is exported by `logtrick` itself but for this, the rest is for us.
OF_PROGRAMS = ("Explanation",)


def public_objects() -> dict[str, object]:
    """Every function and class that the package or one of its public packages exports."""
    found = {}
    for name in lt.__all__:
        value = getattr(lt, name)
        inner = {name: value}
        if inspect.ismodule(value):
            names = OF_PROGRAMS if name == "programs" else dir(value)
            inner = {f"{name}.{n}": getattr(value, n) for n in names if not n.startswith("_")}
        for path, member in inner.items():
            ours = getattr(member, "__module__", "").startswith("logtrick")
            if ours and (inspect.isfunction(member) or inspect.isclass(member)):
                found[path] = member
    unique = {id(member): (path, member) for path, member in reversed(found.items())}
    return dict(sorted(unique.values()))


PUBLIC = public_objects()


def sections(docstring: str) -> dict[str, str]:
    """The text of each section, in the docstring's order; "" is what precedes the first."""
    parts = {"": docstring}
    matches = list(SECTION.finditer(docstring))
    for i, match in enumerate(matches):
        end = matches[i + 1].start() if i + 1 < len(matches) else len(docstring)
        parts[match[2]] = inspect.cleandoc("\n" + docstring[match.end() : end])
    if matches:
        parts[""] = docstring[: matches[0].start()]
    return parts


def entries(section: str) -> list[str]:
    """The names that a section describes, in order."""
    names = []
    for line in section.splitlines():
        if not line.startswith(" ") and (match := ENTRY.match(line)):
            names += match[1].replace("*", "").split(", ")
    return names


def parameters(obj: object) -> list[str]:
    """What a caller passes."""
    if inspect.isclass(obj) and "__init__" not in vars(obj) and not dataclasses.is_dataclass(obj):
        return []
    return [name for name in inspect.signature(obj).parameters if not name.startswith("_")]


def is_made_by_users(obj: object) -> bool:
    """A class that a caller constructs: not an error, not abstract, not a result with attributes."""
    abstract = getattr(obj, "_abstract", False) or inspect.isabstract(obj)
    return not (abstract or issubclass(obj, BaseException) or "Attributes" in doc(obj))


def doc(obj: object) -> dict[str, str]:
    own = vars(obj).get("__doc__") if inspect.isclass(obj) else obj.__doc__
    return sections(inspect.cleandoc(own or ""))


def listed(problems: list[str]) -> str:
    return f"{len(problems)} places:\n" + "\n".join(f"  {p}" for p in problems)


def test_there_is_something_to_check():
    assert len(PUBLIC) > 100
    assert doc(lt.expect)["Args"]
    assert entries("key: a key.\nx, y: two.\n  more: no entry.\n*rest: more.") == [
        "key",
        "x",
        "y",
        "rest",
    ]


def test_every_public_name_says_what_it_is():
    problems = []
    for name, obj in PUBLIC.items():
        first = doc(obj)[""].strip().split("\n\n")[0]
        generated = first.startswith(f"{getattr(obj, '__name__', '')}(")  # by dataclasses
        if not first.endswith(".") or generated:
            problems.append(f"{name}: {first[:60]!r}")
    assert problems == [], listed(problems)


def test_sections_are_in_one_order():
    problems = []
    for name, obj in PUBLIC.items():
        found = [section for section in doc(obj) if section]
        if found != sorted(found, key=ORDER.index):
            problems.append(f"{name}: {', '.join(found)}")
    assert problems == [], listed(problems)


def test_arguments_are_those_of_the_signature_in_its_order():
    problems = []
    for name, obj in PUBLIC.items():
        if inspect.isclass(obj) and not is_made_by_users(obj):
            continue
        described, expected = entries(doc(obj).get("Args", "")), parameters(obj)
        # "*args, **options: those of …" stands for a signature that is described elsewhere
        if described != expected and described != ["args", "options"]:
            problems.append(f"{name}: describes {described}, takes {expected}")
    assert problems == [], listed(problems)


def test_attributes_are_those_of_the_class():
    problems = []
    for name, obj in PUBLIC.items():
        described = entries(doc(obj).get("Attributes", ""))
        there = {member for member, _ in inspect.getmembers(obj)}
        if dataclasses.is_dataclass(obj):
            there |= {field.name for field in dataclasses.fields(obj)}
            there |= set(inspect.get_annotations(obj))  # what subclasses have to set
        elif described:  # or it is set on self
            there |= set(re.findall(r"self\.(\w+)", inspect.getsource(obj)))
        missing = [attribute for attribute in described if attribute not in there]
        if missing:
            problems.append(f"{name}: has no {missing}")
    assert problems == [], listed(problems)


def test_what_is_returned_is_described():
    problems = []
    for name, obj in PUBLIC.items():
        if inspect.isfunction(obj):
            returns = inspect.signature(obj).return_annotation not in (None, "None")
            if returns and "Returns" not in doc(obj):
                problems.append(name)
    assert problems == [], listed(problems)


def test_every_public_name_has_an_example_that_shows_something():
    problems = []
    for name, obj in PUBLIC.items():
        if inspect.isclass(obj) and (issubclass(obj, BaseException) or not is_made_by_users(obj)):
            continue
        example = doc(obj).get("Example", "")
        shows = any(line and not line.startswith((">>>", "...")) for line in example.splitlines())
        if not shows:
            problems.append(name)
    assert problems == [], listed(problems)


def test_public_methods_say_what_they_do():
    problems = []
    for name, obj in PUBLIC.items():
        if not inspect.isclass(obj):
            continue
        for member, value in vars(obj).items():
            function = (
                value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            )
            if member.startswith("_") or not inspect.isfunction(function):
                continue
            inherited = [vars(base).get(member) for base in obj.__mro__[1:]]
            if not any(getattr(candidate, "__doc__", None) for candidate in (function, *inherited)):
                problems.append(f"{name}.{member}")
    assert problems == [], listed(problems)


# British spellings, and words of the first version that only its authors understood.
DIALECT = re.compile(
    r"\bhangs? on\b|\bworked (?:out|ahead)\b|\b(?:is|are) paid\b|\ba key a run\b|\bof large noise\b"
    r"|\b(?:normalis|reparameteris|initialis|optimis(?!t)|minimis|maximis|factoris|summaris|vectoris"
    r"|discretis|randomis|marginalis|standardis|generalis|regularis|linearis|parameteris|penalis"
    r"|realis(?!t)|recognis|utilis|serialis|symmetris|localis|organis|emphasis(?!\b)|analys(?!is|t))\w*"
    r"|\b(?:colour|behaviour|favour|neighbour|honour|labell|modell|cancell(?!ation)|travell)\w*"
    r"|\b(?:centre|metre|grey|catalogue|judgement|whilst|amongst)s?d?\b",
    re.I,
)
TEXTS = [
    path
    for pattern in (
        "logtrick/**/*.py",
        "logtrick/**/*.pyi",
        "logtrick/*.md",
        "*.md",
        ".github/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
] + [
    path
    for pattern in ("benchmarks/**/*.py", "notebooks/**/*.py", "tests/**/*.py")
    for path in sorted(ROOT.glob(pattern))
    if path != pathlib.Path(__file__)
]


@pytest.mark.parametrize(
    "text", ["normalised", "What hangs on it", "behaviour", "is paid", "worked out", "centred"]
)
def test_dialect_is_seen(text):
    assert DIALECT.search(text)


@pytest.mark.parametrize("text", ["normalized", "optimistix", "emphasis", "analysis", "center"])
def test_american_english_passes(text):
    assert not DIALECT.search(text)


@pytest.mark.parametrize(
    "folder", ["logtrick", "benchmarks", "notebooks", "tests", "README.md", ".github"]
)
def test_american_spelling_and_no_private_dialect(folder):
    problems = []
    for path in TEXTS:
        relative = path.relative_to(ROOT)
        if relative.parts[0] != folder:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            problems += [f"{relative}:{number} {m[0]!r}" for m in DIALECT.finditer(line)]
    assert problems == [], listed(problems)


# "Author & Author (2000), "Title"" or, in `reference`, the same without quotes.
CITATION = re.compile(
    r"(?P<authors>[A-ZÀ-Þ][\w'’. -]*(?:, [A-ZÀ-Þ][\w'’. -]*)*(?: & [A-ZÀ-Þ][\w'’. -]*| et al\.)?) "
    r"\((?P<year>\d{4}[a-z]?)\)(?:, [\"“](?P<title>[^\"”]+)[\"”])?"
)


def citations() -> dict[tuple[str, str, str], list[str]]:
    """(authors, year, title) -> the places that cite it, in the docstrings of the package."""
    found = collections.defaultdict(list)
    for path in sorted((ROOT / "logtrick").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                continue
            text = sections(ast.get_docstring(node) or "").get("References", "")
            for match in CITATION.finditer(" ".join(text.split())):
                place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
                found[match["authors"], match["year"], match["title"] or ""].append(place)
    return found


def test_a_work_is_cited_by_one_text():
    """The same first author and year: the same authors and the same title."""
    works = collections.defaultdict(dict)
    for (authors, year, title), places in citations().items():
        first = re.split(r",| & | et al", authors)[0]
        works[first, year][f"{authors} ({year}), {title}"] = places
    problems = []
    for texts in works.values():
        titles = {text.split("), ", 1)[1].lower() for text in texts} - {""}
        if len(texts) > 1 and len(titles) <= 1:
            problems.append(" | ".join(f"{t} [{p[0]}]" for t, p in texts.items()))
    assert len(works) > 20
    assert problems == [], listed(problems)


def test_the_reference_to_cite_is_among_the_docstring_s():
    """`lt.cite` and the docstring name the same works."""
    problems, seen = [], 0
    for name, obj in PUBLIC.items():
        reference = vars(obj).get("reference") if inspect.isclass(obj) else None
        fields = dataclasses.fields(obj) if dataclasses.is_dataclass(obj) else ()
        is_field = "reference" in {field.name for field in fields}  # of a result: no citation
        if is_field or not isinstance(reference, str) or not reference:
            continue
        seen += 1
        text = " ".join(doc(obj).get("References", "").replace('"', "").split()).lower()
        for work in re.split(r";\s+", reference.rstrip(".")):
            plain = " ".join(work.replace('"', "").split()).lower()
            if plain not in text:
                problems.append(f"{name}: {work}")
    assert seen > 10
    assert problems == [], listed(problems)


def test_the_citation_is_of_this_version():
    text = (ROOT / ".github" / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^([\w-]+): (.+)$", text, flags=re.M))
    assert fields["version"] == lt.__version__
    assert fields["license"] == "Apache-2.0" and fields["cff-version"] == "1.2.0"


def test_every_public_name_is_in_one_group_of_the_site():
    """`.github/site.py` groups the packages, and lists the engine's names that are for users."""
    tree = ast.parse((ROOT / ".github" / "site.py").read_text())
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id in ("GROUPS", "OF_PROGRAMS")
    }
    grouped = [member for members in constants["GROUPS"].values() for member in members]
    packages = [name for name in lt.__all__ if inspect.ismodule(getattr(lt, name))]
    assert sorted(grouped) == sorted(packages)
    flat = {name for name in lt.__all__ if name in vars(lt.programs)}
    assert set(constants["OF_PROGRAMS"]) == flat | set(OF_PROGRAMS)
