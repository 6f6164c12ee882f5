"""Commands on stored results: ls, show, warm, hold, release, stats."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from protein_lab.cli.app import Json, app, print_json
from protein_lab.errors import EXIT_DONE, EXIT_FAILED, StoreError

if TYPE_CHECKING:
    from protein_lab.store.result_store import TieredResults

store_app = App(name="store", help="List, inspect and look after stored results.")
app.command(store_app)

Store = Annotated[
    str | None,
    Parameter(
        name="--store",
        help="Folder, file://, s3:// or memory://; that of PROTEIN_LAB_STORE_OBJECTS unless given.",
    ),
]
SHORT_ID = 12
"""So many signs of an id are shown where there are many."""


@store_app.command(name="ls")
def list_results(
    *,
    store: Store = None,
    text: str | None = None,
    operator: str | None = None,
    constraint: str | None = None,
    min_accepted: int | None = None,
    lifecycle: Literal["hot", "warm", "cold"] | None = None,
    order: Literal["created_at", "accessed_at", "num_accepted", "size", "name"] = "created_at",
    limit: int = 50,
    offset: int = 0,
    as_json: Json = False,
) -> int:
    """List stored results.

    Parameters
    ----------
    text
        Part of the name, or beginning of the request id.
    operator
        Made by this operator.
    constraint
        With a constraint of this kind.
    min_accepted
        With at least so many accepted designs.
    lifecycle
        Kept as ``hot``, ``warm`` or ``cold``.
    order
        What to sort by; times and numbers descend.
    limit, offset
        Page.
    as_json
        Print JSON.
    """
    from protein_lab.store.base import RunQuery
    from protein_lab.store.table import readable_size

    query = RunQuery(
        text=text, operator=operator, constraint=constraint, min_accepted=min_accepted,
        lifecycle=lifecycle, order=order, limit=limit, offset=offset,
    )  # fmt: skip
    with opened_store(store) as opened:
        rows, number = opened.find(query), opened.count(query)
    if as_json:
        print_json(rows)
        return EXIT_DONE
    print_table(
        ("id", "name", "made (UTC)", "accepted", "length", "operator", "constraints", "size", ""),
        [
            (
                row.request_id[:SHORT_ID], row.name, f"{row.created_at:%Y-%m-%d %H:%M}",
                f"{row.num_accepted} of {row.num_designs}", row.length, row.operator,
                ", ".join(row.constraints), readable_size(row.size),
                row.lifecycle + (", held" if row.held else ""),
            )
            for row in rows
        ],
    )  # fmt: skip
    first = offset + 1 if rows else offset
    print(f"{first} to {offset + len(rows)} of {number}")
    return EXIT_DONE


@store_app.command
def show(request_id: str, *, store: Store = None, as_json: Json = False) -> int:
    """Show what is known of a stored result, and its designs.

    Parameters
    ----------
    request_id
        Its id, or the beginning of it.
    as_json
        Print the summary of the result as JSON, as in ``summary.json``.
    """
    from protein_lab.store.summary import encode_summary, summarize
    from protein_lab.store.table import open_run, readable_size

    with opened_store(store) as opened:
        result = open_run(request_id, store=opened)
        row = opened.index.get(result.request_id)
    if as_json:
        print(encode_summary(summarize(result)).decode())
        return EXIT_DONE
    print(f"{result.request_id}  {result.request.name}".rstrip())
    if row is not None:
        held = f", held: {row.held}" if row.held else ""
        print(f"made {row.created_at:%Y-%m-%d %H:%M} UTC, read {row.accessed_at:%Y-%m-%d %H:%M}")
        print(f"{readable_size(row.size)}, {row.lifecycle}{held}")
    print_table(
        ("design", "length", "accepted", "against it", "sequence"),
        [
            (
                design.index, design.length, "yes" if design.accepted else "no",
                ", ".join(design.losses), design.sequence or "",
            )
            for design in result.designs
        ],
    )  # fmt: skip
    print(result.outcome)
    return EXIT_DONE


@store_app.command
def warm(*request_ids: str, store: Store = None, as_json: Json = False) -> int:
    """Copy results into the fast tiers.

    Parameters
    ----------
    *request_ids
        Their ids, or the beginnings of them.
    as_json
        Print JSON.
    """
    from protein_lab.store.table import full_id

    if not request_ids:
        raise StoreError("warm needs at least one id, but none was named.")
    with opened_store(store) as opened:
        number = opened.warm([full_id(opened, request_id) for request_id in request_ids])
    if as_json:
        print_json({"warmed": number, "asked": len(request_ids)})
    else:
        print(f"{number} of {len(request_ids)} results are in the fast tiers.")
    return EXIT_DONE if number == len(request_ids) else EXIT_FAILED


@store_app.command
def hold(
    request_id: str, *, reason: str, holder: str = "", store: Store = None, as_json: Json = False
) -> int:
    """Put a result under a legal hold: it is not deleted while that lasts.

    Parameters
    ----------
    request_id
        Its id, or the beginning of it.
    reason
        Why.
    holder
        Who asks for it; the user of this machine unless given.
    as_json
        Print JSON.
    """
    from protein_lab.store.table import full_id

    with opened_store(store) as opened:
        whole = full_id(opened, request_id)
        opened.hold(whole, reason, holder or _user())
    return _tell({"request_id": whole, "held": reason}, f"{whole[:SHORT_ID]} is held.", as_json)


@store_app.command
def release(request_id: str, *, store: Store = None, as_json: Json = False) -> int:
    """End a legal hold.

    Parameters
    ----------
    request_id
        Its id, or the beginning of it.
    as_json
        Print JSON.
    """
    from protein_lab.store.table import full_id

    with opened_store(store) as opened:
        whole = full_id(opened, request_id)
        opened.release(whole)
    return _tell({"request_id": whole, "held": ""}, f"{whole[:SHORT_ID]} is free.", as_json)


@store_app.command
def stats(*, store: Store = None, as_json: Json = False) -> int:
    """Say what the store holds, and what its tiers hold of it.

    Parameters
    ----------
    as_json
        Print JSON.
    """
    from protein_lab.store.base import RunQuery
    from protein_lab.store.table import readable_size

    with opened_store(store) as opened:
        tiers = opened.statistics()
        classes: tuple[Literal["hot", "warm", "cold"], ...] = ("hot", "warm", "cold")
        kept = {name: opened.count(RunQuery(lifecycle=name)) for name in classes}
        place = opened.uri
    if as_json:
        print_json({"store": place, "results": kept, "tiers": tiers})
        return EXIT_DONE
    told = ", ".join(f"{number} {name}" for name, number in kept.items())
    print(f"{place}: {sum(kept.values())} results ({told})")
    print_table(
        ("tier", "holds", "state"),
        [
            (
                tier.name,
                "no answer" if tier.usage is None else readable_size(tier.usage),
                "left alone" if tier.is_open else "",
            )
            for tier in tiers
        ],
    )
    return EXIT_DONE


@contextmanager
def opened_store(uri: str | None) -> Iterator[TieredResults]:
    """Open a store that is there, for the time of a command."""
    from protein_lab.store.open import open_store

    with open_store(uri=uri, must_exist=True) as opened:
        yield opened


def _tell(told: dict[str, Any], sentence: str, as_json: bool) -> int:
    print_json(told) if as_json else print(sentence)
    return EXIT_DONE


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table as wide as the terminal, and as wide as its content elsewhere."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(_plain(value) for value in row))
    wide = None if sys.stdout.isatty() else 10_000
    Console(width=wide, markup=False, highlight=False, soft_wrap=True).print(table)


def _user() -> str:
    """Name the user of this machine; a container may know none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _plain(value: Any) -> str:
    """Write a value on one line, without signs that steer a terminal."""
    text = str(msgspec.to_builtins(value))
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
