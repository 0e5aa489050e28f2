"""The table of families × capabilities, generated from the declarations: `python -m tests.distributions.test_table`."""

import logtrick as lt
from tests.distributions.registry import CASES, joint

COLUMNS = (
    "support",
    "pathwise",
    "numeric noise",
    "enumerable",
    "factors",
    "inverse CDF",
    "weak derivatives",
    "closed forms",
)


def rows() -> list[tuple[str, ...]]:
    """One row a family."""
    dists = {case.name: case.make(*case.params) for case in CASES} | {"Joint": joint(0.0, 0.0)}
    yes = lambda flag: "yes" if flag else "–"
    made = []
    for name, dist in dists.items():
        forms = {**vars(dist.closed_forms), "cdf": dist.quantiles.cdf}
        moments = [
            w
            for w in ("mean", "variance", "entropy", "kl_divergence", "cdf")
            if forms[w] is not None
        ]
        weak = dist.weak_derivatives
        kind = type(dist.support).__name__ + (" (moves)" if dist.moving_support else "")
        flags = (
            dist.reparameterized,
            dist.has_numeric_noise,
            dist.enumeration is not None,
            dist.independent_factors is not None,
            dist.quantiles.inverse is not None,
        )
        made.append(
            (
                name,
                kind,
                *map(yes, flags),
                "–" if weak is None else ", ".join(weak.parameters),
                ", ".join(moments) or "–",
            )
        )
    return made


def table() -> str:
    """The table, in Markdown."""
    lines = [("family", *COLUMNS), ("---",) * (len(COLUMNS) + 1), *rows()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def test_the_table_says_what_is_declared() -> None:
    by_name = {row[0]: dict(zip(COLUMNS, row[1:])) for row in rows()}
    assert (
        set(by_name) >= {"Normal", "Joint", "Mixture", "Transformed"}
        and len(by_name) == len(CASES) + 1
    )
    assert (
        by_name["Normal"]["weak derivatives"] == "loc, scale"
        and by_name["Normal"]["pathwise"] == "yes"
    )
    assert by_name["Uniform"]["support"] == "Interval (moves)"
    assert by_name["Poisson"]["numeric noise"] == "–" and by_name["Poisson"]["enumerable"] == "–"
    assert by_name["Bernoulli"]["enumerable"] == "yes"
    assert lt.Bernoulli(0.0).weak_derivatives.parameters == ("parameter",)
    assert table().count("\n") == len(CASES) + 2


def test_the_docs_show_the_table() -> None:
    assert table() in lt.distributions.__doc__, (
        "paste what `python -m tests.distributions.test_table` prints into logtrick/distributions/__init__.py"
    )


if __name__ == "__main__":
    print(table())
