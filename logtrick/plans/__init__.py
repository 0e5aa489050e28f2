"""Sampling plans: how the draws of the samples depend on each other."""

from logtrick.plans._plans import IID as IID, Antithetic as Antithetic, Plan as Plan
from logtrick.plans._quasi_random import Sobol as Sobol, Stratified as Stratified
