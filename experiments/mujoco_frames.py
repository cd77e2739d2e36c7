"""Film strips of policies in MuJoCo, data/mujoco/frames/, and the table `mujoco-frames` of what they show.

Of eleven episodes of a policy the one with the median return is shown, so that none is chosen for its looks. The log's
policies act as they did when the log was recorded (stochastic), agents of the table `mujoco` as they are evaluated
(deterministic). Agents that are not on this machine are left out, and a strip that is there is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cql_tutorial import load_agent
from cql_tutorial.datasets.mujoco_recording import Columns, play_episodes
from cql_tutorial.envs.mujoco_env import MujocoCopies, make_mujoco
from cql_tutorial.evaluation import EVALUATION_SEED
from cql_tutorial.evaluation.reference_scores import d4rl_score
from cql_tutorial.files import atomic_write
from experiments import mujoco
from experiments.mujoco_data import policy_path
from experiments.mujoco_episodes import FRESH
from experiments.mujoco_training import CACHE
from experiments.storage import read_rows, write_rows

FRAMES, TABLE = CACHE / "frames", "mujoco-frames"
STEPS = (0, 25, 50, 100, 200, 400, 800)  # of an episode, of at most 1,000
SIZE, COLOURS, EPISODES = 112, 48, 11
SHOWN = (0.15, 0.25, 0.85, 0.95)  # of a rendered picture: left, top, right, bottom
COLUMNS = ("file", "task", "policy", "mode", "episode", "return", "score", "length", "steps", "distance")


@dataclass(frozen=True)
class Strip:
    """One policy of a task to be shown, and its file."""

    task: str
    policy: str
    path: Path
    deterministic: bool

    @property
    def file(self) -> str:
        return f"{self.task}-{self.policy.replace('%', '-percent-')}.png"


def strips() -> Iterator[Strip]:
    """Behind every task of the table: the policies of its first log, and the first run of each method."""
    for task in mujoco.TASKS:
        name, _, quality = task.partition("-")
        for behaviour in ("medium", "best") if quality == "medium-expert" else ("medium",):
            yield Strip(task, f"log-{behaviour}", policy_path(name, behaviour, 0), False)
        for algorithm in mujoco.ALGORITHMS:
            # The name of a run holds the log's fingerprint, which is in the table's rows.
            for row in read_rows("mujoco"):
                key = (row["task"], row["algorithm"], row["discount"], row["draw"], row["seed"], row["steps"])
                if key == (task, algorithm, "0.99", "0", "0", str(mujoco.STEPS)):
                    label = algorithm.replace("%", "-percent-")
                    stem = f"table-0.99-{mujoco.STEPS}-{task}-{row['fingerprint'][:8]}-{label}-seed0"
                    yield Strip(task, algorithm, CACHE / "runs" / f"{stem}.safetensors", True)


def name_of(task: str) -> str:
    """The environment of a task: ``hopper`` of ``hopper-medium-expert``."""
    return task.partition("-")[0]


def median_episode(strip: Strip) -> tuple[int, Columns]:
    """The number and the columns of the episode with the median return."""
    copies, generator = MujocoCopies(name_of(strip.task), EPISODES), torch.Generator().manual_seed(EVALUATION_SEED + 2)
    policy = load_agent(strip.path, "cpu").policy(deterministic=strip.deterministic)
    episodes = play_episodes(copies, policy, [FRESH + number for number in range(EPISODES)], generator)
    order = sorted(range(EPISODES), key=lambda number: float(episodes[number]["rewards"].sum()))
    return order[EPISODES // 2], episodes[order[EPISODES // 2]]


def film(task: str, episode: Columns) -> Image.Image:
    """The pictures at `STEPS` beside each other; white once the episode is over."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    side = round(SIZE / (SHOWN[2] - SHOWN[0]))
    env = make_mujoco(name_of(task), render_mode="rgb_array", width=side, height=side)
    env.reset(seed=0)
    whole = Image.new("RGB", (SIZE * len(STEPS), SIZE), "white")
    for place, step in enumerate(STEPS):
        if step < len(episode["qpos"]):
            position = episode["qpos"][step].copy()
            position[0] = 0.0  # the camera stays where it is
            env.unwrapped.set_state(position, episode["qvel"][step])
            left, top, right, bottom = (round(side * edge) for edge in SHOWN)
            picture = Image.fromarray(env.render()).crop((left, top, right, bottom))
            whole.paste(picture.resize((SIZE - 2, SIZE - 2)), (SIZE * place, 0))
    env.close()
    return whole.quantize(COLOURS, dither=Image.Dither.NONE)


def draw() -> None:
    """Draw the strips of the policies that are here, and write their rows beside those of the strips that are kept."""
    FRAMES.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    known = {row["file"]: dict(row) for row in read_rows(TABLE)}
    rows: list[dict[str, Any]] = []
    for strip in strips():
        if strip.path.is_file():
            number, episode = median_episode(strip)
            with atomic_write(FRAMES / strip.file) as temporary:
                film(strip.task, episode).save(temporary, format="png", optimize=True)
            value = float(episode["rewards"].sum())
            rows.append({
                "file": strip.file, "task": strip.task, "policy": strip.policy,
                "mode": "deterministic" if strip.deterministic else "stochastic", "episode": number, "return": value,
                "score": d4rl_score(strip.task, value), "length": len(episode["rewards"]),
                "steps": " ".join(map(str, STEPS)), "distance": float(episode["qpos"][-1, 0] - episode["qpos"][0, 0]),
            })  # fmt: skip
            print(f"  {strip.file}: return {value:.0f}, {len(episode['rewards'])} steps", flush=True)
        elif strip.file in known:
            rows.append(known[strip.file])
    write_rows(TABLE, COLUMNS, rows)


if __name__ == "__main__":
    draw()
