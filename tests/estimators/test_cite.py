import pytest

import logtrick as lt
from tests.estimators.registry import REGISTRY


def test_the_baseline_is_cited_too():
    text = lt.cite(lt.ScoreFunction(lt.LeaveOneOut()))
    assert "Williams (1992)" in text and "Buy 4 REINFORCE Samples" in text
    assert len(text.splitlines()) == len(set(text.splitlines()))


@pytest.mark.parametrize("name", REGISTRY)
def test_every_estimator_has_a_reference(name):
    assert lt.cite(REGISTRY[name].estimator)


def test_refuses_what_is_no_estimator():
    with pytest.raises(
        TypeError,
        match=r"lt.cite\(estimator=…\) needs an estimator; got str 'DisARM'. Pass lt.DisARM\(\), say.",
    ):
        lt.cite("DisARM")
