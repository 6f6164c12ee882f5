"""Recipes: how long, on what and how an operator is trained, in a file that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from protein_lab.errors import ProteinLabError
from protein_lab.settings import ASSETS
from protein_lab.training.trainer import TrainingOptions

FOLDER = ASSETS / "recipes"


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an operator is trained.

    Attributes
    ----------
    hours : float
        Time allowed for one call.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    options : TrainingOptions
        Everything else.
    """

    hours: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    device: str = "cpu"
    options: TrainingOptions = TrainingOptions()


def load_recipe(name: str) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str
        Name of a shipped recipe, or path of a TOML file: a recipe, or the card of weights, which
        holds the recipe of their training.

    Raises
    ------
    ProteinLabError
        If there is none, or it holds something that is no recipe.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
    try:
        content = msgspec.toml.decode(path.read_bytes())
        return msgspec.convert(content.get("recipe", content), Recipe)
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise ProteinLabError(
            f"The recipe {name} cannot be read ({error.strerror}).",
            f"Give a TOML file, or one of the shipped recipes: {known}.",
        ) from error
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProteinLabError(
            f"The recipe {path} is not valid: {error}.",
            f"Compare it with {FOLDER / 'cpu.toml'}.",
        ) from error
