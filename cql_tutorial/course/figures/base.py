"""Figures with a caption made from their data, and the colours and marks that they share."""

from __future__ import annotations

from html import escape
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
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
OVER, UNDER, EXACT = ORANGE, PURPLE, GREY  # above the truth, below it, on it; ERROR_MAP shades the same two
ERROR_MAP = "PuOr_r"  # diverges around 0 and is safe for colour-blind readers: orange over, purple under


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
