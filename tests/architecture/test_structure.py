"""The project's shape: layers, light import, agreeing metadata, small files."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("protein_lab", "service", "extensions", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
]


def test_imports_go_down_only() -> None:
    """import-linter keeps the layers and the places of heavy libraries."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_import_is_light() -> None:
    """`import protein_lab` loads no framework."""
    heavy = "torch jax dask distributed litestar papermill IPython matplotlib statsmodels biotite"
    code = f"import sys, protein_lab; print(*(set('{heavy}'.split()) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_environment_has_the_bounds_of_the_project() -> None:
    """environment.yml and pyproject.toml name the same packages and bounds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = set(project["dependencies"])
    for name in extras.keys() - {"all", "dev"}:
        wanted |= set(extras[name])
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in environment if isinstance(entry, dict))
    assert set(pip) - {"-e ."} == wanted
    assert "python" + project["requires-python"] in environment


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    """Files stay under 400 lines, functions under 50 lines besides their docstring."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            first = body[1] if ast.get_docstring(node) and len(body) > 1 else body[0]
            assert (node.end_lineno or 0) - first.lineno < 50, node.name


def test_versions_agree() -> None:
    """The package and its metadata have one version."""
    import protein_lab

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert protein_lab.__version__ == project["version"]


def test_continuous_integration_lints_and_tests() -> None:
    """What is run for every change is what `make lint` and `make test` run here."""
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in steps if line.startswith("make ")] == ["make lint", "make test"]
    shown = subprocess.run(
        ["make", "-n", "lint"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tools = ("ruff check", "ruff format --check", "pyright", "lint-imports", "numpydoc lint")
    assert [tool for tool in tools if tool not in shown.stdout] == []


def test_docstrings_name_the_parameters_that_are_there(tmp_path: Path) -> None:
    """The configured docstring lint finds a parameter that the code does not have."""
    module = tmp_path / "module.py"
    code = '"""A module."""\n\n\ndef add(one: int) -> int:\n    """Add one.\n\n    Parameters\n'
    code += '    ----------\n    {name} : int\n        A number.\n    """\n    return one + 1\n'
    lint = [Path(sys.executable).parent / "numpydoc", "lint", "--config", ROOT, module]
    for name, passes in (("one", True), ("two", False)):
        module.write_text(code.format(name=name))
        done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode == 0) == passes, done.stdout + done.stderr
