"""The regression table: the shipped data, standardization, and every refusal."""

import csv
from importlib import resources

import numpy as np
import pytest

from logtrick._variable_selection import data

ROWS = [(i, (i * 7) % 5, 3.0 + ((i * 3) % 11)) for i in range(20)]


def write(path, rows=ROWS, header="a,b,y"):
    path.write_text(header + "\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return str(path)


def with_column(name, column):
    """The good table with one more column."""
    return [(*row[:2], cell, row[2]) for row, cell in zip(ROWS, column)], f"a,b,{name},y"


def test_diabetes_is_the_published_table():
    table = data.diabetes()
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


def test_the_target_may_stand_anywhere_and_comments_and_blank_lines_are_no_rows(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "# where it is from\n\ny, a,b\n"
        + "\n".join(f"{y},{a},{b}" for a, b, y in ROWS)
        + "\n\n# end\n"
    )
    table = data.read(str(path), "y")
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(
        table.predictors, data.read(write(tmp_path / "u.csv"), "y").predictors
    )


def test_a_missing_file(tmp_path):
    with pytest.raises(
        data.TableError, match=r"none\.csv: no such file. Give the path of a CSV file"
    ):
        data.read(str(tmp_path / "none.csv"), "y")


def test_a_folder(tmp_path):
    with pytest.raises(data.TableError, match="cannot be read"):
        data.read(str(tmp_path), "y")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(data.TableError, match="not a UTF-8 text file"):
        data.read(str(tmp_path / "t.csv"), "y")


def test_an_empty_file(tmp_path):
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(data.TableError, match="the file is empty"):
        data.read(str(tmp_path / "t.csv"), "y")


def test_a_missing_target_lists_the_columns(tmp_path):
    with pytest.raises(
        data.TableError, match=r"--target z: .* has no such column\. Its columns are a, b, y"
    ):
        data.read(write(tmp_path / "t.csv"), "z")


def test_a_table_without_predictors(tmp_path):
    with pytest.raises(data.TableError, match="only the column 'y', no predictor"):
        data.read(write(tmp_path / "t.csv", [(i,) for i in range(9)], "y"), "y")


@pytest.mark.parametrize(
    ("header", "message"),
    [("a,a,y", "column 2 has the name 'a' again"), ("a,,y", "column 2 has no name")],
)
def test_names_are_distinct(tmp_path, header, message):
    with pytest.raises(data.TableError, match=message):
        data.read(write(tmp_path / "t.csv", header=header), "y")


def test_a_ragged_line(tmp_path):
    with pytest.raises(data.TableError, match="line 4 has 2 cells, the header 3"):
        data.read(write(tmp_path / "t.csv", [*ROWS[:2], (1, 2), *ROWS[3:]]), "y")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("north", "column 'b', line 3 is 'north', not numeric. Code it as a number"),
        ("", "column 'b', line 3 is empty"),
        ("nan", "column 'b', line 3 is nan. Fill it in, or leave out the row"),
        ("inf", "column 'b', line 3 is inf"),
    ],
)
def test_a_cell_that_is_no_finite_number(tmp_path, cell, message):
    with pytest.raises(data.TableError, match=message):
        data.read(write(tmp_path / "t.csv", [ROWS[0], (1, cell, 2.0), *ROWS[2:]]), "y")


@pytest.mark.parametrize("value", [0, 0.1, 1e300])
def test_a_constant_column(tmp_path, value):
    rows, header = with_column("c", [value] * 20)
    with pytest.raises(data.TableError, match=r"column 'c' is constant\. Leave it out"):
        data.read(write(tmp_path / "t.csv", rows, header), "y")


def test_a_constant_target(tmp_path):
    with pytest.raises(data.TableError, match="column 'y' is constant"):
        data.read(write(tmp_path / "t.csv", [(*row[:2], 5) for row in ROWS]), "y")


def test_collinear_columns_are_named(tmp_path):
    rows, header = with_column("c", [3 * a - 2 * b + 1 for a, b, _ in ROWS])
    with pytest.raises(
        data.TableError,
        match=r"column 'c' is collinear: a linear combination of 'a', 'b'\. Leave one",
    ):
        data.read(write(tmp_path / "t.csv", rows, header), "y")


def test_a_duplicate_column_is_collinear_with_that_one(tmp_path):
    rows, header = with_column("c", [b for _, b, _ in ROWS])
    with pytest.raises(
        data.TableError, match=r"column 'c' is collinear: a linear combination of 'b'\. "
    ):
        data.read(write(tmp_path / "t.csv", rows, header), "y")


def test_nearly_collinear_columns_are_legal(tmp_path):
    rows, header = with_column("c", [a + 0.01 * (-1) ** i for i, (a, _, _) in enumerate(ROWS)])
    assert data.read(write(tmp_path / "t.csv", rows, header), "y").names == ("a", "b", "c")


def test_too_few_rows(tmp_path):
    with pytest.raises(
        data.TableError, match="3 rows are too few for 2 predictors; the full model needs 4"
    ):
        data.read(write(tmp_path / "t.csv", ROWS[:3]), "y")
    assert (
        data.read(
            write(tmp_path / "t.csv", [(1, 2, 0), (2, 1, 1), (4, 7, 0), (3, 3, 3)]), "y"
        ).num_rows
        == 4
    )
