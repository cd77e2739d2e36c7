"""From words to a command: tyro reads the flags off the dataclasses of `options` and of each command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from tyro.extras import SubcommandApp

from ..agents import AGENTS
from . import COMMANDS
from .assign import assign, grade
from .benchmark import benchmark
from .collect import collect
from .convert import convert
from .describe import describe
from .evaluate import evaluate
from .export import export
from .finetune import finetune
from .options import DataOptions, TaskOptions, settings_form
from .run_doctor import doctor
from .train import TrainOptions, train

EXAMPLES = {
    "describe": "cql-tutorial describe --data log.csv --columns observations=x_* actions=a rewards=r terminations=end",
    "train": "cql-tutorial train cql --data maze/stitch-8k-v0 --cql-alpha 0.5 --seeds 0 1 2 --out runs/maze",
    "finetune": "cql-tutorial finetune --agent seed-0.safetensors --data maze/stitch-8k-v0 --world maze --out on",
    "evaluate": "cql-tutorial evaluate --data maze/stitch-8k-v0 --agents runs/maze --rules fqe initial-value",
    "export": "cql-tutorial export --agent runs/maze/seed-0.safetensors --out policy.pt2",
    "convert": "cql-tutorial convert --data maze/stitch-8k-v0 --csv log.csv",
    "collect": "cql-tutorial collect --env Pendulum-v1 --steps 10000 --id mine/random-v0",
    "benchmark": "cql-tutorial benchmark --preset published --tasks hopper-medium-expert --show",
    "assign": "cql-tutorial assign assignments/the_loss.toml --seed-by student --students class.csv --out hw1",
    "grade": "cql-tutorial grade hw1 --submissions handed_in --students class.csv --out graded",
    "doctor": "cql-tutorial doctor --run runs/maze",
}


def run(words: Sequence[str]) -> int:
    """Parse and run one command; tyro ends the process with status 2 for words that it cannot read."""
    app, agents = SubcommandApp(), SubcommandApp()
    for name in AGENTS:
        agents.command(name=name, help=summary(name))(_deferred(_training(name)))
    commands: dict[str, Callable[..., int]] = {
        "describe": describe,
        "finetune": finetune,
        "evaluate": evaluate,
        "export": export,
        "convert": convert,
        "collect": collect,
        "benchmark": benchmark,
        "assign": assign,
        "grade": grade,
        "doctor": doctor,
    }
    for name, about in COMMANDS.items():
        text = f"{about}\n\nexample: {EXAMPLES[name]}"
        if name == "train":
            app.command(agents, name=name, help=text)
        else:
            app.command(name=name, help=text)(_deferred(commands[name]))
    flat = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.HelptextFromCommentsOff)
    return app.cli(prog="cql-tutorial", args=list(words), config=flat)()


def summary(name: str) -> str:
    """What an agent is: the first paragraph of its class's docstring, and the settings that its name fixes."""
    kind, fixed = AGENTS[name]
    text = " ".join(str(inspect.getdoc(kind)).split("\n\n")[0].split()).replace("`", "")
    fixed_here = ", ".join(f"{key}={value}" for key, value in fixed.items())
    return f"{text} Here with {fixed_here}." if fixed_here else text


def _training(name: str) -> Callable[..., int]:
    """`train` of one agent, whose settings are flags."""

    def train_it(data: DataOptions, run: TrainOptions, agent: Any, simulator: TaskOptions) -> int:
        return train(name, agent, data, simulator, run)

    train_it.__annotations__ |= {"agent": settings_form(AGENTS[name][0].config_class, AGENTS[name][1])}
    return train_it


def _deferred(command: Callable[..., int]) -> Callable[..., Callable[[], int]]:
    """The command with its options filled in: tyro would report an error of the command's as one of its words'."""

    @functools.wraps(command)
    def fill_in(*args: Any, **options: Any) -> Callable[[], int]:
        return functools.partial(command, *args, **options)

    return fill_in
