"""`Comparison.plot`: every kind draws, labels lie inside the axes, and matplotlib is an extra."""

import itertools
import sys

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt

KEY = jax.random.key(2)
LOGITS = jnp.array([0.0, 0.5, -1.0])


def objective(estimator):
    def value(logits, key, num_samples=8):
        f = lambda x: jnp.sum((x - 0.45) ** 2)
        dist = lt.Bernoulli(logits)
        return lt.expect(key, f, dist, estimator=estimator, num_samples=num_samples)

    return value


LOO = objective(lt.ScoreFunction())


@pytest.fixture(scope="module")
def comparison():
    objectives = {
        "leave-one-out": LOO,
        "sum": objective(lt.Enumerate()),
        "pathwise": objective(lt.Pathwise()),
        "straight-through": objective(lt.StraightThrough()),
        "heavy": lambda logits, key: jnp.sum(logits * jax.random.cauchy(key, (3,))),
        "cut": lambda logits, key: LOO(jax.lax.stop_gradient(logits), key),
    }
    return lt.compare_estimators(KEY, objectives, LOGITS, num_replicates=200, num_timings=2)


@pytest.fixture(scope="module")
def swept():
    return lt.compare_estimators(
        KEY,
        {"leave-one-out": LOO},
        LOGITS,
        num_replicates=100,
        num_timings=0,
        num_samples=(2, 4, 8),
    )


def outside(figure):
    """The texts that reach beyond the axes they belong to, titles and ticks excepted."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    beyond = []
    for axes in figure.axes:
        frame = axes.get_window_extent(renderer)
        for text in axes.texts:
            box = text.get_window_extent(renderer)
            if box.x0 < frame.x0 - 2 or box.x1 > frame.x1 + 2 or box.y1 > frame.y1 + 2:
                beyond.append(text.get_text())
    return beyond


@pytest.mark.parametrize("kind", ["cost", "pareto", "coordinates"])
def test_every_kind_draws_with_its_labels_inside(comparison, kind, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = comparison.plot(kind)
    FigureCanvasAgg(figure)
    assert outside(figure) == []
    for suffix in ("png", "pdf"):
        figure.savefig(tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").stat().st_size > 4000


@pytest.mark.parametrize("kind", ["cost", "pareto", "coordinates"])
def test_a_comparison_without_numbers_draws(kind, tmp_path):
    refused = lt.compare_estimators(
        KEY, {"pathwise": objective(lt.Pathwise())}, LOGITS, num_replicates=2, num_timings=0
    )
    refused.plot(kind).savefig(tmp_path / "a.png")
    interrupted = lt.diagnostics.Comparison((), 2, interrupted=True)
    interrupted.plot(kind).savefig(tmp_path / "b.png")


def test_long_names_and_many_of_them_keep_their_place():
    """Titles of two panels ran into each other; legends and labels reached beyond the figure and over the dots."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    long = "leave-one-out, by the long name of an estimator"
    names = [long, "none", "disarm", "enumerate", "nothing finite"]
    estimators = [
        lt.ScoreFunction(),
        lt.ScoreFunction(lt.NoBaseline()),
        lt.DisARM(),
        lt.Enumerate(),
    ]
    found = dict(zip(names, map(objective, estimators)))
    found[names[-1]] = lambda logits, key, num_samples: jnp.nan * logits.sum()
    how = {"num_replicates": 20, "num_samples": (2, 4, 8)}
    comparison = lt.compare_estimators(KEY, found, LOGITS, num_timings=1, **how)
    for kind in ("cost", "pareto", "coordinates"):
        figure = comparison.plot(kind)
        FigureCanvasAgg(figure)
        assert outside(figure) == []
        renderer = figure.canvas.get_renderer()
        texts = [(axes, t) for axes in figure.axes for t in axes.findobj(Text)]
        titles = [t for axes, t in texts if t.get_text() == axes.get_title(loc="left")]
        boxes = [t.get_window_extent(renderer) for t in titles]
        assert boxes and not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        for axes in figure.axes:
            legend = axes.get_legend()
            if legend is None:
                continue
            frame, box = (a.get_window_extent(renderer) for a in (axes, legend))
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1
            dots = [p for line in axes.lines for p in axes.transData.transform(line.get_xydata())]
            assert not any(box.contains(*p) for p in dots)
    words = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert words == [
        *names[:3], "enumerate: variance 0", "nothing finite: not finite", "2 samples", "4 samples", "8 samples",
    ]  # fmt: skip
    # of one objective, paler for fewer samples
    few, many = (figure.axes[0].lines[i].get_color() for i in (0, 2))
    assert sum(few) > 1.5 * sum(many)


def test_what_the_cost_panels_say(comparison):
    left, right = comparison.plot().axes
    assert [t.get_text() for t in left.get_yticklabels()] == [
        m.name for m in comparison.measurements
    ]
    words = " ".join(text.get_text() for text in left.texts)
    for word in ("variance 0, 8 evaluations", "refused", "cost not known", "every gradient is 0"):
        assert word in words
    assert "heavy tails" in " ".join(text.get_text() for text in right.texts)
    assert left.get_xscale() == "log" and "seconds" in right.get_xlabel()


def test_samples_show_slopes(swept):
    (axes,) = swept.plot("samples").axes
    label = axes.get_legend().get_texts()[0].get_text()
    slope = f"{swept.slopes['leave-one-out']:.2f}".replace("-", "−")
    assert label == f"leave-one-out: slope {slope}"
    assert [t.get_text() for t in axes.get_xticklabels()] == ["2", "4", "8"]


def test_the_front_is_what_no_other_beats(comparison):
    (axes,) = comparison.plot("pareto").axes
    bold = {t.get_text() for t in axes.texts if t.get_fontweight() == "bold"}
    assert bold == {"sum (variance 0)"}  # 8 evaluations as leave-one-out, and exact
    assert "straight-through (biased)" in {t.get_text() for t in axes.texts}


def test_an_objective_has_one_color(comparison):
    """In the panel of costs, and beside the front, where the refused one has no place."""
    (left, _), (front,) = comparison.plot("cost").axes, comparison.plot("pareto").axes
    shades = [
        {line.get_color() for line in axes.lines if line.get_marker() == "o"}
        for axes in (left, front)
    ]
    assert shades[1] and shades[1] <= shades[0]


def test_axes_of_the_users_own(comparison):
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    assert comparison.plot("cost", ax=axes) is figure and len(figure.axes) == 1 and axes.texts


def test_arguments(comparison, monkeypatch):
    with pytest.raises(ValueError, match="needs one of"):
        comparison.plot("bars")
    with pytest.raises(ValueError, match=r"Pass num_samples=\(2, 4, 8\)"):
        comparison.plot("samples")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"logtrick\[plot\]"):
        comparison.plot()
