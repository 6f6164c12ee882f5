"""The JSON schema of a design request, made from its types and their docstrings.

The schema says what every single value may be. What contradicts itself, such as a string that is
longer than the chain, only :func:`protein_lab.design.request.check_request` finds. The file
``assets/schemas/request.schema.json`` is :func:`request_schema` as JSON with an indent of 2.
"""

from __future__ import annotations

import inspect
import json
from typing import Any, Final

import msgspec
import msgspec.inspect

from protein_lab.constants import MAX_LENGTH, MIN_LENGTH
from protein_lab.design.request import DesignRequest
from protein_lab.settings import ASSETS

REQUEST_SCHEMA: Final = "protein_lab/request@1"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def request_components(ref_template: str = "#/$defs/{name}") -> dict[str, dict[str, Any]]:
    """Schemas of a request and of its parts.

    Parameters
    ----------
    ref_template : str
        How one schema refers to another; ``{name}`` stands for its name.

    Returns
    -------
    dict
        JSON schemas (draft 2020-12) by name; the whole is ``DesignRequest``.
    """
    _, components = msgspec.json.schema_components([DesignRequest], ref_template=ref_template)
    for kind in _structs(msgspec.inspect.type_info(DesignRequest)):
        schema = components[kind.__name__]
        summary, fields = _described(kind)
        schema["description"] = summary
        for name, text in fields.items():
            schema["properties"][name]["description"] = text
    # The type leaves the limits of the length to the check, see DesignRequest.
    limits = {"minimum": MIN_LENGTH, "maximum": MAX_LENGTH}
    number, bounds, _ = components["DesignRequest"]["properties"]["length"]["anyOf"]
    number |= limits
    bounds["prefixItems"] = [bound | limits for bound in bounds["prefixItems"]]
    # Defaults are Python values, such as an empty tuple.
    return msgspec.json.decode(msgspec.json.encode(components))


def request_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a request, with the shipped examples.

    Returns
    -------
    dict
        What ``assets/schemas/request.schema.json`` holds.
    """
    root = {"$ref": "#/$defs/DesignRequest", "examples": list(request_examples().values())}
    return {"$schema": _DIALECT, "title": REQUEST_SCHEMA} | root | {"$defs": request_components()}


def request_examples() -> dict[str, Any]:
    """Read the requests that come with the package, by name."""
    files = sorted((ASSETS / "requests").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def _structs(info: msgspec.inspect.Type) -> set[type]:
    """Structs that a type is made of."""
    if isinstance(info, msgspec.inspect.StructType):
        parts = [field.type for field in info.fields]
        return {info.cls}.union(*map(_structs, parts))
    if isinstance(info, msgspec.inspect.UnionType):
        return set().union(*map(_structs, info.types))
    if isinstance(info, msgspec.inspect.VarTupleType):
        return _structs(info.item_type)
    return set()


def _described(kind: type) -> tuple[str, dict[str, str]]:
    """Summary of a class, and what the section Attributes of its docstring says of each."""
    text = inspect.cleandoc(kind.__doc__ or "")
    summary, _, rest = text.partition("\n\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    _, _, section = rest.partition("Attributes\n----------\n")
    for line in section.splitlines():
        if not line.startswith(" "):
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
            continue
        for name in names:
            fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
    return summary, fields
