"""What every agent shares: its settings, checks of a batch, the random generator, saving and loading."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ..batch import Batch, Noise, as_tensor
from ..errors import CheckpointError, ConfigError, DataError
from ..networks import MAX_ACTION

DTYPES = {"float32": torch.float32, "float64": torch.float64}
FORMAT = "cql-tutorial agent 1"


# ---------------------------------------------------------------- settings
@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of every agent; unknown names and unusable values raise `ConfigError`.

    ``state_dim`` is the length of an observation, ``action_dim`` that of an action (the number of actions in discrete
    agents). ``action_low`` and ``action_high`` are the environment's bounds, one number or one a dimension; inside,
    actions live in [-1, 1]. ``device`` "auto" takes a GPU where there is one. ``update_path`` chooses among equal
    forms of the update; this version has the readable one.
    """

    state_dim: int
    action_dim: int
    hidden_dim: int = 256
    hidden_layers: int = 2
    discount: float = 0.99
    action_low: float | tuple[float, ...] = -1.0
    action_high: float | tuple[float, ...] = 1.0
    device: str = "auto"
    seed: int = 0
    dtype: str = "float32"
    update_path: str = "auto"

    def __post_init__(self) -> None:
        for name in ("action_low", "action_high"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)):
                object.__setattr__(self, name, tuple(float(v) for v in value))
        for name in ("state_dim", "action_dim", "hidden_dim"):
            self.require(
                name, _is_int(getattr(self, name)) and getattr(self, name) >= 1, "a whole number of at least 1"
            )
        self.require("hidden_layers", _is_int(self.hidden_layers) and self.hidden_layers >= 0, "a whole number >= 0")
        self.require("discount", _in_range(self.discount, 0, 1), "a number in [0, 1]")
        self.require("seed", _is_int(self.seed) and self.seed >= 0, "a whole number >= 0")
        self.require("dtype", self.dtype in DTYPES, f"one of {sorted(DTYPES)}")
        self.require("update_path", self.update_path in ("auto", "readable"), "'auto' or 'readable'")
        low, high = np.broadcast_arrays(np.asarray(self.action_low, float), np.asarray(self.action_high, float))
        self.require("action_high", bool((low < high).all()), f"more than action_low ({self.action_low!r})")

    def require(self, name: str, holds: bool, expected: str) -> None:
        """Raise `ConfigError` naming the field unless ``holds``."""
        if not holds:
            raise ConfigError(
                f"config[{name!r}]", repr(getattr(self, name)), expected, f"set {name!r} to such a value."
            )

    def require_positive(self, *names: str) -> None:
        """Each of the fields must be a finite number above 0."""
        for name in names:
            value = getattr(self, name)
            self.require(name, _in_range(value, 0, math.inf) and 0 < value < math.inf, "a finite number above 0")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, fit for JSON."""
        return dataclasses.asdict(self)


ConfigT = TypeVar("ConfigT", bound=AgentConfig)


def parse_config(kind: type[ConfigT], config: Mapping[str, Any] | AgentConfig) -> ConfigT:
    """Turn a mapping (or a config object) into a ``kind``; an unknown key raises `ConfigError` naming the nearest."""
    if isinstance(config, kind):
        return config
    if not isinstance(config, Mapping):
        raise ConfigError(
            "config", type(config).__name__, f"a mapping or a {kind.__name__}", "pass a dict of settings."
        )
    known = [field.name for field in dataclasses.fields(kind)]
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            raise ConfigError(
                f"config[{key!r}]", "no such setting", f"one of {known}",
                f"did you mean {near[0]!r}?" if near else "remove it.",
            )  # fmt: skip
    for key in ("state_dim", "action_dim"):
        if key not in config:
            raise ConfigError(f"config[{key!r}]", "nothing", "a whole number of at least 1", f"add {key!r}.")
    return kind(**config)


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _in_range(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


# ---------------------------------------------------------------- what others may rely on
@runtime_checkable
class AgentProtocol(Protocol):
    """What the training loop, the truths and the course rely on."""

    config: AgentConfig

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]: ...
    def draw_noise(self, batch_size: int) -> Noise: ...
    def act(self, observations: Any, deterministic: bool = True) -> np.ndarray: ...
    def save(self, path: str | Path) -> None: ...
    def load_state(self, path: str | Path) -> None: ...


class Agent:
    """Base of all agents: device, seeded generator, checks, checkpoints. Subclasses write `update` and `draw_noise`."""

    name: ClassVar[str]
    config_class: ClassVar[type[AgentConfig]]
    discrete: ClassVar[bool] = False

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        self.config: Any = parse_config(self.config_class, config)
        self.device = _device(self.config.device)
        self.dtype = DTYPES[self.config.dtype]
        # Initial weights are drawn on the CPU, so that a seed means the same start on every device.
        self._init_generator = torch.Generator("cpu").manual_seed(self.config.seed)
        self.generator = self._new_generator()
        self.modules: dict[str, nn.Module] = {}
        self.parameters: dict[str, Tensor] = {}  # single learned numbers: log_temperature, log_multiplier
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._low = torch.tensor(self.config.action_low, dtype=self.dtype, device=self.device)
        self._half_range = (torch.tensor(self.config.action_high, dtype=self.dtype, device=self.device) - self._low) / 2

    # ------------------------------------------------------------ for subclasses
    def _new_generator(self) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(self.config.seed + 1)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers from the agent's own generator, on its device."""
        return torch.randn(shape, generator=self.generator, dtype=self.dtype, device=self.device)

    def add_optimizer(self, name: str, parameters: list[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        """An Adam whose state exists from the start, so that loading copies in place and no step reads the host."""
        optimizer = torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        for parameter in parameters:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.optimizers[name] = optimizer

    def step(self, name: str, loss: Tensor) -> None:
        """One optimiser step on the parameters of ``name`` alone; no other gradient is computed or kept."""
        optimizer = self.optimizers[name]
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        optimizer.step()

    def prepare(self, batch: Mapping[str, Any]) -> Batch:
        """Check shapes and dtypes (never values, which would sync), move to the device, scale actions to [-1, 1]."""
        raw = Batch.of(batch)
        self._check(raw)
        actions = raw.actions.to(self.device).long() if self.discrete else self.to_unit(self._place(raw.actions))
        return Batch(
            observations=self._place(raw.observations),
            actions=actions,
            rewards=self._place(raw.rewards),
            next_observations=self._place(raw.next_observations),
            terminations=self._place(raw.terminations),
            returns_to_go=None if raw.returns_to_go is None else self._place(raw.returns_to_go),
        )

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype)

    def _check(self, batch: Batch) -> None:
        size, state_dim, action_dim = batch.size, self.config.state_dim, self.config.action_dim
        expected: dict[str, tuple[int, ...]] = {
            "observations": (size, state_dim),
            "actions": (size,) if self.discrete else (size, action_dim),
            "rewards": (size,),
            "next_observations": (size, state_dim),
            "terminations": (size,),
        }
        if size == 0:
            raise DataError("batch['rewards']", "an empty batch", "at least one transition", "check your data loader.")
        if self.discrete is batch.actions.is_floating_point():
            found = f"dtype {_short(batch.actions.dtype)}"
            if self.discrete:
                mend = "pass action indices as integers, or use a continuous agent."
                raise DataError("batch['actions']", found, "integers (a discrete agent)", mend)
            mend = "pass float actions in the environment's units, or use a discrete agent."
            raise DataError("batch['actions']", found, "floats (a continuous agent)", mend)
        for key, shape in expected.items():
            value = batch[key]
            if tuple(value.shape) != shape:
                mend = (
                    f"state_dim is {state_dim}: build the agent for your observations."
                    if key.endswith("observations") and value.dim() == 2
                    else f"reshape it; action_dim is {action_dim}." if key == "actions"
                    else "one number a transition: flatten it with .reshape(-1)."
                )  # fmt: skip
                raise DataError(f"batch[{key!r}]", f"shape {list(value.shape)}", f"shape {list(shape)}", mend)
            allowed = (
                value.is_floating_point() or key == "actions" or (key == "terminations" and value.dtype == torch.bool)
            )
            if not allowed:
                kinds = "bool or float" if key == "terminations" else "a floating dtype"
                mend = f"convert with .{'bool' if key == 'terminations' else 'float'}()."
                raise DataError(f"batch[{key!r}]", f"dtype {_short(value.dtype)}", kinds, mend)

    def to_unit(self, actions: Tensor) -> Tensor:
        """Environment units to [-1, 1], moved inside to 1 - 1e-6 where rounding or the log touched the bound."""
        return ((actions - self._low) / self._half_range - 1.0).clamp(-MAX_ACTION, MAX_ACTION)

    def to_environment(self, actions: Tensor) -> Tensor:
        """[-1, 1] to environment units."""
        return self._low + (actions + 1.0) * self._half_range

    def as_observations(self, observations: Any) -> Tensor:
        """Observations ``[n, S]`` on the agent's device and in its dtype; raises `DataError` on another width."""
        tensor = as_tensor(observations).to(self.device, self.dtype)
        if tensor.dim() != 2 or tensor.shape[1] != self.config.state_dim:
            expected = f"shape [n, {self.config.state_dim}]"
            raise DataError("observations", f"shape {list(tensor.shape)}", expected, "match the agent's state_dim.")
        return tensor

    def policy(self, deterministic: bool = False) -> Callable[..., Tensor]:
        """The learned policy as a callable ``(observations, generator) -> actions`` in environment units."""
        raise NotImplementedError

    @torch.no_grad()
    def act(self, observations: Any, deterministic: bool = True) -> np.ndarray:
        """Actions in the environment's units for one observation ``[S]`` or many ``[n, S]``."""
        array = as_tensor(np.asarray(observations))
        actions = self.policy(deterministic)(
            self.as_observations(array[None] if array.dim() == 1 else array), self.generator
        )
        result = actions.cpu().numpy()
        return result[0] if array.dim() == 1 else result

    # ------------------------------------------------------------ checkpoints
    def state(self) -> dict[str, Tensor]:
        """Every tensor that an exact continuation needs: networks, targets, optimisers, random generator."""
        tensors: dict[str, Tensor] = {f"parameter.{key}": value.detach() for key, value in self.parameters.items()}
        for name, module in self.modules.items():
            tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
                for key, value in optimizer.state[parameter].items():
                    tensors[f"optimizer.{name}.{index}.{key}"] = value
        return tensors | {"generator": self.generator.get_state()}

    def header(self) -> dict[str, str]:
        """The JSON part of a checkpoint: format, kind of agent, settings."""
        return {
            "format": FORMAT,
            "agent": self.name,
            "config": json.dumps(self.config.to_dict()),
            "device_type": self.device.type,
        }

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (safetensors with a JSON header) to a temporary file, then rename it into place."""
        write_tensors(path, self.state(), self.header())

    def load_state(self, path: str | Path) -> None:
        """Copy a checkpoint into this agent in place; raises `CheckpointError` if it belongs to another shape."""
        tensors, header = read_tensors(path)
        self.copy_state(tensors, header, path)

    def copy_state(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], path: str | Path) -> None:
        """Copy tensors of `state` in place after checking every name and shape, so that nothing is half-loaded."""
        own = self.state()
        if header.get("agent") != self.name:
            raise CheckpointError(
                str(path), f"agent {header.get('agent')!r}", repr(self.name), "load it with its class."
            )
        same_device = header.get("device_type") == self.device.type
        for key, value in own.items():
            if key == "generator" and not same_device:
                continue
            found = tensors.get(key)
            if found is None or found.shape != value.shape:
                shape = "nothing" if found is None else f"shape {list(found.shape)}"
                mend = "build the agent with the checkpoint's own config, or use the class method load."
                raise CheckpointError(f"{path}: {key}", shape, f"shape {list(value.shape)}", mend)
        with torch.no_grad():
            for key, value in own.items():
                if key != "generator":
                    value.copy_(tensors[key])
        if same_device:  # the generators of two kinds of device have different states; another device starts afresh
            self.generator.set_state(tensors["generator"].cpu())
        else:
            self.generator = self._new_generator()

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Any:
        """Build the agent of a checkpoint on ``device``; raises `CheckpointError` if the file is not one."""
        tensors, header = read_tensors(path)
        if header.get("agent") != cls.name:
            expected = f"a checkpoint of {cls.__name__} ({cls.name!r})"
            raise CheckpointError(str(path), f"agent {header.get('agent')!r}", expected, "use agents.load_agent.")
        agent = cls({**json.loads(header["config"]), "device": device})
        agent.copy_state(tensors, header, path)
        return agent


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file so that at every moment ``path`` is either the old file or the whole new one."""
    from safetensors.torch import save

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    content = save(
        {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()},
        dict(header),
    )
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a file of `write_tensors`; raises `CheckpointError` if it is missing, cut short or something else."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise CheckpointError(str(path), "no such file", "a checkpoint", "check the path.")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        mend = "it was cut short or is of another kind: use another checkpoint."
        raise CheckpointError(str(path), f"an unreadable file ({error})", "a safetensors file", mend) from error
    if header.get("format") != FORMAT:
        found = f"format {header.get('format')!r}"
        raise CheckpointError(str(path), found, repr(FORMAT), "save it with this package's Agent.save.")
    return tensors, header


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        mend = "use 'auto', 'cpu' or 'cuda'."
        raise ConfigError("config['device']", repr(name), "a torch device", mend) from error


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
