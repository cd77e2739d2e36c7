"""`python -m experiments`: every name is listed, and leads to its own arguments."""

from __future__ import annotations

import pytest

from experiments import __main__ as experiments
from experiments import headline


def test_every_name_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        experiments.main(["--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "python -m experiments" in shown
    for name, (text, _) in experiments.NAMES.items():
        assert f"  {name}" in shown and text in shown


def test_a_name_leads_to_its_own_arguments(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, option in (("make_datasets", "--only"), ("results", "--table")):
        with pytest.raises(SystemExit):
            experiments.main([name, "--help"])
        shown = capsys.readouterr().out
        assert f"python -m experiments {name}" in shown and option in shown
    told: list[list[str]] = []
    monkeypatch.setattr(headline, "main", lambda arguments: told.append(list(arguments)) or 0)
    for name in ("sepsis", "wrong_penalties", "off_policy", "report"):
        assert experiments.main([name, "--minutes", "1"]) == 0
    assert told == [["--table", table, "--minutes", "1"] for table in ("sepsis", "pitfalls", "ope")] + [
        ["--show", "--minutes", "1"]
    ]
