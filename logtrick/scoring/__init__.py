"""The score: by itself, per draw, and as the Fisher matrix."""

from logtrick.scoring._fisher import (
    Fisher as Fisher,
    Scores as Scores,
    fisher as fisher,
    scores as scores,
)
from logtrick.scoring._score import density_and_grad as density_and_grad, score as score
