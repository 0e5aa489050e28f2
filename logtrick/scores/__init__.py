"""The score: by itself, per draw, and as the Fisher matrix."""

from logtrick.scores._fisher import (
    Fisher as Fisher,
    Scores as Scores,
    fisher as fisher,
    scores as scores,
)
from logtrick.scores._score import density_and_grad as density_and_grad, score as score
