"""A regression problem, what a user may fix about its file, and the error where there is none."""

import dataclasses

import numpy as np


class TableError(ValueError):
    """A file that holds no regression problem; the message is one line and says what to do."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user fixes about a file.

    Attributes:
      separator: between cells; None detects it.
      decimal: "." or ","; None detects it.
      header: whether to look for a line of names.
      columns: the columns to use, or the names of all columns of a file without a line of names; empty uses all.
      drop: columns to leave out.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool = True
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Table:
    """A regression problem, standardized: every column has mean 0 and mean square 1.

    Attributes:
      names: the predictors' names.
      target: the target's name.
      predictors: shape (rows, predictors), float64.
      response: shape (rows,), float64.
      path: the file.
      num_read: the rows of the file, of which `num_rows` are used; 0 if unknown.
      assumed: how the file was read, in words; empty for the shipped table.
      changes: what was left out or coded, in words.
      about: the problem in one line, where there is more to say than `question` does by itself.
    """

    names: tuple[str, ...]
    target: str
    predictors: np.ndarray
    response: np.ndarray
    path: str = ""
    num_read: int = 0
    assumed: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    about: str = ""

    @property
    def num_rows(self) -> int:
        return self.predictors.shape[0]

    @property
    def question(self) -> str:
        """The problem in one line."""
        count = f"{len(self.names)} predictors of {self.target!r}"
        return self.about or f"Which of {count} belong in the model ({self.num_rows:,} rows)?"
