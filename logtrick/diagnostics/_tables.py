"""Tables of strings: as text, HTML, Markdown and CSV."""

import csv
import html
import io
import math


def number(x: float | None) -> str:
    """Three figures; a dash for what is not known."""
    if x is None:
        return "–"
    if x == 0 or not math.isfinite(x):
        return f"{x:.3g}"
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e6 else f"{x:.3g}"


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Aligned columns, names to the left, numbers to the right; a short row's last cell runs on."""
    full = [head, *(row for row in rows if len(row) == len(head))]
    widths = [max(len(row[i]) for row in full) for i in range(len(head))]
    widths[0] = max(len(row[0]) for row in [head, *rows])
    lines = []
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])]
        if len(row) == len(head):
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        else:
            cells += row[1:]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A table of GitHub's Markdown, numbers to the right."""
    lines = [_markdown_row(head), "|" + "|".join(["---"] + ["--:"] * (len(head) - 1)) + "|"]
    lines += [_markdown_row(row + [""] * (len(head) - len(row))) for row in rows]
    return "\n".join(lines)


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def html_table(head: list[str], rows: list[list[str]], caption: str = "", foot: str = "") -> str:
    """A table for a notebook, numbers to the right."""
    lines = ["<table>"]
    if caption:
        lines.append(f'<caption style="text-align: left">{html.escape(caption)}</caption>')
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines.append(f"<thead><tr>{cells}</tr></thead><tbody>")
    lines += [_html_row(row, len(head)) for row in rows]
    lines.append("</tbody></table>")
    if foot:
        lines.append(f"<p>{html.escape(foot)}</p>".replace("\n", "<br>"))
    return "\n".join(lines)


def _html_row(row: list[str], width: int) -> str:
    cells = [f'<td style="text-align: left">{html.escape(row[0])}</td>']
    cells += [f"<td>{html.escape(cell)}</td>" for cell in row[1:-1]]
    span = width - len(row) + 1
    side = ' style="text-align: left"' if span > 1 else ""
    cells.append(f'<td colspan="{span}"{side}>{html.escape(row[-1])}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def csv_table(head: list[str], rows: list[list[object]]) -> str:
    """Comma-separated values; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return out.getvalue()
