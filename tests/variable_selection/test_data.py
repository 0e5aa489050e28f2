"""The regression table: the shipped data, standardization, and every refusal."""

import csv
from importlib import resources

import numpy as np
import pytest

from logtrick._variable_selection import data, job
from logtrick._variable_selection.table import Options, TableError

ROWS = [(i, (i * 7) % 5, 3.0 + ((i * 3) % 11)) for i in range(20)]


def write(path, rows=ROWS, header="a,b,y"):
    path.write_text(header + "\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return str(path)


def with_column(name, column):
    """The good table with one more column."""
    return [(*row[:2], cell, row[2]) for row, cell in zip(ROWS, column)], f"a,b,{name},y"


def test_diabetes_is_the_published_table():
    table = job.diabetes()
    assert table.names == ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    assert table.predictors.shape == (442, 10)
    text = resources.files("logtrick._variable_selection").joinpath("diabetes.csv").read_text()
    rows = list(csv.reader(line for line in text.splitlines() if not line.startswith("#")))
    raw = np.array(rows[1:], float)
    # sums published with the data by its hosts (checked against scikit-learn's copy of the raw columns)
    np.testing.assert_allclose(raw[0], [59, 2, 32.1, 101, 157, 93.2, 38, 4, 4.8598, 87, 151])
    np.testing.assert_allclose(raw.sum(axis=0)[[0, 1, 10]], [21445, 649, 67243])
    np.testing.assert_allclose(raw[:, 2].mean(), 26.3758, atol=1e-4)


def test_columns_are_standardized(tmp_path):
    table = data.read(write(tmp_path / "t.csv"), "y")
    assert (table.names, table.target) == (("a", "b"), "y")
    columns = np.column_stack([table.predictors, table.response])
    raw = np.array(ROWS, float)
    np.testing.assert_allclose(columns, (raw - raw.mean(0)) / raw.std(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("power", [-300, 300])
def test_extreme_units_change_nothing(tmp_path, power):
    scaled = [(row[0] * 10.0**power, *row[1:]) for row in ROWS]
    table = data.read(write(tmp_path / "t.csv", scaled), "y")
    np.testing.assert_allclose(
        table.predictors, data.read(write(tmp_path / "u.csv"), "y").predictors, rtol=1e-9
    )


def test_the_target_may_stand_anywhere(tmp_path):
    rows = [(y, a, b) for a, b, y in ROWS]
    table = data.read(write(tmp_path / "t.csv", rows, "y,a,b"), "y")
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(
        table.predictors, data.read(write(tmp_path / "u.csv"), "y").predictors
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(
        TableError, match=r"none\.csv: cannot be read \(No such file or directory\)\. Give the path"
    ):
        data.read(str(tmp_path / "none.csv"), "y")


def test_a_folder(tmp_path):
    with pytest.raises(TableError, match="cannot be read"):
        data.read(str(tmp_path), "y")


def test_a_missing_target_lists_the_columns(tmp_path):
    with pytest.raises(TableError, match=r"no column is called z .*\. There are c1 \(a …\), c2"):
        data.read(write(tmp_path / "t.csv"), "z")


def test_a_table_without_predictors(tmp_path):
    with pytest.raises(TableError, match="9 rows and 0 predictors are left"):
        data.read(write(tmp_path / "t.csv", [(i, 5) for i in range(9)], "y,a"), "y")
    with pytest.raises(TableError, match="no line fits the names"):
        data.read(write(tmp_path / "t.csv", [(i,) for i in range(9)], "y"), "y")


def changes(tmp_path, rows, header="a,b,y"):
    """The predictors that are left, and what was said."""
    table = data.read(write(tmp_path / "t.csv", rows, header), "y")
    return table.names, table.changes


@pytest.mark.parametrize("cell", ["", "NA", "nan", "?", "-", "inf"])
def test_a_row_with_a_missing_value_is_left_out(tmp_path, cell):
    names, said = changes(tmp_path, [ROWS[0], (1, cell, 2.0), *ROWS[2:]])
    assert names == ("a", "b")
    assert said == ("1 of 20 rows left out for missing values (b 1)",)


def test_a_text_among_numbers_is_a_missing_value(tmp_path):
    _, said = changes(tmp_path, [ROWS[0], (1, "<2", 2.0), *ROWS[2:]])
    assert said == (
        "b: 1 taken as missing, not numeric ('<2' for one)",
        "1 of 20 rows left out for missing values (b 1)",
    )


def test_a_column_that_is_mostly_missing_is_left_out_not_its_rows(tmp_path):
    rows, header = with_column("c", [i if i < 8 else "NA" for i in range(20)])
    names, said = changes(tmp_path, rows, header)
    assert (names, said) == (("a", "b"), ("c: left out (60% of its values are missing)",))
    rows, header = with_column("c", ["no" if i < 4 else "yes" if i < 8 else "" for i in range(20)])
    assert changes(tmp_path, rows, header) == (names, said)


def test_a_target_that_is_mostly_missing_is_used_where_it_is_known(tmp_path):
    rows = [(a, b, y if a < 8 else "") for a, b, y in ROWS]
    names, said = changes(tmp_path, rows)
    assert names == ("a", "b")
    assert said == ("12 of 20 rows left out for missing values (y 12)",)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["red", "green", "blue", "red"] * 5, "left out (text, not numeric; different values: 3)"),
        ([f"2007-11-{i + 1:02d}" for i in range(20)], "left out (dates, not numeric)"),
        ([""] * 20, "left out (100% of its values are missing)"),
        (["x"] * 20, "left out (text, not numeric; different values: 1)"),
        ([5] * 20, "left out (constant)"),
        ([0.1] * 20, "left out (constant)"),
        ([1e300] * 20, "left out (constant)"),
        ([b for _, b, _ in ROWS], "left out (a linear function of b)"),
        ([-2 * b for _, b, _ in ROWS], "left out (a linear function of b)"),
        (
            [3 * a - 2 * b + 1 for a, b, _ in ROWS],
            "left out (a linear function of a, b)",
        ),
    ],
)
def test_a_column_that_cannot_be_used_is_left_out(tmp_path, column, said):
    rows, header = with_column("c", column)
    assert changes(tmp_path, rows, header) == (("a", "b"), (f"c: {said}",))


def test_a_text_of_two_values_is_coded(tmp_path):
    column = ["yes" if i % 3 else "no" for i in range(20)]
    rows, header = with_column("c", column)
    table = data.read(write(tmp_path / "t.csv", rows, header), "y")
    assert table.names == ("a", "b", "c")
    assert table.changes == ("c: coded no = 0, yes = 1",)
    assert (
        np.sign(table.predictors[:, 2]) == [1 if cell == "yes" else -1 for cell in column]
    ).all()


MESSY = [
    (*row[:2], "NA" if i == 3 else i * i, "xyz"[i % 3], "fm"[i % 2], 7, f"{i + 1}.2.2020", row[2])
    for i, row in enumerate(ROWS)
]
HEADER = "a,b,c,text,sex,flat,when,y"
NOTICED = (
    "text: left out (text, not numeric; different values: 3)",
    "sex: coded f = 0, m = 1",
    "when: left out (dates, not numeric)",
    "1 of 20 rows left out for missing values (c 1)",
    "flat: left out (constant)",
)


def test_one_diagnosis_names_everything(tmp_path):
    path = write(tmp_path / "t.csv", MESSY, HEADER)
    table = data.read(path, "y")
    assert (table.names, table.changes) == (("a", "b", "c", "sex"), NOTICED)
    with pytest.raises(
        TableError, match=r"--target when: not a column of numbers.*sex: coded.*when: left out"
    ):
        data.read(path, "when")
    few = write(tmp_path / "u.csv", MESSY[:5], HEADER)
    with pytest.raises(TableError, match=r"4 rows and 4 predictors are left.* Noticed: text"):
        data.read(few, "y")


def test_columns_and_drop(tmp_path):
    path = write(tmp_path / "t.csv", MESSY, HEADER)
    assert data.read(path, "y", Options(columns=("b", "sex"))).names == ("b", "sex")
    assert data.read(path, "y", Options(drop=("c", "sex", "flat"))).names == ("a", "b")
    for options in (Options(columns=("z", "b")), Options(drop=("z",))):
        with pytest.raises(
            TableError, match=r"no column is called z \(names in line 1\)\. There are a \(0 …\), b"
        ):
            data.read(path, "y", options)


def test_a_constant_target(tmp_path):
    with pytest.raises(TableError, match="--target y: the column is constant"):
        data.read(write(tmp_path / "t.csv", [(*row[:2], 5) for row in ROWS]), "y")


def test_no_complete_row(tmp_path):
    rows = [(a, "" if i % 2 else b, y if i % 2 else "") for i, (a, b, y) in enumerate(ROWS)]
    with pytest.raises(TableError, match=r"too few complete rows \(0\).*\(b 10, y 10\)"):
        data.read(write(tmp_path / "t.csv", rows), "y")


def test_nearly_collinear_columns_are_legal(tmp_path):
    rows, header = with_column("c", [a + 0.01 * (-1) ** i for i, (a, _, _) in enumerate(ROWS)])
    assert data.read(write(tmp_path / "t.csv", rows, header), "y").names == ("a", "b", "c")


def test_too_few_rows(tmp_path):
    with pytest.raises(
        TableError, match=r"3 rows and 2 predictors are left; p ≥ 1 predictors need p \+ 2 rows"
    ):
        data.read(write(tmp_path / "t.csv", ROWS[1:4]), "y")
    assert (
        data.read(
            write(tmp_path / "t.csv", [(1, 2, 0), (2, 1, 1), (4, 7, 0), (3, 3, 3)]), "y"
        ).num_rows
        == 4
    )
