"""A bar with an estimate of the time that is left, on a terminal and in a notebook."""

from __future__ import annotations

from typing import Any, Self, TextIO

from protein_lab.design.request import DesignRequest
from protein_lab.store.schema import Design


class DesignBar:
    """Shows how many designs are there, and when the rest will be.

    In a notebook it is a widget where ipywidgets is installed, as in
    ``with DesignBar(request) as bar: run_request(request, runtime, progress=bar.advance)``.

    Parameters
    ----------
    request : DesignRequest
        What is made: the bar counts designs, or accepted ones where it says until how many.
    is_shown : bool
        False for none at all.
    file : TextIO or None
        Where it is written; the standard error stream by default.
    """

    def __init__(
        self, request: DesignRequest, is_shown: bool = True, file: TextIO | None = None
    ) -> None:
        from tqdm.auto import tqdm

        self._counts_accepted = request.until is not None
        unit = "accepted" if self._counts_accepted else "design"
        self._bar: Any = tqdm(
            total=request.num_wanted, unit=unit, disable=not is_shown, file=file,
            dynamic_ncols=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, design: Design, num_finished: int) -> None:
        """Show one more design.

        Parameters
        ----------
        design : Design
            A finished one.
        num_finished : int
            Number of finished ones with it.
        """
        self._bar.update(int(design.accepted) if self._counts_accepted else 1)
        if self._counts_accepted:
            self._bar.set_postfix(made=num_finished)
