"""Presets of checks and how a number becomes a verdict.

A check measures; a preset says which checks run, what their numbers may be and why. So a
threshold is changed in a text file, with its reason beside it, and never in code.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

import msgspec

from protein_lab.errors import ProteinLabError
from protein_lab.protein import Protein
from protein_lab.typing import Check, Verdict

PRESETS: Final = Path(__file__).parent / "presets"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a preset asks of one number.

    Attributes
    ----------
    unit : str
        Unit of the number and of both limits.
    limit : {"at_most", "at_least"}
        Side on which the threshold itself still passes.
    threshold : float or None
        Beyond it the check fails; None when the number is only reported.
    warning : float or None
        Beyond it the details say that the number is unusual; the verdict is not touched.
    reason : str
        Where the numbers come from.
    slow : bool
        Whether it takes seconds to minutes, and is left out where only quick checks are asked.
    """

    unit: str
    limit: Literal["at_most", "at_least"] = "at_most"
    threshold: float | None = None
    warning: float | None = None
    reason: str
    slow: bool = False

    def allows(self, value: float, bound: float) -> bool:
        """Tell whether ``value`` keeps to ``bound``."""
        return value <= bound if self.limit == "at_most" else value >= bound


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named set of checks with their limits.

    Attributes
    ----------
    name, description : str
        What it is called and what it is for.
    extends : str
        Preset whose checks come first; a rule of the same name takes the place of its rule.
    checks : dict of str to Rule
        Rules by name of the check, in the order of the report.
    """

    name: str
    description: str
    extends: str = ""
    checks: dict[str, Rule]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check measured.

    Attributes
    ----------
    value : float or None
        The number; None when there is nothing to measure.
    details : str
        Where the worst place is, or why there is nothing to measure.
    has_run : bool
        False when something that the measure needs is missing; the details say what.
    """

    value: float | None
    details: str = ""
    has_run: bool = True

    @classmethod
    def missing(cls, why: str) -> Finding:
        """Say that nothing was measured, and why."""
        return cls(None, why, has_run=False)


Measure = Callable[[Protein], Finding]
Result = TypeVar("Result")


class Once(Generic[Result]):
    """Computes something of a structure once, for the several checks that read it.

    Parameters
    ----------
    compute : callable
        From a structure to what the checks read.
    """

    def __init__(self, compute: Callable[[Protein], Result]) -> None:
        self._compute = compute
        self._last: tuple[Protein, Result] | None = None

    def __call__(self, protein: Protein) -> Result:
        """Give the result for a structure."""
        if self._last is None or self._last[0] is not protein:
            self._last = (protein, self._compute(protein))
        return self._last[1]


def available_presets() -> list[str]:
    """List the names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str) -> Preset:
    """Read a preset, with the checks of the one that it extends.

    Raises
    ------
    ProteinLabError
        When there is no such preset or its file is broken.
    """
    known = available_presets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        raise ProteinLabError(f"Expected a preset of {', '.join(known)}, but got {name!r}.", hint)
    path = PRESETS / f"{name}.toml"
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Preset)
    except (OSError, msgspec.DecodeError) as error:
        raise ProteinLabError(
            f"The preset {path} cannot be read: {error}.", "Restore it from the distribution."
        ) from error
    if not found.extends:
        return found
    return msgspec.structs.replace(found, checks=load_preset(found.extends).checks | found.checks)


def judge(name: str, finding: Finding, rule: Rule) -> Check:
    """Compare a number with its rule."""
    details = [finding.details] if finding.details else []
    verdict: Verdict = "not_applicable"
    if finding.value is not None and rule.threshold is not None:
        verdict = "pass" if rule.allows(finding.value, rule.threshold) else "fail"
    if (
        finding.value is not None
        and rule.warning is not None
        and verdict != "fail"
        and not rule.allows(finding.value, rule.warning)
    ):
        side = "more" if rule.limit == "at_most" else "less"
        details.append(f"Unusual: {side} than {rule.warning:g} {rule.unit}.")
    return Check(
        name=name,
        value=finding.value,
        unit=rule.unit,
        threshold=rule.threshold,
        verdict=verdict,
        details=" ".join(details),
    )


def run_checks(
    protein: Protein, preset: Preset, measures: Mapping[str, Measure], quick: bool = False
) -> list[Check]:
    """Run the checks of a preset.

    Parameters
    ----------
    protein : Protein
        Structure to check.
    preset : Preset
        Which checks, and their limits.
    measures : mapping of str to callable
        What each check measures.
    quick : bool
        Leave out the slow ones.

    Returns
    -------
    list of Check
        In the order of the preset; a check without a measure is ``not_run`` and says so.
    """
    checks: list[Check] = []
    for name, rule in preset.checks.items():
        if quick and rule.slow:
            continue
        if name not in measures:
            checks.append(not_run(name, "No such measure is installed.", rule))
            continue
        finding = measures[name](protein)
        made = (
            judge(name, finding, rule) if finding.has_run else not_run(name, finding.details, rule)
        )
        checks.append(made)
    return checks


def not_run(name: str, why: str, rule: Rule) -> Check:
    """Report a check that did not run; it never counts as passed."""
    return Check(
        name=name,
        value=None,
        unit=rule.unit,
        threshold=rule.threshold,
        verdict="not_run",
        details=why,
    )
