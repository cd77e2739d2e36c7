"""`cql-tutorial evaluate`: what trained agents are worth, in a simulator, against the truth, or from a log alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from ..agents import load_agent
from ..errors import CheckpointError, CQLTutorialError, require
from ..evaluation.off_policy import (
    RULES,
    bellman_error,
    fitted_q_evaluation,
    initial_state_value,
    pick_best,
    weighted_importance_sampling,
)
from .files import plain, table, versions, write_json
from .options import DataOptions, TaskOptions

Rule = Literal["fqe", "initial-value", "wis", "td-error"]  # the names of RULES
UNSEEN = 0.01  # share of the discounted steps beyond the recordings' ends, below which they do not matter
_IN_JSON_ONLY = ("share_", "true_", "error_", "predicted_", "median_", "count")  # of an Evaluator's row


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Which agents are judged, and how."""

    agents: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE|FOLDER")]
    """Checkpoints, or folders of train (with what it kept): each is one candidate."""
    rules: tuple[Rule, ...] = ("fqe", "initial-value")
    """How to judge without a simulator. fqe: fitted Q-evaluation of the policy on the log. initial-value: the agent's
    own critics (over-estimation corrupts this first). wis: importance sampling, needs --behaviour and --stochastic.
    td-error: smallest Bellman error, on the held-out episodes if --hold-out is set. None of them is the truth."""
    stochastic: bool = False
    """Judge the policy as it samples in training; otherwise its deterministic action, which is what act() does."""
    behaviour: Path | None = None
    """A checkpoint of bc (or discrete-bc) trained on the same log: the behaviour's probabilities for wis."""
    fqe_steps: int = 5000
    """Updates of each fitted Q-evaluation."""
    fqe_hidden_dim: int = 256
    """Units of its hidden layers."""
    seed: int = 0
    """Seed of the estimates."""
    device: str = "auto"
    """'auto' takes a GPU where there is one."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """Also write everything as JSON."""
    quiet: bool = False
    """No progress bars."""


@dataclass
class Verdict:
    """A candidate's score by one rule with its interval; ``why`` says what speaks against using it, if anything."""

    score: float = math.nan
    low: float = math.nan
    high: float = math.nan
    why: str = ""
    settled: bool = True


def evaluate(data: DataOptions, judging: EvaluateOptions, simulator: TaskOptions) -> int:
    """Judge every candidate by each rule, and in the simulator if there is one; print, and write JSON if asked."""
    dataset, held_out = data.parts()
    agents = load_candidates(judging.agents, dataset, judging.device)
    rows: dict[str, dict[str, Any]] = {name: {"agent": name, "algorithm": one.name} for name, one in agents.items()}
    measure = simulator.task(dataset)
    for name, agent in agents.items() if measure is not None else ():
        rows[name] |= measure(agent)
    shown = {name: {k: v for k, v in row.items() if not k.startswith(_IN_JSON_ONLY)} for name, row in rows.items()}
    notes: list[str] = []
    choices: dict[str, str | None] = {}
    for rule in judging.rules:
        judged = held_out if rule == "td-error" and held_out is not None else dataset
        verdicts = {name: judge(rule, agent, judged, judging) for name, agent in agents.items()}
        choices[rule] = pick_best({name: RULES[rule].score(one.score) for name, one in verdicts.items() if not one.why})
        for name, one in verdicts.items():
            rows[name] |= {rule: one.score, f"{rule} low": one.low, f"{rule} high": one.high}
            shown[name][rule] = _cell(one)
        for why in dict.fromkeys(one.why for one in verdicts.values() if one.why):
            whom = [name for name, one in verdicts.items() if one.why == why]
            notes.append(f"{rule}, {'all' if len(whom) == len(rows) else ', '.join(whom)}: {why}")
        if moving := [name for name, one in verdicts.items() if not one.settled]:
            which = "all" if len(moving) == len(rows) else ", ".join(moving)
            notes.append(f"{rule}, {which}: not settled by the end of its training: more --fqe-steps")
    discount = next(iter(agents.values())).config.discount
    returns = dataset.returns_to_go(discount)[dataset.episode_starts].cpu().double()
    log = {"mean": float(returns.mean()), "best": float(returns.max()), "episodes": len(returns), "discount": discount}
    cut = _cut(dataset, discount)
    print(table(list(shown.values())))
    text = "the log itself, at discount {discount:g}: mean return {mean:.4g}, best of {episodes} episodes {best:.4g}"
    print(text.format(**log))
    if cut["unseen"] > UNSEEN:
        text = "{cut} of its episodes are cut where life goes on, with {unseen:.0%} of the discounted steps unseen: fqe"
        print(f"{text} and initial-value reach beyond. Not comparable: use a clone's fqe (train bc).".format(**cut))
    for name, choice in choices.items():
        print(f"{name} prefers {choice or 'none: no estimate of it can be used'}")
    print("\n".join(notes), end="\n" if notes else "")
    if len(set(choices.values())) > 1:
        print("The rules disagree: no choice among these agents is safe without a test in the world.")
    if judging.out is not None:
        content = {"rows": list(rows.values()), "preferred": choices, "notes": notes, "log": log, "log_cut": cut}
        options = {"data": plain(data), "simulator": plain(simulator), "judging": plain(judging)}
        write_json(judging.out, {"format": "cql-tutorial evaluate 1", **content, **options, "versions": versions()})
        print(f"results: {judging.out}")
    return 0


def _cell(one: Verdict) -> str:
    if not math.isfinite(one.score):
        return "-"
    return f"{one.score:.4g} ({one.low:.4g} to {one.high:.4g})" + ("" if one.settled else " not settled")


def _cut(dataset: Any, discount: float) -> dict[str, float]:
    """How many episodes end without a termination, and the mean share of discounted steps that lie beyond."""
    lengths = dataset.episode_lengths()
    running = ~dataset.terminations[dataset.episode_starts + lengths - 1]
    beyond = torch.tensor(discount) ** lengths.cpu().float() if discount < 1 else torch.ones(len(lengths))
    return {"cut": int(running.sum()), "unseen": float((beyond * running.cpu()).mean())}


def load_candidates(paths: tuple[Path, ...], dataset: Any, device: str) -> dict[str, Any]:
    """Name -> agent of every checkpoint that the paths name; a folder stands for those in it and in its ``kept/``."""
    files: list[Path] = []
    for path in paths:
        inside = [*path.glob("*.safetensors"), *path.glob("kept/*.safetensors")] if path.is_dir() else [path]
        if not inside:
            mend = "pass the --out folder of a train command, or a .safetensors file."
            raise CheckpointError(str(path), "a folder without checkpoints", "*.safetensors files", mend)
        files += sorted(inside, key=lambda file: [len(file.parts), len(file.name), file.name])
    require(files, "--agents", paths, "at least one checkpoint file or folder", "pass the --out folder of train.")
    agents = {file.as_posix(): load_agent(file, device) for file in dict.fromkeys(files)}
    for name, agent in agents.items():
        of_data = _kind(dataset.discrete, dataset.observation_dim, dataset.action_dim)
        of_agent = _kind(agent.discrete, agent.config.state_dim, agent.config.action_dim)
        require(of_data == of_agent, name, of_agent, f"an agent as the data are: {of_data}", "check --data.")
    discounts = sorted({agent.config.discount for agent in agents.values()})
    mend = "agents trained with unlike discounts predict unlike things: judge them one by one."
    require(len(discounts) == 1, "--agents", f"discounts {discounts}", "one discount", mend)
    return agents


def _kind(discrete: bool, observations: int, actions: int) -> str:
    return f"{'discrete' if discrete else 'continuous'}, {observations} observations, {actions} actions"


def judge(rule: str, agent: Any, dataset: Any, judging: EvaluateOptions) -> Verdict:
    """One agent by one rule; an agent that cannot be judged so (no critics, no density, diverged) is told why."""
    how: dict[str, Any] = {"seed": judging.seed, "deterministic": not judging.stochastic}
    try:
        if rule == "fqe":
            how |= {"hidden_dim": judging.fqe_hidden_dim, "progress": not judging.quiet}
            found = fitted_q_evaluation(agent, dataset, judging.fqe_steps, **how).initial_value()
        elif rule == "wis":
            mend = "train one: cql-tutorial train bc --data ... --out ..., then --behaviour FOLDER/seed-0.safetensors."
            require(judging.behaviour is not None, "--behaviour", None, "a checkpoint of bc for wis", mend)
            clone = load_agent(str(judging.behaviour), judging.device)
            found = weighted_importance_sampling(agent, dataset, clone, **how)
        else:
            found = {"initial-value": initial_state_value, "td-error": bellman_error}[rule](agent, dataset, **how)
    except CQLTutorialError as error:
        return Verdict(why=str(error))
    return Verdict(found.value, found.low, found.high, "" if found.usable else str(found), found.settled)
