"""Chapter 13: from a mended log to three policies, their estimates, and a page of numbers that is judged.

`judge_page` holds a student's page against what only the course knows: what was planted, the clean rows, and what the
policy that was handed in is really worth. It does so for the log of any seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from ...datasets import OfflineDataset, mend
from ...evaluation.true_values import monte_carlo_value
from .ch13_log import COLUMNS, HIGH, LOW, Dryer, Log, make_log, read

Policy = Callable[..., Tensor]
SEED = 2  # of the chapter's log
STARTS = 800  # fresh start states of the plant, from which a policy's truth is simulated
WIDTH, REGRET = 0.5, 0.2  # bars of a page, as shares of what there is to gain over the log
ENTRIES = ("defects", "rows", "low", "high", "policy")
DISCOUNT = 0.9
SMALL: dict[str, Any] = {
    "state_dim": 10,
    "action_dim": 2,
    "hidden_dim": 32,
    "discount": DISCOUNT,
    "action_low": LOW,
    "action_high": HIGH,
    "normalize_observations": True,
    "actor_lr": 1e-3,
    "device": "cpu",
}
"""Settings of the three agents; those with critics add step sizes, `tau` and `initial_value`."""


# ---------------------------------------------------------------- the truth
@torch.no_grad()
def true_value(policy: Policy, seed: int = 7, starts: int = STARTS) -> tuple[float, float]:
    """The discounted value of a policy at the plant's starts, by simulation, and the half width of its interval.

    ``policy`` maps observations ``[n, 10]`` to actions ``[n, 2]`` in per cent, alone or with a generator.
    """
    states = Dryer().reset(starts, torch.Generator().manual_seed(seed))
    values, _ = monte_carlo_value(Dryer(), _with_generator(policy), states, rollouts=2, tolerance=0.01, seed=seed)
    return float(values.mean()), 1.96 * float(values.std()) / math.sqrt(starts)


def _with_generator(policy: Policy) -> Policy:
    """A policy of observations alone, such as an exported one, as one that may be handed a generator."""
    import inspect

    try:
        takes = len(inspect.signature(policy.forward if isinstance(policy, torch.nn.Module) else policy).parameters)
    except (TypeError, ValueError):
        takes = 1
    if takes > 1 and not isinstance(policy, torch.nn.Module):
        return policy
    return lambda observations, generator=None: policy(observations.float())


def shift_starts(log: Log) -> Tensor:
    """The first state of each shift that the file holds once and whole: ``[n, 10]``.

    A remedy that drops rows begins new episodes within shifts, so that `episode_starts` of a mended log are more.
    """
    first = np.flatnonzero(np.r_[True, log.table["shift"][1:] != log.table["shift"][:-1]])
    rows = torch.from_numpy(log.table["observations"][first][:, : len(COLUMNS)])
    return torch.unique(rows[rows.isfinite().all(1)], dim=0)


def log_value(log: Log, data: OfflineDataset) -> tuple[float, float]:
    """Mean discounted return of the log from the first rows of its shifts, cut where a recording was, and half width.

    ``data`` is the mended log.
    """
    starts = {row.numpy().tobytes() for row in shift_starts(log)}
    returns = data.returns_to_go(DISCOUNT)[data.episode_starts].double()
    first = torch.tensor([row.tobytes() in starts for row in data.observations[data.episode_starts].numpy()])
    mine = returns[first]
    return float(mine.mean()), 1.96 * float(mine.std()) / math.sqrt(len(mine))


# ---------------------------------------------------------------- the control engineer's answer
class Engineer:
    """A linear model of the plant fitted to a log by least squares, and the controller that is best for the model.

    In scaled observations x and actions v in [-1, 1], ``x' = A (1, x) + B v`` and ``r = c + a quadratic``, fitted to
    rows in which the profit is above -1; then a discounted Riccati equation. No critic, no network, milliseconds.
    """

    def __init__(self, data: OfflineDataset, rows: Tensor | None = None) -> None:
        rows = torch.arange(len(data)) if rows is None else rows
        obs, nxt = (values[rows].double() for values in (data.observations, data.next_observations))
        self.mean, self.std = data.observations.double().mean(0), data.observations.double().std(0)
        x, y = (self._scaled(values) for values in (obs, nxt))
        v = (data.actions[rows].double() - (LOW + HIGH) / 2) / ((HIGH - LOW) / 2)
        r, ended = data.rewards[rows].double(), data.terminations[rows]
        inputs = torch.cat([torch.ones(len(x), 1).double(), x, v], 1)
        going = ~ended
        self.model = torch.linalg.lstsq(inputs[going], y[going]).solution.T  # [10, 13]
        self.noise = y[going] - inputs[going] @ self.model.T
        mild = r > -1
        features = torch.cat([inputs[mild], inputs[mild][:, 1:].square()], 1)
        self.weights = torch.linalg.lstsq(features, r[mild]).solution
        self.gains = self._solve()

    def _scaled(self, observations: Tensor) -> Tensor:
        return (observations.double() - self.mean) / self.std

    def _solve(self) -> Tensor:
        """Gains ``[2, 11]`` on (1, x): fixed point of the Riccati equation of costs ``-r``."""
        n, a = 1 + len(COLUMNS), torch.zeros(11, 11).double()
        a[0, 0], a[1:] = 1.0, self.model[:, :n]
        b = torch.zeros(11, 2).double()
        b[1:] = self.model[:, n:]
        linear, square = self.weights[1:13], self.weights[13:]
        q = torch.diag(torch.cat([torch.zeros(1).double(), (-square[:10]).clamp(min=0)]))
        q[0, 1:] = q[1:, 0] = -linear[:10] / 2
        u = torch.diag((-square[10:]).clamp(min=0.01))
        p, gains = q.clone(), torch.zeros(2, 11).double()
        cross = torch.zeros(2, 11).double()
        cross[:, 0] = -linear[10:] / 2
        for _ in range(300):
            gains = -torch.linalg.solve(u + DISCOUNT * b.T @ p @ b, cross + DISCOUNT * b.T @ p @ a)
            closed = a + b @ gains
            p = q + gains.T @ u @ gains + cross.T @ gains + gains.T @ cross + DISCOUNT * closed.T @ p @ closed
        return gains

    def policy(self, observations: Tensor, generator: Generator | None = None) -> Tensor:
        """Actions in per cent: ``[n, 10] -> [n, 2]``."""
        x = self._scaled(observations)
        v = torch.cat([torch.ones(len(x), 1).double(), x], 1) @ self.gains.T
        return ((LOW + HIGH) / 2 + (HIGH - LOW) / 2 * v.clamp(-1, 1)).to(observations.dtype)

    def value(self, policy: Policy, starts: Tensor, seed: int = 0, steps: int = 60) -> float:
        """What the model says a policy is worth from ``starts``, with the log's own residuals as noise."""
        generator = torch.Generator().manual_seed(seed)
        x = self._scaled(starts).repeat(4, 1)
        total = torch.zeros(len(x)).double()
        for step in range(steps):
            actions = policy((x * self.std + self.mean).to(starts.dtype), generator).double()
            v = ((actions - (LOW + HIGH) / 2) / ((HIGH - LOW) / 2)).clamp(-1, 1)
            inputs = torch.cat([torch.ones(len(x), 1).double(), x, v], 1)
            reward = torch.cat([inputs, inputs[:, 1:].square()], 1) @ self.weights
            total += DISCOUNT**step * reward.clamp(-2, 1)
            x = inputs @ self.model.T + self.noise[torch.randint(len(self.noise), (len(x),), generator=generator)]
        return float(total.mean())


def engineers_page(log: Log, refits: int = 8) -> dict[str, Any]:
    """A whole page from a log without a network: the mended log, a fitted model, its best controller.

    The interval is two deviations over refits to resampled episodes and over starts, and reaches one unit further down:
    the model has no trips, and no floor of the profit, so it flatters.
    """
    from ...datasets.defects import find

    found = sorted({defect.mend for defect in find(log.stored)} - shadows(log))
    data = read(log, found)
    starts, engineer = shift_starts(log), Engineer(data)
    generator = torch.Generator().manual_seed(log.seed)
    pieces = torch.arange(len(data)).split(data.episode_lengths().tolist())
    values = []
    for i in range(refits):
        drawn = torch.randint(len(pieces), (len(pieces),), generator=generator)
        some = starts[torch.randint(len(starts), (len(starts),), generator=generator)]
        rows = torch.cat([pieces[int(piece)] for piece in drawn])
        values.append(Engineer(data, rows).value(engineer.policy, some, seed=i))
    mean, spread = float(np.mean(values)), 2 * float(np.std(values, ddof=1)) + 0.1
    page = {"defects": found, "rows": len(data), "low": mean - spread - 1, "high": mean + spread}
    return {**page, "policy": engineer.policy}


@cache
def chapter_log() -> Log:
    """The log of the chapter; do not change it."""
    return make_log(SEED)


@cache
def _chapter_page() -> dict[str, Any]:
    return engineers_page(chapter_log())


def chapter_page() -> dict[str, Any]:
    """The engineer's page on the chapter's log."""
    return dict(_chapter_page())


@cache
def reach(seed: int) -> tuple[float, float]:
    """True values of what made the log of this seed, on average, and of the best that this course knows.

    The first is that of the three operators in turn, the second that of the engineer's controller from the clean log.
    """
    from .ch13_log import OPERATORS, operator

    log = sum(true_value(operator(gains))[0] for gains in OPERATORS) / len(OPERATORS)
    return log, true_value(Engineer(make_log(seed, ()).clean).policy)[0]


def log_ratios(log: Log, data: OfflineDataset, clone: Policy, other: Policy, way: float) -> tuple[Tensor, Tensor]:
    """Log-ratios ``[E, T]`` of the log's whole shifts, and their discounted returns ``[E]``.

    Behaviour: normal around the clone's action, with the deviation of the log's actions from it. Policy: the same, its
    mean moved a share ``way`` of the path to the other policy's action.
    """
    whole = data.episode_lengths() == log.world.horizon
    rows = (data.episode_starts[whole][:, None] + torch.arange(log.world.horizon)).flatten()
    observations, actions = data.observations[rows], data.actions[rows].double()
    near, far = (policy(observations, None).double() for policy in (clone, other))
    spread = (actions - near).std(0)
    moved = near + way * (far - near)
    ratio = (((actions - near) / spread).square() - ((actions - moved) / spread).square()).sum(1) / 2
    returns = data.returns_to_go(DISCOUNT, truncation_value=0.0)[data.episode_starts[whole]].double()
    return ratio.view(-1, log.world.horizon), returns


def changed_log(seed: int = SEED, column: str = "outside_C") -> OfflineDataset:
    """The clean log of a seed in which the second operator's sensor of a temperature wrote Fahrenheit."""
    clean = make_log(seed, ()).clean
    at, starts = [name for name, _, _ in COLUMNS].index(column), clean.episode_starts
    third = len(starts) // 3
    rows = slice(int(starts[third]), int(starts[2 * third]))
    columns = {name: getattr(clean, name).clone() for name in ("observations", "next_observations")}
    for values in columns.values():
        values[rows, at] = 1.8 * values[rows, at] + 32
    kept = {name: getattr(clean, name) for name in ("actions", "rewards", "terminations", "truncations")}
    return OfflineDataset.from_arrays(**columns, **kept, action_low=LOW, action_high=HIGH)


def means_by_operator(data: OfflineDataset) -> dict[str, list[float]]:
    """The mean of each column in the first, second and last third of the shifts: those of the three operators."""
    starts = data.episode_starts
    cuts = [0, int(starts[len(starts) // 3]), int(starts[2 * (len(starts) // 3)]), len(data)]
    parts = [data.observations[a:b].double().mean(0) for a, b in pairwise(cuts)]
    return {name: [float(part[i]) for part in parts] for i, (name, _, _) in enumerate(COLUMNS)}


def left_after(log: Log) -> dict[str, list[str]]:
    """For each finding's remedy, applied alone: the remedies of the findings that are then left."""
    from ...datasets import mend
    from ...datasets.defects import find

    names = [defect.mend for defect in find(log.stored)]
    return {name: [one.mend for one in find(mend.apply(log.stored, [name])[0])] for name in names}


def judge_page(page: Any, log: Log) -> str | None:
    """None for a page that holds; else one sentence with what was measured and the bar that it missed.

    A page is ``{"defects": remedies' names, "rows": after mending, "low", "high": of the estimate, "policy":
    observations -> actions}``. Bars: the planted defects and no other; the rows that can be kept, each once; an
    interval that covers the policy's true value and is no wider than `WIDTH` of what there is to gain; a policy
    whose true value is at most `REGRET` of that below the best known.
    """
    if not isinstance(page, Mapping) or set(page) != set(ENTRIES):
        return f"a dict with the entries {', '.join(ENTRIES)} is wanted."
    given = page["defects"]
    if isinstance(given, str) and given not in mend.REMEDIES:
        return "defects: one text stands there, and a list of remedies' names is wanted."
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, (list, tuple, set, frozenset)) or not all(isinstance(name, str) for name in given):
        return "defects: a list of remedies' names is wanted, as the report above spells them."
    named = set(given)
    if unknown := sorted(named - set(mend.REMEDIES)):
        return f"defects: {unknown[0]!r} is no remedy's name; the names stand before the colons of the report above."
    missing, extra = len(set(log.planted) - named), len(named - set(log.planted))
    if missing or extra:
        return (
            f"defects: {missing} of the {len(log.planted)} that were planted are not on the page, and {extra} of the "
            f"{len(named)} named are no cause: mend one at a time, and look which findings are left."
        )
    for name in ("rows", "low", "high"):
        try:
            float(page[name])
        except (TypeError, ValueError):
            return f"{name}: one number is wanted, and {str(page[name])[:40]!r} stands there."
    rows, right = int(page["rows"]), log.recoverable
    if not right <= rows <= right + log.ambiguous:
        more = "fewer than can be kept" if rows < right else "more than are right"
        return f"rows: {rows:,} after mending, and {right:,} can be kept whole: {more}."
    low, high = float(page["low"]), float(page["high"])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return f"the interval, {low:g} to {high:g}, is none: low comes before high, and both are finite."
    if fault := _policy_fault(page["policy"]):
        return f"policy: {fault}"
    least, most = -5 / (1 - DISCOUNT), 1 / (1 - DISCOUNT)  # a trip costs five, and a row pays at most one
    if low >= most or high <= least:
        return (
            f"the interval, {low:.2f} to {high:.2f}, holds nothing that a policy can be worth: with a reward of at "
            f"most 1 and a discount of {DISCOUNT:g} that is at most {most:.0f}. Is it a sum over a shift, undiscounted?"
        )
    earned, best = reach(log.seed)
    value, half = true_value(page["policy"])
    if value < earned:
        return (
            f"policy: it is worth {value:.2f}, less than the {earned:.2f} that the operators earn on average. "
            f"{_why_poor(page['policy'])}"
        )
    if high - low > WIDTH * (best - earned):
        return (
            f"the interval, {low:.2f} to {high:.2f}, is {high - low:.2f} wide, and {WIDTH * (best - earned):.2f} is "
            "the bar, half of what there is to gain: it does not help to decide."
        )
    if not low - half <= value <= high + half:
        side = "above" if value > high else "below"
        told = f"the interval, {low:.2f} to {high:.2f}, misses the true value of your policy, which lies {side} it."
        return f"{told} Your policy draws its actions: is that meant?" if _draws(page["policy"]) else told
    if best - value > REGRET * (best - earned):
        return (
            f"the choice: your policy is worth {value:.2f}, which is {best - value:.2f} below the best known here; "
            f"{REGRET * (best - earned):.2f} is the bar. The estimates you had told it from a better one."
        )
    return None


def _draws(policy: Any) -> bool:
    """Whether a policy takes other actions when it is asked again."""
    states = Dryer().observe(Dryer().reset(3, torch.Generator().manual_seed(0)))
    one, other = (_with_generator(policy)(states, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    return not torch.equal(one, other)


def _why_poor(policy: Any) -> str:
    """What to look at in a policy that is worth less than what made the log, by its actions at some states."""
    actions = _with_generator(policy)(Dryer().observe(Dryer().reset(50, torch.Generator().manual_seed(0))), None)
    if float((actions.amax(0) - actions.amin(0)).max()) < 1e-3:
        return "Its actions are the same whatever it sees."
    if float(actions.abs().max()) <= 1:
        return "Its actions lie within -1 to 1: per cent are wanted, from 0 to 100, the heater first."
    return "Are its actions in per cent, the heater first? Does it get the observations as they were logged?"


def _policy_fault(policy: Any) -> str | None:
    """Why this is no policy: observations ``[n, 10]`` -> actions ``[n, 2]``; None if it is one."""
    wanted = "a function of observations is wanted, such as agent.policy(deterministic=True)."
    if not callable(policy) or hasattr(policy, "policy"):
        return f"a {type(policy).__name__} stands there; {wanted}"
    generator = torch.Generator().manual_seed(0)
    states = Dryer().observe(Dryer().reset(3, generator))
    try:
        actions = _with_generator(policy)(states, generator)
    except Exception as error:
        return f"of three observations it makes {type(error).__name__}: {error}; {wanted}"
    if not isinstance(actions, Tensor) or actions.shape != (3, 2):
        found = f"shape {list(actions.shape)}" if isinstance(actions, Tensor) else f"a {type(actions).__name__}"
        return f"of three observations it makes {found}, and [3, 2] is wanted; {wanted}"
    return None if bool(actions.isfinite().all()) else "its actions are not finite."


def shadows(log: Log) -> set[str]:
    """Remedies whose findings vanish when another finding is mended: symptoms, and no causes of their own."""
    left = left_after(log)
    return {name for name in left if any(name not in rest for other, rest in left.items() if other != name)}
