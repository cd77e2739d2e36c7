"""Settings of the agents: a frozen dataclass each, checked once, with errors that name the field."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from ..errors import ConfigError

OTHER_NAMES = {  # other libraries' words -> ours
    "gamma": "'discount'", "lr": "'critic_lr' and 'actor_lr'", "learning_rate": "'critic_lr' and 'actor_lr'",
    "obs_dim": "'state_dim'", "observation_dim": "'state_dim'", "act_dim": "'action_dim'", "n_actions": "'action_dim'",
    "temperature": "'alpha'", "lagrange": "'cql_lagrange'", "polyak": "'tau'", "hidden_size": "'hidden_dim'",
    "beta": "'inverse_temperature'", "alpha": "'temperature' (soft Q-learning) or 'regularisation' (sparse Q, EQL)",
}  # fmt: skip
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of every agent; unknown names and unusable values raise `ConfigError`."""

    state_dim: int
    """Numbers in an observation."""
    action_dim: int
    """Numbers in an action; in discrete agents the number of actions."""
    hidden_dim: int = 256
    """Units of each hidden layer. 256 is the papers' size; small tasks do with 64."""
    hidden_layers: int = 2
    """Hidden layers of every network. 0 makes it linear."""
    discount: float = 0.99
    """Worth of a reward one step later, in [0, 1]: about 1 / (1 - discount) steps count."""
    action_low: float | tuple[float, ...] = -1.0
    """Smallest action in the environment's units, one number or one a dimension; inside, actions are -1 to 1."""
    action_high: float | tuple[float, ...] = 1.0
    """Largest action in the environment's units, one number or one a dimension."""
    normalize_observations: bool = False
    """Give the networks each column less its mean, over its standard deviation; statistics of the training rows."""
    reward_scale: float = 1.0
    """Factor on every reward inside: losses see the product. q_values, initial_value and the metrics q_value and value
    stay in the log's own units; td_loss, policy_loss, CQL's numbers, alpha and beta are in scaled ones."""
    device: str = "auto"
    """'auto' takes a GPU where there is one; else a torch device such as 'cpu' or 'cuda:1'."""
    seed: int = 0
    """Decides the networks' first weights and all noise of the updates; `fit` draws batches from its own seed."""
    dtype: str = "float32"
    """'float32', or 'float64' to compare two computations to many digits."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
            if field.type == "bool":  # the string "False" would count as true
                self.require(field.name, isinstance(getattr(self, field.name), bool), "True or False")
        for name in ("state_dim", "action_dim", "hidden_dim"):
            self.integer(name, 1)
        self.integer("hidden_layers", 0)
        self.integer("seed", 0)
        self.number("discount", 0, 1)
        self.positive("reward_scale")
        self.one_of("dtype", *DTYPES)
        self.require("device", isinstance(self.device, str), "'auto', 'cpu', 'cuda' or another torch device")
        for name in ("action_low", "action_high"):
            bound = getattr(self, name)
            numbers = bound if isinstance(bound, tuple) else (bound,)
            fits = len(numbers) in (1, self.action_dim) and all(_is_number(x) for x in numbers)
            self.require(name, fits, f"a finite number, or {self.action_dim} of them (action_dim)")
        self.require("action_high", bool(np.all(np.less(self.action_low, self.action_high))), "more than action_low")

    # ------------------------------------------------------------ checks; each names the field
    def require(self, name: str, holds: bool, expected: str) -> None:
        """Raise `ConfigError` naming the field unless ``holds``."""
        if not holds:
            mend = f"set {name!r} to such a value."
            raise ConfigError(f"config[{name!r}]", repr(getattr(self, name)), expected, mend)

    def integer(self, name: str, least: int) -> None:
        """The field must be a whole number of at least ``least``."""
        value = getattr(self, name)
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63
        self.require(name, good, f"a whole number of at least {least}")

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> None:
        """The field must be a finite number in [low, high]."""
        value = getattr(self, name)
        both = f" in [{low:g}, {high:g}]" if high < math.inf else "" if low == -math.inf else f" >= {low:g}"
        self.require(name, _is_number(value) and low <= value <= high, f"a finite number{both}")

    def positive(self, *names: str) -> None:
        """The fields must be finite numbers above 0."""
        for name in names:
            value = getattr(self, name)
            self.require(name, _is_number(value) and value > 0, "a finite number above 0")

    def one_of(self, name: str, *values: Any) -> None:
        """The field must be one of ``values``."""
        value = getattr(self, name)
        self.require(name, any(type(v) is type(value) and v == value for v in values), f"one of {list(values)}")

    # ------------------------------------------------------------ for the networks
    def mlp_sizes(self, inputs: int, outputs: int) -> list[int]:
        """The widths of a network's layers: ``hidden_layers`` times ``hidden_dim`` between inputs and outputs."""
        return [inputs, *[self.hidden_dim] * self.hidden_layers, outputs]

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, fit for JSON."""
        return dataclasses.asdict(self)


ConfigT = TypeVar("ConfigT", bound=AgentConfig)


def parse_config(kind: type[ConfigT], config: Mapping[str, Any] | AgentConfig) -> ConfigT:
    """Turn a mapping (or a config object) into a ``kind``; an unknown key raises `ConfigError` naming the nearest."""
    if isinstance(config, kind):
        return config
    if not isinstance(config, Mapping):
        expected = f"a mapping or a {kind.__name__}"
        raise ConfigError("config", f"a {type(config).__name__}", expected, "pass a dict of settings.")
    known = [field.name for field in dataclasses.fields(kind)]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.6)
            meant = OTHER_NAMES.get(str(key), "")
            if not any(repr(name) in meant for name in known):  # another agent's setting
                meant = repr(near[0]) if near else ""
            mend = f"did you mean {meant}?" if meant else "remove it."
            if str(key).startswith("cql_") and "cql_alpha" not in known:  # not 'alpha', which is the temperature
                mend = "that is a setting of CQL: make_agent('cql', config)."
            raise ConfigError(f"config[{key!r}]", "no such setting", f"one of {known}", mend)
    for key in ("state_dim", "action_dim"):
        if key not in config:
            raise ConfigError(f"config[{key!r}]", "nothing", "a whole number of at least 1", f"add {key!r}.")
    return kind(**config)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers and arrays as Python's, so that every config can be written as JSON."""
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)):
        value = value.tolist()
    if isinstance(value, torch.device):
        return str(value)
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def resolve_device(name: str) -> torch.device:
    """The device of that name, "auto" being a GPU where there is one; raises `ConfigError` where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device=device)  # the first thing that fails where the device is not there
        return device
    except RuntimeError as error:
        mend = "use 'auto', 'cpu', or 'cuda' where torch.cuda.is_available()."
        raise ConfigError("config['device']", repr(name), "a device of this machine", mend) from error
