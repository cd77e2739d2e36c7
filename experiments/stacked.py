"""Several agents that learn from logged actions alone, trained as one: the readable update, on stacked networks.

`fit_population` stacks SAC and CQL. The update of BC, IQL, sparse-q and eql is short enough to run as it stands, once
for all: rows of M batches one after the other, networks in which block m of the rows meets the weights of member m.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cql_tutorial import OfflineDataset, make_agent
from cql_tutorial.batch import Batch
from cql_tutorial.networks import (
    LOG_STD_RANGE,
    Critic,
    EnsembleMLP,
    Normal,
    NormalPolicy,
    StateValue,
    TanhGaussian,
    relu_network,
)

NETWORKS = ("critic", "target_critic", "value", "actor")


class Stacked(nn.Module):
    """M networks of one shape as one: of rows in M equal blocks, block m goes through network m."""

    def __init__(self, networks: Sequence[EnsembleMLP]) -> None:
        super().__init__()
        self.kind, self.many = type(networks[0]), len(networks)
        for name, _ in networks[0].named_parameters():
            parts = torch.stack([network.get_parameter(name).detach() for network in networks])
            self.register_parameter(name.replace(".", "_"), nn.Parameter(parts))
        self.depth = len(networks[0].weights)

    def rows(self, inputs: Tensor) -> Tensor:
        """``[M * B, in] -> [E, M * B, out]``."""
        blocks = inputs.unflatten(0, (self.many, -1))
        layers = [
            (self.get_parameter(f"weights_{n}").flatten(0, 1), self.get_parameter(f"biases_{n}").flatten(0, 1))
            for n in range(self.depth)
        ]
        ensemble = len(layers[0][0]) // self.many
        found = relu_network(blocks.repeat_interleave(ensemble, 0), layers, torch.baddbmm)
        return found.unflatten(0, (self.many, ensemble)).transpose(0, 1).flatten(1, 2)

    def forward(self, observations: Tensor, actions: Tensor | None = None) -> Any:
        """What the network of one member gives, for every block."""
        if self.kind is Critic:
            assert actions is not None
            return self.rows(torch.cat([observations, actions], -1)).squeeze(-1)
        found = self.rows(observations)[0]
        if self.kind is StateValue:
            return found[:, 0]
        if self.kind is NormalPolicy:
            return Normal(
                torch.tanh(found), self.get_parameter("log_std").repeat_interleave(len(found) // self.many, 0)
            )
        mean, log_std = found.chunk(2, -1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))

    @torch.no_grad()
    def write_back(self, networks: Sequence[EnsembleMLP]) -> None:
        """Give each network the weights of its block."""
        for number, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                parameter.copy_(self.get_parameter(name.replace(".", "_"))[number])


def fit_together(
    name: str, configs: Sequence[dict[str, Any]], logs: Sequence[OfflineDataset], steps: int, batch_size: int
) -> list[Any]:
    """Agents ``make_agent(name, config)``, each trained on its log as `fit` would, up to rounding.

    The configs differ in nothing but ``seed`` and ``initial_value``; the seed also draws the member's batches.
    """
    agents: list[Any] = [make_agent(name, config) for config in configs]
    many = len(agents)

    class Together(type(agents[0])):  # type: ignore[misc]
        """A loss is a mean over the rows of all members: times M, it has each member's own gradient."""

        def step(self, name: str, loss: Tensor) -> None:
            super().step(name, many * loss)

    whole: Any = Together(configs[0])
    learned = [part for part in NETWORKS if hasattr(whole, part)]
    for part in learned:
        setattr(whole, part, Stacked([getattr(agent, part) for agent in agents]))
    for part, optimizer in list(whole.optimizers.items()):
        whole.add_optimizer(part, list(getattr(whole, part).parameters()), optimizer.param_groups[0]["lr"])
    if hasattr(whole, "target_critic"):
        whole.target_critic.requires_grad_(False)
    streams = [data.batches(steps, batch_size, agent.config.seed) for agent, data in zip(agents, logs, strict=True)]
    columns = ("observations", "actions", "rewards", "next_observations", "terminations")
    for drawn in zip(*streams, strict=True):
        whole.update(Batch(*(torch.cat([batch[column] for batch in drawn]) for column in columns)))
    for part in learned:
        getattr(whole, part).write_back([getattr(agent, part) for agent in agents])
    return agents
