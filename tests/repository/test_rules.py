"""One lock, light imports, nothing of one machine in any file. `make lint` holds the layers."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
import zipfile
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from shutil import copytree, ignore_patterns, which

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cql_tutorial
from scripts import release
from tests import ROOT
from tests.conftest import HIDE_PACKAGES
from tests.pace import limit

PACKAGE = ROOT / "cql_tutorial"
SHIPPED = ("gridworld", "maze", "pendulum", "policies", "results")  # as in setup.py; data/mujoco/ is made on demand


def lock(file: str = "requirements.txt") -> dict[str, str]:
    """Name -> version of every pin in requirements.txt, or in the lock of an extra."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    parsed = [re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][A-Za-z0-9.]*)", line) for line in pins]
    assert all(parsed), [line for line, match in zip(pins, parsed, strict=True) if not match]
    return {canonicalize_name(match[1]): match[2] for match in parsed if match}


def files_only() -> dict[str, str]:
    """The pins of requirements-no-deps.txt, of which only the files are used."""
    lines = (ROOT / "requirements-no-deps.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def files() -> list[Path]:
    """What git tracks or would track: a checkout without git (an archive) is walked instead."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        found = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        hidden = (".venv", ".git", "my_work", "__pycache__", "build", "dist")
        found = [path for path in ROOT.rglob("*") if not any(part in hidden for part in path.parts)]
    return [path for path in found if path.is_file()]


# ---------------------------------------------------------------- one lock
def test_requirements_are_exact_pins_that_satisfy_pyproject() -> None:
    pins, meta = lock(), project()
    extras = meta["optional-dependencies"]
    source = (ROOT / "requirements.in").read_text(encoding="utf-8")
    locked = re.search(r"^\.\[(.*)\]$", source, re.M)[1].split(",")
    assert {"cli", "tables", "onnx", "course", "dev"} == set(locked), "their tests would be skipped"
    wanted = [*meta["dependencies"], *(line for extra in locked for line in extras[extra])]
    for line in wanted:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"python_version": "3.11"}):
            continue  # not wanted by the lock's Python
        assert name in pins, f"{name} is wanted by pyproject.toml and not locked"
        assert requirement.specifier.contains(pins[name]), (line, pins[name])
    assert not {"pip", "setuptools", "cql-tutorial"} & set(pins)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="the lock is of Python 3.11 on Linux"
)
def test_the_lock_is_complete_and_installed() -> None:
    for name, version in lock().items():
        assert metadata.version(name).split("+")[0] == version, f"{name}: make setup installs the lock again"
    seen, queue = set(), ["cql-tutorial-needs", *lock()]
    while queue:  # whatever a locked package needs is locked too
        name = queue.pop()
        for line in (metadata.requires(name) or []) if name != "cql-tutorial-needs" else project()["dependencies"]:
            requirement = Requirement(line)
            needed = canonicalize_name(requirement.name)
            if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and needed not in seen:
                seen.add(needed)
                assert needed in lock() or needed in ("setuptools", "pip") or _comes_with_torch(name, needed), (
                    f"{name} needs {needed}, which is not in the lock"
                )


def test_mujoco_has_a_lock_of_its_own() -> None:
    pins, pattern = lock("requirements-mujoco.txt"), r"-r requirements-mujoco\.txt"
    assert not set(pins) & set(lock()), "they are installed on top of one another"
    for line in project()["optional-dependencies"]["mujoco"]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert requirement.specifier.contains((pins | lock())[name]), line
    makefile, ci = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", ".ci/run"))
    assert re.search(pattern, makefile) and re.search(r"^results: .*\$\(MUJOCO\)", makefile, re.MULTILINE)
    assert re.search(r"make --no-print-directory mujoco \|\| echo", ci), "CI goes on where it cannot be installed"
    pytest.importorskip("mujoco")
    queue, seen = [("mujoco", ""), ("gymnasium", "mujoco")], set()
    while queue:  # whatever the extra needs is in one of the two locks
        name, extra = queue.pop()
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            needed = canonicalize_name(requirement.name)
            own = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": one})
                for one in ("", extra, *(["epy"] if extra == "epath" else []))
            )
            if own and needed not in seen and needed not in lock():
                seen.add(needed)
                queue += [(needed, one) for one in requirement.extras or {""}]
                assert needed in pins, f"{name} needs {needed}, which is in neither lock"
    for name, version in pins.items():
        assert metadata.version(name) == version, f"{name}: make mujoco installs the lock again"


def test_what_is_installed_without_its_dependencies() -> None:
    from cql_tutorial.cli import doctor
    from cql_tutorial.envs import sepsis

    assert files_only() == {sepsis.PACKAGE: sepsis.VERSION} == doctor.FILES_ONLY and not set(files_only()) & set(lock())
    for name, version in files_only().items():
        assert metadata.version(name) == version, f"{name}: make setup installs it"
    for name in ("environment.yml", "docs/install.md", "requirements.txt", "Makefile"):
        assert "-r requirements-no-deps.txt" in (ROOT / name).read_text(encoding="utf-8"), name


def _comes_with_torch(name: str, needed: str) -> bool:
    # The builds of torch differ in the GPU libraries they bring; those are torch's to choose.
    return name == "torch" and needed.startswith(("nvidia-", "cuda-", "triton", "pytorch-triton"))


def test_conda_installs_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "cql-tutorial" and environment["channels"] == ["conda-forge"]
    python, pip, rest = environment["dependencies"]
    assert pip == "pip" and rest == {"pip": ["-r requirements.txt", "-e ."]}
    version = re.fullmatch(r"python=(\d+\.\d+)", python)[1]
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")] == [version]
    assert ".ci/run" in [step.get("run") for step in steps]
    oldest = project()["requires-python"].removeprefix(">=")
    assert workflow["jobs"]["python"]["strategy"]["matrix"]["python"][0] == oldest
    assert any(
        step.get("with", {}).get("environment-file") == "environment.yml" for step in workflow["jobs"]["conda"]["steps"]
    )
    assert f"(Python {version}, Linux)" in (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_binder_installs_the_locks_torch_and_makes_the_students_copies() -> None:
    text = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8")
    assert f"torch=={lock()['torch']}+cpu" in text.splitlines() and "--constraint ../requirements.txt" in text
    assert (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8") == "python-3.11\n"
    assert "scripts/workspace.py copy" in (ROOT / "binder" / "postBuild").read_text(encoding="utf-8")


def test_one_version_everywhere() -> None:
    version = cql_tutorial.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert released[0] == version and changelog.index("## [Unreleased]") < changelog.index(f"## [{version}]")


def test_the_wheel_holds_the_package_its_data_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    copytree(PACKAGE, source / "cql_tutorial", ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "tests").mkdir()
    (source / "tests" / "test_nothing.py").write_text("")
    below = {path.relative_to(ROOT / "data") for path in files() if ROOT / "data" in path.parents}
    data = {path for path in below if len(path.parts) > 1 and path.parts[0] in SHIPPED}
    for path in data:
        (source / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (source / "data" / path).write_bytes((ROOT / "data" / path).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"cql_tutorial/{path.relative_to(PACKAGE).as_posix()}" for path in files() if PACKAGE in path.parents}
    shipped |= {f"cql_tutorial/shipped/{path.as_posix()}" for path in data}
    info = f"cql_tutorial-{cql_tutorial.__version__}.dist-info"
    assert {name for name in names if not name.startswith(info)} == shipped  # py.typed and every data file among them
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/NOTICE"} <= names
    assert wheel.stat().st_size < 10e6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "from cql_tutorial import load_dataset; from cql_tutorial.datasets.files import search_places"
    code += "; print(len(load_dataset('maze/stitch-8k-v0')), search_places()[0].name)"
    result = run_python(f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}", cwd=tmp_path)
    assert result.split() == ["8000", "shipped"], "an installed wheel finds its own data"


def test_a_release_is_dated_and_its_versions_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "CITATION.cff"
    copy.write_bytes((ROOT / "CITATION.cff").read_bytes())
    for day in (datetime.date(2026, 1, 2), datetime.date(2026, 3, 4)):
        release.cite(copy, day)
    cited = yaml.safe_load(copy.read_text(encoding="utf-8"))
    assert str(cited["date-released"]) == "2026-03-04" and cited["version"] == release.check_version()
    monkeypatch.setattr(cql_tutorial, "__version__", "9.9.9")
    with pytest.raises(SystemExit, match=r"versions differ:\n.*__init__.py: 9.9.9\n.*CITATION"):
        release.check_version()


# ---------------------------------------------------------------- light imports
def run_python(code: str, cwd: Path = ROOT) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=limit("program")
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_import_is_light() -> None:
    heavy = ["matplotlib", "IPython", "ipywidgets", "mujoco", "pandas", "gymnasium", "minari", "h5py", "scipy"]
    code = f"import sys, cql_tutorial; cql_tutorial.CQLAgent; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code).strip() == "[]"


BLOCKED = f"""
import sys
hidden = {{"gymnasium", "minari", "h5py", "scipy", "tqdm", "safetensors", "matplotlib"}}
{HIDE_PACKAGES}
"""


@pytest.mark.slow
def test_agents_need_torch_and_numpy_alone() -> None:
    code = """
import torch
from cql_tutorial import CQLAgent, make_agent
from cql_tutorial.agents import AGENTS
assert CQLAgent({"state_dim": 3, "action_dim": 2}).act(torch.zeros(4, 3)).shape == (4, 2)
for name in AGENTS:
    agent = make_agent(name, {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "seed": 0, "device": "cpu"})
    discrete = name.startswith(("discrete", "dqn"))
    metrics = agent.update({
        "observations": torch.randn(5, 3), "next_observations": torch.randn(5, 3), "rewards": torch.randn(5),
        "actions": torch.tensor([0, 1, 1, 0, 1]) if discrete else torch.rand(5, 2), "returns_to_go": torch.zeros(5),
        "terminations": torch.zeros(5, dtype=torch.bool),
    })
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in metrics.values()), name
print("updated", len(AGENTS))
"""
    assert run_python(BLOCKED + code).startswith("updated")


# ---------------------------------------------------------------- tidy
MACHINE = re.compile(rb"(?<![\w.<>~/-])(?:/(?:work|root|home|Users|opt)/\w|/tmp/ipy[k]ernel|[A-Z]:\\\\?Users)")


def test_the_pattern_knows_a_machine_path_from_an_address() -> None:
    for bad in (
        b'"/' + b"root/x.py",
        b"in /" + b"home/ann/cql",
        b"/tmp/" + b"ipykernel_12/3.py",
        b"C:\\" + b"Users\\ann",
    ):
        assert MACHINE.search(bad), bad
    for good in (b"https://example.org/home/page", b"notebooks/work/x", b"/usr/bin/env", b"~/src/cql"):
        assert not MACHINE.search(good), good


def test_no_file_names_a_machine() -> None:
    found = {path.relative_to(ROOT).as_posix(): MACHINE.search(path.read_bytes()) for path in files()}
    assert {name: match[0] for name, match in found.items() if match} == {}


def test_every_data_set_has_its_checksum() -> None:
    rows = [row.split(maxsplit=1) for row in (ROOT / "data/SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    listed = {name.lstrip("*"): digest for digest, name in rows}
    stored = [path for path in files() if path.suffix == ".hdf5" and ROOT / "data" in path.parents]
    found = {path.relative_to(ROOT / "data").as_posix(): sha256(path.read_bytes()).hexdigest() for path in stored}
    assert found and found == {name: digest for name, digest in listed.items() if name.endswith(".hdf5")}


@pytest.mark.skipif(not which("make"), reason="no make here")
def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    declared = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()) - {"$(MOVED)"}
    assert {"lab", "test", "data", "results", "reset", "clean", "help"} <= targets == declared
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == targets


def notebook_faults(notebook: dict) -> list[str]:
    """What a committed notebook must not hold."""
    faults = []
    if "widgets" in notebook["metadata"]:
        faults.append("widget state is saved")
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        faults.append("its kernel is not python3")
    ids = [cell.get("id") for cell in notebook["cells"]]
    if None in ids or len(set(ids)) < len(ids):
        faults.append("a cell has no id of its own")
    for cell in notebook["cells"]:
        outputs = cell.get("outputs", [])
        tags = cell["metadata"].get("tags", [])
        if any(output["output_type"] == "error" for output in outputs) and "raises-exception" not in tags:
            faults.append(f"cell {cell.get('id')} ends in an error")
        if cell["cell_type"] == "code" and "".join(cell["source"]).strip() and cell.get("execution_count") is None:
            faults.append(f"cell {cell.get('id')} was not run")
    return faults


def test_notebooks_are_fit_to_be_committed() -> None:
    paths = [path for path in files() if path.suffix == ".ipynb"]
    faults = {path.name: notebook_faults(json.loads(path.read_text(encoding="utf-8"))) for path in paths}
    large = [path.name for path in paths if path.stat().st_size > 500_000]
    assert {name: found for name, found in faults.items() if found} == {} and large == []


def test_the_notebook_rules_find_each_fault() -> None:
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": ["1"], "outputs": [], "execution_count": 1}
    clean = {"metadata": {"kernelspec": {"name": "python3"}}, "cells": [cell]}
    assert notebook_faults(clean) == []
    failed = {**cell, "outputs": [{"output_type": "error"}], "execution_count": None}
    bad = {"metadata": {"widgets": {}, "kernelspec": {"name": "mine"}}, "cells": [failed, failed]}
    assert len(notebook_faults(bad)) == 3 + 2 * 2
