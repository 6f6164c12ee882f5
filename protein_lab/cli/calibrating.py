"""Commands on calibrated uncertainty: calibrate, benchmark uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protein_lab.cli.app import Json, app, benchmark_app, say
from protein_lab.cli.rows import tell_rows
from protein_lab.constants import SAMPLING_STEPS
from protein_lab.errors import EXIT_DONE

_QUICK_CHAINS = 60


@app.command
def calibrate(
    *,
    operator: str = "enhanced_deeponet",
    quick: bool = False,
    chains: int | None = None,
    longest: int = 128,
    samples: int = 4,
    steps: int = SAMPLING_STEPS,
    out: Path | None = None,
    draws: Path | None = None,
    backend: str = "auto",
) -> int:
    """Calibrate the uncertainty of an operator's designs on held-out chains.

    Takes a second or two a chain. Writes OPERATOR.uncertainty.json beside the weights, where
    designing finds it; do it again after every training.

    Parameters
    ----------
    operator
        Name of the operator.
    quick
        Sixty chains; the bands are then good to a few percent only.
    chains
        So many chains instead of one of each sequence cluster of the calibration split.
    longest
        Longer chains are left out, residues; longer designs then stay uncalibrated.
    samples, steps
        As designs will be drawn.
    out
        Folder to write to; the one of the weights unless given.
    draws
        Folder where drawn fields are kept, so that an interrupted run continues.
    backend
        ``auto``, ``numpy``, ``torch`` or ``jax``.
    """
    from protein_lab.experiments.held_out_fields import held_out_fields, one_per_cluster
    from protein_lab.experiments.uncertainty_fit import fit_calibration, save_calibration
    from protein_lab.models.weights import load_operator
    from protein_lab.settings import Settings
    from protein_lab.training.corpus import Corpus

    places = Settings.from_environment()
    loaded, corpus = load_operator(operator, backend, folder=places.weights), Corpus.open()
    wanted = chains if chains is not None else _QUICK_CHAINS if quick else None
    chosen = one_per_cluster(corpus, "calibration", wanted, longest)
    cases = list(held_out_fields(loaded, corpus, chosen, samples, steps, draws, _counter("drawn")))
    made = fit_calibration(cases, loaded, corpus, steps, longest)
    path = save_calibration(made, out or places.weights)
    band = made.several.band["0.9"]
    print(
        f"{path}: {len(cases)} chains of {made.lengths[0]} to {made.lengths[1]} residues; the 90 % "
        f"band is {band:.2f} times the uncertainty."
    )
    return EXIT_DONE


@benchmark_app.command
def uncertainty(
    *,
    operator: str = "enhanced_deeponet",
    quick: bool = False,
    chains: int | None = None,
    draws: Path | None = None,
    out: Path | None = None,
    backend: str = "auto",
    as_json: Json = False,
) -> int:
    """Measure whether test chains lie as near to what is drawn as the uncertainty says.

    Parameters
    ----------
    operator
        Name of the operator.
    quick
        24 test chains in place of 200.
    chains
        So many test chains.
    draws
        Folder where drawn fields are kept.
    out
        HTML page to write, with reliability curves.
    backend
        ``auto``, ``numpy``, ``torch`` or ``jax``.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.uncertainty_benchmark import run_uncertainty
    from protein_lab.experiments.uncertainty_page import uncertainty_page
    from protein_lab.models.weights import load_operator, write_atomically
    from protein_lab.settings import Settings

    places = Settings.from_environment()
    loaded = load_operator(operator, backend, folder=places.weights)
    figures = run_uncertainty(loaded, places.weights, quick, chains, draws, _counter("measured"))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, uncertainty_page(figures).encode())
    return tell_rows(figures.rows, as_json)


def _counter(what: str) -> Callable[[int, int], None]:
    """Say every tenth chain, and the last."""

    def tell(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            say(f"{what}: {done} of {total} chains")

    return tell
