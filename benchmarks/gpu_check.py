"""Check and time the captured update on a GPU: `python -m benchmarks.gpu_check`.

Needs torch and numpy alone, and under 8 minutes. Prints one line a check and writes everything to gpu_check.json:
equality with the readable update in float64, error of TF32 and bfloat16, no host sync (by CUDA's own guard and in a
profiler trace), a checkpoint that loads in place, ms an update against a textbook's, and 100,000 updates timed. Ends
with code 1 if a check fails. With `--device cpu` the same lines run without a graph, which shows that the script works
and measures nothing worth quoting.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cql_tutorial import make_agent
from cql_tutorial.agents.checkpoint import agent_header, copy_state
from cql_tutorial.batch import REQUIRED, Batch, Noise
from cql_tutorial.fast.cuda_graph import GraphRunner
from cql_tutorial.fast.fused import FusedUpdate
from cql_tutorial.training.population import Population

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sac": ("sac", {}),
    "sac, fixed temperature": ("sac", {"auto_alpha": False, "backup_entropy": False}),
    "cql": ("cql", {}),
    "cql, 10 critics, no next-policy proposal": ("cql", {"n_critics": 10, "next_policy_proposal": False}),
    "cql, mixture": ("cql", {"proposal_weights": "mixture"}),
    "cql-lagrange": ("cql-lagrange", {}),
    "cql-lagrange, mixture, 10 critics": ("cql-lagrange", {"proposal_weights": "mixture", "n_critics": 10}),
}
SYNCS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "Memcpy DtoH")


def make_data(rows: int, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Transitions of 17 observations and 6 actions; what they say matters to no check."""
    g = torch.Generator().manual_seed(0)
    data = {
        "observations": torch.randn(rows, 17, generator=g),
        "actions": 2 * torch.rand(rows, 6, generator=g) - 1,
        "rewards": torch.randn(rows, generator=g),
        "next_observations": torch.randn(rows, 17, generator=g),
        "terminations": (torch.rand(rows, generator=g) < 0.05).float(),
    }
    return {name: column.to(device, dtype) for name, column in data.items()}


def build(name: str, options: Any, **settings: Any) -> Any:
    base = {"state_dim": 17, "action_dim": 6, "hidden_dim": options.hidden, "device": options.device}
    return make_agent(name, {**base, **settings})


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference of two agents' states."""
    pairs = [(value, theirs.state()[key]) for key, value in ours.state().items() if key != "generator"]
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


# ---------------------------------------------------------------- checks
def equality(options: Any) -> dict[str, float]:
    """Largest difference of parameters and optimisers after so many updates on one random stream, float64."""
    found, data = {}, make_data(5000, options.device, torch.float64)
    for label, (name, settings) in CASES.items():
        agent, other = (build(name, options, dtype="float64", hidden_dim=64, **settings) for _ in range(2))
        GraphRunner(agent, data, batch_size=64).run(options.steps)
        for _ in range(options.steps):
            index = torch.randint(5000, (64,), generator=other.generator, device=options.device)
            other.update({key: data[key][index] for key in REQUIRED})
        found[label] = difference(agent, other)
    return found


def precision(options: Any, data: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Relative L2 error of one update's gradients, and the largest of the losses, against float64."""
    exact, results = build("cql", options, dtype="float64"), {}
    noise, index = exact.draw_noise(256), torch.arange(256, device=options.device)
    wide = {key: value.double() for key, value in data.items()}

    def gradients(agent: Any, rows: dict[str, Tensor], kind: str) -> tuple[list[Tensor], dict[str, Tensor]]:
        runner = GraphRunner(agent, rows, batch_size=256, precision=kind)
        runner.index.copy_(index)
        cast = {k: v.to(agent.dtype) for k, v in vars(noise).items() if v is not None}
        with runner._multiplication():
            losses = runner.update(Noise(**cast))
        parts = (runner.program.critic.gradients, runner.program.actor.gradients)
        return [torch.cat([g.flatten() for g in part]).double() for part in parts], losses

    (critic, actor), expected = gradients(exact, wide, "float32")
    for kind in ("float32", "tf32", "bfloat16") if options.device == "cuda" else ("float32", "bfloat16"):
        ours, losses = gradients(build("cql", options), data, kind)
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(ours, (critic, actor), strict=True)]
        worst = max(abs(float(losses[k]) / float(expected[k]) - 1) for k in ("cql_loss", "td_loss", "policy_loss"))
        results[kind] = {"critic": errors[0], "actor": errors[1], "losses": worst}
    return results


def in_place(options: Any, data: dict[str, Tensor]) -> bool:
    """A snapshot that is copied into the agent is what the captured graph goes on from, to the last bit."""
    agent = build("cql-lagrange", options)
    runner = GraphRunner(agent, data)
    runner.run(10)
    snapshot = {key: value.clone() for key, value in agent.state().items()}
    runner.run(10)
    first = {key: value.clone() for key, value in agent.state().items()}
    copy_state(agent, snapshot, agent_header(agent), "snapshot")
    runner.run(10)
    return all(torch.equal(first[key], value) for key, value in agent.state().items())


def no_sync(options: Any, data: dict[str, Tensor]) -> dict[str, Any]:
    """What a profiler sees of 20 updates: kernels an update, and events that make the host wait."""
    runner = GraphRunner(build("cql", options), data)
    runner.run(5)
    wait(options)
    cuda, marker = options.device == "cuda", "the updates are started"
    kinds = [torch.profiler.ProfilerActivity.CPU, *([torch.profiler.ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=kinds) as profile:
        if cuda:
            torch.cuda.set_sync_debug_mode("error")
        runner.run(20)
        if cuda:
            torch.cuda.set_sync_debug_mode("default")
        with torch.profiler.record_function(marker):
            pass
    events = profile.events()
    last = min((e.time_range.start for e in events if e.name == marker), default=float("inf"))
    syncs = sorted({e.name for e in events if any(word in e.name for word in SYNCS) and e.time_range.start < last})
    kernels = sum(1 for e in events if e.device_type == torch.autograd.DeviceType.CUDA)
    profile.export_chrome_trace(str(options.json.with_suffix(".trace.json")))
    return {"host_syncs": syncs, "device_events_per_update": kernels / 20}


# ---------------------------------------------------------------- a textbook's update, for comparison
class Textbook:
    """CQL(H) as it is usually written: a call a critic and a proposal, repeated states, metrics read every step."""

    def __init__(self, options: Any, n: int = 10) -> None:
        def network(inputs: int, outputs: int) -> nn.Sequential:
            h = options.hidden
            layers = [nn.Linear(inputs, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, outputs)]
            return nn.Sequential(*layers).to(options.device)

        self.n, self.actor = n, network(17, 12)
        self.q, self.target = ([network(23, 1) for _ in range(2)] for _ in range(2))
        self.log_t = torch.zeros((), device=options.device, requires_grad=True)
        self.opt_q = torch.optim.Adam([p for q in self.q for p in q.parameters()], 3e-4)
        self.opt_pi, self.opt_t = torch.optim.Adam(self.actor.parameters(), 1e-4), torch.optim.Adam([self.log_t], 3e-4)

    def sample(self, s: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(s).chunk(2, -1)
        u = mean + log_std.clamp(-5, 2).exp() * torch.randn_like(mean)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp(), validate_args=False)
        return torch.tanh(u), (normal.log_prob(u) - 2 * (0.6931472 - u - F.softplus(-2 * u))).sum(-1)

    def value(self, q: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        return q(torch.cat([s, a], -1)).squeeze(-1)

    def update(self, b: dict[str, Tensor]) -> dict[str, float]:
        s, s2, size = b["observations"], b["next_observations"], len(b["rewards"])
        many, many2 = (x[:, None].expand(-1, self.n, -1).reshape(size * self.n, -1) for x in (s, s2))
        with torch.no_grad():
            a2, _ = self.sample(s2)
            v = torch.minimum(*(self.value(q, s2, a2) for q in self.target))
            y = b["rewards"] + 0.99 * (1 - b["terminations"]) * v
            proposals = [(2 * torch.rand(size * self.n, 6, device=s.device) - 1, torch.full_like(y, -6 * 0.6931472))]
            proposals = [(proposals[0][0], proposals[0][1].repeat_interleave(self.n))]
            proposals += [self.sample(many), self.sample(many2)]
        loss, penalties = torch.zeros((), device=s.device), []
        for q in self.q:
            q_data = self.value(q, s, b["actions"])
            scores = [(self.value(q, many, a) - log_p).view(size, self.n) for a, log_p in proposals]
            penalties.append((torch.logsumexp(torch.cat(scores, 1), 1) - q_data).mean())
            loss = loss + F.mse_loss(q_data, y) + 5.0 * penalties[-1]
        self.opt_q.zero_grad()
        loss.backward()
        self.opt_q.step()
        a, log_p = self.sample(s)
        pi_loss = (self.log_t.exp().detach() * log_p - torch.minimum(*(self.value(q, s, a) for q in self.q))).mean()
        self.opt_pi.zero_grad()
        pi_loss.backward()
        self.opt_pi.step()
        t_loss = -(self.log_t * (log_p.detach() - 6)).mean()
        self.opt_t.zero_grad()
        t_loss.backward()
        self.opt_t.step()
        with torch.no_grad():
            for q, target in zip(self.q, self.target, strict=True):
                for p, t in zip(q.parameters(), target.parameters(), strict=True):
                    t.lerp_(p, 0.005)
        return {"loss": loss.item(), "policy": pi_loss.item(), "temperature": self.log_t.exp().item()}


# ---------------------------------------------------------------- times
def wait(options: Any) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def timings(options: Any, data: dict[str, Tensor]) -> dict[str, float]:
    """Median ms an update over five interleaved rounds; batch 256, S 17, A 6, N 10; of a population, a member's."""
    cuda, size = options.device == "cuda", len(data["rewards"])

    def rows() -> dict[str, Tensor]:
        index = torch.randint(size, (256,), device=options.device)
        return {key: value[index] for key, value in data.items()}

    forms: dict[str, tuple[Callable[[int], Any], int]] = {}
    textbook, readable, eager = Textbook(options), build("cql", options), build("cql", options)
    forms["textbook, eager"] = (lambda n: [textbook.update(rows()) for _ in range(n)], 1)
    forms["readable, eager"] = (lambda n: [readable.update(rows()) for _ in range(n)], 1)
    stacked = FusedUpdate([eager], chunk_bytes=0)

    def one_by_one(n: int) -> None:
        for _ in range(n):
            ready, noise = eager.prepare(rows()), eager.draw_noise(256)
            lifted = {key: value[None] for key, value in vars(noise).items() if value is not None}
            stacked.update(Batch(**{key: ready[key][None] for key in REQUIRED}), Noise(**lifted))

    forms["stacked, eager"] = (one_by_one, 1)
    for kind in ("float32", "tf32", "bfloat16") if cuda else ("float32",):
        forms[f"graph, {kind}"] = (GraphRunner(build("cql", options), data, precision=kind).run, 1)
    forms["graph, sac"] = (GraphRunner(build("sac", options), data).run, 1)
    crowd = Population([build("cql", options, seed=seed) for seed in range(options.members)])
    forms[f"population of {options.members}, eager"] = (
        lambda n: [crowd.update([rows() for _ in range(options.members)]) for _ in range(n)],
        options.members,
    )
    times: dict[str, list[float]] = {label: [] for label in forms}
    for turn in range(6):  # the first warms up
        for label, (form, members) in forms.items():
            count = options.round * (10 if cuda and "graph" in label else 1) // (members if members > 1 else 1) + 1
            wait(options)
            began = time.perf_counter()
            form(count)
            wait(options)
            if turn:
                times[label].append(1000 * (time.perf_counter() - began) / count / members)
    return {label: sorted(values)[len(values) // 2] for label, values in times.items()}


def long_run(options: Any, data: dict[str, Tensor]) -> dict[str, Any]:
    """Many updates of CQL, metrics read every 1,000."""
    runner = GraphRunner(build("cql", options), data)
    runner.run(10)
    wait(options)
    began, done, row = time.perf_counter(), 0, {}
    while done < options.updates:
        some = min(1000, options.updates - done)
        runner.run(some)
        row, done = runner.metrics(), done + some
    seconds = time.perf_counter() - began
    hours = seconds / options.updates * 1e6 / 3600
    return {"updates": done, "seconds": seconds, "hours_for_a_million": hours, "last_row": row}


def main(arguments: list[str] | None = None) -> int:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--steps", type=int, default=100, help="updates that are compared with the readable ones")
    parser.add_argument("--updates", type=int, default=100_000, help="of the long run")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--round", type=int, default=50, help="updates of a round of timing (graphs: ten times)")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"))
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU here: found none; expected torch.cuda.is_available(); to see the lines run, pass --device cpu")
        return 2
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    data = make_data(100_000, options.device, torch.float32)
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "settings": str(vars(options))}
    passed = True

    def check(label: str, good: bool, value: Any) -> None:
        nonlocal passed
        passed &= good
        found[label] = value
        print(f"{'ok  ' if good else 'FAIL'} {label}: {value}", flush=True)
        options.json.write_text(json.dumps(found, indent=1))  # as it goes: a run that is cut short leaves its part

    differences = equality(options)
    check(f"equality in float64 after {options.steps} updates (< 1e-9)", max(differences.values()) < 1e-9, differences)
    errors = precision(options, data)
    good = max(errors["float32"]["critic"], errors["float32"]["actor"]) < 1e-4 and errors["float32"]["losses"] < 1e-5
    check("error against float64", good, errors)
    check("a checkpoint loads in place", in_place(options, data), True)
    trace = no_sync(options, data)
    check("no host sync in a profiler trace", not trace["host_syncs"], trace)
    times = timings(options, data)
    check("ms an update", True, {label: round(value, 4) for label, value in times.items()})
    check("times faster than the textbook", True, round(times["textbook, eager"] / times["graph, float32"], 2))
    check("a long run", True, long_run(options, data))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
