"""Early stops, callbacks and their errors, what a history gives away."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial import OfflineDataset, fit, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.errors import CallbackError, ConfigError, CQLTutorialError, DataError
from cql_tutorial.training import History, Patience

torch.set_num_threads(1)


def log() -> OfflineDataset:
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(60, 2, generator=g)
    ends = torch.zeros(60, dtype=torch.bool)
    return OfflineDataset.from_arrays(rows, torch.rand(60, 1, generator=g) - 0.5, ends.float(), rows.roll(-1, 0), ends)


def build(**config: Any) -> Any:
    return make_agent("bc", {"state_dim": 2, "action_dim": 1, "hidden_dim": 8, "device": "cpu", **config})


OPTIONS: dict[str, Any] = {"batch_size": 8, "log_every": 5, "progress": False}


# ---------------------------------------------------------------- stop
def test_a_run_ends_where_on_row_says_stop(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.safetensors", []

    def on_row(history: History) -> str | None:
        seen.append(history.rows[-1]["step"])
        return "stop" if seen[-1] == 15 else None

    history = fit(build(), log(), 100, checkpoint=path, on_row=on_row, **OPTIONS)
    assert seen == [5, 10, 15] and [row["step"] for row in history.rows] == [5, 10, 15]
    assert '"step": 15' in read_tensors(path)[1]["training"]


def test_a_stopped_run_repeated_stands_and_with_more_patience_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    unbroken = build()
    fit(unbroken, log(), 40, **OPTIONS)

    def stop_at(step: int) -> Any:
        return lambda history: "stop" if history.rows[-1]["step"] >= step else None

    for step, last in ((15, 15), (15, 15), (25, 25), (1000, 40)):
        agent = build()
        history = fit(agent, log(), 40, checkpoint=path, on_row=stop_at(step), **OPTIONS)
        assert history.rows[-1]["step"] == last and len(history) == last // 5
    for key, value in unbroken.state_dict().items():
        assert torch.equal(agent.state_dict()[key], value), key


@pytest.mark.parametrize("answer", ["Stop", "go on", ""])
def test_another_word_is_an_error(answer: str) -> None:
    with pytest.raises(ConfigError, match=r"on_row\(history\): found .* expected \"stop\", or nothing"):
        fit(build(), log(), 10, on_row=lambda history: answer, **OPTIONS)


def test_other_answers_of_a_logger_count_for_nothing() -> None:
    assert len(fit(build(), log(), 10, on_row=lambda history: {"logged": True}, **OPTIONS)) == 2


@given(st.lists(st.floats(-3, 3) | st.just(math.nan), min_size=1, max_size=12), st.integers(1, 4), st.booleans())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_patience_waits_for_a_better_entry(values: list[float], rows: int, smaller: bool) -> None:
    patience, history = Patience(rows, "x", smaller), History()
    best, since = -math.inf, 0
    for step, value in enumerate(values):
        history.rows += [{"step": step, "loss": 0.0}, {"step": step, "x": value}]
        score = -math.inf if math.isnan(value) else -value if smaller else value
        since = 0 if step == 0 or score > best else since + 1
        best = max(best, score)
        assert (patience(history) == "stop") is (since >= rows)


def test_patience_is_checked_and_waits_for_its_column() -> None:
    assert Patience(1)(History([{"step": 1, "loss": 1.0}])) is None
    with pytest.raises(ConfigError, match="rows"):
        Patience(0)


# ---------------------------------------------------------------- errors of callbacks
def broken(agent: Any) -> dict[str, float]:
    raise KeyError("reward")


class Judge:
    def __call__(self, agent: Any) -> dict[str, float]:
        raise DataError("observations", "shape [3]", "shape [n, 2]", "reshape them.")


def test_an_error_in_evaluate_names_it() -> None:
    with pytest.raises(CallbackError, match=r"evaluate=broken, called at update 4: found KeyError: 'reward'") as caught:
        fit(build(), log(), 8, evaluate=broken, eval_every=4, **OPTIONS)
    assert isinstance(caught.value.__cause__, KeyError) and isinstance(caught.value, CQLTutorialError)
    with pytest.raises(DataError, match=r"evaluate=Judge, called at update 4: observations: found shape \[3\]"):
        fit(build(), log(), 8, evaluate=Judge(), eval_every=4, **OPTIONS)
    with pytest.raises(CallbackError, match="could not convert string to float"):
        fit(build(), log(), 8, evaluate=lambda agent: {"return": "high"}, eval_every=4, **OPTIONS)


def test_an_error_in_on_row_names_it_and_ctrl_c_is_none() -> None:
    def logger(history: History) -> None:
        raise OSError("disk full")

    def interrupted(history: History) -> None:
        raise KeyboardInterrupt

    with pytest.raises(CallbackError, match=r"on_row=.*logger, called at update 5: found OSError: disk full"):
        fit(build(), log(), 8, on_row=logger, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        fit(build(), log(), 8, on_row=interrupted, **OPTIONS)


# ---------------------------------------------------------------- the history
ROWS = [{"step": 5, "loss": 2.0}, {"step": 10, "loss": 1.0}, {"step": 10, "return": 7.0}, {"step": 15, "loss": 0.5}]


def test_a_series_has_the_rows_that_have_an_entry() -> None:
    history = History([dict(row) for row in ROWS])
    assert history.series("loss") == ([5, 10, 15], [2.0, 1.0, 0.5]) and history.series("return") == ([10], [7.0])
    with pytest.raises(KeyError, match=r"'reward'.*'loss'"):
        history.series("reward")


def test_a_history_as_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    frame = History([dict(row) for row in ROWS]).to_dataframe()
    assert list(frame.columns) == ["step", "loss", "return"] and frame["loss"].isna().tolist() == [False] * 2 + [
        True,
        False,
    ]
    assert frame["return"].dropna().tolist() == [7.0] and len(History().to_dataframe()) == 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"History.to_dataframe: found no pandas.*pip install pandas"):
        History().to_dataframe()
