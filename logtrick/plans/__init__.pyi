"""The names of `logtrick.plans` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.plans._plans import IID as IID, Antithetic as Antithetic, Plan as Plan
from logtrick.plans._quasi_random import Sobol as Sobol, Stratified as Stratified
