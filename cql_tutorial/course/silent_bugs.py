"""Silent bugs of published code, named as wrong: agents are trained with them to *measure* what shows. Never use them.

Each was described in public, where `Bug.source` says; it is written here anew, in the layout that it needs to appear.
Some stand in the agent's update, some in the log that it reads, some in what a resumed run or a loaded agent gets back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import losses
from ..agents import Agent, BCAgent, CQLAgent
from ..agents.config import AgentConfig
from ..batch import Noise
from ..datasets.offline_dataset import OfflineDataset
from ..networks import MAX_ACTION
from .wrong_penalties import no_uniform_density

TIANSHOU = "https://github.com/thu-ml/tianshou/blob/f2402056b03a/tianshou/algorithm/imitation/cql.py"
TORCHRL = "https://github.com/pytorch/rl/blob/ae9719f17b15/torchrl/objectives/cql.py"
CORL = "https://github.com/corl-team/CORL/blob/eeeeef267123/algorithms/offline"


# ---------------------------------------------------------------- in the update
class ReshapeLost(CQLAgent):
    """WRONG: logsumexp over one candidate of each proposal (3 values), then the mean over the N groups of three.

    ``q.reshape(B, 3 * N)`` returns a new tensor; its result is not kept, so that the rows stay groups of three.
    """

    name = "cql-reshape-lost"

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """``[E, B, K], [B, K], [E, B] -> [E]``."""
        groups = (q_candidates - log_density).unflatten(-1, (-1, self.config.cql_n_actions))  # [E, B, 3, N]
        return (losses.log_partition(groups, torch.zeros(()), dim=-2) - q_data[..., None]).mean((-2, -1))


class RandomAtBound(CQLAgent):
    """WRONG: ``uniform_(-low, high)`` with low = -1 draws from U(1, 1): every random action is the upper bound."""

    name = "cql-random-at-bound"

    def draw_noise(self, batch_size: int) -> Noise:
        """Normal numbers as they should be; each uniform candidate is at the upper bound in every dimension."""
        noise = super().draw_noise(batch_size)
        assert noise.uniform is not None
        return replace(noise, uniform=torch.full_like(noise.uniform, MAX_ACTION))


class HalfRange(CQLAgent):
    """WRONG: random actions from U(0, 1), weighed as if they came from the whole of [-1, 1]."""

    name = "cql-half-range"

    def draw_noise(self, batch_size: int) -> Noise:
        """Normal numbers as they should be; uniform candidates in the upper half of each dimension."""
        noise = super().draw_noise(batch_size)
        assert noise.uniform is not None
        return replace(noise, uniform=0.5 * (noise.uniform + 1.0))


class SwappedDensity(CQLAgent):
    """WRONG: ``log(A ** 0.5)`` for ``log(0.5 ** A)``: base and exponent of the uniform density are exchanged."""

    name = "cql-swapped-density"

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """``[E, B, K], [B, K], [E, B] -> [E]``."""
        n = self.config.cql_n_actions
        wrong = torch.full_like(log_density[:, :n], float(self.config.action_dim)).log() * 0.5
        return losses.cql_penalty(q_candidates, torch.cat([wrong, log_density[:, n:]], 1), q_data)


class NoUniformDensity(CQLAgent):
    """WRONG: no density under the random candidates, which then weigh 2^-A of what they should."""

    name = "cql-no-uniform-density"

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """``[E, B, K], [B, K], [E, B] -> [E]``."""
        return no_uniform_density(q_candidates, log_density, q_data, self.config.cql_n_actions)


class UndetachedMultiplier(CQLAgent):
    """WRONG: one sum of losses and one backward, in which the multiplier's loss also moves the critics.

    The penalty stands in the sum with weight 1 and, in the multiplier's loss ``-m (gap - target) / 2``, once more with
    weight -m / 2: the critics see ``1 - m / 2`` times the penalty, which is negative from a multiplier of 2 on.
    """

    name = "cql-undetached-multiplier"

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One update; the metric ``cql_alpha`` is the multiplier, as the source logs it."""
        multiplier = self.log_multiplier.detach().exp()
        return {**super().update(batch, noise), "cql_alpha": multiplier}

    @property
    def cql_alpha(self) -> Tensor:
        """The weight of the penalty in the critics' own loss: 1."""
        return torch.ones((), dtype=self.dtype, device=self.device)

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """The right penalty of each critic, remembered with its graph: ``[E, B, K], [B, K], [E, B] -> [E]``."""
        self._penalty = super().penalty(q_candidates, log_density, q_data)
        return self._penalty

    def step(self, name: str, loss: Tensor) -> None:
        """The critics' step is the multiplier's too: both losses are summed ahead of one backward."""
        if name == "multiplier":
            return  # it was made with the critics'
        if name != "critic":
            return super().step(name, loss)
        gap = losses.normalised_gap(self._penalty, self.config.action_dim)
        loss = loss - 0.5 * (self.log_multiplier.exp() * (gap - self.config.cql_target_action_gap)).sum()
        optimizers = [self.optimizers[which] for which in ("critic", "multiplier")]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=[p for optimizer in optimizers for p in optimizer.param_groups[0]["params"]])
        for optimizer in optimizers:
            optimizer.step()


class FrozenMultiplier(CQLAgent):
    """WRONG: the multiplier is moved to its device *after* its optimiser was built, which keeps the tensor before."""

    name = "cql-frozen-multiplier"

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__(config)
        self.log_multiplier = nn.Parameter(self.log_multiplier.detach().clone())  # what .to(another device) returns


class AnotherSamplesLogProb(BCAgent):
    """WRONG: ``log_prob(observations, actions)`` returns that of a fresh sample; the logged actions are not read."""

    name = "bc-another-samples-log-prob"

    def draw_noise(self, batch_size: int) -> Noise:
        """The sample's noise."""
        return Noise(actor=self.normal(batch_size, self.config.action_dim))

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of the policy; metrics are 0-d tensors on the device."""
        batch = self.prepare(batch)
        noise = noise or self.draw_noise(batch.size)
        assert noise.actor is not None
        loss = losses.behaviour_cloning_loss(self.actor(batch.observations).sample(noise.actor).log_prob)
        self.step("actor", loss)
        return {"policy_loss": loss.detach()}


# ---------------------------------------------------------------- in the log
def end_rows(dataset: OfflineDataset) -> Tensor:
    """The number of each episode's last row, ``[episodes]``."""
    return dataset.episode_starts + dataset.episode_lengths() - 1


def with_columns(dataset: OfflineDataset, **columns: Tensor) -> OfflineDataset:
    """The data set with other columns, checked and cut into episodes anew."""
    names = ("observations", "actions", "rewards", "next_observations", "terminations", "truncations")
    given = {name: columns.get(name, getattr(dataset, name)) for name in names}
    return OfflineDataset.from_arrays(
        **given, action_low=dataset.action_low, action_high=dataset.action_high, id=dataset.id
    )


def time_limit_terminates(dataset: OfflineDataset) -> OfflineDataset:
    """WRONG: ``done = terminated or truncated``: the time limit cuts the bootstrap, as if life ended there."""
    ended = dataset.terminations | dataset.truncations
    return with_columns(dataset, terminations=ended, truncations=torch.zeros_like(ended))


def flags_doubled(dataset: OfflineDataset) -> OfflineDataset:
    """WRONG: the flag of each end stands in the row before it as well, both as terminations."""
    ended = dataset.terminations | dataset.truncations
    before = torch.cat([ended[1:], torch.zeros_like(ended[:1])])
    return with_columns(dataset, terminations=ended | before, truncations=torch.zeros_like(ended))


def next_state_of_next_episode(dataset: OfflineDataset) -> OfflineDataset:
    """WRONG: ``next_observations[i] = observations[i + 1]`` in every row, the last of an episode among them."""
    shifted = torch.cat([dataset.observations[1:], dataset.next_observations[-1:]])
    return with_columns(dataset, next_observations=shifted)


# ---------------------------------------------------------------- in what comes back from a file
def stale_optimizer(agent: Any) -> None:
    """WRONG: after a resume the agent has a new temperature tensor, and the optimiser goes on moving the old one."""
    agent.log_temperature = nn.Parameter(agent.log_temperature.detach().clone())


def target_lost(agent: Any) -> None:
    """WRONG: after a resume the target critics are a copy of the critics; what was saved of them is not read."""
    agent.target_critic = copy.deepcopy(agent.critic).requires_grad_(False)


def statistics_lost(agent: Any) -> None:
    """WRONG: the file holds the networks alone; a loaded agent sees observations less 0, over 1."""
    zero = torch.zeros_like(agent.normaliser.mean)
    agent.normaliser.set(zero, torch.ones_like(zero), 1)


# ---------------------------------------------------------------- all of them
@dataclass(frozen=True, kw_only=True)
class Bug:
    """A published mistake: where it was seen, and what of it is changed; the rest is as in the healthy run ``base``."""

    title: str
    base: str
    """Which healthy run it is compared with: fixed, lagrange, normalised or clone."""
    source: str
    """Where it was published; several links stand one after the other."""
    agent: type[Agent] | None = None
    log: Callable[[OfflineDataset], OfflineDataset] | None = None
    resume: Callable[[Any], None] | None = None
    load: Callable[[Any], None] | None = None

    @property
    def says(self) -> str:
        """What is wrong, in a sentence: the first line of the docstring of what is changed."""
        changed = self.agent or self.log or self.resume or self.load
        return str(changed.__doc__).split("\n")[0].removeprefix("WRONG: ").replace("``", "`")


BUGS: dict[str, Bug] = {
    "reshape_lost": Bug(
        title="reshape thrown away",
        base="fixed",
        source=f"{TIANSHOU}#L321-L329 "
        "https://github.com/yihaosun1124/OfflineRL-Kit/blob/e3ce69793766/offlinerlkit/policy/model_free/cql.py#L153 "
        f"{TORCHRL}#L877-L896",  # there by concatenation: the same three values
        agent=ReshapeLost,
    ),
    "random_at_bound": Bug(
        title="random actions at the bound",
        base="fixed",
        source=f"{TIANSHOU}#L305",
        agent=RandomAtBound,
    ),
    "half_range": Bug(
        title="random actions from half the range",
        base="fixed",
        source="https://github.com/young-geng/JaxCQL/issues/1",
        agent=HalfRange,
    ),
    "swapped_density": Bug(
        title="density's base and exponent swapped",
        base="fixed",
        source="https://github.com/ray-project/ray/tree/331f0ef818e6/rllib/algorithms/cql",
        agent=SwappedDensity,
    ),
    "no_uniform_density": Bug(
        title="uniform density left out",
        base="fixed",
        source="https://github.com/takuseno/d3rlpy/issues/147 "
        "https://github.com/EmptyJackson/unifloral/blob/f2dc1278eae1/algorithms/cql.py#L297-L305",
        agent=NoUniformDensity,
    ),
    "time_limit": Bug(
        title="time limits as terminations",
        base="fixed",
        source=f"{TIANSHOU}#L290",
        log=time_limit_terminates,
    ),
    "flags_doubled": Bug(
        title="end flags doubled",
        base="fixed",
        source="https://github.com/Farama-Foundation/D4RL/issues/137",
        log=flags_doubled,
    ),
    "next_episode": Bug(
        title="next state of the next episode",
        base="fixed",
        source="https://github.com/Farama-Foundation/D4RL/issues/145",
        log=next_state_of_next_episode,
    ),
    "undetached": Bug(
        title="multiplier's loss moves the critics",
        base="lagrange",
        source=f"{TORCHRL}#L940-L951",
        agent=UndetachedMultiplier,
    ),
    "frozen": Bug(
        title="multiplier moved after its optimiser",
        base="lagrange",
        source=f"{TIANSHOU}#L188-L191",
        agent=FrozenMultiplier,
    ),
    "stale_optimizer": Bug(
        title="optimiser of stale tensors after a resume",
        base="fixed",
        source=f"{CORL}/cql.py#L815-L823",
        resume=stale_optimizer,
    ),
    "target_lost": Bug(
        title="target network lost in a resume",
        base="fixed",
        source=f"{CORL}/iql.py#L525-L528",
        resume=target_lost,
    ),
    "another_sample": Bug(
        title="log-probability of another sample",
        base="clone",
        source=f"{CORL}/cql.py#L344-L353",
        agent=AnotherSamplesLogProb,
    ),
    "statistics_lost": Bug(
        title="observation statistics not saved",
        base="normalised",
        source="https://github.com/corl-team/CORL/issues/16",
        load=statistics_lost,
    ),
}
