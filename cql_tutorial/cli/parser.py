"""From words to a command: tyro reads the flags off the dataclasses of `options` and of each command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tyro

from ..agents import AGENTS
from ..errors import ConfigError
from . import COMMANDS
from .collect import collect
from .convert import convert
from .describe import describe
from .evaluate import evaluate
from .options import SUMMARY, DataOptions, TaskOptions, settings_class
from .train import TrainOptions, train

EXAMPLES = {
    "describe": "cql-tutorial describe --data log.csv --columns observations=x_* actions=a rewards=r terminations=end",
    "train": "cql-tutorial train cql --data maze/stitch-8k-v0 --cql-alpha 0.5 --seeds 0 1 2 --out runs/maze",
    "evaluate": "cql-tutorial evaluate --data maze/stitch-8k-v0 --agents runs/maze --rules fqe initial-value",
    "convert": "cql-tutorial convert --data maze/stitch-8k-v0 --csv log.csv",
    "collect": "cql-tutorial collect --env Pendulum-v1 --steps 10000 --id mine/random-v0",
}


def run(words: Sequence[str]) -> int:
    """Parse and run one command; tyro ends the process with status 2 for words that it cannot read."""
    command, *rest = words
    actions: tuple[Callable[..., int], ...] = (describe, evaluate, convert, collect)
    for action in actions:
        if command == action.__name__:
            return _parsed(action, rest, command, COMMANDS[command])
    known, mend = f"one of {', '.join(COMMANDS)}", "cql-tutorial --help lists them."
    if command != "train":
        raise ConfigError("command", repr(command), known, mend)
    if rest[:1] in ([], ["-h"], ["--help"]):
        agents = "\n".join(f"  {name:<14}{text}" for name, text in SUMMARY.items())
        print(f"usage: cql-tutorial train AGENT [OPTIONS]\n\n{COMMANDS['train']}\n\n{agents}\n")
        print(f"cql-tutorial train AGENT --help lists its options.\n\nexample: {EXAMPLES['train']}")
        return 0 if rest else 2
    name = rest[0]
    if name not in AGENTS:
        raise ConfigError("agent", repr(name), f"one of {', '.join(AGENTS)}", "cql-tutorial train --help lists them.")

    def train_it(data: DataOptions, run: TrainOptions, agent: Any, simulator: TaskOptions) -> int:
        return train(name, agent, data, simulator, run)

    kinds = {"data": DataOptions, "run": TrainOptions, "agent": settings_class(name), "simulator": TaskOptions}
    train_it.__annotations__ = kinds
    return _parsed(train_it, rest[1:], f"train {name}", SUMMARY[name])


def _parsed(action: Callable[..., int], words: Sequence[str], command: str, about: str) -> int:
    example = EXAMPLES[command.split()[0]]
    return tyro.cli(
        action, prog=f"cql-tutorial {command}", args=list(words), description=f"{about}\n\nexample: {example}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff),
    )  # fmt: skip
