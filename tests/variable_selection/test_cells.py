"""Cells: numbers in several spellings, dates, and signs for no value."""

import pytest

from logtrick._variable_selection.cells import DATE, MISSING, decimal_sign, number


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1.0),
        ("-1.5", -1.5),
        ("+.5", 0.5),
        ("2.", 2.0),
        ("1e-3", 1e-3),
        ("1.5D+02", 150.0),
        ("1,234,567.5", 1234567.5),
        ("1\u00a0234", 1234.0),
        ("−3", -3.0),
        ("$1,200.50", 1200.5),
        ("12 %", 12.0),
        ("007", 7.0),
        ("9'873.21", 9873.21),
        ("12 345.5", 12345.5),
        ("(1,234.50)", -1234.5),
        ("($5)", -5.0),
        ("$(5)", -5.0),
        ("-$5", -5.0),
    ],
)
def test_numbers(cell, value):
    assert number(cell, ".") == value


@pytest.mark.parametrize(
    ("cell", "value"), [("1,5", 1.5), ("1.234,5", 1234.5), ("-,5", -0.5), ("9 873,5", 9873.5)]
)
def test_numbers_with_a_decimal_comma(cell, value):
    assert number(cell, ",") == value


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "x",
        "1_000",
        "0x10",
        "1,23",
        "0,123",
        "12,34,567",
        "1.2.3",
        "e5",
        "+",
        ".",
        "1 2",
        "(x)",
        "1'2",
        "nan",
        "inf",
        "1e999",
        "³",
    ],
)
def test_what_is_no_number(cell):
    assert number(cell, ".") is None


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "NaN", "?", "-", "null", "None", ".", "-inf"])
def test_signs_for_no_value(cell):
    assert MISSING.fullmatch(cell)


@pytest.mark.parametrize("cell", ["0", "no", "x", "-1"])
def test_what_is_a_value(cell):
    assert not MISSING.fullmatch(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "2007-11-01",
        "2007/1/2 10:30",
        "2007-11-01T10:30:00Z",
        "1.2.2007",
        "12/31/99",
        "2007-11",
        "3 Jan 2007",
        "3-Jan-07",
        "Jan 3, 2007",
        "2007Q3",
        "10:30",
        "10:30:05 PM",
    ],
)
def test_dates(cell):
    assert DATE.fullmatch(cell)


@pytest.mark.parametrize("cell", ["2007", "1.5", "1-2", "ab 12", "12/13"])
def test_what_is_no_date(cell):
    assert not DATE.fullmatch(cell)


@pytest.mark.parametrize(
    ("cells", "separator", "sign"),
    [
        (["1,5", "2", "3,25"], ";", ","),
        (["1.5", "2", "x"], ";", "."),
        (["1,500", "2,000"], ",", "."),
        (["1,500", "2,25"], ",", ","),
        (["1.234,5", "7"], "\t", ","),
        (["1,234.5", "7"], "\t", "."),
        (["1,234", "5,678"], ";", ","),
        (["1.234", "5.678"], ";", "."),
        (["1,234,567", "7"], ";", "."),
        (["0,123", "0,456"], ",", ","),
        ([], ",", "."),
    ],
)
def test_the_decimal_sign(cells, separator, sign):
    assert decimal_sign(cells, separator) == sign
