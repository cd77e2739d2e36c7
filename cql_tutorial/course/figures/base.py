"""Figures with a caption made from their data, and the colours and marks that they share."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# Okabe and Ito's colours can be told apart with any kind of colour vision; styles, marks and words repeat the message.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#777777",
)  # fmt: skip
TRUTH: dict[str, Any] = {"color": BLUE, "linestyle": "--", "marker": "_"}  # a truth is blue and dashed everywhere
LEARNED: dict[str, Any] = {"color": VERMILION, "linestyle": "-", "marker": "o"}  # a learned value vermilion and solid
# One colour, line and mark for each algorithm in all chapters. None is a truth's, and none is one of OVER and UNDER.
ALGORITHMS: dict[str, dict[str, Any]] = {
    "CQL": LEARNED,
    "SAC": {"color": GREEN, "linestyle": "-.", "marker": "s"},  # and any Q-learning without a penalty
    "BC": {"color": SKY, "linestyle": ":", "marker": "^"},
    "IQL": {"color": BLACK, "linestyle": (0, (4, 1, 1, 1, 1, 1)), "marker": "D"},
    "log": {"color": GREY, "linestyle": (0, (1, 1)), "marker": "|"},  # the behaviour policy, or what it collected
}
OVER, UNDER, EXACT = ORANGE, PURPLE, GREY  # above the truth, below it, on it
OVER_INK, UNDER_INK = "#8A5300", "#8A3A67"  # the same two hues, dark enough for the words "over" and "under"
ERROR_MAP = LinearSegmentedColormap.from_list("over_under", [UNDER_INK, UNDER, "#F7F7F7", OVER, OVER_INK])  # 0 is white


def algorithm_style(name: str) -> dict[str, Any]:
    """Return the entry of `ALGORITHMS` whose name stands in ``name``, as SAC's for "offline SAC"; else `LEARNED`."""
    words = re.findall(r"\w+", name)
    return next((style for known, style in ALGORITHMS.items() if known in words), LEARNED)


def word_for(error: float, exact: float = 1e-6) -> str:
    """Return "over", "under", or "exact" for an error whose size is at most ``exact``."""
    return "over" if error > exact else "under" if error < -exact else "exact"


class CaptionedFigure(Figure):
    """A matplotlib figure whose text form is its `caption`: a screen reader reads it, and the tests compare it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(layout="constrained", **settings)
        FigureCanvasAgg(self)
        self.caption = ""

    def __repr__(self) -> str:
        return self.caption

    __str__ = __repr__

    def png(self) -> bytes:
        """The picture, 100 dots an inch, in 256 colours: a third of the bytes."""
        from io import BytesIO

        from PIL import Image

        full, small = BytesIO(), BytesIO()
        self.savefig(full, format="png", dpi=100)
        picture = Image.open(full).convert("RGB")
        # Coverage, not frequency, chooses the palette: a small mark keeps its colour beside a large colour bar.
        palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        palette.save(small, format="png", optimize=True)
        return small.getvalue()

    def _ipython_display_(self) -> None:
        from base64 import b64encode

        from IPython.display import display

        data = {"image/png": b64encode(self.png()).decode(), "text/plain": self.caption}
        display(data, raw=True, metadata={"image/png": {"alt": self.caption}})
        paragraph = f'<p style="max-width:60em;margin:0"><em>{escape(self.caption)}</em></p>'
        display({"text/html": paragraph, "text/plain": self.caption}, raw=True)
