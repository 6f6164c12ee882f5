"""Recipes: how long, on what and how an operator is trained, in a file that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from protein_lab.errors import ProteinLabError
from protein_lab.models.weights import OPERATORS
from protein_lab.settings import ASSETS
from protein_lab.training.options import TrainingOptions

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
        How it is trained.
    config : dict
        Sizes of the operator that are not the usual ones.
    """

    hours: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    device: str = "cpu"
    options: TrainingOptions = TrainingOptions()
    config: dict[str, Any] = {}


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
        if "recipe" in content:  # a card, whose operator has sizes
            content = {"config": content.get("config", {}), **content["recipe"]}
        return msgspec.convert(content, Recipe)
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


def plan_run(
    operator: str, recipe: Recipe | None, seed: int | None, resume: bool
) -> tuple[TrainingOptions | None, msgspec.Struct | None]:
    """Options and sizes of a run.

    Parameters
    ----------
    operator : str
    recipe : Recipe, optional
    seed : int, optional
        Takes the place of the recipe's.
    resume : bool

    Returns
    -------
    options, config
        None where a run that is resumed has them from its beginning.

    Raises
    ------
    ProteinLabError
        If the operator does not have the sizes of the recipe.
    """
    options = recipe.options if recipe else None if resume else TrainingOptions()
    if seed is not None:
        if options is None:
            raise ProteinLabError(
                "A run that is resumed has its seed from its beginning, but --seed was given.",
                "Leave --seed out, or start a new run in another folder with --out.",
            )
        options = msgspec.structs.replace(options, seed=seed)
    if recipe is None or not recipe.config:
        return options, None
    kind = OPERATORS[operator][1]
    try:
        unknown = sorted(set(recipe.config) - set(kind.__struct_fields__))
        if unknown:
            raise msgspec.ValidationError(f"it has no {', '.join(unknown)}")
        return options, msgspec.convert(recipe.config, kind)
    except msgspec.ValidationError as error:
        raise ProteinLabError(
            f"The sizes of the recipe are not those of the operator {operator}: {error}.",
            f"It has: {', '.join(kind.__struct_fields__)}.",
        ) from error
