"""Files as people write them: every dialect gives the same table, and what was assumed is said."""

import codecs

import numpy as np
import pytest

from logtrick._variable_selection import data
from logtrick._variable_selection.options import Options, TableError
from logtrick._variable_selection.sheet import read_sheet

ROWS = [(i, (i * 7) % 5, 3.5 + (i * 3) % 11) for i in range(20)]


def lines(separator=",", decimal=".", rows=ROWS, start="", end=""):
    cells = [[str(value).replace(".", decimal) for value in row] for row in rows]
    return "".join(f"{start}{separator.join(row)}{end}\n" for row in cells)


def numbered(text):
    """Row labels in front of every row."""
    return "".join(f"r{i},{line}\n" for i, line in enumerate(text.splitlines()))


PLAIN = "a,b,y\n" + lines()

# The same table, with what is said of it.
DIALECTS = {
    "commas": (PLAIN, "separated by ',', decimal point, names in line 1"),
    "semicolons, decimal comma": ("a;b;y\n" + lines(";", ","), "by ';', decimal comma"),
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
        "by ',', decimal comma",
    ),
    "pandas' index": (",a,b,y\n" + numbered(lines()), "names in line 1"),
    "R's row names": ("a,b,y\n" + numbered(lines()), "names in line 1"),
    "trailing separators": ("a,b,y,\n" + lines(end=","), "names in line 1"),
    "trailing separators in the rows": ("a,b,y\n" + lines(end=","), "names in line 1"),
    "trailing separator in the header": ("a,b,y,\n" + lines(), "names in line 1"),
    "comments": ("# source\n\n" + PLAIN + "\n# end\n", "names in line 3"),
    "NumPy's header": ("# a,b,y\n" + lines(), "names in line 1, behind a #"),
    "NumPy's header and spaces": ("# a b y\n" + lines(" "), "names in line 1, behind a #"),
    "a header after a comment": ("# source\n#a,b,y\n" + lines(), "names in line 2, behind a #"),
    "titles": ("A table of something\n2020\n\n" + PLAIN, "names in line 4"),
    "titles with separators": ("A table,,\n,,\n" + PLAIN, "names in line 3"),
    "UTF-8 with a mark": (codecs.BOM_UTF8 + PLAIN.encode(), "UTF-8 text"),
    "UTF-16 with a mark": (PLAIN.encode("utf-16"), "UTF-16 text"),
    "UTF-16 without": (PLAIN.encode("utf-16-le"), "UTF-16-LE text"),
    "Latin-1": ("# größe\n".encode("latin-1") + PLAIN.encode(), "Latin-1"),
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
    numbers = "".join(f"{i},{line}\n" for i, line in enumerate(lines().splitlines()))
    sheet = read_sheet(write("#,a,b,y\n" + numbers), Options(), "y")
    assert sheet.names == ["#", "a", "b", "y"]
    assert len(sheet.rows) == 20


def test_values_that_begin_with_a_number_sign_are_no_comments(write):
    text = "color,y\n" + "".join(f"#{i:02d},{i}\n" for i in range(20))
    assert len(read_sheet(write(text), Options(), "y").rows) == 20


def test_no_line_of_names(write):
    with pytest.raises(
        TableError,
        match=r"No header \(line of names\) was found in it, so its columns are called c1",
    ):
        data.read(write(lines()), "y")
    table = data.read(write(lines()), "c3")
    assert table.names == ("c1", "c2")
    assert "no line of names (columns called c1 … c3)" in table.assumed
    assert data.read(write(lines()), "y", Options(columns=("a", "b", "y"))).names == ("a", "b")


def test_names_that_are_numbers_are_found_by_the_target(write):
    assert data.read(write("1990,1991,1992\n" + lines()), "1992").names == ("1990", "1991")


def test_years_beside_a_word_are_names(write):
    assert data.read(write("1990,1991,y\n" + lines()), "y").names == ("1990", "1991")


def test_pandas_columns_without_names(write):
    content = ",0,1,2\n" + "".join(f"{i},{line}\n" for i, line in enumerate(lines().splitlines()))
    assert data.read(write(content), "2").names == ("0", "1")
    assert read_sheet(write(content), Options(), "y").names == ["0", "1", "2"]


def test_a_line_of_units_and_a_line_of_totals_are_no_rows(write):
    table = data.read(write(PLAIN.replace("y\n", "y\nm,kg,s\n", 1) + "Total,,99\n"), "y")
    assert (table.names, table.num_read, table.num_rows) == (("a", "b"), 22, 20)
    assert table.changes[0] == "a: 2 taken as missing, not numeric ('m' in line 2)"
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
    assert read_sheet(write(text), Options(), "y").rows[0][1] == ["1,100", "0"]


def test_rows_of_another_length_are_left_out_and_said(write):
    table = data.read(write(PLAIN.replace("\n3,", "\n3,4,5,6,").replace("\n7,", "\n")), "y")
    assert table.num_rows == 18
    assert table.changes == ("2 rows left out: line 5 has 6 cells where most have 3, for example",)


@pytest.mark.parametrize(
    ("header", "names", "change"),
    [
        ("a,a,y", ("a", "a_2"), "column 2 called 'a_2': 'a' stands twice"),
        ("a,,y", ("a", "c2"), "column 2 called 'c2': no name"),
        ('a,"b\nc",y', ("a", "b c"), None),
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
        (b"PK\x03\x04sheet", "a workbook or a compressed file. Save it as CSV text"),
        (b"\x1f\x8b\x08", "a workbook or a compressed file"),
        (b"\x01\x00\x00\x00\x81", "not a text file"),
        ('a,b,y\n"1,2,3\n' + lines(), "a quote is never closed"),
    ],
)
def test_files_that_are_no_table(write, content, message):
    with pytest.raises(TableError, match=message):
        data.read(write(content), "y")
