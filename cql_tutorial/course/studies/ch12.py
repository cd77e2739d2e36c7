"""Experiments of chapter 12: healthy runs and runs with one published bug each, what curves and tests say of them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ... import losses
from ...agents import AGENTS, Agent, BCAgent, CQLAgent
from ...datasets.offline_dataset import OfflineDataset
from ...datasets.recording import dataset_of
from ...envs import Arm
from ...envs.arm import arm_episodes
from ...evaluation import t_interval
from ...evaluation.symptoms import symptoms
from ...fast.as_built import differences
from ...training.offline import History
from ...training.population import Population
from ..silent_bugs import BUGS, Bug

STEPS, BATCH_SIZE, LOG_EVERY, DISCOUNT, EPISODES = 800, 64, 40, 0.9, 250
SETTINGS: dict[str, Any] = {
    "hidden_dim": 64, "discount": DISCOUNT, "tau": 0.05, "critic_lr": 1e-3, "actor_lr": 1e-3, "alpha": 0.1,
    "temperature_lr": 3e-3, "cql_alpha": 1.0, "cql_n_actions": 5, "device": "cpu",
}  # fmt: skip
TARGET = -7.5  # of the CQL gap, under a multiplier: about that of alpha 1 on a tuning draw
BASES: dict[str, tuple[str, dict[str, Any]]] = {
    "fixed": ("cql", {}),
    "lagrange": ("cql", {"cql_lagrange": True, "cql_target_action_gap": TARGET}),
    "normalised": ("cql", {"normalize_observations": True}),
    "clone": ("bc", {}),
}
CURVES = ("q_value", "td_loss", "cql_gap", "entropy", "temperature", "cql_alpha", "policy_loss")
END = 0.2  # share of a run's rows whose mean is where a curve ends


def arm_log(seed: int, behaviour: str = "narrow", episodes: int = EPISODES) -> OfflineDataset:
    """Episodes of 40 steps of the six-joint arm, none terminated; every reward is negative."""
    world = Arm(joints=6)
    return dataset_of(
        world, arm_episodes(world, behaviour, episodes, torch.Generator().manual_seed(seed)), id=behaviour
    )


class Trained(NamedTuple):
    """A run's agent as it comes back from its file, its history, and the log it read."""

    agent: Any
    history: History
    log: OfflineDataset


def settings_of(base: str, log: OfflineDataset, seed: int) -> dict[str, Any]:
    """The settings of a healthy run; critics start at the mean reward for ever."""
    name, own = BASES[base]
    found = {**SETTINGS, "initial_value": float(log.rewards.mean()) / (1 - DISCOUNT), **own}
    if name == "bc":
        found = {key: found[key] for key in ("hidden_dim", "actor_lr", "device")}
    dims = {"state_dim": log.observation_dim, "action_dim": log.action_dim}
    return {**found, **dims, "seed": seed}


def make(base: str, bug: Bug | None, log: OfflineDataset, seed: int) -> Any:
    """The untrained agent of a run."""
    kind = AGENTS[BASES[base][0]][0] if bug is None or bug.agent is None else bug.agent
    return kind(settings_of(base, log, seed))


def train(base: str, bug: Bug | None, log: OfflineDataset, seed: int, steps: int = STEPS) -> Trained:
    """Train one run: see `train_together`."""
    return train_together([(base, bug, log, seed)], steps)[0]


Run = tuple[str, Bug | None, OfflineDataset, int]  # base, bug, log, seed


def train_together(runs: Sequence[Run], steps: int = STEPS) -> list[Trained]:
    """Train runs whose agents are of one class: half of the updates, a resume, the other half, and the file is loaded.

    Nothing happens in between to a healthy run. Agents that can be stacked are updated as one program.
    """
    logs = [log if bug is None or bug.log is None else bug.log(log) for _, bug, log, _ in runs]
    agents = [make(base, bug, log, seed) for (base, bug, _, seed), log in zip(runs, logs, strict=True)]
    for agent, log in zip(agents, logs, strict=True):
        agent.take_statistics(log.observations)
    histories: list[list[dict[str, float]]] = [[] for _ in runs]
    for half in (0, 1):
        if half:
            for agent, (_, bug, _, _) in zip(agents, runs, strict=True):
                if bug is not None and bug.resume is not None:
                    bug.resume(agent)
        alike = [number for number, agent in enumerate(agents) if next(differences(agent), None) is None]
        groups = [alike, *([number] for number in range(len(agents)) if number not in alike)]
        for group in groups:
            _half(group, agents, logs, histories, [seed for *_, seed in runs], steps // 2, half)
    for agent, (_, bug, _, _) in zip(agents, runs, strict=True):
        if bug is not None and bug.load is not None:
            bug.load(agent)
    return [Trained(a, History(rows), log) for a, rows, log in zip(agents, histories, logs, strict=True)]


def _half(
    group: Sequence[int],
    agents: Sequence[Any],
    logs: Sequence[OfflineDataset],
    histories: Sequence[list[dict[str, float]]],
    seeds: Sequence[int],
    steps: int,
    half: int,
) -> None:
    """``steps`` updates of the agents of a group, and a row of each one's history every `LOG_EVERY`."""
    if not group:
        return
    own = [agents[number] for number in group]
    population = Population(own) if next(differences(own[0]), None) is None else None
    streams = [logs[number].batches(steps, BATCH_SIZE, 2 * seeds[number] + half) for number in group]
    sums: dict[str, Tensor] = {}
    for step, batches in enumerate(zip(*streams, strict=True), 1):
        if population is None:
            found = {name: value[None] for name, value in own[0].update(batches[0]).items()}
        else:
            found = population.update(batches)
        sums = {name: sums[name] + value if sums else value.clone() for name, value in found.items()}
        if step % LOG_EVERY == 0:
            for place, number in enumerate(group):
                row = {name: float(value[place]) / LOG_EVERY for name, value in sums.items()}
                histories[number].append({"step": float(half * steps + step), **row})
            sums = {}
    if population is not None:
        _ = population.members  # the agents are brought up to date


def curve_ends(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Where each curve ends: its mean over the last fifth of the rows."""
    last = rows[-max(1, round(END * len(rows))) :]
    return {name: sum(r[name] for r in last) / len(last) for name in CURVES if all(name in r for r in last)}


# ---------------------------------------------------------------- what would have caught it
def small_settings(**changes: Any) -> dict[str, Any]:
    """An agent small enough for a unit test: three numbers in, two out."""
    sizes = {"state_dim": 3, "action_dim": 2, "hidden_dim": 16, "cql_n_actions": 4, "device": "cpu", "dtype": "float64"}
    return {**sizes, **changes}


def small_batch(seed: int, rows: int = 8, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Random transitions for such an agent."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    return {
        "observations": normal(rows, 3),
        "actions": normal(rows, 2).tanh(),
        "rewards": normal(rows),
        "next_observations": normal(rows, 3),
        "terminations": torch.zeros(rows, dtype=torch.bool),
    }


def of_bug(bug: Bug | None, kind: type[Agent], **settings: Any) -> Any:
    """The bug's own agent if it is of this kind, else the right one."""
    own = bug is not None and bug.agent is not None and issubclass(bug.agent, kind)
    return (bug.agent if own and bug is not None else kind)(settings)  # type: ignore[misc]


def penalty_by_a_loop(bug: Bug | None, seed: int) -> bool:
    """The penalty of random numbers equals its definition, written as a slow loop over critics, states, candidates."""
    agent = of_bug(bug, CQLAgent, **small_settings(seed=seed, cql_lagrange=True, cql_alpha=2.0))
    generator = torch.Generator().manual_seed(seed)
    q, q_data, density = (torch.randn(*shape, generator=generator).double() for shape in ((2, 3, 12), (2, 3), (3, 12)))
    density[:, :4] = -2 * losses.LOG_2  # the uniform candidates
    for critic, found in enumerate(agent.penalty(q, density, q_data).tolist()):
        states = []
        for state in range(3):
            terms = [math.exp(a - b) for a, b in zip(q[critic, state].tolist(), density[state].tolist(), strict=True)]
            states.append(math.log(sum(terms) / len(terms)) - float(q_data[critic, state]))
        if abs(found - sum(states) / 3) > 1e-9:
            return False
    return True


def candidates_fill_the_box(bug: Bug | None, seed: int) -> bool:
    """Every quarter of [-1, 1] holds about a quarter of the random candidates, in each dimension."""
    agent = of_bug(bug, CQLAgent, **small_settings(seed=seed, cql_lagrange=True, cql_alpha=2.0))
    numbers = agent.draw_noise(256).uniform.flatten(0, 1)  # [1024, A]
    edges = (-1.0, -0.5, 0.0, 0.5, 1.0)
    shares = [((numbers >= a) & (numbers < b)).double().mean(0) for a, b in pairwise(edges)]
    return bool(all(((share - 0.25).abs() < 0.08).all() for share in shares))


def weight_of_the_penalty(agent: CQLAgent, multiplier: float, seed: int = 0) -> float:
    """By what an update weighs the penalty at a multiplier: its gradient in the critics minus that without a penalty.

    The least-squares factor of the penalty's own gradient in what the update adds to the Bellman error's.
    """
    batch, parameters = agent.prepare(small_batch(seed)), list(agent.critic.parameters())
    with torch.no_grad():
        agent.log_multiplier.fill_(math.log(multiplier))
        noise = agent.draw_noise(batch.size)
        policy, next_policy = agent.actor(batch.observations), agent.actor(batch.next_observations)
        candidates, density = agent.sample_candidates(policy, next_policy, noise)
        assert noise.target is not None
        ahead = agent.target_critic(batch.next_observations, next_policy.sample(noise.target).actions).amin(0)
        target = losses.td_target(batch.rewards, batch.terminations, ahead, agent.config.discount)
    q = agent.critic(batch.observations, torch.cat([batch.actions[:, None], candidates], 1))
    of_penalty = torch.autograd.grad(
        losses.cql_penalty(q[..., 1:], density, q[..., 0]).sum(), parameters, retain_graph=True
    )
    of_error = torch.autograd.grad(losses.td_loss(q[..., 0], target).sum(), parameters)
    agent.update(batch, noise)
    pairs = [(p.grad - e, g) for p, e, g in zip(parameters, of_error, of_penalty, strict=True) if p.grad is not None]
    return float(sum((d * g).sum() for d, g in pairs)) / float(sum((g * g).sum() for _, g in pairs))


def multiplier_pushes(bug: Bug | None, seed: int) -> bool:
    """With the CQL gap above its target the multiplier rises, and the critics' penalty weighs as much as it says."""
    settings = small_settings(seed=seed, cql_lagrange=True, cql_alpha=2.0, cql_target_action_gap=-50.0)
    weights = [weight_of_the_penalty(of_bug(bug, CQLAgent, **settings), value, seed) for value in (0.5, 4.0)]
    agent, before = of_bug(bug, CQLAgent, **settings), 2.0
    for number in range(5):
        agent.update(small_batch(seed + number))
        now = float(agent.log_multiplier.detach().exp())
        if now <= before:
            return False
        before = now
    return abs(weights[0] - 0.5) < 1e-6 and abs(weights[1] - 4.0) < 1e-6


def resume_is_exact(bug: Bug | None, seed: int) -> bool:
    """A run that was saved and resumed ends with the very tensors of the run that went on."""
    agents = [CQLAgent(small_settings(seed=seed, normalize_observations=True)) for _ in range(2)]
    for agent in agents:
        agent.set_observation_statistics([0.5, -1.0, 2.0], [2.0, 0.5, 3.0])
        for number in range(3):
            agent.update(small_batch(seed + number))
    changed = None if bug is None else bug.resume or bug.load
    if changed is not None:
        changed(agents[1])
    for number in range(3, 6):
        for agent in agents:
            agent.update(small_batch(seed + number))
    one, other = (agent.state() for agent in agents)
    return all(torch.equal(one[name], other[name]) for name in one)


def loaded_acts_alike(bug: Bug | None, seed: int) -> bool:
    """A loaded agent's actions in ten states are those of the agent that was saved."""
    agent = CQLAgent(small_settings(seed=seed, normalize_observations=True))
    agent.set_observation_statistics([0.5, -1.0, 2.0], [2.0, 0.5, 3.0])
    states = small_batch(seed, rows=10)["observations"]
    before = agent.act(states)
    if bug is not None and bug.load is not None:
        bug.load(agent)
    return bool(abs(agent.act(states) - before).max() < 1e-9)


def clone_finds_a_constant(bug: Bug | None, seed: int) -> bool:
    """Cloning a log whose action is the same in every row, the policy comes to take it."""
    agent = of_bug(bug, BCAgent, state_dim=3, action_dim=2, hidden_dim=16, device="cpu", actor_lr=1e-2, seed=seed)
    wanted = torch.tensor([0.6, -0.4])
    for number in range(150):
        batch = small_batch(seed + number, 32, torch.float32)
        agent.update({**batch, "actions": wanted.expand(32, 2)})
    found = torch.as_tensor(agent.act(small_batch(seed, 10, torch.float32)["observations"]))
    return bool((found - wanted).abs().max() < 0.15)


def ends_agree(bug: Bug | None, seed: int) -> bool:
    """A converted log of twenty episodes that were cut: no termination, and next states that are the next row's."""
    log = arm_log(seed, episodes=20)
    if bug is not None and bug.log is not None:
        log = bug.log(log)
    world = Arm(joints=6)
    states, _, _ = world.step(world.states_of(log.observations), log.actions)
    true_next = world.observe(states)  # the simulator is asked: what follows a row
    return not bool(log.terminations.any()) and bool((log.next_observations - true_next).abs().max() < 1e-3)


TESTS: dict[str, Callable[[Bug | None, int], bool]] = {
    "penalty by a slow loop": penalty_by_a_loop,
    "candidates fill the box": candidates_fill_the_box,
    "multiplier rises and pushes": multiplier_pushes,
    "resume is exact": resume_is_exact,
    "loaded agent acts alike": loaded_acts_alike,
    "clone finds a constant": clone_finds_a_constant,
    "ends agree with the world": ends_agree,
}


# ---------------------------------------------------------------- implementations that a student's tests are put to
def of_three(q: Tensor) -> int:
    """How many of the candidates are uniform: a third."""
    return q.shape[-1] // 3


def vectorised(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """The package's penalty."""
    return losses.cql_penalty(q, log_density, q_data)


def other_order(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """The same, summed in another order: equal up to rounding."""
    turned = losses.log_partition(q.flip(-1), log_density.flip(-1)).flip(-1).sum(-1)
    return turned / q.shape[1] - q_data.flip(-1).mean(-1)


def reshape_lost(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """Log-sum-exp over one candidate of each proposal."""
    groups = (q - log_density).unflatten(-1, (3, -1))
    return (torch.logsumexp(groups, -2) - math.log(3.0) - q_data[..., None]).mean((-2, -1))


def swapped_density(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """log(2 ** 0.5) for log(0.5 ** 2) under the uniform candidates."""
    n = of_three(q)
    wrong = torch.full_like(log_density[:, :n], 0.5 * losses.LOG_2)
    return losses.cql_penalty(q, torch.cat([wrong, log_density[:, n:]], 1), q_data)


def no_density(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """No density at all."""
    return losses.cql_penalty(q, torch.zeros_like(log_density), q_data)


def hard_maximum(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """The largest candidate in place of the soft maximum."""
    return (q.amax(-1) - q_data).mean(-1)


def without_gradient(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """Right numbers from candidates that are detached."""
    return losses.cql_penalty(q.detach(), log_density, q_data)


def half_gradient(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """Right numbers, and half of the push-down."""
    return losses.cql_penalty(0.5 * q + 0.5 * q.detach(), log_density, q_data)


def some_detached(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """Right numbers; the policy's candidates are constants, and the uniform ones alone are pushed down."""
    n = of_three(q)
    return losses.cql_penalty(torch.cat([q[..., :n], q[..., n:].detach()], -1), log_density, q_data)


def a_little_off(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """Wrong by a fiftieth everywhere, as after a constant that was rounded."""
    return losses.cql_penalty(q, log_density, q_data) + 0.02


def one_number(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """One number, the mean over the critics."""
    return losses.cql_penalty(q, log_density, q_data).mean()


def summed_over_states(q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
    """The sum over the batch where its mean should be."""
    return losses.cql_penalty(q, log_density, q_data) * q.shape[1]


PENALTIES: dict[str, tuple[bool, str]] = {
    "vectorised": (True, "the package's own penalty"),
    "reshape_lost": (False, "a penalty whose reshape was thrown away"),
    "without_gradient": (False, "a penalty whose candidates are detached: right numbers, no gradient"),
    "other_order": (True, "a right penalty that sums in another order"),
    "swapped_density": (False, "a penalty with base and exponent of the uniform density swapped"),
    "no_density": (False, "a penalty without any density"),
    "hard_maximum": (False, "a penalty with a hard maximum"),
    "half_gradient": (False, "a penalty with right numbers and half of the gradient"),
    "some_detached": (False, "a penalty that pushes down the uniform candidates alone"),
    "a_little_off": (False, "a penalty that is wrong by 0.02: mind your tolerance"),
    "one_number": (False, "a penalty that is one number for all critics"),
    "summed_over_states": (False, "a penalty that is summed over the states"),
}
IMPLEMENTATIONS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (
        vectorised,
        other_order,
        reshape_lost,
        swapped_density,
        no_density,
        hard_maximum,
        without_gradient,
        half_gradient,
        some_detached,
        a_little_off,
        one_number,
        summed_over_states,
    )
}


@dataclass
class Program:
    """One of `IMPLEMENTATIONS`, which remembers the Q-values that it was called with."""

    name: str

    def __post_init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, q: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        self.seen.append(q.detach())
        return IMPLEMENTATIONS[self.name](q, log_density, q_data)


def _with_gradient(value: Tensor, factor: float) -> Tensor:
    """The same number, its gradient multiplied."""
    return factor * value + (1 - factor) * value.detach()


def _terms(q: Tensor, log_density: Tensor) -> Tensor:
    """Log-mean over the last axis."""
    return torch.logsumexp(q - log_density, -1) - math.log(q.shape[-1])


FORMULAS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "that sums over the candidates and leaves log K out": lambda q, p, d: (torch.logsumexp(q - p, -1) - d).mean(-1),
    "that adds the log-density": lambda q, p, d: (_terms(q, -p) - d).mean(-1),
    "without any density": lambda q, p, d: losses.cql_penalty(q, torch.zeros_like(p), d),
    "that leaves the logged action's value out": lambda q, p, d: _terms(q, p).mean(-1),
    "that adds the logged action's value": lambda q, p, d: (_terms(q, p) + d).mean(-1),
    "that adds log K": lambda q, p, d: (torch.logsumexp(q - p, -1) + math.log(q.shape[-1]) - d).mean(-1),
    "that takes one logarithm over all states": lambda q, p, d: (
        _terms((q - p).flatten(1), q.new_zeros(())) - d.mean(-1)
    ),
    "that sums over the states": lambda q, p, d: (_terms(q, p) - d).sum(-1),
    "with the largest term, less log K": lambda q, p, d: ((q - p).amax(-1) - math.log(q.shape[-1]) - d).mean(-1),
    "with the largest term in place of the log-mean": lambda q, p, d: ((q - p).amax(-1) - d).mean(-1),
    "with the largest Q": lambda q, p, d: (q.amax(-1) - d).mean(-1),
    "that averages Q less its log-density, with no exp": lambda q, p, d: ((q - p).mean(-1) - d).mean(-1),
    "that takes the logarithm over the states' axis": lambda q, p, d: (
        (torch.logsumexp(q - p, 1) - math.log(q.shape[1])).mean(-1) - d.mean(-1)
    ),
    "without the logarithm": lambda q, p, d: ((q - p).exp().mean(-1) - d).mean(-1),
    "half as large": lambda q, p, d: 0.5 * losses.cql_penalty(q, p, d),
    "that is one number, the mean over the critics": lambda q, p, d: losses.cql_penalty(q, p, d).mean(),
    "that keeps one number a state, with no mean over them": lambda q, p, d: _terms(q, p) - d,
    "of the other sign": lambda q, p, d: -losses.cql_penalty(q, p, d),
    "whose gradient lacks the 1/B of the mean over the states": lambda q, p, d: _with_gradient(
        losses.cql_penalty(q, p, d), q.shape[1]
    ),
    "without a gradient": lambda q, p, d: losses.cql_penalty(q.detach(), p, d),
}
"""Wrong programs, each with the gradient of what it computes: a test that passes one of them compares with it."""
NEARLY: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "plus 100": lambda q, p, d: losses.cql_penalty(q, p, d) + 100,
    "plus 0.1": lambda q, p, d: losses.cql_penalty(q, p, d) + 0.1,
    "with twice its gradient": lambda q, p, d: _with_gradient(losses.cql_penalty(q, p, d), 2.0),
}
"""The right penalty, and what a test must not let pass."""


def passed_by(
    test: Callable[..., Any], programs: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]]
) -> list[str]:
    """Which of some programs a student's test passes, on random numbers."""
    found = []
    for name, program in programs.items():
        try:
            verdict = bool(test(program, *penalty_numbers(900)))
        except Exception:  # a student's test may stop at anything
            continue
        if verdict:
            found.append(name)
    return found


TRAINED = 2  # updates of an agent that `maker` makes


def batches(seed: int, count: int = 3) -> list[dict[str, Tensor]]:
    """Some random batches for a small agent."""
    return [small_batch(seed + number) for number in range(count)]


@dataclass
class Maker:
    """Called without arguments it makes a small agent that has trained a little: the same at every call.

    It remembers whom it made, so that a judge can count what a student's test did with them.
    """

    seed: int

    def __post_init__(self) -> None:
        self.made: list[CQLAgent] = []

    def __call__(self) -> CQLAgent:
        agent = CQLAgent(small_settings(seed=self.seed, hidden_dim=8, normalize_observations=True, actor_lr=1e-3))
        agent.set_observation_statistics([0.5, -1.0, 2.0], [2.0, 0.5, 3.0])
        for batch in batches(self.seed, TRAINED):
            agent.update(batch)
        self.made.append(agent)
        return agent


def maker(seed: int) -> Callable[[], CQLAgent]:
    """A function that makes a small agent that has trained a little: the same at every call."""
    return Maker(seed)


class Return(NamedTuple):
    """One call of a resume: who was given, with how many updates, and who came back, with how many on its counter."""

    given: CQLAgent
    before: int
    back: CQLAgent
    counted: int


@dataclass
class Resume:
    """One of `RESUME_FUNCTIONS`, which remembers its calls."""

    name: str

    def __post_init__(self) -> None:
        self.calls: list[Return] = []

    def __call__(self, agent: CQLAgent) -> CQLAgent:
        before, back = updates_of(agent), RESUME_FUNCTIONS[self.name](agent)
        self.calls.append(Return(agent, before, back, updates_of(back)))
        return back


def updates_of(agent: CQLAgent) -> int:
    """How many updates an agent has had, by the counter of its critics' optimiser."""
    return int(agent.state()["optimizer.critic.0.step"])


def unlike_histories(make: Maker, resume: Resume) -> str:
    """What a student's test did with its agents, if that is no fair comparison; "" where both went on alike."""
    if not make.made and not resume.calls:
        return "It calls neither make nor resume."
    if not resume.calls:
        return "It never calls resume: no agent of it comes back from a file."
    last = resume.calls[-1]
    if any(last.given is call.back for call in resume.calls):
        return ""  # resumed more than once: a counter may have been lost on the way
    after = updates_of(last.back) - last.counted
    alone = [agent for agent in make.made if all(agent is not call.given for call in resume.calls)]
    gone_on = [call.given for call in resume.calls if updates_of(call.given) > call.before]
    unbroken = [updates_of(agent) - TRAINED for agent in (*alone, *gone_on)]
    mine = last.before - TRAINED + after
    if not after:
        return "In it the resumed agent gets no update after its resume."
    if not unbroken:
        return "In it both agents come back from a file, and none goes on unbroken."
    if mine not in unbroken:
        return f"In it the unbroken agent gets {max(unbroken)} updates, and the resumed one {mine}."
    return ""


def complete(agent: CQLAgent) -> CQLAgent:
    """What comes back is what was there."""
    new = CQLAgent(agent.config)
    for name, value in agent.state().items():
        if name != "generator":
            new.state()[name].copy_(value)
    new.generator.set_state(agent.generator.get_state())
    if new.normaliser is not None:
        new.normaliser.forget_what_is_known()
    return new


def stale_temperature(agent: CQLAgent) -> CQLAgent:
    """The optimiser keeps the old tensor."""
    bug, agent = BUGS["stale_optimizer"].resume, copy.deepcopy(agent)
    assert bug is not None
    bug(agent)
    return agent


def lost_target(agent: CQLAgent) -> CQLAgent:
    """The target critics are a copy of the critics."""
    bug, agent = BUGS["target_lost"].resume, copy.deepcopy(agent)
    assert bug is not None
    bug(agent)
    return agent


def lost_statistics(agent: CQLAgent) -> CQLAgent:
    """Observations are no longer normalised by what they were."""
    bug, agent = BUGS["statistics_lost"].load, copy.deepcopy(agent)
    assert bug is not None
    bug(agent)
    return agent


def lost_moments(agent: CQLAgent) -> CQLAgent:
    """The optimisers begin anew."""
    agent = copy.deepcopy(agent)
    for optimizer in agent.optimizers.values():
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()
    return agent


def lost_moment(agent: CQLAgent) -> CQLAgent:
    """The temperature's optimiser alone begins anew."""
    agent = copy.deepcopy(agent)
    for state in agent.optimizers["temperature"].state.values():
        for value in state.values():
            value.zero_()
    return agent


def restarted_stream(agent: CQLAgent) -> CQLAgent:
    """The random numbers begin again with the first."""
    agent = copy.deepcopy(agent)
    agent.generator = CQLAgent(agent.config).generator
    return agent


RESUMES: dict[str, tuple[bool, str]] = {
    "complete": (True, "a resume that brings everything back"),
    "stale_temperature": (False, "a resume after which the temperature's optimiser holds a stale tensor"),
    "lost_target": (False, "a resume that loses the target network"),
    "lost_statistics": (False, "a resume that loses the observation statistics"),
    "lost_moments": (False, "a resume that loses the optimisers' moments"),
    "lost_moment": (False, "a resume that loses the moments of the temperature's optimiser"),
    "restarted_stream": (False, "a resume that restarts the random numbers"),
}
RESUME_FUNCTIONS: dict[str, Callable[[CQLAgent], CQLAgent]] = {
    function.__name__: function
    for function in (
        complete,
        stale_temperature,
        lost_target,
        lost_statistics,
        lost_moments,
        lost_moment,
        restarted_stream,
    )
}
CAUGHT: dict[str, list[str]] = {  # by each of `TESTS`, as the table bug-tests says (a test holds the two together)
    "penalty by a slow loop": ["reshape_lost", "swapped_density", "no_uniform_density"],
    "candidates fill the box": ["random_at_bound", "half_range"],
    "multiplier rises and pushes": ["reshape_lost", "swapped_density", "no_uniform_density", "undetached", "frozen"],
    "resume is exact": ["stale_optimizer", "target_lost", "statistics_lost"],
    "loaded agent acts alike": ["statistics_lost"],
    "clone finds a constant": ["another_sample"],
    "ends agree with the world": ["time_limit", "flags_doubled", "next_episode"],
}

LISTING = """\
def cql_losses(critics, actor, log_multiplier, batch, target, target_gap, n=5):
    s, a, s_next = batch["s"], batch["a"], batch["s_next"]
    B, A = a.shape
    random = 2 * torch.rand(B * n, A, dtype=a.dtype) - 1
    s_many = s.repeat_interleave(n, dim=0)
    next_many = s_next.repeat_interleave(n, dim=0)
    with torch.no_grad():
        here, log_here = actor(s_many)
        there, log_there = actor(next_many)
    log_random = math.log(0.5**A)
    target = target.detach()
    losses, penalties = [], []
    for critic in critics:
        q = critic(s, a)
        td = F.mse_loss(q, target)
        drawn = (random, log_random), (here, log_here), (there, log_there)
        values = [critic(s_many, x) - log_density for x, log_density in drawn]
        for v in values:
            v.reshape(B, n)
        every = torch.stack(values, dim=-1).flatten(1)
        K = every.shape[1]
        soft = torch.logsumexp(every, dim=1) - math.log(K)
        penalty = soft.mean() - q.mean()
        weight = log_multiplier.exp().detach()
        losses.append(td + weight * penalty)
        penalties.append(penalty)
    mean = (sum(penalties) / len(penalties)).detach()
    gap = mean - A * math.log(2.0)
    multiplier_loss = -log_multiplier * (gap - target_gap)
    return sum(losses), multiplier_loss
"""
MENDED = "        values = [v.reshape(B, n) for v in values]\n"  # what lines 18 and 19 should be


def numbered(listing: str = LISTING) -> str:
    """A listing with the number of each line."""
    return "\n".join(f"{number:2d}  {line}" for number, line in enumerate(listing.splitlines(), 1))


# ---------------------------------------------------------------- what the student sees of a log
def log_report(log: OfflineDataset) -> list[str]:
    """A report on a log as one would see it at work: counts, ranges, and how far a step moves."""
    ends = torch.zeros(len(log), dtype=torch.bool)
    ends[log.episode_starts + log.episode_lengths() - 1] = True
    moved = (log.next_observations - log.observations).norm(dim=-1)
    nearness = -log.observations[:, -2:].norm(dim=-1)  # minus the distance of tip and target
    pair = torch.stack([log.rewards.double(), nearness.double()])
    return [
        f"rows {len(log):,}, episodes {len(log.episode_starts):,}, of {int(log.episode_lengths().min())} to "
        f"{int(log.episode_lengths().max())} rows",
        f"terminations {int(log.terminations.sum()):,}, truncations {int(log.truncations.sum()):,}",
        f"rewards {float(log.rewards.min()):.2f} to {float(log.rewards.max()):.2f}, correlation with the nearness of "
        f"the target {float(torch.corrcoef(pair)[0, 1]):.2f}",
        f"largest action {float(log.actions.abs().max()):.2f}",
        f"a step moves the observation by {float(moved[~ends].mean()):.2f} inside episodes, "
        f"by {float(moved[ends].mean()):.2f} at their ends",
    ]


# ---------------------------------------------------------------- the table of runs
Rows = Sequence[Mapping[str, str]]
DEAD = 0.5  # of the healthy range's width: how far outside it a curve's end must lie to count


def healthy(rows: Rows, base: str, split: str = "tune") -> list[Mapping[str, str]]:
    """The rows of the healthy runs of a base."""
    return [row for row in rows if row["bug"] == "none" and row["base"] == base and row["split"] == split]


def band(rows: Rows, base: str, column: str) -> tuple[float, float] | None:
    """The range in which a curve of a healthy run ends: that of the runs to compare with, and half its width more."""
    ends = [float(row[column]) for row in healthy(rows, base) if row[column]]
    if not ends:
        return None
    slack = DEAD * (max(ends) - min(ends)) + 1e-9
    return min(ends) - slack, max(ends) + slack


def outside(rows: Rows, row: Mapping[str, str], column: str) -> bool:
    """Whether a run's curve ends outside the band of its healthy base."""
    limits = band(rows, row["base"], column)
    if limits is None or row[column] == "":
        return False
    return not limits[0] <= float(row[column]) <= limits[1]


def curves_of(row: Mapping[str, str]) -> History:
    """The history of a run of the table."""
    columns = json.loads(row["curves"])
    return History([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])


def rates(rows: Rows, columns: Sequence[str] = CURVES) -> dict[str, dict[str, float]]:
    """Share of a bug's reported runs in which each curve ends outside the band; "healthy" has the false alarms."""
    found: dict[str, dict[str, float]] = {}
    for name in ("none", *BUGS):
        mine = [row for row in rows if row["bug"] == name and row["split"] == "report" and row["base"] in BASES]
        there = {column: [outside(rows, row, column) for row in mine if row[column]] for column in columns}
        title = "healthy" if name == "none" else BUGS[name].title
        found[title] = {column: sum(hits) / len(hits) for column, hits in there.items() if hits}
    return found


def any_curve(rows: Rows, columns: Sequence[str] = CURVES) -> dict[str, float]:
    """Share of a bug's reported runs in which at least one curve ends outside the band."""
    found = {}
    for name in ("none", *BUGS):
        mine = [row for row in rows if row["bug"] == name and row["split"] == "report" and row["base"] in BASES]
        hits = [any(outside(rows, row, column) for column in columns) for row in mine]
        found["healthy" if name == "none" else BUGS[name].title] = sum(hits) / max(1, len(hits))
    return found


def cards_of(row: Mapping[str, str]) -> list[str]:
    """The names of the cards that apply to a run of the table."""
    return [card.name for card in symptoms(json.loads(row["numbers"]))]


def doctor_counts(rows: Rows) -> dict[str, tuple[int, int]]:
    """Of a bug's reported runs (and of the healthy ones, by base): how many lie under a card, of how many."""
    found: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["split"] == "report":
            hits, of = found.get(title_of(row), (0, 0))
            found[title_of(row)] = (hits + bool(cards_of(row)), of + 1)
    return found


def test_rates(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each test: the share of seeds at which it fails, for the right code ("healthy") and for each bug."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        title = BUGS[row["bug"]].title if row["bug"] in BUGS else "healthy"
        found.setdefault(title, {})[row["test"]] = int(row["failed"]) / int(row["seeds"])
    return found


def title_of(row: Mapping[str, str]) -> str:
    """The title of a row's bug, or which healthy run it is; SAC on a log has no bug, and is not well either."""
    if row["bug"] in BUGS:
        return BUGS[row["bug"]].title
    return f"{'no penalty' if 'SAC' in row['base'] else 'healthy'}: {row['base']}"


def own_doctor(rows: Rows, title: str) -> tuple[int, int]:
    """How many of a bug's reported runs lie under a card, of how many; "healthy" are those on the arm's narrow log."""
    counts = doctor_counts(rows)
    of = [counts[f"healthy: {base}"] for base in BASES] if title == "healthy" else [counts[title]]
    return sum(hits for hits, _ in of), sum(many for _, many in of)


def cost(rows: Rows, test: str) -> float:
    """Mean CPU seconds of a test at one seed, on one core, in the table of tests."""
    times = [float(row["cpu_seconds"]) for row in rows if row["test"] == test]
    return sum(times) / len(times)


def beside_its_base(rows: Rows, bug: str, column: str) -> tuple[float, float]:
    """Mean and half-width of a bug's runs minus the healthy runs of the same draws, nan where there is no number."""
    base = {row["draw"]: row for row in healthy(rows, BUGS[bug].base, "report")}
    mine = [row for row in rows if row["bug"] == bug and row["split"] == "report"]
    pairs = [float(row[column]) - float(base[row["draw"]][column]) for row in mine if row[column]]
    return t_interval(pairs) if len(pairs) > 1 else (math.nan, math.nan)


# ---------------------------------------------------------------- for the worked cells
RUN_X, LOG_D = "stale_optimizer", "next_episode"


def penalty_numbers(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random numbers for a penalty in two dimensions: q [2, 3, 9], log-densities [3, 9], logged values [2, 3]."""
    generator = torch.Generator().manual_seed(seed)
    q, density, data = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 3, 9), (3, 9), (2, 3))
    )
    density[:, :3] = -2 * losses.LOG_2
    return q, density, data


def flat_q(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same with one value for all actions, and uniform candidates alone: the penalty is A log 2."""
    q, density, data = penalty_numbers(seed)
    return torch.zeros_like(q) + data[..., None], torch.full_like(density, -2 * losses.LOG_2), data


def listing_penalties(seed: int) -> tuple[float, float, float]:
    """The CQL gap by the listing, by the package, and by the listing mended, on the same random networks and draws."""
    n, many = 5, 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = [torch.randn(5, dtype=torch.float64) for _ in range(2)]
        batch = {"s": torch.randn(many, 3), "a": torch.rand(many, 2) * 2 - 1, "s_next": torch.randn(many, 3)}
    batch = {name: value.double() for name, value in batch.items()}
    critics = [lambda s, a, w=w: 3 * (torch.cat([s, a], -1) * w).sum(-1).sin() for w in weights]
    log_std = torch.full((2,), -1.0, dtype=torch.float64)

    def actor(s: Tensor) -> tuple[Tensor, Tensor]:
        mean = s[:, :2]
        pre_tanh = mean + log_std.exp() * torch.randn(mean.shape, dtype=torch.float64)
        return pre_tanh.tanh(), losses.tanh_gaussian_log_prob(pre_tanh, mean, log_std)

    found = []
    lines = LISTING.splitlines(keepends=True)
    mended = "".join([*lines[:17], MENDED, *lines[19:]])
    for text in (LISTING, mended):
        scope: dict[str, Any] = {"torch": torch, "math": math, "F": torch.nn.functional}
        exec(text, scope)  # the listing that the chapter prints
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            # With a log-multiplier of -1 and a target of 0 the multiplier's loss is the gap.
            minus_one = torch.tensor(-1.0, dtype=torch.float64)
            _, gap = scope["cql_losses"](critics, actor, minus_one, batch, torch.zeros(many).double(), 0.0, n)
        found.append(float(gap))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        random = 2 * torch.rand(many * n, 2, dtype=torch.float64) - 1
        own, following = (actor(batch[name].repeat_interleave(n, 0)) for name in ("s", "s_next"))
    uniform = torch.full((many, n), losses.uniform_log_density(2), dtype=torch.float64)
    actions = torch.cat([random.view(many, n, 2), own[0].view(many, n, 2), following[0].view(many, n, 2)], 1)
    density = torch.cat([uniform, own[1].view(many, n), following[1].view(many, n)], 1)
    states = batch["s"][:, None].expand(-1, 3 * n, -1)
    q = torch.stack([critic(states, actions) for critic in critics])
    q_data = torch.stack([critic(batch["s"], batch["a"]) for critic in critics])
    right = losses.normalised_gap(losses.cql_penalty(q, density, q_data).mean(), 2)
    return found[0], float(right), found[1]
