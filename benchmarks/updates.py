"""How fast an update is, beside a textbook's and d3rlpy's in the same run: `make bench` (in `.venv-bench`).

Every round times all variants one after the other, so that what the machine does meanwhile hits them alike; numbers to
quote are ratios inside a round (median, lowest and highest). One thread counts the process's CPU time, more threads the
wall time. The floor is the matrix products that no exact update can do without, at the rate of a large product in the
same round. Memory is the most that torch's allocator held during an update, above what it held before.
"""

from __future__ import annotations

import argparse
import csv
import gc
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads must not burn the time of others
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

import numpy as np
import torch

import cql_tutorial
from benchmarks.peers import ACTIONS, CQL_WEIGHT, STATES, Textbook, d3rlpy_sampler, d3rlpy_update
from cql_tutorial import OfflineDataset, make_agent
from cql_tutorial.fast.fused import FasterUpdate

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
BATCH, CRITICS = 256, 2
HIDDEN = ([64, 64], [256, 256], [256, 256, 256])
CANDIDATES = (1, 4, 10, 32)
COLUMNS = [
    "what", "hidden", "n", "threads", "round", "rounds", "variant", "ms", "floor_ms", "memory_mb", "gflops", "versions",
    "machine", "date",
]  # fmt: skip
Update = Callable[[], Any]


def make_batch(
    states: int = STATES, actions: int = ACTIONS, size: int = BATCH, seed: int = 0
) -> dict[str, torch.Tensor]:
    """A batch of random numbers, in float32; by default one of the standard work."""
    g = torch.Generator().manual_seed(seed)
    return {
        "observations": torch.randn(size, states, generator=g),
        "actions": 2 * torch.rand(size, actions, generator=g) - 1,
        "rewards": torch.randn(size, generator=g),
        "next_observations": torch.randn(size, states, generator=g),
        "terminations": torch.rand(size, generator=g) < 0.01,
    }


def variants(hidden: list[int], n: int) -> dict[str, Update]:
    """Name -> one update of a fresh agent; d3rlpy only where it is installed."""
    batch = make_batch()
    settings = {
        "state_dim": STATES,
        "action_dim": ACTIONS,
        "hidden_dim": hidden[0],
        "hidden_layers": len(hidden),
        "cql_n_actions": n,
        "cql_alpha": CQL_WEIGHT,
        "device": "cpu",
    }

    readable, faster, textbook = (
        make_agent("cql", settings),
        FasterUpdate(make_agent("cql", settings)),
        Textbook(hidden, n),
    )
    made: dict[str, Update] = {
        "fused": lambda: faster(batch),
        "readable": lambda: readable.update(batch),
        "textbook": lambda: textbook.update(batch),
    }
    try:
        return {**made, "d3rlpy": d3rlpy_update(hidden, n, batch)}
    except ImportError:
        return made


# ---------------------------------------------------------------- yardsticks
def floor_gflop(hidden: list[int], n: int) -> float:
    """Matrix products of an update, in 10^9 operations: nothing is computed twice, nor for an unread gradient.

    Critics: forward, weights' and inputs' gradients of every candidate and of the logged action, the first layer's
    state part once a state; target critics forward; critics forward and inputs' gradients for the actor; actor.
    """
    width, deep = hidden[0], width_pairs(hidden)
    rows = BATCH * (3 * n + 1)
    critic_rows = rows * (3 * deep + 2 * ACTIONS * width + 3 * width) + BATCH * 2 * STATES * width
    once = BATCH * (deep + (STATES + ACTIONS) * width + width)  # a forward pass of one row a state
    actor = BATCH * (4 * (deep + 2 * ACTIONS * width) + 3 * STATES * width)
    return 2e-9 * (CRITICS * (critic_rows + 3 * once) + actor)


def width_pairs(hidden: list[int]) -> int:
    """Weights between hidden layers."""
    return sum(a * b for a, b in itertools.pairwise(hidden))


def gemm_rate(clock: Callable[[], float]) -> float:
    """10^9 operations a second of a large float32 matrix product."""
    a, b = torch.ones(1024, 1024), torch.ones(1024, 1024)
    out = torch.empty(1024, 1024)
    began = clock()
    for _ in range(4):
        torch.mm(a, b, out=out)
    return 4 * 2 * 1.024**3 / (clock() - began)


def working_memory(update: Update) -> float:
    """Most bytes that torch's CPU allocator held above the start during one update, in MB (10^6)."""
    gc.collect()  # what is left of earlier ones would be freed in between, and counted below zero
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        update()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most / 1e6


# ---------------------------------------------------------------- measuring
def timed(call: Update, clock: Callable[[], float], least: float = 0.15) -> Callable[[], float]:
    """A function that runs ``call`` often enough to fill ``least`` seconds and returns the ms of one."""
    call()
    began = clock()
    call()
    repeats = max(1, round(least / max(clock() - began, 1e-6)))

    def measure() -> float:
        start = clock()
        for _ in range(repeats):
            call()
        return 1e3 * (clock() - start) / repeats

    return measure


def rounds(
    calls: dict[str, Update], count: int, clock: Callable[[], float]
) -> Iterator[tuple[float, dict[str, float]]]:
    """The GEMM rate and the ms of every call, round by round; each round begins with another one."""
    measures = {name: timed(call, clock) for name, call in calls.items()}
    names = list(calls)
    for number in range(count):
        rate = gemm_rate(clock)
        turned = names[number % len(names) :] + names[: number % len(names)]
        found = {name: measures[name]() for name in turned}
        yield (rate + gemm_rate(clock)) / 2, {name: found[name] for name in names}


def bench_updates(cells: list[tuple[list[int], int]], threads: int, count: int) -> list[dict[str, Any]]:
    """Rows of the table for every (hidden, N)."""
    clock = time.process_time if threads == 1 else time.perf_counter
    rows = []
    for hidden, n in cells:
        memory = {name: working_memory(update) for name, update in variants(hidden, n).items()}
        shape, gflop = "x".join(map(str, hidden)), floor_gflop(hidden, n)
        for number, (rate, found) in enumerate(rounds(variants(hidden, n), count, clock)):
            for name, ms in found.items():
                rows.append(
                    {
                        "what": "update",
                        "hidden": shape,
                        "n": n,
                        "threads": threads,
                        "round": number,
                        "variant": name,
                        "ms": ms,
                        "floor_ms": 1e3 * gflop / rate,
                        "memory_mb": memory[name],
                        "gflops": rate,
                    }
                )
        report(rows[-count * len(found) :])
    return rows


def bench_loading(count: int, episodes: int = 200, length: int = 1000) -> list[dict[str, Any]]:
    """Drawing batches of 256 from a log of 200,000 transitions."""
    rng, size = np.random.default_rng(0), episodes * length
    ends = np.arange(1, size + 1) % length == 0
    data = {
        "observations": rng.normal(size=(size, STATES)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (size, ACTIONS)).astype(np.float32),
        "rewards": rng.normal(size=size).astype(np.float32),
        "terminations": ends,
        "truncations": np.zeros(size, bool),
    }
    stream = OfflineDataset.from_arrays(**data).batches(10**9, BATCH, 0)
    calls: dict[str, Update] = {"ours": lambda: next(stream)}
    try:
        calls["d3rlpy"] = d3rlpy_sampler(data, BATCH)
    except ImportError:
        print("d3rlpy is not installed here: make bench has it")
    rows = []
    for number, (_, found) in enumerate(rounds(calls, count, time.process_time)):
        rows += [
            {"what": "loading", "threads": 1, "round": number, "variant": name, "ms": ms} for name, ms in found.items()
        ]
    report(rows)
    return rows


# ---------------------------------------------------------------- telling
def ratios(rows: list[dict[str, Any]], over: str, under: str) -> list[float]:
    """ms of ``over`` / ms of ``under`` (or the floor), round by round."""
    by_round = {(row["round"], row["variant"]): row for row in rows}
    numbers = sorted({row["round"] for row in rows})
    below = [by_round[n, under]["ms"] if under != "floor" else by_round[n, over]["floor_ms"] for n in numbers]
    return [by_round[n, over]["ms"] / b for n, b in zip(numbers, below, strict=True)]


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def report(rows: list[dict[str, Any]]) -> None:
    """Print one cell: a line a variant."""
    first, names = rows[0], list(dict.fromkeys(row["variant"] for row in rows))
    title = f"hidden {first['hidden']}, N = {first['n']}" if "hidden" in first else "drawing a batch"
    print(f"\n{title}, {first['threads']} thread(s), {len(rows) // len(names)} rounds")
    peer = "d3rlpy" if "d3rlpy" in names else names[-1]
    for name in names:
        mine = [row for row in rows if row["variant"] == name]
        line = f"  {name:9s} {statistics.median(row['ms'] for row in mine):8.3f} ms"
        line += f"   {peer}/{name} {spread(ratios(rows, peer, name))}"
        if "floor_ms" in mine[0]:
            line += f"   {spread(ratios(rows, name, 'floor'))} x floor   {mine[0]['memory_mb']:.0f} MB"
        print(line, flush=True)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Speed beside d3rlpy by network (N = 10, one thread), and working memory by N."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    updates = [row for row in rows if row["what"] == "update" and row["threads"] == 1]
    names = list(dict.fromkeys(row["variant"] for row in updates))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for place, hidden in enumerate("x".join(map(str, h)) for h in HIDDEN):
        cell = [row for row in updates if row["hidden"] == hidden and row["n"] == 10]
        for offset, name in enumerate(names):
            values = ratios(cell, "d3rlpy", name)
            middle, at = statistics.median(values), place + 0.2 * (offset - 1.5)
            error = [[middle - min(values)], [max(values) - middle]]
            label = name if place == 0 else None
            left.bar(at, middle, 0.18, yerr=error, color=f"C{offset}", label=label, error_kw={"lw": 0.8})
    left.axhline(1.0, color="black", lw=0.8)
    left.set_xticks(range(len(HIDDEN)), ["x".join(map(str, h)) for h in HIDDEN])
    left.set(title="Updates per second, d3rlpy = 1 (N = 10, one thread)", xlabel="hidden layers")
    left.legend(frameon=False, ncols=2, fontsize=8)
    for offset, name in enumerate(names):
        memory = {row["n"]: row["memory_mb"] for row in updates if (row["hidden"], row["variant"]) == ("256x256", name)}
        right.plot(list(memory), list(memory.values()), "o-", color=f"C{offset}", label=name)
    right.set(title="Working memory of an update, MB (256x256)", xlabel="N of each proposal", ylim=(0, None))
    figure.savefig(path, dpi=110, metadata={"Software": None})


def versions() -> str:
    """Of what was compared."""
    from importlib import metadata

    names = ["torch", "numpy", *(["d3rlpy"] if any(d.name == "d3rlpy" for d in metadata.distributions()) else [])]
    found = [f"{name} {metadata.version(name).split('+')[0]}" for name in names]
    return "; ".join([f"cql-tutorial {cql_tutorial.__version__}", *found, f"Python {platform.python_version()}"])


def origin() -> dict[str, str]:
    """Where and with what rows were measured."""
    kind = f"{processor()}, {platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"versions": versions(), "date": str(date.today()), "machine": f"{kind}, {os.cpu_count()} cores"}


def processor() -> str:
    """The processor's name; on Linux with family and model, which tell a virtual machine's apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    return f"{facts.get('model name', 'unknown')} (family {facts.get('cpu family')}, model {facts.get('model')})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="3 rounds, one thread, N = 10 alone; writes nothing")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.threads = 3, [1]
    cells = [(hidden, n) for hidden in HIDDEN for n in ([10] if options.quick else CANDIDATES)]
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        rows += bench_updates(cells, threads, options.rounds)
    torch.set_num_threads(1)
    rows += bench_loading(options.rounds)
    if options.quick:
        return
    same = {"rounds": options.rounds, **origin()}
    for row in rows:
        row.update({k: float(f"{v:.4g}") for k, v in row.items() if isinstance(v, float)}, **same)
    with open(RESULTS / "speed.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if any(row["variant"] == "d3rlpy" for row in rows):
        draw(rows, RESULTS / "speed.png")
    print(f"\nwrote {RESULTS / 'speed.csv'}")


if __name__ == "__main__":
    main()
