"""What a trained run's own numbers give away: a deck of cards, and which of them a run lies under.

A card is a symptom, its suspects, and the cheapest experiment that decides between them. `look` measures what a run,
its log and its checkpoint show without a simulator; no card is a proof, and many bugs show none: see chapter 12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..agents import BCAgent, CQLAgent
from ..agents.cql import MULTIPLIER_RANGE
from ..agents.normaliser import column_statistics
from ..datasets.offline_dataset import OfflineDataset
from ..errors import require_data
from ..losses import LOG_2
from ..seeding import seeded
from ..training.offline import fit

STATES, ROWS_SEEN = 500, 0.2  # logged states that are looked at; share of a history's rows that "the end" is
CLONE_UPDATES, CLONE_ROWS = 300, 128  # of the clone that stands for the behaviour policy, for the floor of the gap
AT_BOUND = 0.99  # of an action in [-1, 1]
ROWS, LOOKING = 4, 20  # what a random stream is for; rows of a history, at least, to speak of its course
STRUCTURAL = (
    "next state taken from the next episode",
    "flags within labelled episodes",
    "termination flag doubled",
    "termination flags in pairs",
    "termination set at the time limit",
    "both flags set",
    "jumps without a flag",
)  # defects of `dataset.defects()` that lie at the ends of episodes

Numbers = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A symptom, what may be behind it, and the cheapest experiment that decides.

    ``shows`` says whether a run's numbers have the symptom; it is asked only if the numbers it ``needs`` are there.
    ``found`` is a sentence with their names in braces.
    """

    name: str
    symptom: str
    suspects: tuple[str, ...]
    experiment: str
    needs: tuple[str, ...]
    shows: Callable[[Numbers], bool]
    found: str

    def told(self, numbers: Numbers) -> str:
        """The card with a run's own numbers."""
        return self.found.format(**numbers)


CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        Card(
            name="impossible values",
            symptom="Q of the policy's own actions lies where no rewards of the log could bring it",
            suspects=(
                "no push-down where the policy is: alpha too small, random candidates alone, a wrong density",
                "a multiplier that works against the penalty",
                "rewards in another unit than the values",
            ),
            experiment="hold the penalty against a slow loop on random numbers; then train again with ten times alpha",
            needs=("impossible",),
            shows=lambda x: x["impossible"] > 0.05,
            found="{impossible:.0%} of Q at the policy's actions are above {highest:.3g} or below {lowest:.3g}",
        ),
        Card(
            name="gap below its floor",
            symptom="the logged CQL gap is lower than the log's own behaviour allows",
            suspects=(
                "candidates that never come near the policy's actions, or all stand in one place",
                "a density too large under the random candidates",
                "fewer values in the log-sum-exp than it should have",
            ),
            experiment="draw the candidates of one update and plot them; estimate the integral of a known Q with them",
            needs=("cql_gap", "gap_floor"),
            # The estimate of the integral is low by up to log 3, and a small clone is less sharp than the behaviour.
            shows=lambda x: x["cql_gap"] < x["gap_floor"] - math.log(3.0) - 0.5 * abs(x["gap_floor"]),
            found="the CQL gap ends at {cql_gap:.3g}; a clone of the log puts the floor near {gap_floor:.3g}",
        ),
        Card(
            name="gap above a flat Q",
            symptom="the CQL gap ends above 0, that of a Q that is flat in the action, although alpha is not 0",
            suspects=(
                "the penalty has the wrong sign, or next to no weight",
                "a density left out or too small under the random candidates",
                "the policy's candidates are valued far above the log's",
            ),
            experiment="put a flat Q through the penalty: the CQL gap must be 0 at any action dimension",
            needs=("cql_gap", "cql_alpha"),
            shows=lambda x: x["cql_alpha"] > 0 and x["cql_gap"] > 0.5,
            found="the CQL gap ends at {cql_gap:.3g} with the penalty weighed by {cql_alpha:.3g}",
        ),
        Card(
            name="multiplier at its bound",
            symptom="the Lagrange multiplier has run to an end of its range",
            suspects=(
                "a target below the floor (upper end) or above the natural gap (lower end)",
                "a raw target of other code",
                "a penalty whose number is wrong",
            ),
            experiment="train at a fixed alpha of 0 and of ten times yours: is the target between the two CQL gaps?",
            needs=("multiplier",),
            shows=lambda x: at_bound(x),
            found="the multiplier ends at {multiplier:.4g}",
        ),
        Card(
            name="multiplier stands still",
            symptom="the multiplier does not move, although the CQL gap is not at its target",
            suspects=(
                "the optimiser holds another tensor than the loss (moved or loaded after it was built)",
                "its loss is detached from it, or never stepped",
            ),
            experiment="one update: is the multiplier's tensor among its optimiser's, and did it change?",
            needs=("multiplier_moves", "off_target"),
            shows=lambda x: x["multiplier_moves"] < 1e-6 and abs(x["off_target"]) > 0.1 and not at_bound(x),
            found="the multiplier's logarithm moved by {multiplier_moves:.1g} while the CQL gap is {off_target:+.3g} "
            "away from its target",
        ),
        Card(
            name="multiplier and gap rise together",
            symptom="the multiplier grows and the CQL gap grows with it",
            suspects=(
                "the multiplier's loss reaches the critics, with the opposite sign",
                "the penalty has the wrong sign",
                "a policy that moves faster than the critics",
            ),
            experiment="the gradient of one update in Q at a random action, at multipliers 1 and 10: it must grow",
            needs=("multiplier_moves", "gap_moves"),
            shows=lambda x: x["multiplier_rises"] > 0.3 and x["gap_moves"] > 0.5,
            found="in the second half the multiplier's logarithm rose by {multiplier_rises:.2g}, the CQL gap by "
            "{gap_moves:.2g}",
        ),
        Card(
            name="temperature stands still",
            symptom="SAC's temperature does not move in the second half, although it is learned",
            suspects=("the optimiser holds another tensor (a resume put a new one in its place)", "its step size is 0"),
            experiment="look for a resume at the update where it stops; after one update more, did the tensor change?",
            needs=("temperature_moves",),
            shows=lambda x: x["temperature_moves"] < 1e-6,
            found="the temperature moved by {temperature_moves:.1g} in the second half",
        ),
        Card(
            name="policy at the bounds",
            symptom="the greedy policy takes the largest or smallest action far oftener than the log",
            suspects=(
                "observations in another unit than in training",
                "values that climb towards a bound: nothing pushes them down there",
                "action bounds of another unit",
            ),
            experiment="act in ten logged states: with the agent in memory, and with the one from the file",
            needs=("policy_at_bound", "log_at_bound"),
            shows=lambda x: x["policy_at_bound"] > 0.25 + 2 * x["log_at_bound"],
            found="{policy_at_bound:.0%} of the greedy policy's numbers are at a bound, {log_at_bound:.0%} of the "
            "log's",
        ),
        Card(
            name="log at the bounds",
            symptom="a large share of the logged actions stands exactly at a bound",
            suspects=("actions were clipped when they were recorded", "bounds of another unit than the actions'"),
            experiment="a histogram of each action's column, beside the actuator's range",
            needs=("log_at_bound",),
            shows=lambda x: x["log_at_bound"] > 0.3,
            found="{log_at_bound:.0%} of the logged actions' numbers are at a bound",
        ),
        Card(
            name="Q above the returns",
            symptom="Q of the logged actions lies far above what the log went on to earn",
            suspects=(
                "over-estimation: alpha too small, or the penalty does not reach the policy's actions",
                "rewards or discount of another unit",
                "terminations that are not there",
                "none: the log is poor, as of random actions, and the policy better than it",
            ),
            experiment="fitted Q-evaluation of the policy on the same log (evaluate --rules fqe)",
            needs=("q_minus_return", "return_spread"),
            shows=lambda x: x["q_minus_return"] > 2 * x["return_spread"],
            found="Q minus the log's discounted returns: {q_minus_return:+.3g}; their spread is {return_spread:.3g}",
        ),
        Card(
            name="Q below the returns",
            symptom="Q of the logged actions lies far below what the log went on to earn",
            suspects=(
                "too much penalty: alpha or multiplier too large for the unit of the rewards",
                "some candidates are pushed without an end and drag their neighbours along",
                "critics that have not been trained to the end",
            ),
            experiment="a third of alpha: does Q come back? twice the updates: does it fall on, or rise? If it rises, "
            "it was not trained to the end: start it with --initial-value near the log's returns",
            needs=("q_minus_return", "return_spread"),
            shows=lambda x: x["q_minus_return"] < -2 * x["return_spread"],
            found="Q minus the log's discounted returns: {q_minus_return:+.3g}; their spread is {return_spread:.3g}",
        ),
        Card(
            name="Bellman error grows",
            symptom="the squared Bellman error is many times what it was halfway",
            suspects=("values that run away", "a step size too large for the unit of the rewards"),
            experiment="plot Q beside it; a tenth of the critics' step size on the same log",
            needs=("td_growth",),
            shows=lambda x: x["td_growth"] > 3.0,
            found="the Bellman error is {td_growth:.2g} times what it was halfway",
        ),
        Card(
            name="log with broken ends",
            symptom="flags or next states at the ends of episodes contradict each other",
            suspects=("done = terminated or truncated", "next state read from the next row", "a flag written twice"),
            experiment="cql-tutorial describe, and the first three ends printed row by row",
            needs=("broken_ends",),
            shows=lambda x: x["broken_ends"] > 0,
            found="{broken_ends:.0f} rows at the ends of episodes: cql-tutorial describe names them",
        ),
        Card(
            name="statistics are not the log's",
            symptom="the agent normalises observations by other numbers than its log has",
            suspects=("statistics were not saved, or not loaded", "trained on another log than this one"),
            experiment="print mean and standard deviation of one column, of the log and of the agent",
            needs=("statistics_off",),
            shows=lambda x: x["statistics_off"] > 0.5,
            found="a column's mean or standard deviation is off by {statistics_off:.2g} of its own spread",
        ),
        Card(
            name="clone unlike its log",
            symptom="a cloned policy finds the logged actions less likely than chance",
            suspects=("the loss does not read the logged actions", "actions in another unit"),
            experiment="clone a log whose action is one constant: does the policy find it?",
            needs=("clone_log_prob",),
            shows=lambda x: x["clone_log_prob"] < 0.0,
            found="log-density of the logged actions, above a uniform policy's: {clone_log_prob:.3g} nats",
        ),
    )
}


def at_bound(numbers: Numbers) -> bool:
    """Whether the multiplier ends at one end of its range."""
    low, high = MULTIPLIER_RANGE
    return not 1.001 * low < numbers["multiplier"] < 0.999 * high


def symptoms(numbers: Numbers) -> list[Card]:
    """The cards whose symptom a run's numbers show, in the order of the deck."""
    return [card for card in CARDS.values() if looked_at(card, numbers) and card.shows(numbers)]


def looked_at(card: Card, numbers: Numbers) -> bool:
    """Whether the numbers that a card needs are known of this run."""
    return all(name in numbers for name in card.needs)


def look(agent: Any, dataset: OfflineDataset, rows: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, float]:
    """Measure what the cards ask for, of a trained agent, the log it learned from and the rows of its history.

    Nothing is trained but a small clone of the log, for the floor of the CQL gap. A number that a run cannot give (no
    critics, no multiplier) is left out. Raises `DataError` for a history without rows.
    """
    train_rows = [row for row in rows if any(name in row for name in ("td_loss", "policy_loss", "cql_loss"))]
    require_data(len(train_rows) > 0, "history", "no row of training metrics", "at least one", "train first.")
    found = _course(train_rows, agent)
    if not agent.discrete:
        found |= _actions(agent, dataset, seed)
        found |= _floor(agent, dataset, seed)
    if hasattr(agent, "q_values"):
        found |= _values(agent, dataset, seed)
    if agent.normaliser is not None:
        mean, std = column_statistics(dataset.observations)
        own_mean, own_std = (x.cpu().double() for x in (agent.normaliser.mean, agent.normaliser.std))
        off = torch.maximum((own_mean - mean).abs() / std, (own_std / std).log().abs())
        found["statistics_off"] = float(off.max())
    ends = [defect.count for defect in dataset.defects() if defect.name in STRUCTURAL]
    found["broken_ends"] = float(sum(ends))
    return found


def _course(rows: Sequence[Mapping[str, float]], agent: Any) -> dict[str, float]:
    """What the columns of the history say: their means at the end, and what moved in its second half."""
    end = rows[-max(1, round(ROWS_SEEN * len(rows))) :]
    half = rows[len(rows) // 2 :]
    found = {
        name: sum(row[name] for row in end) / len(end)
        for name in ("cql_gap", "cql_alpha", "td_loss", "q_value", "entropy")
        if all(name in row for row in end)
    }
    config = agent.config
    lagrange = getattr(config, "cql_lagrange", False) and "cql_alpha" in found
    if lagrange:
        found["multiplier"] = rows[-1]["cql_alpha"]
        found["off_target"] = found["cql_gap"] - config.cql_target_action_gap
    if len(rows) < ROWS:
        return found
    middle = rows[len(rows) // 2]
    if lagrange:
        logs = [math.log(max(row["cql_alpha"], 1e-12)) for row in half]
        found["multiplier_moves"] = max(logs) - min(logs)
        found["multiplier_rises"] = logs[-1] - logs[0]
        found["gap_moves"] = found["cql_gap"] - middle["cql_gap"]
    if getattr(config, "auto_alpha", False) and all("temperature" in row for row in half):
        values = [row["temperature"] for row in half]
        found["temperature_moves"] = max(values) - min(values)
    if "td_loss" in found and "td_loss" in middle:
        found["td_growth"] = found["td_loss"] / max(middle["td_loss"], 1e-12)
    return found


def _rows(dataset: OfflineDataset, seed: int) -> torch.Tensor:
    generator = seeded(seed, LOOKING, "cpu")
    return torch.randperm(len(dataset), generator=generator)[:STATES].to(dataset.observations.device)


def _actions(agent: Any, dataset: OfflineDataset, seed: int) -> dict[str, float]:
    """How often policy and log are at a bound, and how likely a clone finds its log."""
    rows = _rows(dataset, seed)
    states, logged = dataset.observations[rows], agent.as_actions(dataset.actions[rows])
    greedy = agent.as_actions(agent.policy(deterministic=True)(agent.check_observations(states)))
    found = {
        "policy_at_bound": float((greedy.abs() > AT_BOUND).double().mean()),
        "log_at_bound": float((logged.abs() > AT_BOUND).double().mean()),
    }
    if isinstance(agent, BCAgent):
        likely = agent.log_prob(states, dataset.actions[rows]).mean()
        found["clone_log_prob"] = float(likely) + agent.config.action_dim * LOG_2
    return found


def _floor(agent: Any, dataset: OfflineDataset, seed: int) -> dict[str, float]:
    """Minus KL(behaviour || uniform) by a small clone: an upper bound of the floor, as the clone is less sharp."""
    if not isinstance(agent, CQLAgent):
        return {}
    config = agent.config
    bounds = {"action_low": config.action_low, "action_high": config.action_high}
    settings = {"state_dim": config.state_dim, "action_dim": config.action_dim, "hidden_dim": 64, "seed": seed}
    clone = BCAgent({**settings, **bounds, "device": str(agent.device), "normalize_observations": True})
    fit(clone, dataset, CLONE_UPDATES, batch_size=CLONE_ROWS, seed=seed, log_every=CLONE_UPDATES, progress=False)
    rows = _rows(dataset, seed)
    likely = clone.log_prob(dataset.observations[rows], dataset.actions[rows])
    return {"gap_floor": -float(likely.mean()) - config.action_dim * LOG_2}


def _values(agent: Any, dataset: OfflineDataset, seed: int) -> dict[str, float]:
    """Q at the policy's actions against what rewards can pay, and Q at logged actions against the log's returns."""
    rows, gamma = _rows(dataset, seed), agent.config.discount
    states = dataset.observations[rows]
    low, high = (float(x) for x in (dataset.rewards.min(), dataset.rewards.max()))
    ends = bool(dataset.terminations.any())
    horizon = 1.0 / (1.0 - gamma) if gamma < 1 else math.inf

    def reach(reward: float) -> float:  # of a best or worst reward got for ever, or once where the task may end
        return reward * horizon

    highest = max(high, reach(high)) if ends else reach(high)
    lowest = min(low, reach(low)) if ends else reach(low)
    found: dict[str, float] = {}
    if math.isfinite(highest) and math.isfinite(lowest):
        drawn = agent.policy()(agent.check_observations(states), seeded(seed, LOOKING, agent.device))
        q = agent.q_values(states, drawn).amin(0)
        slack = 0.01 * (highest - lowest)  # what a network rounds
        found |= {"highest": highest, "lowest": lowest}
        found["impossible"] = float(((q > highest + slack) | (q < lowest - slack)).double().mean())
    if gamma < 1:
        tail = float(dataset.rewards.double().mean()) * horizon
        returns = dataset.returns_to_go(gamma, truncation_value=tail)[rows].double().cpu()
        q = agent.q_values(states, dataset.actions[rows]).mean(0).double().cpu()
        found |= {"q_minus_return": float((q - returns).mean()), "return_spread": float(returns.std())}
    return found


def deck() -> list[str]:
    """All cards as Markdown lines, for docs/symptoms.md."""
    lines: list[str] = []
    for card in CARDS.values():
        lines += [f"### {card.name[0].upper()}{card.name[1:]}", "", f"{card.symptom[0].upper()}{card.symptom[1:]}.", ""]
        lines += [f"- suspect: {suspect}" for suspect in card.suspects]
        lines += [f"- decide by: {card.experiment}", ""]
    return lines
