"""How long reading, checking and sampling a D4RL file take beside the bare minimum, and how much memory: one table.

    OMP_NUM_THREADS=1 python -m benchmarks.loading --rows 1000000

For each shape of a Gym task's data a synthetic file is made in a temporary folder, plain and compressed. Rounds of h5py
(every array with ``[()]``) and of ours alternate, each measured in processor time on one thread, so that other work on
the machine disturbs little; medians are printed. "read" makes the arrays for `from_arrays`, "all" the checked data set,
"without" leaves next_observations unread and makes them of the following rows (beside h5py reading the whole file).
Sampling is `batches` of 256 rows beside torch's index_select of the same five columns. The peak of memory is that of a
child process that reads the file, describes it and trains a small agent on it for 100 updates, torch's import included.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
import torch

from cql_tutorial.datasets import OfflineDataset, d4rl_io

SHAPES = ((11, 3), (17, 6), (111, 8))  # Hopper, HalfCheetah and Walker2d, Ant
STEPS = 2048
TRAIN = """
import sys
from cql_tutorial import CQLAgent, fit
from cql_tutorial.datasets import OfflineDataset
data = OfflineDataset.from_d4rl_hdf5(sys.argv[1])
str(data.describe()), data.defects()
config = {"state_dim": data.observation_dim, "action_dim": data.action_dim, "hidden_dim": 64, "device": "cpu"}
fit(CQLAgent(config), data, 100, progress=False)
try:  # not getrusage where it can be helped: a child inherits its parent's peak there
    print(int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1e6 * 1.024)
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9)
"""


def write(path: Path, rows: int, width: int, actions: int, **options: Any) -> None:
    """A file in D4RL's format: episodes of 1,000 rows, of which some terminate after 400."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as store:
        states = rng.standard_normal((rows + 1, width), dtype=np.float32)
        store.create_dataset("observations", data=states[:-1], **options)
        store.create_dataset("next_observations", data=states[1:], **options)
        store.create_dataset("actions", data=rng.uniform(-1, 1, (rows, actions)).astype(np.float32), **options)
        store.create_dataset("rewards", data=rng.standard_normal(rows, dtype=np.float32), **options)
        store.create_dataset("terminals", data=np.arange(rows) % 7000 == 400, **options)
        store.create_dataset("timeouts", data=np.arange(rows) % 1000 == 999, **options)


def bare(path: Path) -> dict[str, Any]:
    with h5py.File(path) as store:
        return {name: store[name][()] for name in store}


def rounds(count: int, jobs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median processor milliseconds of each job, in alternation after one round that is not counted."""
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(count + 1):
        for name, job in jobs.items():
            began = time.process_time()
            job()
            if number:
                spent[name].append(1e3 * (time.process_time() - began))
    return {name: median(values) for name, values in spent.items()}


def sampling(dataset: OfflineDataset, count: int) -> tuple[float, float]:
    """Microseconds a batch: bare index_select, and ours."""
    columns = (dataset.observations, dataset.actions, dataset.rewards, dataset.next_observations, dataset.terminations)
    index = torch.randint(len(dataset), (STEPS, 256), generator=torch.Generator().manual_seed(0))

    def select() -> None:
        for rows in index:
            for column in columns:
                column.index_select(0, rows)

    def ours() -> None:
        for _ in dataset.batches(STEPS, 256, seed=0):
            pass

    spent = rounds(count, {"bare": select, "ours": ours})
    return 1e3 * spent["bare"] / STEPS, 1e3 * spent["ours"] / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{options.rows:,} rows, medians of {options.rounds} rounds; torch {torch.__version__}, h5py {h5py.__version__}"
    )
    print(
        "shape    file   MB  h5py ms  read  ratio   all  ratio  without  ratio  peak GB | batch us  bare  ours  ratio"
    )
    with tempfile.TemporaryDirectory() as folder:
        for width, actions in SHAPES:
            for kind, stored in (("plain", {}), ("gzip", {"compression": "gzip", "compression_opts": 4})):
                path = Path(folder) / f"{width}_{actions}_{kind}.hdf5"
                write(path, options.rows, width, actions, **stored)
                ms = rounds(
                    options.rounds,
                    {
                        "h5py": partial(bare, path),
                        "read": partial(d4rl_io.read, path, dtype="float32"),
                        "all": partial(OfflineDataset.from_d4rl_hdf5, path),
                        "without": partial(OfflineDataset.from_d4rl_hdf5, path, use_next_observations=False),
                    },
                )
                ratios = "  ".join(
                    f"{ms[name]:5.0f}  {ms[name] / ms['h5py']:5.2f}" for name in ("read", "all", "without")
                )
                done = subprocess.run([sys.executable, "-c", TRAIN, path], capture_output=True, text=True, check=True)
                line = (
                    f"{width:>3}+{actions:<3}  {kind:<5}  {path.stat().st_size / 1e6:4.0f}  {ms['h5py']:6.0f}  {ratios}"
                )
                line += f"     {float(done.stdout):.2f}"
                if kind == "plain":
                    one, other = sampling(OfflineDataset.from_d4rl_hdf5(path), options.rounds)
                    line += f"  |          {one:5.1f} {other:5.1f}  {other / one:5.2f}"
                print(line, flush=True)
                path.unlink()


if __name__ == "__main__":
    main()
