"""What every agent shares: checks of a batch, action units, the random generator, saving and loading."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from ..batch import Batch, Noise, as_tensor
from ..errors import CheckpointError, ConfigError, CQLTutorialError, DataError
from ..networks import MAX_ACTION
from ..seeding import seeded
from .checkpoint import read_tensors, write_tensors
from .config import DTYPES, AgentConfig, parse_config

AgentT = TypeVar("AgentT", bound="Agent")
INITIAL, UPDATES, ACTING = range(3)  # what a random stream is for


@runtime_checkable
class AgentProtocol(Protocol):
    """What the training loop, the truths and the course rely on."""

    config: AgentConfig

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]: ...
    def draw_noise(self, batch_size: int) -> Noise: ...
    def policy(self, deterministic: bool = False) -> Callable[..., Tensor]: ...
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
        self._init_generator = seeded(self.config.seed, INITIAL, "cpu")
        self.generator = seeded(self.config.seed, UPDATES, self.device)
        self._acting = seeded(self.config.seed, ACTING, self.device)
        self.modules: dict[str, nn.Module] = {}
        self.parameters: dict[str, Tensor] = {}  # single learned numbers: log_temperature, log_multiplier
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._low, self._high = (
            torch.tensor(bound, dtype=self.dtype, device=self.device)
            for bound in (self.config.action_low, self.config.action_high)
        )

    # ------------------------------------------------------------ for subclasses
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
        optimizer.zero_grad(set_to_none=True)
        with subnormals_as_zero():
            loss.backward(inputs=optimizer.param_groups[0]["params"])
            optimizer.step()

    # ------------------------------------------------------------ data in, actions out
    def prepare(self, batch: Mapping[str, Any]) -> Batch:
        """Check shapes and dtypes (never values, which would sync), move to the device, scale actions to [-1, 1]."""
        raw = Batch.of(batch)
        self._check(raw)
        actions = raw.actions.to(self.device).long() if self.discrete else self.scale_action(self._place(raw.actions))
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
        if self.discrete is batch.actions.is_floating_point():
            wanted, other = ("integers", "continuous") if self.discrete else ("floats", "discrete")
            mend = f"pass {wanted}, or use a {other} agent."
            kind = "discrete" if self.discrete else "continuous"
            raise DataError("batch['actions']", f"dtype {batch.actions.dtype}", f"{wanted} (a {kind} agent)", mend)
        size, state_dim, action_dim = batch.size, self.config.state_dim, self.config.action_dim
        if size == 0:
            raise DataError("batch['rewards']", "an empty batch", "at least one transition", "check your data loader.")
        flat = "one number a transition: flatten it with .reshape(-1)."
        states = f"state_dim is {state_dim}: build the agent for your observations."
        shapes: dict[str, tuple[tuple[int, ...], str]] = {
            "observations": ((size, state_dim), states),
            "actions": (
                (size,) if self.discrete else (size, action_dim),
                f"action_dim is {action_dim}: set it to the width of your actions.",
            ),
            "rewards": ((size,), flat),
            "next_observations": ((size, state_dim), states),
            "terminations": ((size,), flat),
        }
        for key, (shape, mend) in shapes.items():
            value = batch[key]
            if tuple(value.shape) != shape:
                raise DataError(f"batch[{key!r}]", f"shape {list(value.shape)}", f"shape {list(shape)}", mend)
            boolean = key == "terminations" and value.dtype == torch.bool
            if key != "actions" and not value.is_floating_point() and not boolean:
                kinds = "bool or floats" if key == "terminations" else "floats"
                mend = "convert it with .bool() or .float()."
                raise DataError(f"batch[{key!r}]", f"dtype {value.dtype}", kinds, mend)

    def scale_action(self, actions: Tensor) -> Tensor:
        """Environment units to [-1, 1], moved inside to 1 - 1e-6 where rounding or the log touched the bound."""
        return (2.0 * (actions - self._low) / (self._high - self._low) - 1.0).clamp(-MAX_ACTION, MAX_ACTION)

    def unscale_action(self, actions: Tensor) -> Tensor:
        """[-1, 1] to environment units, within the bounds to the last digit."""
        scaled = self._low + 0.5 * (actions + 1.0) * (self._high - self._low)
        return torch.maximum(torch.minimum(scaled, self._high), self._low)

    def as_observations(self, observations: Any) -> Tensor:
        """Observations ``[n, S]`` on the agent's device and in its dtype; raises `DataError` on another width."""
        tensor = self._place(as_tensor(observations))
        if tensor.dim() != 2 or tensor.shape[1] != self.config.state_dim:
            expected = f"shape [n, {self.config.state_dim}]"
            raise DataError("observations", f"shape {list(tensor.shape)}", expected, "match the agent's state_dim.")
        return tensor

    def as_actions(self, actions: Any) -> Tensor:
        """Actions in the environment's units as the networks take them: ``[n, A]`` in [-1, 1], or ``[n]`` integers.

        Raises `DataError` on another shape, or for floats where integers are due.
        """
        if self.discrete:
            index = as_tensor(actions).to(self.device)
            if index.is_floating_point() or index.dim() != 1:
                found = f"dtype {index.dtype}, shape {list(index.shape)}"
                raise DataError("actions", found, "integers, shape [n]", "pass the index of each action.")
            return index.long()
        tensor = self._place(as_tensor(actions))
        if tensor.dim() != 2 or tensor.shape[1] != self.config.action_dim:
            expected = f"shape [n, {self.config.action_dim}]"
            raise DataError("actions", f"shape {list(tensor.shape)}", expected, "match the agent's action_dim.")
        return self.scale_action(tensor)

    def policy(self, deterministic: bool = False) -> Callable[..., Tensor]:
        """The learned policy as a callable ``(observations, generator) -> actions`` in environment units."""
        raise NotImplementedError

    @torch.no_grad()
    def act(self, observations: Any, deterministic: bool = True) -> np.ndarray:
        """Actions in the environment's units for one observation ``[S]`` or many ``[n, S]``.

        Random actions come from a stream of their own: acting never changes what an update will draw.
        """
        tensor = as_tensor(observations)
        many = tensor if tensor.dim() > 1 else tensor[None]
        if not bool(torch.isfinite(many).all()):  # nan in, nan out to an actuator
            raise DataError(
                "observations", "values that are not finite", "finite numbers", "mend your sensor's reading."
            )
        actions = self.policy(deterministic)(self.as_observations(many), self._acting).cpu().numpy()
        return actions if tensor.dim() > 1 else actions[0]

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
        """The JSON part of a checkpoint: kind of agent, settings, kind of device."""
        return {"agent": self.name, "config": json.dumps(self.config.to_dict()), "device_type": self.device.type}

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (safetensors with a JSON header) to a temporary file, then rename it into place."""
        write_tensors(path, self.state(), self.header())

    def load_state(self, path: str | Path) -> None:
        """Copy a checkpoint into this agent in place; raises `CheckpointError` if it belongs to another one."""
        tensors, header = read_tensors(path)
        self.copy_state(tensors, header, path)

    def copy_state(self, tensors: Mapping[str, Tensor], header: Mapping[str, str], path: str | Path) -> None:
        """Copy tensors of `state` in place, after every check, so that nothing is half-loaded.

        On another kind of device the random stream starts afresh: the two kinds of generator have different states.
        """
        mend = "build the agent with the checkpoint's own config, or use the class method load."
        if header["agent"] != self.name:
            raise CheckpointError(str(path), f"agent {header['agent']!r}", repr(self.name), "load it with its class.")
        theirs, ours = json.loads(header["config"]), json.loads(self.header()["config"])
        for key in ("action_low", "action_high", "dtype"):
            if theirs.get(key) != ours[key]:
                raise CheckpointError(f"{path}: config[{key!r}]", repr(theirs.get(key)), repr(ours[key]), mend)
        own, stored = self.state(), {key for key in tensors if not key.startswith("sum.")}
        for key in sorted(stored - own.keys()):
            raise CheckpointError(f"{path}: {key}", "a tensor this agent does not have", "the same settings", mend)
        same_device = header["device_type"] == self.device.type
        for key, value in own.items():
            found = tensors.get(key)
            if (found is None or found.shape != value.shape) and (key != "generator" or same_device):
                shape = "nothing" if found is None else f"shape {list(found.shape)}"
                raise CheckpointError(f"{path}: {key}", shape, f"shape {list(value.shape)}", mend)
        with torch.no_grad():
            for key, value in own.items():
                if key != "generator":
                    value.copy_(tensors[key])
        if same_device:
            self.generator.set_state(tensors["generator"].cpu())
        else:
            self.generator = seeded(self.config.seed, UPDATES, self.device)

    @classmethod
    def load(cls: type[AgentT], path: str | Path, device: str = "auto") -> AgentT:
        """Build the agent of a checkpoint on ``device``; raises `CheckpointError` if it holds another one."""
        tensors, header = read_tensors(path)
        if header["agent"] != cls.name:
            expected = f"a checkpoint of {cls.__name__} ({cls.name!r})"
            raise CheckpointError(str(path), f"agent {header['agent']!r}", expected, "use agents.load_agent.")
        place = _device(str(device))  # a bad device is the caller's mistake, not the file's
        settings = {**json.loads(header["config"]), "device": device}
        if place.type != "cpu" and settings.get("update_path") == "fused":
            settings["update_path"] = "auto"  # equal, and not for the CPU alone
        try:
            agent = cls(settings)
        except (CQLTutorialError, ValueError, TypeError) as error:
            mend = "load it with the version of this package that wrote it."
            raise CheckpointError(str(path), f"unusable settings ({error})", "known settings", mend) from error
        agent.copy_state(tensors, header, path)
        return agent


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 in this thread: a CPU multiplies them a hundred times slower than others.

    CQL's penalty is full of them: a candidate whose Q lies 80 below the best has softmax weight e^-80.
    """
    before = sys.float_info.min / 2 == 0.0  # torch cannot be asked
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.Generator(device=device)  # the first thing that fails where the device is not there
        return device
    except RuntimeError as error:
        mend = "use 'auto', 'cpu', or 'cuda' where torch.cuda.is_available()."
        raise ConfigError("config['device']", repr(name), "a device of this machine", mend) from error
