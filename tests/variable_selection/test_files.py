"""Ten files as their makers write them: what is used of each, what is said, and that the whole job runs."""

import dataclasses
import json

import numpy as np
import pytest

from logtrick._variable_selection import command, data

RNG = np.random.default_rng(20)


@dataclasses.dataclass(frozen=True)
class File:
    """A file, the target to predict, and what is expected of reading it."""

    content: bytes
    target: str
    names: tuple[str, ...]
    rows: tuple[int, int]  # read, used
    said: tuple[str, ...]  # in the order of the diagnosis
    assumed: str


def penguins() -> File:
    """R's NA, species in words, an island of two, sexes with gaps."""
    lines = ["species,island,bill_mm,flipper_mm,sex,mass_g"]
    for i in range(60):
        sex = ("male", "female", "NA")[0 if i % 2 else 1 if i % 10 else 2]
        flipper = "NA" if i == 3 else 180 + 5 * i % 17
        mass = 3000 + 20 * flipper + 31 * i % 400 if i != 3 else "NA"
        lines.append(f"{'ABC'[i % 3]},{'xy'[i % 2]},{30 + 7 * i % 11}.5,{flipper},{sex},{mass}")
    said = (
        "species: left out (text, not numeric; different values: 3)",
        "island: coded x = 0, y = 1",
        "sex: coded female = 0, male = 1",
        "7 of 60 rows left out for missing values (flipper_mm 1, sex 6, mass_g 1)",
        "sex: left out (a linear function of island)",
    )
    names = ("island", "bill_mm", "flipper_mm")
    return File("\n".join(lines).encode(), "mass_g", names, (60, 53), said, "names in line 1")


def european_utf16() -> File:
    """An instrument's export: UTF-16, semicolons, decimal commas, scales of 1e11 and 1e-27."""
    lines = ["Entfernung (m);Masse (kg);Signal"]
    for i in range(40):
        x, m = 1.5e11 * (1 + i % 7), 1e-27 * (1 + i * i % 11)
        lines.append(f"{x:.5e};{m:.4e};{3 * (i % 7) + i % 3:.1f}".replace(".", ","))
    names = ("Entfernung (m)", "Masse (kg)")
    content = "\r\n".join(lines).encode("utf-16")
    return File(
        content,
        "Signal",
        names,
        (40, 40),
        (),
        "UTF-16 text, separated by ';', names in line 1, decimal comma",
    )


def excel_latin1() -> File:
    """Excel in German: sep=, Latin-1, amounts with groups of thousands, a percentage, trailing separators."""
    lines = ["sep=;", "Größe;Umsatz;Anteil;Ja/Nein;Ertrag;"] + [
        f"{150 + i % 9};1.{i * 7 % 900 + 100},50 €;{i * 11 % 100} %;{('ja', 'nein')[i % 3 == 0]};{i % 5},{i % 10};"
        for i in range(30)
    ]
    names = ("Größe", "Umsatz", "Anteil", "Ja/Nein")
    said = ("Ja/Nein: coded ja = 0, nein = 1",)
    content = "\r\n".join(lines).encode("cp1252")
    return File(
        content, "Ertrag", names, (30, 30), said, "separated by ';', names in line 2, decimal comma"
    )


def r_table() -> File:
    """R's write.table: separated by spaces, quoted row names, a header that lacks theirs."""
    lines = ['"speed" "wt" "dist"'] + [
        f'"car {i}" {i % 13} {2 + i * 3 % 7}.25 {i * 7 % 23}' for i in range(25)
    ]
    said = ("first column left out: no name, taken for row labels",)
    content = "\n".join(lines).encode()
    return File(content, "dist", ("speed", "wt"), (25, 25), said, "separated by spaces")


def world_bank() -> File:
    """A title above, years as names, two dots for no value, a country's name in quotes."""
    lines = ["Data Source,World Development Indicators,", "Last Updated,2024-01-01,", ""]
    lines += ["Country,1990,2000,2010"]
    for i in range(30):
        lines.append(
            f'"Land {i}, Republic of",{i % 7},{".." if i % 9 == 4 else i * 3 % 8},{i * 5 % 13}'
        )
    said = (
        "Country: left out (text, not numeric; different values: 30)",
        "3 of 30 rows left out for missing values (2000 3)",
    )
    content = "\n".join(lines).encode()
    return File(content, "2010", ("1990", "2000"), (30, 27), said, "names in line 4")


def prices() -> File:
    """Stock prices: dates, groups of thousands in quotes, a symbol that never changes."""
    lines = ["Date,Symbol,Open,Volume,Close"]
    for i in range(40):
        day = f"{1 + i % 12}/{1 + i % 28}/2019"
        lines.append(
            f'{day},XYZ,{20 + i * 3 % 7}.5,"{1 + i * 7 % 9},{100 + i * 13 % 800}",${21 + i * 3 % 8}.25'
        )
    said = (
        "Date: left out (dates, not numeric)",
        "Symbol: left out (text, not numeric; different values: 1)",
    )
    content = "\n".join(lines).encode()
    return File(content, "Close", ("Open", "Volume"), (40, 40), said, "separated by ','")


def sas() -> File:
    """Bars, dots for no value, a column that is mostly missing, two copies of one measurement."""
    lines = ["id|dose|dose_mg|lab|response"]
    for i in range(30):
        lab = "." if i % 3 else i * 1.5
        lines.append(
            f"{i * 17 % 31}|{i % 6}|{1000 * (i % 6)}|{lab}|{'.' if i == 7 else i % 6 + i * 7 % 5}"
        )
    said = (
        "lab: left out (67% of its values are missing)",
        "1 of 30 rows left out for missing values (response 1)",
        "dose_mg: left out (a linear function of dose)",
    )
    content = "\n".join(lines).encode()
    return File(content, "response", ("id", "dose"), (30, 29), said, "separated by '|'")


def numpy_text() -> File:
    """np.savetxt with a header: behind a number sign, separated by spaces, eighteen digits."""
    table = RNG.normal(size=(50, 4))
    table[:, 3] += table[:, 0]
    rows = [" ".join(f"{value:.18e}" for value in row) for row in table]
    content = "\n".join(["# a b c y", *rows]).encode()
    return File(content, "y", ("a", "b", "c"), (50, 50), (), "names behind the # of line 1")


def tiny() -> File:
    """Four rows, two predictors, tabs, the line end of an old Mac: the least that can be fitted."""
    content = b"a\tb\ty\r1\t2\t0\r2\t1\t1\r4\t7\t0\r3\t3\t3"
    return File(content, "y", ("a", "b"), (4, 4), (), "separated by tab")


def wide() -> File:
    """More predictors than can be enumerated, with pandas' index, one of them nearly another."""
    x = RNG.normal(size=(60, 18))
    x[:, 17] = x[:, 0] + 0.05 * RNG.normal(size=60)
    y = x[:, 0] - 2 * x[:, 5] + 0.5 * RNG.normal(size=60)
    names = tuple(f"gene_{i:02d}" for i in range(18))
    lines = [",".join(["", *names, "y"])] + [
        ",".join([str(i), *(f"{value:.6g}" for value in (*row, out))])
        for i, (row, out) in enumerate(zip(x, y))
    ]
    said = ("first column left out: no name, taken for row labels",)
    return File("\n".join(lines).encode(), "y", names, (60, 60), said, "separated by ','")


MAKERS = (penguins, european_utf16, excel_latin1, r_table, world_bank, prices, sas)
FILES = {make.__name__: make() for make in (*MAKERS, numpy_text, tiny, wide)}


@pytest.mark.parametrize("name", FILES)
def test_what_is_read_of_a_file(tmp_path, name):
    file = FILES[name]
    path = tmp_path / f"{name}.csv"
    path.write_bytes(file.content)
    table = data.read(str(path), file.target)
    assert table.names == file.names
    assert (table.num_read, table.num_rows) == file.rows
    assert table.changes == file.said
    assert file.assumed in ", ".join(table.assumed)


def run(tmp_path, capsys, name):
    file = FILES[name]
    path, out = tmp_path / f"{name}.csv", tmp_path / "out.json"
    path.write_bytes(file.content)
    files = ["--data", str(path), "--json", str(out)]
    assert command.main([*files, "--target", file.target, "--steps", "400"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(said.split()) in words for said in (*file.said, file.assumed))
    found = json.loads(out.read_text())
    assert found["data"]["changes"] == list(file.said)
    assert (found["data"]["rows_read"], found["data"]["rows"]) == file.rows
    independent, autoregressive = (found["guides"][name] for name in found["guides"])
    error = independent["elbo_standard_error"] + autoregressive["elbo_standard_error"]
    assert autoregressive["elbo"] > independent["elbo"] - 5e-4 - 3 * error
    if found["log_evidence"] is not None:
        assert autoregressive["elbo"] < found["log_evidence"] + 1e-4
    return found


def test_the_job_on_a_file(tmp_path, capsys):
    found = run(tmp_path, capsys, "penguins")
    assert found["exact_inclusion"]["flipper_mm"] > 0.9


@pytest.mark.full
@pytest.mark.parametrize("name", FILES)
def test_the_job_on_every_file(tmp_path, capsys, name):
    run(tmp_path, capsys, name)
