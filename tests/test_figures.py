"""Figures speak: the sentence follows the data, and the picture shows them."""

from __future__ import annotations

import math

from cql_tutorial import History
from cql_tutorial.figures import prediction_and_truth


def history(predicted: float, over: float, impossible: float) -> History:
    measured = {"predicted": predicted, "predicted_p90": predicted + 1, "true": -60.0}
    rows: list[dict[str, float]] = [{"step": 50.0, "td_loss": 1.0}]  # a row of training metrics, without a measurement
    for step in (100.0, 200.0):
        rows.append({"step": step, **measured, "share_over": over, "share_impossible": impossible})
    return History(rows)


def test_the_sentence_follows_the_data() -> None:
    figure = prediction_and_truth({"A": [history(20.0, 1.0, 0.8)], "B": [history(-70.0, 0.4, 0.0)] * 3})
    sentence = (
        "A: the prediction ends above the truth at nearly every state; many of its values cannot exist. "
        "B: the prediction ends on both sides of the truth; few or none of its values are impossible."
    )
    assert repr(figure) == str(figure) == sentence
    below = prediction_and_truth({"C": [history(-90.0, 0.05, 0.1)]})
    assert "below the truth at nearly every state; few or none" in repr(below)


def test_the_curves_are_the_measured_rows_on_common_limits() -> None:
    figure = prediction_and_truth({"A": [history(20.0, 1.0, 0.8)], "B": [history(-70.0, 0.1, 0.0)] * 3})
    first, second = figure.axes
    assert first.get_ylim() == second.get_ylim() and first.get_ylim()[1] > 20.0
    solid = [line for line in first.get_lines() if line.get_label().startswith("predicted (min")]
    assert solid[0].get_xdata().tolist() == [100.0, 200.0] and solid[0].get_ydata().tolist() == [20.0, 20.0]
    assert not any(math.isnan(y) for line in second.get_lines() for y in line.get_ydata())
    assert len(second.get_lines()) == 3 * 4 + 1  # three seeds and their mean, three curves; the bound
    assert figure.png().startswith(b"\x89PNG")
