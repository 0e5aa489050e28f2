"""Programs: expectations of generator functions that yield draws and costs."""

from logtrick.programs._black_box import black_box as black_box
from logtrick.programs._eligibility_trace import (
    TraceAux as TraceAux,
    eligibility_trace as eligibility_trace,
)
from logtrick.programs._expect import Aux as Aux, expect as expect, expect_program as expect_program
from logtrick.programs._explain import Explanation as Explanation, explain as explain
from logtrick.programs._fisher import (
    Fisher as Fisher,
    Scores as Scores,
    fisher as fisher,
    scores as scores,
)
from logtrick.programs._given import GivenAux as GivenAux, expect_given as expect_given
from logtrick.programs._items import cost as cost, sample as sample
from logtrick.programs._scan import scan as scan
