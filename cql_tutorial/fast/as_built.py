"""Whether an agent still is what the faster forms repeat: they refuse by name what they cannot honour."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from .. import losses, networks
from ..agents.actor_critic import ActorCritic, GaussianAgent
from ..agents.agent import Agent
from ..agents.cal_ql import CalQLAgent
from ..agents.cql import CQLAgent
from ..agents.normaliser import ObservationNormaliser
from ..agents.sac import SACAgent
from ..errors import ConfigError

# What a subclass or an instance may have of its own: the faster forms ask it, or the update does not.
HONOURED = {"penalty", "draw_noise"}
UNUSED = {"name", "config_class", "config", "check_multiplier", "check_training", "check_name", "prepare_dataset"}
OF_TUPLES = {"_make", "_replace", "_asdict"}
NETWORKS = (networks.EnsembleMLP, networks.Critic, networks.GaussianPolicy, networks.TanhGaussian)
CLASSES = (Agent, GaussianAgent, ActorCritic, SACAgent, CQLAgent, *NETWORKS)
_AS_IMPORTED = {kind: dict(vars(kind)) for kind in CLASSES}
_FUNCTIONS = {
    (module, name): function
    for module in (losses, networks)
    for name, function in vars(module).items()
    if isinstance(function, FunctionType) and function.__module__ != "typing"
}
_PACKAGE = str(Path(__file__).parents[1])
_NO_GRAD = torch.no_grad()(lambda: None).__code__.co_filename  # where torch keeps the wrapper of its decorators


def _as_written(value: Any, name: str) -> bool:
    """Whether a function, method or property stands in a file of this package under that name."""
    function = getattr(value, "fget", None) or getattr(value, "__func__", value)
    if not isinstance(function, FunctionType):
        return True
    written, outer = inspect.unwrap(function).__code__, function.__code__.co_filename
    ours = written.co_filename.startswith(_PACKAGE) and written.co_name == name
    return ours and outer in (written.co_filename, _NO_GRAD)


# What was replaced before this module was imported: found by where a function is written.
_REPLACED_BEFORE: list[tuple[Any, str]] = [
    (kind, name)
    for kind, names in _AS_IMPORTED.items()
    for name, value in names.items()
    if not name.startswith("__") and name not in HONOURED | UNUSED | OF_TUPLES and not _as_written(value, name)
]
_REPLACED_BEFORE += [(module, name) for (module, name), f in _FUNCTIONS.items() if not _as_written(f, name)]
_OWN_PENALTY = CQLAgent.penalty if _as_written(CQLAgent.penalty, "penalty") else None


def has_faster_form(kind: type[Agent]) -> bool:
    """Whether an agent of this class may be trained by the faster forms, as far as its class tells."""
    return next(_of_class(kind), None) is None


def has_own_penalty(agent: Any) -> bool:
    """Whether the penalty is another than `CQLAgent.penalty`: it is then asked, and differentiated by autograd."""
    return isinstance(agent, CQLAgent) and getattr(agent.penalty, "__func__", agent.penalty) is not _OWN_PENALTY


def check_as_built(agents: Sequence[Any]) -> None:
    """Raise `ConfigError` that names the first thing about these agents that the faster forms would pass over.

    It is asked before every update, so what belongs to a class is looked at once, not once an agent.
    """
    kinds = {type(agent): agent for agent in agents}
    found = chain(
        ((agent, why) for kind, agent in kinds.items() for why in _of_class(kind)),
        ((agent, why) for agent in agents for why in _of_agent(agent)),
    )
    for agent, why in found:
        expected = "SAC or CQL as this package builds it, at most with a penalty or noise of its own"
        mend = "train it by its own update: fit(..., fast=False), which is the default."
        raise ConfigError(f"{type(agent).__name__}.update, asked for in its faster form", why, expected, mend)


def differences(agent: Any) -> Iterator[str]:
    """Each thing about an agent that the faster forms would pass over, in words; none where they may be used."""
    yield from chain(_of_class(type(agent)), _of_agent(agent))


def _of_class(kind: type) -> Iterator[str]:
    if issubclass(kind, (SACAgent, CQLAgent)) and not issubclass(kind, CalQLAgent):
        yield from (f"{name} in place of the package's" for name in _overridden(kind))
        yield from _replaced()
    else:
        yield "no such form: only SAC and CQL have one"


def _of_agent(agent: Any) -> Iterator[str]:
    if not isinstance(agent, (SACAgent, CQLAgent)):
        return  # said of its class
    for name, value in vars(agent).items():
        if name not in HONOURED and name not in UNUSED and callable(value) and hasattr(type(agent), name):
            yield f"a method {name!r} put on the agent"
    if agent.held:
        yield f"updates that hold {sorted(agent.held)}"
    yield from _networks(agent)
    yield from _optimizers(agent)


def _replaced() -> Iterator[str]:
    """Methods and functions of the package in whose place stand others."""
    for kind, original in _AS_IMPORTED.items():
        now = vars(kind)
        if len(now) != len(original) or any(now.get(name) is not value for name, value in original.items()):
            changed = {name for name in {*now, *original} if now.get(name) is not original.get(name)}
            yield from (f"{kind.__name__}.{name} replaced" for name in sorted(changed - HONOURED - UNUSED))
    for (module, name), function in _FUNCTIONS.items():
        if getattr(module, name) is not function:
            yield f"{module.__name__.rpartition('.')[2]}.{name} replaced"
    for owner, name in _REPLACED_BEFORE:
        if not _as_written(vars(owner).get(name), name):
            yield f"{owner.__name__.rpartition('.')[2]}.{name} replaced"


def _overridden(kind: type) -> list[str]:
    """What a class made of SAC or CQL has in place of theirs, but for what is asked or not used."""
    own = takewhile(lambda one: one not in _AS_IMPORTED, kind.__mro__)
    return [
        f"{one.__name__}.{name}"
        for one in own
        for name in vars(one)
        if not name.startswith("__") and name not in HONOURED | UNUSED and hasattr(CQLAgent, name)
    ]


def _networks(agent: Any) -> Iterator[str]:
    if _hooks(agent):
        yield "a hook on the agent"
    if agent.normaliser is not None and type(agent.normaliser) is not ObservationNormaliser:
        yield f"normaliser: a {type(agent.normaliser).__name__} in place of an ObservationNormaliser"
    if agent.normaliser is not None and (_hooks(agent.normaliser) or "forward" in vars(agent.normaliser)):
        yield "normaliser: a hook or a forward put in by hand, which would not be called"
    for name, kind in (
        ("critic", networks.Critic),
        ("target_critic", networks.Critic),
        ("actor", networks.GaussianPolicy),
    ):
        network = getattr(agent, name)
        if type(network) is not kind:
            yield f"{name}: a {type(network).__name__} in place of a {kind.__name__}"
        if len(getattr(network, "gains", ())):
            yield f"{name}: normalised layers ({'actor_layer_norm' if name == 'actor' else 'layer_norm'})"
        for module in (network, network.weights, network.biases):
            if _hooks(module):
                yield f"{name}: a hook, which would not be called"
            if "forward" in vars(module):
                yield f"{name}: a forward put in by hand, which would not be called"
        for parameter in (*network.weights, *network.biases):
            if name != "target_critic" and not parameter.requires_grad:
                yield f"{name}: a parameter that asks for no gradient"


def _hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _optimizers(agent: Any) -> Iterator[str]:
    config = agent.config
    names = ["critic", "actor", *["temperature"] * config.auto_alpha]
    names += ["multiplier"] * getattr(config, "cql_lagrange", False)
    if set(agent.optimizers) != set(names):
        yield f"optimisers {sorted(agent.optimizers)} in place of {sorted(names)}"
        return
    for name in names:
        network = name in ("critic", "actor")
        parameters = [*getattr(agent, name).parameters()] if network else [getattr(agent, f"log_{name}")]
        optimizer = agent.optimizers[name]
        if type(optimizer) is not torch.optim.Adam:
            yield f"optimizers[{name!r}]: a {type(optimizer).__name__} in place of Adam"
        elif len(optimizer.param_groups) != 1 or not optimizer.state or optimizer.param_groups[0]["amsgrad"]:
            yield f"optimizers[{name!r}]: other groups, state or options than this package's"
        elif [*map(id, optimizer.param_groups[0]["params"])] != [*map(id, parameters)]:
            yield f"optimizers[{name!r}]: other parameters than the agent's"
        elif any(one._backward_hooks or getattr(one, "_post_accumulate_grad_hooks", None) for one in parameters):
            yield f"optimizers[{name!r}]: a hook on a parameter, which would not be called"
        elif optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            yield f"optimizers[{name!r}]: a hook, which would not be called"
        elif not getattr(vars(optimizer).get("step"), "_wrapped_by_lr_sched", "step" not in vars(optimizer)):
            yield f"optimizers[{name!r}]: a step put in by hand, which would not be called"
