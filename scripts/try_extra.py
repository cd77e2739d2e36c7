"""Try an installation: what the dependencies alone must be able to do, and what one extra adds.

Run by CI in a fresh environment with ``pip install .`` or ``pip install ".[NAME]"``:

    python scripts/try_extra.py          # core: load, describe, train, save, load, evaluate, write
    python scripts/try_extra.py tables   # the same, and what that extra is for

It imports nothing of the tests, as pytest is in none of the extras. Data sets and result tables are the checkout's, or
those that an installed wheel carries. It ends with a traceback and status 1 at the first thing that fails.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

SMALL = {"hidden_dim": 8, "cql_n_actions": 2}


def core(folder: Path) -> None:
    """Load, describe, train, save, load again, evaluate with and without a simulator, write; all with the core."""
    from cql_tutorial import OfflineDataset, fit, load_dataset, make_agent
    from cql_tutorial.agents import load_agent
    from cql_tutorial.cli.doctor import doctor
    from cql_tutorial.envs import make
    from cql_tutorial.evaluation.off_policy import fitted_q_evaluation
    from cql_tutorial.evaluation.rollouts import Evaluator

    dataset = load_dataset("maze/stitch-8k-v0")
    assert "transitions" in str(dataset.describe()) and not dataset.defects()
    config = SMALL | {"state_dim": dataset.observation_dim, "action_dim": dataset.action_dim}
    agent = make_agent("cql", config)
    fit(agent, dataset, 20, batch_size=16, progress=False)
    agent.save(folder / "agent.safetensors")
    again = load_agent(folder / "agent.safetensors", "cpu")
    states = dataset.observations[:5].numpy()
    assert np.array_equal(agent.act(states), again.act(states))
    assert Evaluator(make("maze"), dataset)(again)
    fitted = fitted_q_evaluation(again, dataset, steps=20, hidden_dim=8, deterministic=True)
    assert np.isfinite(fitted.initial_value().value)
    written = dataset.to_minari("try/core-v0", folder, description="a try", author="a test")
    assert OfflineDataset.from_minari(written).fingerprint() == dataset.fingerprint()
    report = doctor()
    # That training is slow here is a warning, and no fault of what is installed.
    assert any(one.subject.startswith("training") for one in report.findings), str(report)
    assert all(one.status != "problem" for one in report.findings), str(report)


def cli(folder: Path) -> None:
    """The commands, on a data set of the checkout."""
    from cql_tutorial.cli import main

    data, out = ["--data", "maze/stitch-8k-v0"], str(folder / "run")
    assert main(["describe", *data]) == 0
    assert main(["train", "bc", *data, "--steps", "20", "--hidden-dim", "8", "--out", out, "--quiet"]) == 0
    rules = ["--rules", "fqe", "--fqe-steps", "20", "--fqe-hidden-dim", "8", "--quiet"]
    assert main(["evaluate", *data, "--agents", out, *rules]) == 0


def tables(folder: Path) -> None:
    """Data frames and tables."""
    import pandas

    from cql_tutorial import OfflineDataset, load_dataset

    frame = load_dataset("maze/stitch-8k-v0").to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    frame.to_csv(folder / "log.csv", index=False)
    frame.to_parquet(folder / "log.parquet")
    for made in (
        OfflineDataset.from_dataframe(frame),
        OfflineDataset.from_csv(folder / "log.csv"),
        OfflineDataset.from_parquet(folder / "log.parquet"),
    ):
        assert len(made) == len(frame)


def onnx(folder: Path) -> None:
    """A policy as an ONNX file, run by onnxruntime."""
    import onnxruntime

    from cql_tutorial import make_agent

    agent, states = make_agent("cql", SMALL | {"state_dim": 2, "action_dim": 2}), np.eye(2, dtype=np.float32)
    session = onnxruntime.InferenceSession(str(agent.export(folder / "policy.onnx", format="onnx")))
    np.testing.assert_allclose(session.run(None, {"observations": states})[0], agent.act(states), atol=1e-6)


def course(folder: Path) -> None:
    """What a chapter imports, a figure, a check of an answer and a result table, as the notebooks have them."""
    from cql_tutorial import load_dataset
    from cql_tutorial.course import check, guess, hint, or_reference, progress, quiz, reveal, solution  # noqa: F401
    from cql_tutorial.course.figures import data_report
    from cql_tutorial.course.studies.common import result_rows

    data_report(load_dataset("maze/stitch-8k-v0")).savefig(folder / "report.png")
    check("04.1", lambda *arguments: None)
    assert result_rows("maze")


MORE: dict[str, Callable[[Path], None]] = {"cli": cli, "tables": tables, "onnx": onnx, "course": course}


def main(names: list[str]) -> None:
    """Try the core, then each extra that was named; core alone also means that nothing else is there."""
    known = [one for one in metadata.requires("cql-tutorial") or [] if "extra ==" in one]
    if not names:
        strangers = [name for name in ("matplotlib", "pandas", "tyro", "pytest") if importlib.util.find_spec(name)]
        assert known and not strangers, f"the environment is not the core alone: {strangers}"
    for step in [core, *(MORE[name] for name in names if name in MORE)]:
        with tempfile.TemporaryDirectory() as folder:
            step(Path(folder))
        print(f"{step.__name__}: done")


if __name__ == "__main__":
    main(sys.argv[1:])
