"""The names of `logtrick.expectations` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.expectations._aux import Aux as Aux
from logtrick.expectations._expect import expect as expect, expect_program as expect_program
from logtrick.expectations._expect_tree import expect_tree as expect_tree
from logtrick.expectations._given import GivenAux as GivenAux, expect_given as expect_given
