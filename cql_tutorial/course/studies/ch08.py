"""Experiments of chapter 08: random transitions, the page against the package, result tables, the maze from above."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...agents import CQLAgent
from ...batch import Batch, Noise
from ...envs import Maze
from ...evaluation.true_values import true_q
from ...networks import Critic, GaussianPolicy


def random_batch(
    size: int, state_dim: int, action_dim: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Batch:
    """Draw transitions of normal numbers, actions in [-1, 1]; a fifth of them terminate."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return Batch(
        observations=normal(size, state_dim),
        actions=torch.tanh(normal(size, action_dim)),
        rewards=normal(size),
        next_observations=normal(size, state_dim),
        terminations=torch.rand(size, generator=generator) < 0.2,
    )


# ---------------------------------------------------------------- a page of plain torch, and the package's agent
Start = dict[str, Any]
Numbers = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # critics, actor, log temperature, log multiplier, targets
# No two alike, none one minus another or minus the discount: a page that takes one for another is then seen.
RATES = {"critic_lr": 1e-2, "actor_lr": 5e-3, "temperature_lr": 2e-2, "multiplier_lr": 8e-3, "tau": 0.15}


def linear_weights(network: Any, member: int) -> dict[str, Tensor]:
    """One network of an `EnsembleMLP` as the state dict of nn.Sequential(Linear, ReLU, Linear, ReLU, Linear)."""
    weights = {}
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        weights[f"{2 * layer}.weight"] = weight[member].detach().T.clone()
        weights[f"{2 * layer}.bias"] = bias[member, 0].detach().clone()
    return weights


def start_of(actor: Any, critic: Any, target_critic: Any, log_temperature: Tensor, log_multiplier: Tensor) -> Start:
    """Networks and numbers of an agent, as `train_by_hand` of chapter 08 begins with them."""
    members = range(len(critic.weights[0]))
    return {
        "actor": linear_weights(actor, 0),
        "critics": [linear_weights(critic, j) for j in members],
        "targets": [linear_weights(target_critic, j) for j in members],
        "log_temperature": log_temperature.detach().clone(),
        "log_multiplier": log_multiplier.detach().clone(),
    }


def start_of_agent(agent: CQLAgent) -> Start:
    """The same of an agent of the package; without a multiplier its logarithm is that of cql_alpha."""
    log_multiplier = agent.log_multiplier if agent.config.cql_lagrange else agent.cql_alpha.log()
    return start_of(agent.actor, agent.critic, agent.target_critic, agent.log_temperature, log_multiplier)


def numbers_of(agent: CQLAgent) -> Numbers:
    """The same as five tensors, in the order of the update: a vector a network, and the two numbers."""
    start = start_of_agent(agent)

    def vectors(networks: Sequence[Mapping[str, Tensor]]) -> Tensor:
        return torch.stack([torch.cat([part.flatten() for part in weights.values()]) for weights in networks])

    return (
        vectors(start["critics"]),
        vectors([start["actor"]])[0],
        start["log_temperature"],
        start["log_multiplier"],
        vectors(start["targets"]),
    )


@torch.no_grad()
def load_numbers(agent: CQLAgent, numbers: Sequence[Tensor]) -> CQLAgent:
    """Copy the networks that `train_by_hand` returns into an agent of the package, which can then act."""
    for network, vectors in (
        (agent.critic, numbers[0]),
        (agent.actor, numbers[1][None]),
        (agent.target_critic, numbers[4]),
    ):
        for member, vector in enumerate(vectors):
            at = 0
            for weight, bias in zip(network.weights, network.biases, strict=True):
                rows, columns = weight.shape[1:]
                weight[member] = vector[at : at + rows * columns].view(columns, rows).T
                bias[member, 0] = vector[at + rows * columns : at + (rows + 1) * columns]
                at += (rows + 1) * columns
    agent.log_temperature.copy_(numbers[2])
    return agent


def furthest(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Largest difference between any two numbers of two agents."""
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(mine, theirs, strict=True))


def page_settings(**changes: Any) -> dict[str, Any]:
    """Settings of a small CQL agent in float64 on the CPU."""
    small = {
        "state_dim": 5, "action_dim": 3, "hidden_dim": 8, "n_critics": 2, "cql_n_actions": 4, "cql_alpha": 2.0,
        "cql_lagrange": False, "cql_target_action_gap": 0.0, "action_low": -1.0, "action_high": 3.0, "discount": 0.9,
        "alpha": 0.3, "dtype": "float64", "device": "cpu",
    }  # fmt: skip
    return small | RATES | changes


def scenario(
    updates: int,
    stand_out: bool = False,
    spread: bool = False,
    narrow: bool = False,
    terminates: bool = True,
    seed: int = 0,
    reward_scale: float = 1.0,
    **changes: Any,
) -> tuple[dict[str, Any], Start, tuple[tuple[Batch, Noise], ...]]:
    """Settings, start, and (batch, noise) of each update, for `train_by_hand` and for the package's agent alike.

    Some logged actions and candidates all but touch the bounds. With ``stand_out`` the logged actions are the best of
    many under the critics, so that the penalty is below 0; with ``spread`` log_std lies outside [-5, 2]; with
    ``narrow`` the entropy lies below its target; without ``terminates`` no transition ends the task. Rewards are normal
    numbers times ``reward_scale``.
    """
    settings = page_settings(seed=seed, **changes)
    generator = torch.Generator().manual_seed(seed)
    S, A, H, E, B = (*(settings[f"{name}_dim"] for name in ("state", "action", "hidden")), settings["n_critics"], 6)
    critic, target_critic = (Critic([S + A, H, H, 1], E, 0.0, generator).double() for _ in range(2))
    actor = GaussianPolicy([S, H, H, 2 * A], generator=generator).double()

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return 1.999 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 0.9995

    with torch.no_grad():
        if stand_out:  # critics that agree, so that one action stands out under all of them
            for fast in critic.parameters():
                fast.copy_(4.0 * (fast[:1] + 0.02 * normal(*fast.shape)))
        for fast, slow in zip(critic.parameters(), target_critic.parameters(), strict=True):
            fast.mul_(1.0 if stand_out else 2.0)  # so that Q varies over the actions
            slow.copy_(fast + 0.2 * normal(*fast.shape))
        log_std = actor.biases[-1][..., A:]
        log_std += torch.linspace(-6.5, 3.5, A) if spread else -3.0 if narrow else 0.0
    pairs, (low, high), N = [], (settings["action_low"], settings["action_high"]), settings["cql_n_actions"]
    for i in range(updates):
        batch, many = random_batch(B, S, A, seed=100 * seed + i), uniform(B, 400, A)
        best = many[torch.arange(B), critic(batch.observations, many).detach().sum(0).argmax(1)]
        for_target, for_actor, uniforms = normal(B, A), normal(B, A), uniform(B, N, A)
        noise = Noise(for_target, for_actor, uniforms, normal(B, N, A), normal(B, N, A))
        for tensor in (batch.actions, uniforms[:, 0]):  # not the bounds themselves: the agent moves off those
            tensor[0, 0], tensor[1, -1] = 0.99999, -0.99999
        actions = low + (1 + (best if stand_out else batch.actions)) * (high - low) / 2
        ended = batch.terminations & terminates
        rewards = reward_scale * batch.rewards
        pairs.append((replace(batch, actions=actions, rewards=rewards, terminations=ended), noise))
    numbers = (torch.tensor(math.log(settings[name]), dtype=torch.float64) for name in ("alpha", "cql_alpha"))
    return settings, start_of(actor, critic, target_critic, *numbers), tuple(pairs)


def by_the_package(settings: Mapping[str, Any], start: Mapping[str, Any], updates: Any) -> Numbers:
    """What `train_by_hand` is to return, by `CQLAgent.update`."""
    agent = CQLAgent(settings)
    for name, networks in (
        ("critic", start["critics"]),
        ("actor", [start["actor"]]),
        ("target_critic", start["targets"]),
    ):
        network = agent.get_submodule(name)
        with torch.no_grad():
            for member, weights in enumerate(networks):
                for layer in range(3):
                    network.weights[layer][member] = weights[f"{2 * layer}.weight"].T  # type: ignore[index]
                    network.biases[layer][member, 0] = weights[f"{2 * layer}.bias"]  # type: ignore[index]
    for batch, noise in updates:
        agent.update(batch, noise)
    return numbers_of(agent)


def stream(
    agent: CQLAgent, dataset: Any, updates: int, batch_size: int, seed: int = 0
) -> Iterator[tuple[Batch, Noise]]:
    """Batches of a log with an agent's noise, one pair for each update."""
    for batch in dataset.batches(updates, batch_size, seed):
        yield batch, agent.draw_noise(batch_size)


class RunX(CQLAgent):
    """CQL with one bug, for the exercise that asks which: look at the run before you read on here."""

    name = "cql-run-x"

    @property
    def temperature(self) -> Tensor:
        """The number that weighs the entropy in the actor's loss."""
        return -super().temperature

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One update; the metrics are those of any CQL agent."""
        metrics = super().update(batch, noise)
        return metrics | {"temperature": metrics["temperature"].abs()}

    def check_training(self, row: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        """Warn of nothing: the reader is to see it in the curves."""


# ---------------------------------------------------------------- the result tables
def by_draw(rows: Sequence[Mapping[str, str]], algorithm: str, column: str) -> dict[str, float]:
    """Return an algorithm's mean over the seeds of each data draw."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["algorithm"] == algorithm:
            values.setdefault(row["draw"], []).append(float(row[column]))
    return {draw: sum(each) / len(each) for draw, each in values.items()}


def paired(rows: Sequence[Mapping[str, str]], algorithm: str, other: str, column: str) -> list[float]:
    """Subtract one algorithm from another: a number for each data draw."""
    mine, theirs = (by_draw(rows, name, column) for name in (algorithm, other))
    return [mine[draw] - theirs[draw] for draw in mine]


def against_cloning(rows: Sequence[Mapping[str, str]], alpha: str) -> list[float]:
    """Return of CQL at an alpha minus that of behaviour cloning, a number for each data draw."""
    kept = [row for row in rows if row["algorithm"] == "bc" or row["cql_alpha"] == alpha]
    return paired(kept, "cql", "bc", "return")


def told_apart(intervals: Mapping[Any, tuple[float, float]]) -> str:
    """The first of "return" and "error" whose interval lies off 0 in some task, or "neither"."""
    told = {key[-1] for key, (mean, half) in intervals.items() if abs(mean) > half}
    return "return" if "return" in told else "error" if "estimation_error" in told else "neither"


# ---------------------------------------------------------------- the maze from above
def maze_places(world: Maze, step: float = 0.1) -> Tensor:
    """Positions on a grid inside the corridors: ``[n, 2]``."""
    ticks = torch.arange(-0.95, 0.951, step)
    grid = torch.cartesian_prod(ticks, ticks)
    return grid[(grid.abs() <= world.half_width + 1e-6).any(1)]


@torch.no_grad()
def maze_snapshot(agent: Any, world: Maze, places: Tensor, rollouts: int = 4) -> dict[str, Tensor]:
    """At each place: the policy's mean action ``[n, 2]``, the smallest critic's value of it, and that minus its truth.

    The truth is Q^pi of the deterministic policy, by Monte-Carlo.
    """
    observations, policy = world.observe(places), agent.policy(deterministic=True)
    actions = policy(observations)
    value = agent.q_values(observations, actions).amin(0).cpu().double()
    true, _ = true_q(world, policy, observations, actions, rollouts=rollouts)
    return {"action": actions.cpu(), "value": value, "error": value - true.cpu()}
