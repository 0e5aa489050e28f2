"""Losses of reinforcement learning from log-probs and rewards; no environment, no network, no training loop."""

from logtrick.rl._actor_critic import actor_critic as actor_critic
from logtrick.rl._advantages import (
    Advantage as Advantage,
    LeaveOneOutAdvantage as LeaveOneOutAdvantage,
    MeanCenteredAdvantage as MeanCenteredAdvantage,
    StandardizedAdvantage as StandardizedAdvantage,
    fraction_without_signal as fraction_without_signal,
)
from logtrick.rl._aggregation import (
    Aggregation as Aggregation,
    FixedDenominator as FixedDenominator,
    SequenceMean as SequenceMean,
    TokenMean as TokenMean,
)
from logtrick.rl._grpo import grpo as grpo
from logtrick.rl._kl import kl_k1 as kl_k1, kl_k2 as kl_k2, kl_k3 as kl_k3
from logtrick.rl._reinforce import reinforce as reinforce
from logtrick.rl._returns import reward_to_go as reward_to_go
from logtrick.rl._rloo import rloo as rloo
