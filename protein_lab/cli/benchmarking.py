"""Commands that measure: designs, constraints, sequences, curves, folds, operators, speed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

import msgspec

from protein_lab.cli.app import Json, benchmark_app, print_json, say
from protein_lab.cli.rows import print_rows, tell_rows
from protein_lab.errors import EXIT_DONE, EXIT_TOO_FEW_ACCEPTED


@benchmark_app.command
def quality(
    *,
    quick: bool = False,
    workers: int = 2,
    part: list[str] | None = None,
    out: Path | None = None,
    card: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure designs of held-out blueprints against floors and baselines.

    Parameters
    ----------
    quick
        Eight blueprints of 50 to 128 residues instead of 200, fewer designs of baselines.
    workers
        Processes.
    part
        Run this part alone; may be given again. ``designs``, ``fno``, ``deeponet``,
        ``transformer``, ``energy only``, ``polymer``, ``novel folds``; all by default.
    out
        HTML page to write, with pictures.
    card
        Card (TOML) of the measured weights, to write the figures into.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.quality import run_quality
    from protein_lab.experiments.quality_parts import PARTS
    from protein_lab.experiments.quality_plots import quality_pictures
    from protein_lab.experiments.rows_page import rows_page
    from protein_lab.models.weights import read_card, write_atomically
    from protein_lab.settings import Settings
    from protein_lab.training.card import add_held_out, require_weights

    operator = "enhanced_deeponet"
    measured = read_card(Settings.from_environment().weights / f"{operator}.toml")["sha256"]
    if card is not None:
        require_weights(card, measured)  # now rather than after an hour
    parts = part or list(PARTS)
    rows = run_quality(quick=quick, workers=workers, operator=operator, parts=parts, progress=_told)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            out, rows_page(rows, "Quality of designs", quality_pictures(rows)).encode()
        )
    if card is not None:
        command = "protein-lab benchmark quality" + (" --quick" if quick else "")
        command += "".join(f" --part {shlex.quote(name)}" for name in part or ())
        add_held_out(card, measured, "quality", command, [msgspec.to_builtins(r) for r in rows])
    return tell_rows(rows, as_json)


@benchmark_app.command
def lengths(*, quick: bool = False, out: Path | None = None, as_json: Json = False) -> int:
    """Measure how far the operator is off by the length of the chain.

    Parameters
    ----------
    quick
        Two chains of each range of lengths instead of eight.
    out
        TOML table to write, as the checks of requests read it.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.length_errors import run_lengths, write_table
    from protein_lab.models.weights import read_card
    from protein_lab.settings import Settings

    rows = run_lengths(quick, progress=say)
    if out is not None:
        card = Settings.from_environment().weights / "enhanced_deeponet.toml"
        write_table(rows, str(read_card(card)["sha256"]), out)
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE


def _told(done: int, total: int) -> None:
    say(f"{done}/{total} blueprints")


@benchmark_app.command
def sequence(
    *,
    split: Literal["train", "calibration", "test"] = "test",
    chains: int | None = None,
    noise: float = 0.0,
    designs: int = 0,
    backend: str = "auto",
    as_json: Json = False,
) -> int:
    """Measure how well the amino acids of held-out chains are given back.

    Parameters
    ----------
    split
        Part of the corpus to measure on.
    chains
        So many chains, drawn at random, instead of all.
    noise
        Standard deviation of noise on every coordinate, angstrom.
    designs
        So many designs of each shipped request instead of chains: their composition beside that
        on native backbones.
    backend
        ``auto``, ``numpy``, ``torch`` or ``jax``.
    as_json
        Print JSON.
    """
    from protein_lab.experiments.designed_sequences import run_designed_sequences
    from protein_lab.experiments.sequence_recovery import run_sequence_recovery

    if designs:
        rows = run_designed_sequences(designs, backend, progress=say)
        if as_json:
            print_json(rows)
        else:
            print_rows(rows)
        return EXIT_DONE
    report = run_sequence_recovery(split, backend, num_chains=chains, noise=noise)
    if as_json:
        print_json({"rows": report.rows, "calibration": report.calibration})
    else:
        print_rows(report.rows)
        print("amino acid, percent:  observed  expected  given back  calibration error")
        for item in report.calibration:
            print(
                f"{item.residue:<20}{item.observed:>10.2f}{item.expected:>10.2f}"
                f"{item.recovery:>12.1f}{item.error:>19.2f}"
            )
    return EXIT_DONE if all(row.ok for row in report.rows) else EXIT_TOO_FEW_ACCEPTED


@benchmark_app.command
def diversity(*, quick: bool = False, workers: int = 2, as_json: Json = False) -> int:
    """Measure how many folds an open request of 80 residues gives, and how many are new.

    Parameters
    ----------
    quick
        8 samples of each request in place of 64.
    workers
        Processes.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.diversity import run_diversity

    rows = run_diversity(quick, workers, lambda done, total: say(f"{done}/{total} designs"))
    return tell_rows(rows, as_json)


@benchmark_app.command
def constraints(
    *,
    quick: bool = False,
    workers: int = 2,
    motifs: Path | None = None,
    fetch_motifs: bool = False,
    draws: Path | None = None,
    as_json: Json = False,
) -> int:
    """Measure how often compound requests are met, planted faults found, motif problems solved.

    Parameters
    ----------
    quick
        8 compound requests in place of 60, 2 designs of each motif problem in place of 100.
    workers
        Processes.
    motifs
        Folder of motif problems: PDB files with REMARK 999 lines, or requests as JSON. Without
        one the rows of motifs are left out.
    fetch_motifs
        First write the 24 published problems into that folder, from the Protein Data Bank.
    draws
        Folder that keeps what came of each request and motif design; an interrupted run goes on
        from there.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.constraint_benchmark import run_constraints
    from protein_lab.experiments.motif_benchmark import run_motifs
    from protein_lab.experiments.motif_problems import fetch_problems, read_problems

    if motifs is not None:
        if fetch_motifs:
            fetch_problems(motifs, told=say)
        read_problems(motifs)  # a wrong folder is told now rather than after an hour
    rows = run_constraints(
        quick, workers, lambda done, total: say(f"{done}/{total} requests"), draws=draws
    )
    if motifs is not None:
        found = run_motifs(
            motifs,
            quick,
            workers,
            lambda done, total: say(f"{done}/{total} motif designs"),
            draws=draws,
        )
        rows = [*rows[:-1], *found, rows[-1]]  # the machine comes last
    return tell_rows(rows, as_json)


@benchmark_app.command
def curves(
    *,
    quick: bool = False,
    split: Literal["train", "calibration", "test"] = "calibration",
    as_json: Json = False,
) -> int:
    """Measure coarse curves drawn from polymers against the chains their blueprints come from.

    Parameters
    ----------
    quick
        8 chains in place of 40.
    split
        Part of the corpus to measure on.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.curve_quality import run_curves

    rows = run_curves(quick, split, progress=lambda done, total: say(f"{done}/{total} chains"))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows)
    return EXIT_DONE


@benchmark_app.command
def operators(
    *names: str, quick: bool = False, out: Path | None = None, as_json: Json = False
) -> int:
    """Measure whether operators give the same answer at every sampling of the chain.

    Parameters
    ----------
    *names
        Operators; all three unless given.
    quick
        Two made-up and four real chains in place of 8 and 24.
    out
        HTML page to write, with the curves.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.operator_benchmark import NAMES, run_operators
    from protein_lab.experiments.operator_page import operator_page
    from protein_lab.models.weights import write_atomically

    figures = run_operators(quick, names or NAMES, progress=say)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, operator_page(figures).encode())
    return tell_rows(figures.rows, as_json)


@benchmark_app.command
def speed(*, quick: bool = False, as_json: Json = False) -> int:
    """Measure time, memory, growth with the length, and how far the backends are apart.

    Parameters
    ----------
    quick
        Fewer requests, steps and repeats.
    as_json
        Print JSON rows.
    """
    from protein_lab.experiments.speed import run_speed

    rows = run_speed(quick, progress=say)
    return tell_rows(rows, as_json)
