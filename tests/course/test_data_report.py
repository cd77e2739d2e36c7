"""The report on a log: printed with its remedies, and drawn with a caption that follows the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cql_tutorial.course.figures import data_report
from cql_tutorial.datasets import OfflineDataset
from tests.datasets.test_loaders import DEFECTS, table, write_d4rl
from tests.datasets.test_offline_dataset import make


def test_the_caption_follows_the_data() -> None:
    dataset = make((5, 4, 7), "TXU")
    figure = data_report(dataset)
    low, middle, high = np.percentile(dataset.episode_returns(), [0, 50, 100])
    assert str(figure).startswith(
        "3 episodes of 4 to 7 steps: 1 end in a termination, 1 end in a truncation, 1 are unfinished. "
        f"Returns from {low:.4g} to {high:.4g}, half of them below {middle:.4g}; rewards from "
    )
    assert str(figure).endswith("Known defects: none.") and figure.png().startswith(b"\x89PNG")
    assert [axis.get_title() for axis in figure.axes[:2]] == ["returns, in the order of recording", "episode lengths"]
    points = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert list(points) == ["termination", "truncation", "unfinished"]
    np.testing.assert_allclose([points[name][0] for name in points], dataset.episode_returns())
    assert sum(patch.get_height() for patch in figure.axes[1].patches) == 3


@pytest.mark.parametrize("width", [1, 2, 9])
def test_actions_are_drawn_between_their_bounds(width: int) -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.9, 1.9, (400, width))
    actions[:100, -1] = 2.0
    actions[100, 0] = 3.0
    zeros = np.zeros((400, 1))
    dataset = OfflineDataset.from_arrays(
        zeros,
        actions,
        rng.normal(size=400),
        zeros,
        np.arange(400) % 4 == 3,
        action_low=-2,
        action_high=2,
        out_of_bounds="clip",
    )
    figure = data_report(dataset)
    share = 100 * (101 if width == 1 else 100) / 400
    assert f"most in dimension {width - 1} ({share:.1f}%)" in str(figure)
    assert "actions clipped when read" in str(figure)
    assert figure.axes[2].get_title() == "actions within their bounds; clipped in 1 rows"
    assert len(figure.axes) == (4 if width <= 4 else 5) and figure.png()
    assert "100 episodes of 4 to 4 steps: 100 end in a termination" in str(figure)


def test_choices_and_a_single_episode() -> None:
    figure = data_report(make((30,), "X", n_actions=5))
    assert "1 episodes of 30 to 30 steps" in str(figure) and "Of 5 actions 0 never occur" in str(figure)
    assert len(figure.axes[2].patches) == 5 and figure.png()


def test_the_printed_report_names_remedies_and_what_was_assumed(tmp_path: Path) -> None:
    columns = table()
    DEFECTS["from_next"][0](columns)
    DEFECTS["half"][0](columns)
    path = write_d4rl(tmp_path / "x.hdf5", columns, ("truncations",))
    dataset = OfflineDataset.from_d4rl_hdf5(path, max_episode_steps=77)
    text = str(dataset.describe())
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("- ")] == [f"- {one}" for one in dataset.defects()]
    assert "- stored as float16: 260 of " in text and "Remedy: record in float32" in text
    (read,) = [line for line in lines if line.startswith("read ")]
    assert "format D4RL HDF5, timeouts none in the file; assumed " in read and "next_observations from the file" in read
