"""The command line's frame: the application, its exit codes, how it talks."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, CycloptsError, Parameter

from protein_lab.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_INVALID_REQUEST,
    ProteinLabError,
)

app = App(
    name="protein-lab", help="Design proteins with neural operators.", result_action="return_value"
)
corpus_app = App(name="corpus", help="Build and inspect the corpus of real structures.")
benchmark_app = App(name="benchmark", help="Measure quality with one command.")
app.command(corpus_app)
app.command(benchmark_app)

Backend = Literal["auto", "numpy", "torch", "jax"]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words[:1]
    try:
        code = app(words[1:] if debug else words, exit_on_error=False, print_error=True)
    except CycloptsError:
        sys.exit(EXIT_INVALID_REQUEST)
    except KeyboardInterrupt:
        say("Interrupted. Finished designs are kept; run the same command again to continue.")
        sys.exit(EXIT_INTERRUPTED)
    except ProteinLabError as error:
        if debug:
            raise
        say(f"{error.problem}\n{error.remedy}".strip())
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(EXIT_FAILED)
    except Exception as error:
        if debug:
            raise
        say(
            f"Unexpected {type(error).__name__}: {error}\nRun `protein-lab --debug …` to see where."
        )
        sys.exit(EXIT_FAILED)
    sys.exit(code or EXIT_DONE)


def say(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr)


def print_json(value: Any) -> None:
    """Write a value to stdout as sorted JSON."""
    print(json.dumps(msgspec.to_builtins(value), indent=2, sort_keys=True))
