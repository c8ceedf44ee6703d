"""The rule by which a training, or a descent, ends that gets no better."""

from __future__ import annotations

import math

from tacit.settings.early_stopping import EarlyStopping


class Stalling:
    """How long what `rule` goes by has been no better; told of one look after the other.

    What is better by too little is not the best from then on, so that small steps add up.
    """

    def __init__(self, rule: EarlyStopping):
        self.rule, self.waited = rule, 0
        self._sign = -1 if "accuracy" in rule.by else 1
        self._best = math.inf

    def see(self, epoch: int, value: float) -> None:
        """Take note of what was seen after an epoch; 0, before training, does not count."""
        if epoch <= self.rule.cooldown:
            return
        is_better = self._best - self._sign * value > self.rule.least_change
        self._best, self.waited = (self._sign * value, 0) if is_better else (self._best, self.waited + 1)

    @property
    def is_over(self) -> bool:
        """Whether it has been so for longer than the rule has patience."""
        return self.waited > self.rule.patience
