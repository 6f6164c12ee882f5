"""A constraint that a user wrote in Python.

It is known by a name, from :func:`register_constraint` or from an entry point of an installed
package. A request holds the name and its parameters, never code or a path to code, so a request
from a stranger can only use what the owner of the machine has installed.

Whatever a user's code does wrong while designs are made is caught: its restraint is left out, its
verdict is ``not_run`` with the reason, and the run goes on.
"""

from __future__ import annotations

import difflib
import math
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Protocol, cast

import msgspec
import numpy as np

from protein_lab.constraints.base import Layout, Restraint, require_length
from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault, FloatArray, Measurement

if TYPE_CHECKING:
    from protein_lab.protein import Protein

ENTRY_POINTS: Final = "protein_lab.constraints"
"""Group of entry points by which a package offers constraints."""

_HOW_TO_REGISTER: Final = (
    "Call protein_lab.register_constraint(name, factory) first, or install a package with an entry "
    f"point in the group {ENTRY_POINTS!r}."
)

Parameter = bool | int | float | str | tuple[bool | int | float | str, ...]
"""What a parameter may be in JSON: a plain value, or a list of such."""


class UserConstraint(Protocol):
    """What a user's class must offer; ``restraint(layout)`` as in the base is optional."""

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement | float:
        """Measure a structure; a bare number is a margin, not negative where it holds."""
        ...


Factory = Callable[[Mapping[str, Any]], UserConstraint]
"""Makes a constraint from the parameters of a request."""

_REGISTERED: dict[str, Factory] = {}


def register_constraint(name: str, factory: Factory) -> None:
    """Make a constraint of one's own known in this process.

    Parameters
    ----------
    name : str
        What requests call it; an earlier constraint of this name is replaced.
    factory : callable
        Called with the parameters of a request; gives an object with ``evaluate(protein, layout)``
        and, if it can pull a chain, ``restraint(layout)``. A class that takes one mapping will do.

    Raises
    ------
    ProteinLabError
        When the name is empty or the factory cannot be called.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ProteinLabError(f"Expected a name for a constraint, but got {name!r}.")
    if not callable(factory):
        raise ProteinLabError(
            f"Expected a factory for the constraint {name!r}, but got a {type(factory).__name__}.",
            "Give a class, or a function, that makes the constraint from its parameters.",
        )
    _REGISTERED[name] = factory
    _made.cache_clear()


def registered_constraints() -> tuple[str, ...]:
    """Names of all constraints that requests can use here, sorted."""
    offered = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return tuple(sorted(offered | set(_REGISTERED)))


class Custom(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="custom",
):
    """Ask for what a Python class of the user measures.

    Attributes
    ----------
    name : str
        Name under which the class is registered.
    parameters : dict
        What the class is made from; plain values and lists of such.
    """

    kind: ClassVar[str] = "custom"

    name: Annotated[str, msgspec.Meta(max_length=200)]
    parameters: dict[str, Parameter] = {}

    def __hash__(self) -> int:
        """Hash of the name and all parameters, whatever their order."""
        return hash((self.kind, self.name, msgspec.json.encode(self.parameters, order="sorted")))

    def faults(self, path: str) -> list[Fault]:
        """Find a name that is not registered, and parameters that the class refuses."""
        if self.name is None or self.parameters is None:
            return []
        known = registered_constraints()
        if self.name not in known:
            near = difflib.get_close_matches(self.name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            here = f"Known here: {', '.join(known)}." if known else "None is known here."
            return [
                Fault(
                    path=f"{path}.name",
                    message=f"Expected the name of a registered constraint, but got "
                    f"{self.name!r}. {here}",
                    remedy=hint + _HOW_TO_REGISTER,
                )
            ]
        try:
            self._make()
        except ProteinLabError as error:
            return [Fault(path=f"{path}.parameters", message=error.problem, remedy=error.remedy)]
        return []

    def evaluate(self, protein: Protein, layout: Layout) -> Measurement:
        """Let the user's class measure; what goes wrong in it gives ``not_run`` and the reason."""
        require_length(protein, layout)
        try:
            made = self._make()
            found = _guarded(self.name, "evaluate", lambda: made.evaluate(protein, layout))
            measurement = _measurement(self.name, found)
            problem = self._restraint_problem(made, protein, layout)
        except ProteinLabError as error:
            return Measurement(
                constraint=self.kind, value=None, unit="", target=None, margin=None,
                verdict="not_run", details=f"{self.name}: {error.problem}",
            )  # fmt: skip
        details = f"{self.name}: {measurement.details}" if measurement.details else self.name
        return msgspec.structs.replace(
            measurement, constraint=self.kind, details=f"{details}{problem}"
        )

    def restraint(self, layout: Layout) -> Restraint:
        """Give the energy of the user's class; none where it has no restraint, or a broken one."""
        try:
            return _GuardedRestraint(self.name, _restraint_of(self.name, self._make(), layout))
        except ProteinLabError:
            return _GuardedRestraint(self.name, None)

    def _make(self) -> UserConstraint:
        return _made(self.name, msgspec.json.encode(self.parameters, order="sorted"))

    def _restraint_problem(self, made: UserConstraint, protein: Protein, layout: Layout) -> str:
        """Say what is wrong with the restraint, tried on a structure; nothing where all is well."""
        from protein_lab.geometry import virtual_cb

        backbone = protein.backbone.astype(np.float64)
        atoms = np.concatenate([backbone[:, :3], virtual_cb(backbone)[:, None]], axis=1)
        try:
            energy = _restraint_of(self.name, made, layout)
            if energy is not None:
                _call(self.name, energy, atoms)
        except ProteinLabError as error:
            return f"; its restraint was left out: {error.problem}"
        return ""


class _GuardedRestraint:
    """Energy of a user's class that is left out from the first thing on that is wrong in it."""

    def __init__(self, name: str, energy: Any) -> None:
        self._name = name
        self._energy = energy
        self._on_curve = getattr(energy, "on_curve", None)

    def __call__(self, atoms: FloatArray) -> tuple[float, FloatArray]:
        """Energy of N, CA, C and CB, ``(residue, 4, 3)``, and its gradient."""
        if self._energy is not None:
            try:
                return _call(self._name, self._energy, atoms)
            except ProteinLabError:
                self._energy = None
        return 0.0, np.zeros_like(atoms)

    def on_curve(self, curve: FloatArray) -> tuple[float, FloatArray]:
        """Energy of an axis curve, ``(residue, 3)``, and its gradient."""
        if self._on_curve is not None:
            try:
                return _call(self._name, self._on_curve, curve)
            except ProteinLabError:
                self._on_curve = None
        return 0.0, np.zeros_like(curve)


@lru_cache(maxsize=256)
def _made(name: str, parameters: bytes) -> UserConstraint:
    """Make a user's constraint once for each set of parameters.

    Raises
    ------
    ProteinLabError
        When it is not known here, cannot be imported, or refuses its parameters.
    """
    factory = _factory(name)
    made = _guarded(name, "factory", lambda: factory(msgspec.json.decode(parameters)))
    if not callable(getattr(made, "evaluate", None)):
        raise ProteinLabError(
            f"Expected an object with evaluate(protein, layout) from the factory of {name!r}, but "
            f"got a {type(made).__name__}.",
            "Return an instance of your class.",
        )
    return cast("UserConstraint", made)


def _factory(name: str) -> Factory:
    if name in _REGISTERED:
        return _REGISTERED[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        loaded = _guarded(name, "module", point.load)
        if not callable(loaded):
            raise ProteinLabError(
                f"Expected a factory at the entry point {name!r}, but {point.value} is a "
                f"{type(loaded).__name__}.",
                "Let the entry point name a class or a function.",
            )
        return cast("Factory", loaded)
    raise ProteinLabError(f"No constraint {name!r} is registered here.", _HOW_TO_REGISTER)


def _guarded(name: str, part: str, call: Callable[[], Any]) -> Any:
    """Call a user's code and turn whatever it raises into an error with the place of it."""
    try:
        return call()
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error) or "no message"
        raise ProteinLabError(
            f"The {part} of {name!r} raised {type(error).__name__} in {last.name} "
            f"({last.filename}:{last.lineno}): {said}.",
            "Mend the class or its parameters.",
        ) from error


def _measurement(name: str, found: object) -> Measurement:
    """See that what a user's class measured can be used."""
    if isinstance(found, Measurement):
        numbers = {"value": found.value, "target": found.target, "margin": found.margin}
        for field, number in numbers.items():
            if number is not None and not _is_finite(number):
                raise ProteinLabError(f"Expected a finite {field}, but got {number!r}.")
        is_met = None if found.margin is None else found.margin >= 0.0
        if is_met is not None and found.verdict in ("pass", "fail"):
            wanted = "pass" if is_met else "fail"
            if found.verdict != wanted:
                raise ProteinLabError(
                    f"Expected the verdict {wanted!r} with a margin of {found.margin:g}, but got "
                    f"{found.verdict!r}."
                )
        return msgspec.structs.replace(
            found, **{key: None if item is None else float(item) for key, item in numbers.items()}
        )
    array = np.asarray(found)
    if array.shape != () or array.dtype.kind not in "fiub":
        shape = f"an array of shape {array.shape}" if array.shape else f"a {type(found).__name__}"
        raise ProteinLabError(f"Expected a Measurement or a number from evaluate, but got {shape}.")
    margin = float(array)
    if not math.isfinite(margin):
        raise ProteinLabError(f"Expected a finite number from evaluate, but got {margin}.")
    return Measurement(
        constraint=name, value=margin, unit="margin", target=0.0, margin=margin,
        verdict="pass" if margin >= 0.0 else "fail",
    )  # fmt: skip


def _is_finite(number: Any) -> bool:
    return np.isscalar(number) and not isinstance(number, str) and bool(np.isfinite(number))


def _restraint_of(name: str, made: UserConstraint, layout: Layout) -> Any:
    """Ask a user's class for its restraint; None where it has none."""
    give = getattr(made, "restraint", None)
    if give is None:
        return None
    energy = _guarded(name, "restraint", lambda: give(layout))
    if energy is not None and not callable(energy):
        raise ProteinLabError(
            f"Expected a callable from restraint, but got a {type(energy).__name__}."
        )
    return energy


def _call(name: str, energy: Any, points: FloatArray) -> tuple[float, FloatArray]:
    """Call a user's energy on a copy, and see that number and gradient can be used."""
    found = _guarded(name, "restraint", lambda: energy(np.array(points)))
    if not isinstance(found, tuple) or len(found) != 2:
        raise ProteinLabError(
            f"Expected (energy, gradient) from the restraint, but got a {type(found).__name__}."
        )
    value = np.asarray(found[0])
    gradient = np.asarray(found[1])
    if value.shape != () or gradient.shape != points.shape:
        raise ProteinLabError(
            f"Expected a number and a gradient of shape {points.shape} from the restraint, but got "
            f"shapes {value.shape} and {gradient.shape}."
        )
    if not (value.dtype.kind in "fiu" and gradient.dtype.kind in "fiu"):
        raise ProteinLabError("Expected numbers from the restraint.")
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise ProteinLabError("Expected finite numbers from the restraint.")
    return float(value), gradient.astype(np.float64)
