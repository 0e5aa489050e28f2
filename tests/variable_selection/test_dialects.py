"""Files as people write them: every dialect gives the same table, and what was assumed is said."""

import codecs

import numpy as np
import pytest

from logtrick._variable_selection import data
from logtrick._variable_selection.table import Options, TableError

ROWS = [(i, (i * 7) % 5, 3.5 + (i * 3) % 11) for i in range(20)]


def lines(separator=",", decimal=".", rows=ROWS, start="", end=""):
    cells = [[str(value).replace(".", decimal) for value in row] for row in rows]
    return "".join(f"{start}{separator.join(row)}{end}\n" for row in cells)


def numbered(text, letter="r"):
    """Row labels in front of every row."""
    return "".join(f"{letter}{i},{line}\n" for i, line in enumerate(text.splitlines()))


PLAIN = "a,b,y\n" + lines()

# The same table, with what is said of it.
DIALECTS = {
    "commas": (PLAIN, "separated by ',', names in line 1, decimal point"),
    "semicolons, decimal comma": (
        "a;b;y\n" + lines(";", ","),
        "by ';', names in line 1, decimal comma",
    ),
    "tabs": ("a\tb\ty\n" + lines("\t"), "separated by tab"),
    "bars": ("a|b|y\n" + lines("|"), "separated by '|'"),
    "aligned by spaces": ("   a  b   y\n" + lines("   ", start=" "), "separated by spaces"),
    "Excel's line": ("sep=;\na;b;y\n" + lines(";"), "separated by ';'"),
    "Windows line ends": (PLAIN.replace("\n", "\r\n"), "names in line 1"),
    "old Mac line ends": (PLAIN.replace("\n", "\r"), "names in line 1"),
    "no line end at the end": (PLAIN.rstrip("\n"), "names in line 1"),
    "quotes": ('"a", "b", "y"\n' + lines(), "names in line 1"),
    "decimal comma in quotes": (
        '"a","b","y"\n' + lines('","', ",", start='"', end='"'),
        "by ',', names in line 1, decimal comma",
    ),
    "pandas' index": (",a,b,y\n" + numbered(lines()), "names in line 1"),
    "R's row names": ("a,b,y\n" + numbered(lines()), "names in line 1"),
    "trailing separators": ("a,b,y,\n" + lines(end=","), "names in line 1"),
    "trailing separators in the rows": ("a,b,y\n" + lines(end=","), "names in line 1"),
    "trailing separator in the header": ("a,b,y,\n" + lines(), "names in line 1"),
    "comments": ("# source\n\n" + PLAIN + "\n# end\n", "names in line 3"),
    "NumPy's header": ("# a,b,y\n" + lines(), "names behind the # of line 1"),
    "NumPy's header and spaces": ("# a b y\n" + lines(" "), "names behind the # of line 1"),
    "a header after a comment": ("# source\n#a,b,y\n" + lines(), "names behind the # of line 2"),
    "titles": ("A table of something\n2020\n\n" + PLAIN, "names in line 4"),
    "titles with separators": ("A table,,\n,,\n" + PLAIN, "names in line 3"),
    "UTF-8 with a mark": (codecs.BOM_UTF8 + PLAIN.encode(), "UTF-8 text"),
    "UTF-16 with a mark": (PLAIN.encode("utf-16"), "UTF-16 text"),
    "UTF-16 without": (PLAIN.encode("utf-16-le"), "UTF-16 text"),
    "Latin-1": ("# größe\n".encode("latin-1") + PLAIN.encode(), "Windows-1252 text"),
}


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "t.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return to_file


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_the_same_table(write, dialect):
    content, said = DIALECTS[dialect]
    table = data.read(write(content), "y")
    assert (table.names, table.num_rows, table.num_read) == (("a", "b"), 20, 20)
    assert said in ", ".join(table.assumed)
    expected = np.array(ROWS, float)
    expected = (expected - expected.mean(0)) / expected.std(0)
    np.testing.assert_allclose(table.predictors, expected[:, :2], atol=1e-12)
    np.testing.assert_allclose(table.response, expected[:, 2], atol=1e-12)


def test_a_column_called_number_sign(write):
    """Pokémon tables number their rows in a column called "#"."""
    table = data.read(write("#,a,b,y\n" + numbered(lines(), "")), "y")
    assert (table.names, table.num_read) == (("#", "b"), 20)
    assert table.changes == ("a: left out (a linear function of #)",)


def test_values_that_begin_with_a_number_sign_are_no_comments(write):
    text = "color,a,y\n" + "".join(f"#{i:02d},{(i * 7) % 5},{i}\n" for i in range(20))
    table = data.read(write(text), "y")
    assert (table.names, table.num_read, table.num_rows) == (("a",), 20, 20)


def test_no_line_of_names(write):
    with pytest.raises(
        TableError,
        match=r"no column is called y \(no line of names, columns called c1 … c3\)\. There are c1 \(0 …\), c2",
    ):
        data.read(write(lines()), "y")
    table = data.read(write(lines()), "c3")
    assert table.names == ("c1", "c2")
    assert "no line of names, columns called c1 … c3" in table.assumed
    assert data.read(write(lines()), "y", Options(columns=("a", "b", "y"))).names == ("a", "b")


def test_a_value_that_is_called_as_the_target_makes_no_line_of_names(write):
    """Rows stand above it, which a title would not fill; else they would be skipped."""
    text = "".join(f"{'nnyn'[i % 4]},{i},{(i * 7) % 5}\n" for i in range(20))
    with pytest.raises(TableError, match="no column is called y"):
        data.read(write(text), "y")


def test_names_that_are_numbers_are_found_by_the_target(write):
    assert data.read(write("1990,1991,1992\n" + lines()), "1992").names == ("1990", "1991")


def test_a_comment_or_title_with_the_target_in_it_is_not_the_line_of_names(write):
    for above in ("# made by x, y\n", "of x, y\n", "y\n", "y,,\n", "# a note, with y, y\n"):
        table = data.read(write(above + PLAIN), "y")
        assert (table.names, table.num_rows, table.changes) == (("a", "b"), 20, ())


def test_between_separators_that_are_equally_regular_the_one_with_more_numbers_is_taken(write):
    """The UCI's auto-mpg: spaces, and a tab before the name of each car; no line of names."""
    text = "".join(f'{i % 7}.5   {i % 5}   {i * i % 11}\t"car {i}"\n' for i in range(20))
    table = data.read(write(text), "c1")
    assert table.names == ("c2", "c3")
    assert table.assumed[1] == "separated by spaces"
    text = "".join(f"{i % 7},5 {i % 5},25 {i * i % 11},1\n" for i in range(20))
    assert data.read(write(text), "c3").names == ("c1", "c2")


def test_a_long_line_of_many_columns(write):
    """By a wrong separator it is one cell, longer than the csv module allows by default."""
    names = ",".join([*(f"{'long' * 40}_{i}" for i in range(1000)), "y"])
    rows = "".join(",".join(["1"] * 1000 + [str(i)]) + "\n" for i in range(5))
    with pytest.raises(TableError, match="5 rows and 0 predictors"):
        data.read(write(names + "\n" + rows), "y")


def test_a_name_of_two_lines_is_found_by_its_words(write):
    assert data.read(write('a,b,"the\noutcome"\n' + lines()), "the outcome").names == ("a", "b")


def test_years_beside_a_word_are_names(write):
    assert data.read(write("1990,1991,y\n" + lines()), "y").names == ("1990", "1991")


def test_pandas_columns_without_names(write):
    assert data.read(write(",0,1,2\n" + numbered(lines(), "")), "2").names == ("0", "1")


def test_a_line_of_units_and_a_line_of_totals_are_no_rows(write):
    table = data.read(write(PLAIN.replace("y\n", "y\nm,kg,s\n", 1) + "Total,,99\n"), "y")
    assert (table.names, table.num_read, table.num_rows) == (("a", "b"), 22, 20)
    assert table.changes[0] == "a: 2 taken as missing, not numeric ('m' for one)"
    assert table.changes[-1] == "2 of 22 rows left out for missing values (a 2, b 2, y 1)"


def test_options_override_what_is_detected(write):
    assert data.read(write(lines()), "c2", Options(header=False)).num_rows == 20
    text = "a,b;y\n" + "".join(f"{i},{(i * 7) % 5};{i * i}\n" for i in range(20))
    assert data.read(write(text), "y", Options(separator=";", decimal=",")).names == ("a,b",)
    # groups of thousands, or three decimals
    text = "a;y\n" + "".join(f"{i + 1},{100 + i * i};{i * i * i}\n" for i in range(20))
    points, commas = (
        data.read(write(text), "y", Options(decimal=sign)).predictors for sign in ".,"
    )
    assert np.abs(points - commas).max() < 1e-9  # the same up to the unit
    assert "decimal comma" in data.read(write(text), "y").assumed


def test_rows_of_another_length_are_left_out_and_said(write):
    table = data.read(write(PLAIN.replace("\n3,", "\n3,4,5,6,").replace("\n7,", "\n")), "y")
    assert table.num_rows == 18
    assert table.changes == (
        "rows with too many cells left out: 1 (3,4,5,6,1,12.5)",
        "1 of 19 rows left out for missing values (y 1)",
    )


def test_a_header_that_lacks_names_is_not_taken_for_that_of_row_labels(write):
    """R's header lacks one name; a header that lacks two would name the wrong columns."""
    with pytest.raises(
        TableError, match="no line fits the names.*rows with too many cells left out: 20"
    ):
        data.read(write("b,y\n" + "".join(f"1,{line}\n" for line in lines().splitlines())), "y")


@pytest.mark.parametrize(
    ("header", "names", "change"),
    [
        ("a,a,y", ("a", "a_2"), "column 2 called 'a_2', since 'a' is no name of its own"),
        ("a,,y", ("a", "c2"), "column 2 called 'c2', since '' is no name of its own"),
        ('a,"b\nc",y', ("a", "b c"), None),
        ('a,b,"y"', ("a", "b"), None),
    ],
)
def test_names_are_made_distinct(write, header, names, change):
    table = data.read(write(f"{header}\n{lines()}"), "y")
    assert table.names == names
    assert table.changes == (() if change is None else (change,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        (b"PK\x03\x04\x14\0\x06\0sheet", "Save a workbook or an archive as CSV text"),
        (b"\x1f\x8b\x08\0\xd4", "or no text"),
        (b"\x01\x00\x00\x00\x81", "or no text"),
        ('a,b,y\n"1,2,3\n' + lines(), "a quote is never closed"),
    ],
)
def test_files_that_are_no_table(write, content, message):
    with pytest.raises(TableError, match=message):
        data.read(write(content), "y")
