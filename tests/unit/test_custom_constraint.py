"""A user's own constraint works like any other, and its faults stay with it."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import protein_lab
from protein_lab.constraints import custom
from protein_lab.constraints.base import Layout
from protein_lab.constraints.custom import Custom, register_constraint
from protein_lab.design.request import DesignRequest, check_request, decode_request
from protein_lab.errors import ProteinLabError
from protein_lab.execution.base import RuntimeSpec
from protein_lab.execution.tasks import Reply, Work, make_design
from protein_lab.geometry import virtual_cb
from protein_lab.protein import Protein
from protein_lab.testing.results import ideal_helix_design
from protein_lab.typing import Measurement

PAGE = Path(__file__).parents[2] / "docs" / "constraints" / "custom.md"
HELIX = Protein.from_backbone(ideal_helix_design(0, 24).backbone)
LAYOUT = Layout(24, ())


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no test see what another registers."""
    monkeypatch.setattr(custom, "_REGISTERED", {})
    custom._made.cache_clear()
    yield
    custom._made.cache_clear()


class Margin:
    """Gives whatever it is told to give."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def evaluate(self, protein: Protein, layout: Layout) -> Any:
        """Give it, or raise it."""
        del protein, layout
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def given(answer: Any) -> Custom:
    """Register a class that measures ``answer``."""
    register_constraint("mine", lambda parameters: Margin(answer))
    return Custom(name="mine")


def example(block: int) -> types.ModuleType:
    """Run one part of the example of the documentation, made small."""
    text = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[block]
    small = '"num_designs": 1, "steps": 2, "samples_per_design": 1'
    text = text.replace('"length": 40', '"length": 24').replace('"num_designs": 1', small)
    module = types.ModuleType("example")
    exec(compile(text, str(PAGE), "exec"), module.__dict__)
    return module


def test_the_documented_example_makes_designs() -> None:
    """It registers itself, its gradient is right, and a design is made and measured with it."""
    example(0)
    asked = Custom(name="ends_near", parameters={"most": 12.0})
    backbone = HELIX.backbone.astype(np.float64)
    atoms = np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)
    energy = asked.restraint(LAYOUT)
    value, gradient = energy(atoms)
    way = np.random.default_rng(0).normal(size=atoms.shape)
    change = energy(atoms + 1e-5 * way)[0] - energy(atoms - 1e-5 * way)[0]
    assert value > 1.0
    assert change / 2e-5 == pytest.approx(float((gradient * way).sum()), rel=1e-5)
    found = asked.evaluate(HELIX, LAYOUT)
    assert found.verdict == "fail"
    assert found.value is not None
    assert found.margin == pytest.approx(12.0 - found.value)
    (measured,) = example(1).result.designs[0].measurements
    assert measured.constraint == "custom"
    assert measured.verdict in ("pass", "fail")
    assert measured.details == "ends_near: distance of the ends"


def test_the_documented_parameters_are_checked_before_anything_is_made() -> None:
    """What the class raises becomes a fault with its path."""
    example(0)
    asked = {"kind": "custom", "name": "ends_near", "parameters": {"most": 2.0}}
    (fault,) = check_request({"length": 80, "constraints": [asked]})
    assert fault.path == "$.constraints[0].parameters"
    assert "most must be 4 to 100 angstrom, not 2.0" in fault.message
    assert str(PAGE) in fault.message


def test_an_unknown_name_says_how_to_register() -> None:
    """The nearest known one is suggested."""
    register_constraint("my_pocket", lambda parameters: Margin(1.0))
    asked = {"kind": "custom", "name": "my_poket"}
    (fault,) = check_request({"length": 80, "constraints": [asked]})
    assert fault.path == "$.constraints[0].name"
    assert "Did you mean 'my_pocket'?" in fault.remedy
    assert "protein_lab.register_constraint" in fault.remedy
    assert Custom(name="nobody").evaluate(HELIX, LAYOUT).verdict == "not_run"


@pytest.mark.parametrize("margin", [1.5, np.float32(-0.25), 0, True])
def test_a_number_is_a_margin(margin: Any) -> None:
    """It holds where the margin is not negative."""
    found = given(margin).evaluate(HELIX, LAYOUT)
    assert found.margin == float(margin)
    assert found.verdict == ("pass" if margin >= 0 else "fail")


def measurement(**changed: Any) -> Measurement:
    """Make a measurement that holds, with changes."""
    fields: dict[str, Any] = {
        "constraint": "custom", "value": 1.0, "unit": "1", "target": 0.0, "margin": 1.0,
        "verdict": "pass",
    }  # fmt: skip
    return Measurement(**(fields | changed))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ValueError("no pocket"), "raised ValueError in evaluate"),
        (KeyError("x"), "KeyError"),
        (float("nan"), "finite"),
        (np.array([1.0, 2.0]), r"an array of shape \(2,\)"),
        ("good", "a str"),
        (None, "a NoneType"),
        (1.0 + 2.0j, "a complex"),
        (measurement(value=np.nan), "a finite value"),
        (measurement(margin="1"), "a finite margin"),
        (measurement(verdict="fail"), "the verdict 'pass'"),
    ],
)
def test_what_a_class_does_wrong_is_not_run(answer: Any, said: str) -> None:
    """The run goes on, and the reason is in the details with the name."""
    found = given(answer).evaluate(HELIX, LAYOUT)
    assert found.verdict == "not_run"
    assert found.margin is None
    assert found.details.startswith("mine: ")
    assert re.search(said, found.details)


def test_a_design_that_was_not_measured_is_not_accepted() -> None:
    """A constraint must hold; nobody knows whether it does."""
    design = ideal_helix_design(0, 24)
    measured = given(ValueError("no")).evaluate(HELIX, LAYOUT)
    object.__setattr__(design, "measurements", (measured,))
    assert not design.accepted
    assert design.losses == ("custom",)


def broken(kind: str) -> Callable[[np.ndarray], Any]:
    """Make an energy that is wrong in one way."""

    def energy(atoms: np.ndarray) -> Any:
        if kind == "raises":
            raise ZeroDivisionError("by zero")
        atoms += 1.0  # it must not reach the caller's array
        return {
            "nan": (np.nan, np.zeros_like(atoms)),
            "gradient": (0.0, np.full_like(atoms, np.inf)),
            "shape": (0.0, np.zeros(3)),
            "alone": 0.0,
            "text": ("much", np.zeros_like(atoms)),
        }[kind]

    return energy


@pytest.mark.parametrize("kind", ["raises", "nan", "gradient", "shape", "alone", "text"])
def test_a_broken_restraint_is_left_out_and_named(kind: str) -> None:
    """The verdict stands, and the details say that nothing pulled."""

    class Pulling(Margin):
        def restraint(self, layout: Layout) -> Any:
            del layout
            return broken(kind)

    register_constraint("pulling", lambda parameters: Pulling(1.0))
    asked = Custom(name="pulling")
    atoms = np.ones((24, 4, 3))
    value, gradient = asked.restraint(LAYOUT)(atoms)
    assert value == 0.0
    assert not gradient.any()
    assert (atoms == 1.0).all()
    found = asked.evaluate(HELIX, LAYOUT)
    assert found.verdict == "pass"
    assert "its restraint was left out" in found.details


def test_without_a_restraint_nothing_pulls() -> None:
    """Neither atoms nor curve."""
    energy = given(1.0).restraint(LAYOUT)
    assert energy(np.ones((24, 4, 3)))[0] == 0.0
    assert energy.on_curve(np.ones((24, 3)))[0] == 0.0


def test_parameters_are_data() -> None:
    """They reach the class as they are, come back from JSON, and have a hash without an order."""
    seen: list[Mapping[str, Any]] = []

    def factory(parameters: Mapping[str, Any]) -> Margin:
        seen.append(parameters)
        return Margin(1.0)

    protein_lab.register_constraint("mine", factory)
    text = {"kind": "custom", "name": "mine"}
    values = {"a": 1, "b": 2.5, "c": "x", "d": True, "e": [1, 2.0, "y"]}
    request = decode_request({"length": 30, "constraints": [text | {"parameters": values}]})
    request.constraints[0].evaluate(HELIX, LAYOUT)
    assert seen == [values]
    assert msgspec.json.decode(request.canonical(), type=DesignRequest) == request
    turned = dict(reversed(list(values.items())))
    again = decode_request({"length": 30, "constraints": [text | {"parameters": turned}]})
    assert hash(again.constraints[0]) == hash(request.constraints[0])


def test_installed_packages_offer_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point is loaded when a request names it, and not before."""
    points = [
        EntryPoint("offered", "collections:Counter", custom.ENTRY_POINTS),
        EntryPoint("gone", "no_such_package:Thing", custom.ENTRY_POINTS),
    ]

    def find(group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == custom.ENTRY_POINTS
        return [point for point in points if name in (None, point.name)]

    monkeypatch.setattr(custom, "entry_points", find)
    assert custom.registered_constraints() == ("gone", "offered")
    (fault,) = Custom(name="gone").faults("$.constraints[0]")
    assert "no_such_package" in fault.message
    (fault,) = Custom(name="offered").faults("$.constraints[0]")
    assert "evaluate(protein, layout)" in fault.message


def test_a_worker_that_does_not_know_it_says_so() -> None:
    """The run stops with the remedy, instead of designs of which none is measured."""
    asked = (Custom(name="only_here"),)
    request = DesignRequest(length=24, constraints=asked)
    spec = RuntimeSpec(operator="enhanced_deeponet", backend="numpy")
    work = Work(request=request, request_id="", spec=spec)
    answer = make_design(msgspec.json.encode(work), 0)
    reply = msgspec.msgpack.decode(answer, type=Reply)
    assert reply.design is None
    assert reply.problem.startswith("$.constraints[0].name")
    assert "entry point on every worker" in reply.remedy


@pytest.mark.parametrize(("name", "factory"), [("", Margin), (" ", Margin), ("mine", 3)])
def test_what_cannot_be_registered_is_refused(name: str, factory: Any) -> None:
    """At once, not when it is used."""
    with pytest.raises(ProteinLabError, match="Expected a"):
        register_constraint(name, factory)
