"""One folder for each folder of the package; `repository` holds what is true of the checkout as a whole."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
