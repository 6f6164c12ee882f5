"""How a request asks for an optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from protein_lab.constraints.base import Restraining
from protein_lab.typing import Fault

if TYPE_CHECKING:
    from protein_lab.design.request import DesignRequest

Budget = Annotated[int, msgspec.Meta(ge=8, le=100_000)]


class GradientOptions(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="gradient",
):
    """Go downhill along gradients, by L-BFGS-B with restarts.

    Attributes
    ----------
    over : {"latents", "torsions"}
        What is changed: the noise and the coarse curve that fields are sampled from, with the
        gradient through all steps of the sampler; or phi and psi of loops of the refined backbone.
    budget : int
        Evaluations for each backbone that is tried; one with a gradient counts as three.
    """

    over: Literal["latents", "torsions"] = "latents"
    budget: Budget = 60


class EvolutionaryOptions(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="evolutionary",
):
    """Let a population evolve: CMA-ES.

    Attributes
    ----------
    over : {"latents", "torsions"}
        What is changed: slow bends of the coarse curve that fields are sampled around, or phi and
        psi of loops of the refined backbone.
    budget : int
        Evaluations for each backbone that is tried.
    population : int
        Points a generation; 0 for 4 + 3 ln(numbers that are searched).
    """

    over: Literal["latents", "torsions"] = "latents"
    budget: Budget = 120
    population: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0


class AnnealingOptions(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="annealing",
):
    """Walk at random and cool down.

    Attributes
    ----------
    over : {"torsions", "latents", "sequences"}
        What is changed: phi and psi of loops of the refined backbone, what fields are sampled
        from, or the amino acids of the design.
    budget : int
        Evaluations over which the temperature falls, for each backbone that is tried.
    hot, cold : float
        First and last temperature, over the standard deviation of the values of a few draws.
    """

    over: Literal["torsions", "latents", "sequences"] = "torsions"
    budget: Budget = 400
    hot: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 0.2
    cold: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 0.002

    def faults(self, path: str) -> Iterator[Fault]:
        """Yield what contradicts itself.

        Parameters
        ----------
        path : str
            JSON path of these options.
        """
        if self.hot is not None and self.cold is not None and self.cold > self.hot:
            yield Fault(
                path=f"{path}.cold",
                message=f"Expected a temperature of at most {self.hot:g}, the hot one, but got "
                f"{self.cold:g}.",
                remedy="Let the temperature fall.",
            )


AnyOptimizer = GradientOptions | EvolutionaryOptions | AnnealingOptions


def optimizer_faults(request: DesignRequest) -> Iterator[Fault]:
    """Yield what an optimizer cannot do, or what it would do without effect.

    Parameters
    ----------
    request : DesignRequest
        May hold ``None`` where a value could not be read.
    """
    options, path = request.optimizer, "$.optimizer"
    if options is None:
        return
    if isinstance(options, AnnealingOptions):
        yield from options.faults(path)
    if options.over == "sequences":
        if request.sequence is not None and request.sequence.num_sequences == 0:
            yield Fault(
                path=f"{path}.over",
                message="Sequences are to be optimized, but none is asked for.",
                remedy="Set $.sequence.num_sequences to 1 or more, or search something else.",
            )
        return
    through_sampler = isinstance(options, GradientOptions) and options.over == "latents"
    if through_sampler and request.backend == "numpy":
        yield Fault(
            path=f"{path}.over",
            message="The backend numpy gives no gradients through the sampler.",
            remedy="Use the backend torch or jax, search torsions, or take another optimizer.",
        )
    if isinstance(options, GradientOptions) and not any(
        isinstance(item, Restraining) for item in request.constraints or ()
    ):
        yield Fault(
            path=path,
            message="No constraint has an energy that could be followed downhill.",
            remedy="Use the optimizer evolutionary or annealing, or leave it out.",
            severity="warning",
        )
