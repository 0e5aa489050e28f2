"""The README's examples run and print what it says."""

import contextlib
import io
import pathlib
import re

import pytest

TEXT = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, flags=re.S | re.M)


@pytest.mark.parametrize("code, output", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


def test_every_example_has_its_output():
    assert len(EXAMPLES) == TEXT.count("```python") >= 3


def test_the_commands_are_one_line_each():
    commands = re.findall(r"^```sh\n(.*?)\n```", TEXT, flags=re.S | re.M)
    assert [c.count("\n") for c in commands[:2]] == [0, 0]
    assert commands[0].endswith("-m logtrick") and commands[1].endswith("-m pytest")


def test_it_is_short_and_what_it_links_is_there():
    root = pathlib.Path(__file__).parents[1]
    assert TEXT.count("\n") < 150
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [link for link in links if not (root / link).exists()] == []
    notebooks = {f"notebooks/{path.name}" for path in (root / "notebooks").glob("*.ipynb")}
    assert notebooks <= set(links)


def test_the_words_that_people_search_for_are_there():
    words = ("REINFORCE", "RLOO", "VIMCO", "NVIL", "DiCE", "score function", "likelihood ratio")
    assert [word for word in (*words, "black-box variational inference") if word not in TEXT] == []
