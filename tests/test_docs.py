"""What the package says of itself: docstrings against signatures, one spelling, one text for each reference."""

import ast
import dataclasses
import difflib
import inspect
import itertools
import pathlib
import re

import pytest

import logtrick as lt

ROOT = pathlib.Path(__file__).parents[1]
ORDER = ("Attributes", "Args", "Returns", "Raises", "References", "Example")
SECTION = re.compile(rf"^(\s*)({'|'.join(ORDER)}):\s*$", re.M)
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:")


Objects = dict[str, object]

# Of the engine's own package users need this; what else they need of it, `logtrick` itself exports.
OF_PROGRAMS = ("Explanation",)


def public_objects() -> Objects:
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


def the_first_sentence_says_what_it_is(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        first = doc(obj)[""].strip().split("\n\n")[0]
        generated = first.startswith(f"{getattr(obj, '__name__', '')}(")  # by dataclasses
        if not first.endswith(".") or generated:
            problems.append(f"{name}: {first[:60]!r}")
    return problems


def sections_are_in_one_order(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        found = [section for section in doc(obj) if section]
        if found != sorted(found, key=ORDER.index):
            problems.append(f"{name}: {', '.join(found)}")
    return problems


def arguments_are_those_of_the_signature_in_its_order(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        if inspect.isclass(obj) and not is_made_by_users(obj):
            continue
        described, expected = entries(doc(obj).get("Args", "")), parameters(obj)
        # "*args, **options: those of …" stands for a signature that is described elsewhere
        if described != expected and described != ["args", "options"]:
            problems.append(f"{name}: describes {described}, takes {expected}")
    return problems


def attributes_are_those_of_the_class(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
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
    return problems


def what_is_returned_is_described(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        if inspect.isfunction(obj):
            returns = inspect.signature(obj).return_annotation not in (None, "None")
            if returns and "Returns" not in doc(obj):
                problems.append(name)
    return problems


def an_example_shows_something(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        if inspect.isclass(obj) and not is_made_by_users(obj):
            continue
        example = doc(obj).get("Example", "")
        if not any(line and not line.startswith((">>>", "...")) for line in example.splitlines()):
            problems.append(name)
    return problems


def public_methods_say_what_they_do(objects: Objects) -> list[str]:
    problems = []
    for name, obj in objects.items():
        for member, value in vars(obj).items() if inspect.isclass(obj) else ():
            function = getattr(value, "__func__", value)
            if isinstance(value, property):
                function = value.fget
            if member.startswith("_") or not inspect.isfunction(function):
                continue
            inherited = [vars(base).get(member) for base in obj.__mro__[1:]]
            if not any(getattr(candidate, "__doc__", None) for candidate in (function, *inherited)):
                problems.append(f"{name}.{member}")
    return problems


def silent(x, y):
    pass


def disordered(x) -> None:
    """Return x

    Returns:
      x.
    Args:
      y: not x.
    """


class Hollow:
    """Hollow(): as dataclasses write it."""

    def method(self):
        return 1


class Plain:
    """A class with an attribute too many.

    Attributes:
      real: there.
      absent: not there.
    """

    real = 1


# Of each rule: what breaks it, among the objects above.
BROKEN = {
    the_first_sentence_says_what_it_is: [
        "silent: ''",
        "disordered: 'Return x'",
        "Hollow: 'Hollow(): as dataclasses write it.'",
    ],
    sections_are_in_one_order: ["disordered: Returns, Args"],
    arguments_are_those_of_the_signature_in_its_order: [
        "silent: describes [], takes ['x', 'y']",
        "disordered: describes ['y'], takes ['x']",
    ],
    attributes_are_those_of_the_class: ["Plain: has no ['absent']"],
    what_is_returned_is_described: ["silent"],
    an_example_shows_something: ["silent", "disordered", "Hollow"],
    public_methods_say_what_they_do: ["Hollow.method"],
}


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_public_docstrings_keep_the_rule(rule):
    problems = rule(PUBLIC)
    assert problems == [], "\n".join([f"{len(problems)} places:", *problems])


@pytest.mark.parametrize("rule", BROKEN, ids=lambda rule: rule.__name__)
def test_a_docstring_that_breaks_the_rule_is_seen(rule):
    objects = {thing.__name__: thing for thing in (silent, disordered, Hollow, Plain)}
    assert rule(objects) == BROKEN[rule]


def test_docstrings_are_read():
    assert len(PUBLIC) > 100 and doc(lt.expect)["Args"]
    text = "key: a key.\nx, y: two.\n  more: no entry.\n*rest: more."
    assert entries(text) == ["key", "x", "y", "rest"]


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
PATTERNS = ("*.md", ".github/*.md", "logtrick/*.md", "logtrick/**/*.pyi")
PATTERNS += tuple(
    f"{folder}/**/*.py" for folder in ("logtrick", "benchmarks", "notebooks", "tests")
)
TEXTS = {path for pattern in PATTERNS for path in ROOT.glob(pattern)} - {pathlib.Path(__file__)}


@pytest.mark.parametrize(
    "text", ["normalised", "What hangs on it", "behaviour", "is paid", "worked out", "centred"]
)
def test_dialect_is_seen(text):
    assert DIALECT.search(text)


@pytest.mark.parametrize("text", ["normalized", "optimistix", "emphasis", "analysis", "center"])
def test_american_english_passes(text):
    assert not DIALECT.search(text)


def test_american_spelling_and_no_private_dialect():
    problems = []
    for path in TEXTS:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            place = f"{path.relative_to(ROOT)}:{number}"
            problems += [f"{place} {match[0]!r}" for match in DIALECT.finditer(line)]
    assert len(TEXTS) > 400 and problems == []


# "Author & Author (2000), "Title"" or, in `reference`, the same without quotes.
AUTHOR = r"(?:(?:van|von|de|den|der|du|la|le) )*[A-ZÀ-Þ][\w'’. -]*"
CITATION = re.compile(
    rf"(?P<authors>{AUTHOR}(?:, {AUTHOR})*(?: & {AUTHOR}| et al\.)?) "
    r"\((?P<year>\d{4}[a-z]?)\)(?:, [\"“](?P<title>[^\"”]+)[\"”])?"
)


Citation = tuple[str, str, str]  # authors, year, title


def citations(text: str) -> list[Citation]:
    """The works that a section "References" cites."""
    found = CITATION.finditer(" ".join(text.split()))
    return [(match["authors"], match["year"], match["title"] or "") for match in found]


def cited_in_two_ways(cited: set[Citation]) -> list[str]:
    """Of the same first author and year: works whose titles are missing, or hardly differ."""
    problems = []
    for one, other in itertools.combinations(sorted(cited), 2):
        first, second = (re.split(r",| & | et al", authors)[0] for authors, _, _ in (one, other))
        if (first, one[1]) != (second, other[1]):
            continue
        titles = [title.lower() for _, _, title in (one, other)]
        alike = difflib.SequenceMatcher(None, *titles).ratio() > 0.7
        if alike or "" in titles:
            problems.append(f"{one} | {other}")
    return problems


def test_a_work_is_cited_by_one_text():
    cited = set()
    for path in sorted((ROOT / "logtrick").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                docstring = ast.get_docstring(node) or ""
                cited |= set(citations(sections(docstring).get("References", "")))
    assert len(cited) > 20
    assert cited_in_two_ways(cited) == []


def test_a_work_that_is_cited_in_two_ways_is_seen():
    text = 'Kool, van Hoof & Welling (2019), "Buy 4 Samples"; Li (2020), "On Time"; Li (2020), "Beyond Space"'
    assert cited_in_two_ways(set(citations(text))) == []
    for other in (
        'Kool & Welling (2019), "Buy 4 Samples"',
        "Kool et al. (2019)",
        'Li (2020), "On Times"',
    ):
        assert len(cited_in_two_ways(set(citations(f"{text}; {other}")))) == 1


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
    assert problems == []


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
