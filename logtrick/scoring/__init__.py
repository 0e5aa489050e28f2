"""The score of one draw, the scores of many draws as a lazy matrix, and the Fisher matrix made of them."""

from logtrick.scoring._fisher import (
    Fisher as Fisher,
    Scores as Scores,
    fisher as fisher,
    scores as scores,
)
from logtrick.scoring._score import density_and_grad as density_and_grad, score as score
