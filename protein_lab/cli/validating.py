"""Commands on validation: validate, benchmark predictor."""

from __future__ import annotations

from pathlib import Path

from protein_lab.cli.app import Json, app, benchmark_app, print_json, say
from protein_lab.cli.rows import tell_rows
from protein_lab.errors import EXIT_DONE, EXIT_FAILED, ProteinLabError


@app.command
def validate(
    *files: Path,
    preset: str = "geometry",
    novelty: bool = False,
    quick: bool = False,
    folding: str | None = None,
    simulation_steps: int = 500,
    seed: int = 0,
    as_json: Json = False,
) -> int:
    """Check structure files against a validation preset.

    Parameters
    ----------
    files
        mmCIF, BinaryCIF or PDB files.
    preset
        ``geometry``, ``standard`` or ``strict``.
    novelty
        Also find the real chain that each structure resembles most.
    quick
        Leave out checks that take seconds to minutes: simulation and folding.
    folding
        Command of your folding program with ``{fasta}`` and ``{out}``; by default the one that
        PROTEIN_LAB_FOLDING names.
    simulation_steps
        Steps of 2 fs of the run in implicit solvent.
    seed
        Of everything random.
    as_json
        Print the checks as JSON.
    """
    from protein_lab.protein import Protein
    from protein_lab.training.corpus import Corpus
    from protein_lab.training.fold_search import FoldSearch
    from protein_lab.typing import Check
    from protein_lab.validation import ValidationOptions, Validator, measure_novelty

    if not files:
        raise ProteinLabError("validate needs at least one structure file, but none was named.")
    if simulation_steps < 0 or seed < 0:
        raise ProteinLabError(
            "Expected a number of steps and a seed not below 0, but got "
            f"{simulation_steps} and {seed}."
        )
    options = ValidationOptions(simulation_steps=simulation_steps, seed=seed)
    if folding is not None:
        options = ValidationOptions(simulation_steps=simulation_steps, seed=seed, folding=folding)
    validator = Validator(preset, options)
    checks: dict[str, list[Check]] = {}
    search = FoldSearch(Corpus.open()) if novelty else None
    for path in files:
        protein = Protein.from_file(path)
        checks[str(path)] = validator.validate(protein, quick)
        if search is not None:
            checks[str(path)].append(measure_novelty(protein, search))
    if as_json:
        print_json(checks)
    else:
        for path, found in checks.items():
            print(path)
            for item in found:
                value = "" if item.value is None else f"{item.value:.4g} {item.unit}"
                print(f"  {item.verdict:<15}{item.name:<28}{value} {item.details}".rstrip())
    failed = any(item.verdict == "fail" for found in checks.values() for item in found)
    return EXIT_FAILED if failed else EXIT_DONE


@benchmark_app.command
def predictor(
    *,
    quick: bool = False,
    chains: int | None = None,
    decoys: Path | None = None,
    out: Path | None = None,
    card: Path | None = None,
    backend: str = "auto",
    as_json: Json = False,
) -> int:
    """Measure predicted quality on decoys of test chains, against floors.

    Parameters
    ----------
    quick
        12 test chains in place of 60.
    chains
        So many test chains.
    decoys
        Folder where decoys are kept, so that an interrupted run goes on; ``runs/quality/decoys``
        unless given.
    out
        PNG picture to write, predicted against true lDDT.
    card
        Card (TOML) of the measured weights, to write the figures into.
    backend
        ``auto``, ``numpy``, ``torch`` or ``jax``.
    as_json
        Print JSON rows.
    """
    import msgspec

    from protein_lab.experiments.predictor_benchmark import (
        QUICK_CHAINS,
        TEST_CHAINS,
        held_out_models,
        judge,
        run_predictor,
    )
    from protein_lab.settings import Settings
    from protein_lab.training.card import add_held_out, require_weights
    from protein_lab.training.corpus import Corpus
    from protein_lab.validation.quality import QualityPredictor

    used = QualityPredictor.load(backend, Settings.from_environment().weights)
    if card is not None:
        require_weights(card, used.operator.digest)  # now rather than after minutes
    count = chains if chains is not None else QUICK_CHAINS if quick else TEST_CHAINS
    if count < 2:
        raise ProteinLabError(f"Expected at least two chains, but got {count}.")

    def tell(done: int, total: int) -> None:
        if done % 10 == 0 or done == total:
            say(f"decoys: {done} of {total} chains")

    folder = decoys or Path("runs") / "quality" / "decoys"
    judged = judge(used, held_out_models(Corpus.open(), "test", count, folder, tell))
    rows = run_predictor(judged)
    if out is not None:
        from protein_lab.experiments.predictor_plots import draw_quality

        draw_quality(judged, out)
    if card is not None:
        command = f"protein-lab benchmark predictor --chains {count}"
        figures = [msgspec.to_builtins(row) for row in rows]
        add_held_out(card, used.operator.digest, "predictor", command, figures)
    return tell_rows(rows, as_json)
