"""Garnet: random Markov decision processes, for statements that should hold in every one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import check_int, require
from .tabular import TabularWorld


@dataclass(eq=False, kw_only=True)
class Garnet(TabularWorld):
    """A random MDP: each action leads to ``branching`` states drawn without replacement, with random chances.

    The chances are the pieces between ``branching - 1`` uniform cuts of [0, 1]; the reward of a pair is drawn from
    U(0, 1). No state is terminal; episodes start in state 0. ``seed`` decides all tables. Source: Archibald, McKinnon
    and Thomas 1995; Bhatnagar et al. 2009.
    """

    discount: float = 0.9
    horizon: int = 100
    states: int = 10
    actions: int = 4
    branching: int = 3
    seed: int = 0
    name: ClassVar[str] = "garnet"
    terminates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("garnet.states", self.states, 1)
        check_int("garnet.actions", self.actions, 1)
        branching = check_int("garnet.branching", self.branching, 1)
        require(branching <= self.states, "garnet.branching", branching, f"at most the {self.states} states")
        generator, pairs = torch.Generator().manual_seed(self.seed), self.states * self.actions
        reached = torch.rand(pairs, self.states, generator=generator, dtype=torch.float64).argsort(-1)[:, :branching]
        cuts = torch.rand(pairs, branching - 1, generator=generator, dtype=torch.float64).sort(-1).values
        ends = torch.cat([torch.zeros(pairs, 1), cuts, torch.ones(pairs, 1)], -1)
        transitions = torch.zeros(pairs, self.states, dtype=torch.float64).scatter_(1, reached, ends.diff(dim=-1))
        rewards = torch.rand(self.states, self.actions, generator=generator, dtype=torch.float64)
        shape = (self.states, self.actions, self.states)
        self.set_tables(transitions.view(shape), rewards, torch.zeros(self.states, dtype=torch.bool))
