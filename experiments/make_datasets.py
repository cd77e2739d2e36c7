"""Make every data set of the course again from scratch: `make data` (about two minutes on one core).

The same seeds on the same machine and versions give the same files bit for bit; another processor or torch version
may round differently, and online training then ends elsewhere. The data sheet records what made the committed files.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from cql_tutorial import OfflineDataset, __version__, load_agent, load_dataset
from cql_tutorial.datasets.recording import dataset_of, record
from cql_tutorial.envs import Gridworld, Maze, Pendulum
from cql_tutorial.envs.base import UniformPolicy, World
from cql_tutorial.envs.maze import stitching_episodes
from cql_tutorial.evaluation import EVALUATION_SEED, evaluate_policy
from cql_tutorial.training.online import train_online
from experiments.logs import DATA, EpsilonGreedy

POLICIES = DATA / "policies"
ONLINE_STEPS, SNAPSHOT_EVERY = 8000, 250
ONLINE = {"hidden_dim": 64, "discount": 0.95, "critic_lr": 1e-3, "actor_lr": 1e-3, "temperature_lr": 1e-3, "tau": 0.02}


def success_share(policy: Callable[..., torch.Tensor], n: int = 500) -> float:
    """Share of common starts from which the pendulum is held up: mean reward of the last 50 steps above -1."""
    world, generator = Pendulum(), torch.Generator().manual_seed(EVALUATION_SEED)
    states, late = world.reset(n, generator), torch.zeros(n)
    for step in range(world.horizon):
        states, rewards, _ = world.step(states, policy(world.observe(states), generator), generator)
        late += rewards * (step >= world.horizon - 50) / 50
    return float((late > -1).double().mean())


def train_behaviour() -> None:
    """Online SAC on Pendulum with seeds 1, 2, ... until one has a *medium* snapshot; keeps three policies and a replay.

    Medium solves the task from some starts and not from others: success share in [0.4, 0.6], nearest to one half.
    Expert is the end of that run, replay all that it saw until medium. *Swinging* is the first run's snapshot with a
    return nearest to half-way between random and expert among those that never succeed: as good, but never up.
    """
    world = Pendulum()
    POLICIES.mkdir(exist_ok=True)
    random = float(evaluate_policy(world, UniformPolicy(world), 500).mean())
    swinging: dict[str, float] | None = None
    steps: list[int] = []
    seed = 0
    while not steps:
        seed += 1
        print(f"online SAC on Pendulum, {ONLINE_STEPS} steps, seed {seed}")
        snapshots = range(500, ONLINE_STEPS + 1, SNAPSHOT_EVERY)
        run = train_online(world, ONLINE, ONLINE_STEPS, seed=seed, snapshots=snapshots)
        policies = {step: agent.policy() for step, agent in run.snapshots.items()}
        returns = {step: float(evaluate_policy(world, policy, 500).mean()) for step, policy in policies.items()}
        success = {step: success_share(policy) for step, policy in policies.items()}
        half_way = (random + returns[ONLINE_STEPS]) / 2
        if swinging is None:
            never = [step for step in returns if success[step] == 0]
            step = min(never, key=lambda s: abs(returns[s] - half_way))
            run.snapshots[step].save(POLICIES / "pendulum-swinging.safetensors")
            swinging = {"seed": seed, "step": step, "return": returns[step], "success": 0.0}
        steps = sorted((s for s in success if 0.4 <= success[s] <= 0.6), key=lambda s: abs(success[s] - 0.5))
    medium = steps[0]
    run.snapshots[medium].save(POLICIES / "pendulum-medium.safetensors")
    run.agent.save(POLICIES / "pendulum-expert.safetensors")
    facts = {
        "online": ONLINE,
        "random": {"return": random},
        "swinging": swinging,
        "medium": {"seed": seed, "step": medium, "return": returns[medium], "success": success[medium]},
        "expert": {
            "seed": seed,
            "step": ONLINE_STEPS,
            "return": returns[ONLINE_STEPS],
            "success": success[ONLINE_STEPS],
        },
    }
    (POLICIES / "pendulum.json").write_text(json.dumps(facts, indent=1) + "\n")
    replay = dataset_of(world, {key: value[:medium] for key, value in run.replay.items()}, id="replay")
    write(SHEETS["pendulum/replay-v0"], replay)


def pendulum(policy: str, steps: int, seed: int) -> OfflineDataset:
    """Whole episodes of a stored behaviour policy ("medium", "expert") or of uniform actions ("random")."""
    world = Pendulum()
    if policy == "random":
        return record(world, UniformPolicy(world), steps, seed=seed)
    return record(world, load_agent(POLICIES / f"pendulum-{policy}.safetensors", "cpu").policy(), steps, seed=seed)


def maze(seed: int) -> OfflineDataset:
    """The stitching maze: 120 left-arm episodes that turn down, 40 right-arm episodes that turn up to the goal."""
    world = Maze()
    return dataset_of(world, stitching_episodes(world, generator=torch.Generator().manual_seed(seed)), id="maze")


def gridworld(epsilon: float, steps: int, seed: int) -> OfflineDataset:
    """Episodes of the epsilon-greedy optimal policy in the cliff gridworld."""
    world = Gridworld()
    return record(world, EpsilonGreedy(world, epsilon), steps, seed=seed)


@dataclass(frozen=True)
class Sheet:
    """What is said of a data set: id, how it was made, and the function that makes it (None: by online training)."""

    id: str
    how: str
    world: Callable[[], World]
    make: Callable[[], OfflineDataset] | None


SHEETS = {
    sheet.id: sheet
    for sheet in (
        Sheet("pendulum/replay-v0", "all that online SAC saw until the medium snapshot, in order", Pendulum, None),
        Sheet(
            "pendulum/random-10k-v0", "uniform torques, seed 100", Pendulum, partial(pendulum, "random", 10_000, 100)
        ),
        Sheet(
            "pendulum/medium-10k-v0",
            "the stochastic medium policy, seed 200",
            Pendulum,
            partial(pendulum, "medium", 10_000, 200),
        ),
        *(
            Sheet(
                f"pendulum/medium-10k-draw{k}-v0",
                f"the same policy, a further draw, seed {200 + k}",
                Pendulum,
                partial(pendulum, "medium", 10_000, 200 + k),
            )
            for k in (1, 2, 3)
        ),
        Sheet(
            "pendulum/expert-1k-v0",
            "the stochastic expert policy, seed 300",
            Pendulum,
            partial(pendulum, "expert", 1_000, 300),
        ),
        Sheet(
            "maze/stitch-8k-v0",
            "scripts: left arm then down (120 episodes), right arm then up (40), seed 400",
            Maze,
            partial(maze, 400),
        ),
        Sheet(
            "gridworld/epsilon30-2k-v0",
            "optimal actions, 30 % uniform ones, seed 500",
            Gridworld,
            partial(gridworld, 0.3, 2_000, 500),
        ),
    )
}


def write(sheet: Sheet, dataset: OfflineDataset) -> None:
    """Store a data set in Minari's format under its id."""
    print(f"  {sheet.id}: {len(dataset)} transitions")
    dataset.to_minari(
        sheet.id,
        DATA,
        description=sheet.how,
        author="The cql-tutorial authors",
        overwrite=True,
        extra={"world": sheet.world().name, "made_by": f"cql-tutorial {__version__}, make data"},
    )


def files() -> list[Path]:
    """Every file that `make data` writes, apart from the sheet and the checksums."""
    stored = (path for path in DATA.rglob("*") if DATA / "mujoco" not in path.parents)
    return sorted(p for p in stored if p.suffix in (".hdf5", ".safetensors") or p.name == "pendulum.json")


def write_sheets() -> None:
    """Measure each stored set and write DATASHEET.md and SHA256SUMS."""
    import gymnasium
    import minari

    machine = f"Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}, "
    machine += (
        f"gymnasium {gymnasium.__version__}, minari {minari.__version__}, {platform.system()} {platform.machine()}"
    )
    facts = json.loads((POLICIES / "pendulum.json").read_text())
    lines = [
        "# Data sheet",
        "",
        "Made by `make data` (`python -m experiments make_datasets`); read with `cql_tutorial.load_dataset(id)`, or",
        "with Minari after `MINARI_DATASETS_PATH=data`. Checksums: `cd data && sha256sum -c SHA256SUMS`. Licence: MIT,",
        "like the code.",
        f"Versions: {machine}.",
        "",
        "Behaviour on Pendulum comes from online SAC runs of this package",
        f"(`{json.dumps(ONLINE)}`).",
        "*Medium* solves the task from about half of the starts: the first of the seeds 1, 2, ... with a snapshot",
        f"(every {SNAPSHOT_EVERY} steps) whose success share lies in [0.4, 0.6]. *Expert* is the end of that run.",
        "*Swinging* earns as much as half-way between random and expert, and never gets up. The policies are in",
        "`policies/`, so that the behaviour's true values can be computed.",
        "",
        "| policy | seed | step | return | success |",
        "|---|---|---|---|---|",
        *(
            "| {} | {seed} | {step} | {return:.1f} | {success:.2f} |".format(name, **facts[name])
            for name in ("swinging", "medium", "expert")
        ),
        "",
        "| id | how | transitions | episodes | length | return: mean (min to max) | terminations | truncations |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for sheet in SHEETS.values():
        data = load_dataset(DATA / sheet.id)
        returns, lengths = data.episode_returns(), data.episode_lengths()
        length = (
            f"{int(lengths.min())}"
            if lengths.min() == lengths.max()
            else f"{int(lengths.min())} to {int(lengths.max())}"
        )
        spread = f"{float(returns.mean()):.1f} ({float(returns.min()):.1f} to {float(returns.max()):.1f})"
        lines.append(
            f"| `{sheet.id}` | {sheet.how} | {len(data)} | {len(returns)} | {length} | {spread} | "
            f"{int(data.terminations.sum())} | {int(data.truncations.sum())} |"
        )
    lines += [
        "",
        "Returns are undiscounted; an episode cut short by the end of the recording is counted as it is. Five",
        "expert episodes are few: their mean is luck as much as skill. Logs of the swinging policy are drawn by",
        "`make results`.",
        "",
        "What they are for: *medium* is the headline, a log that covers some of what is needed; *random* covers",
        "states and actions widely; *expert* is narrow data of a good policy; *replay* is wide and mixed; *stitch*",
        "has both halves of a path and no episode with the whole; the *gridworld*'s values are exact. None is a",
        "benchmark: the tasks are small so that the true values can be computed.",
        "",
    ]
    (DATA / "DATASHEET.md").write_text("\n".join(lines))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(DATA).as_posix()}" for path in files()]
    (DATA / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    print(f"{len(sums)} files, {sum(path.stat().st_size for path in files()) / 1e6:.2f} MB")


def make(only: str | None = None) -> None:
    """Make every data set, or the one with this id ("policies": the online run), and write the sheet anew."""
    torch.set_num_threads(1)  # so that the order of sums, and with it every bit, does not depend on the machine's cores
    if only in (None, "policies", "pendulum/replay-v0"):
        train_behaviour()
    for sheet in SHEETS.values():
        if sheet.make is not None and only in (None, sheet.id):
            write(sheet, sheet.make())
    write_sheets()
