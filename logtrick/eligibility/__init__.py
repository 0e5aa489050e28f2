"""Gradients of loops of unknown length, by forward accumulation."""

from logtrick.eligibility._eligibility_trace import (
    TraceAux as TraceAux,
    eligibility_trace as eligibility_trace,
)
