"""What a user fixes about a table, and the error of one that cannot be used."""

import dataclasses


class TableError(ValueError):
    """A regression table that cannot be used; the message is one line and says what to do."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user has fixed; the rest is detected.

    Attributes:
      separator: between cells; None detects it.
      decimal: "." or ","; None detects it.
      header: whether to look for a line of names.
      columns: the columns to use, or the names of all columns of a file without a header; empty uses all.
      drop: columns to leave out.
      strict: refuse a table in which anything would be left out or coded.
    """

    separator: str | None = None
    decimal: str | None = None
    header: bool = True
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    strict: bool = False
