import pytest

import logtrick as lt


def test_the_baseline_is_cited_too():
    text = lt.cite(lt.ScoreFunction(lt.LeaveOneOut()))
    assert "Williams (1992)" in text and "Buy 4 REINFORCE Samples" in text
    assert len(text.splitlines()) == len(set(text.splitlines()))


def test_every_estimator_has_a_reference():
    for estimator in (
        lt.DisARM(),
        lt.ARM(),
        lt.ARMS(3),
        lt.UnorderedSet(2),
        lt.SumAndSample(2),
        lt.LocalExpectation(),
        lt.REBAR(),
        lt.DoubleCV(),
        lt.StraightThrough(),
        lt.GumbelSoftmax(1.0),
        lt.GumbelRao(1.0),
        lt.ReinMax(),
    ):
        assert lt.cite(estimator)


def test_refuses_what_is_no_estimator():
    with pytest.raises(
        TypeError,
        match=r"lt.cite\(estimator=…\) needs an estimator; got str 'DisARM'. Pass lt.DisARM\(\), say.",
    ):
        lt.cite("DisARM")
