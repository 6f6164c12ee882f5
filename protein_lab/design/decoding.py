"""Read JSON into structs and name everything that is wrong, not only the first thing.

msgspec stops at the first fault and keeps the last of two equal keys; a person who writes a
request wants the whole list. The types themselves stay the only description of what is allowed:
this module walks what :mod:`msgspec.inspect` tells about them.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import inspect

from protein_lab.errors import ProteinLabError
from protein_lab.typing import Fault

MAX_REQUEST_BYTES: Final = 1 << 20
"""A request is text that a person or a program wrote; the longest sensible one is far smaller."""

MAX_FAULTS: Final = 1000
"""Enough for anybody; keeps a hostile request from asking for a hostile answer."""

_LEAST_INTEGER: Final = -(2**63)
_MOST_INTEGER: Final = 2**63 - 1
"""What can be written again as JSON and computed with."""

_SHOWN: Final = 60

_LINE_ENDS: Final = str.maketrans("\n\r\t", "   ")


class _Object(dict[str, Any]):
    """JSON object that remembers which of its keys came twice."""

    repeated: tuple[str, ...] = ()


def _keep_repeated(pairs: list[tuple[str, Any]]) -> _Object:
    value = _Object(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        value.repeated = tuple(key for key, count in counts.items() if count > 1)
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(data: bytes | str) -> Any:
    """Parse JSON text, keeping note of repeated keys.

    Raises
    ------
    ProteinLabError
        When the text is too large, not UTF-8, nested too deeply or not JSON.
    """
    size = len(data)
    if size > MAX_REQUEST_BYTES:
        raise ProteinLabError(
            f"Expected a request of at most {MAX_REQUEST_BYTES} bytes, but got {size}.",
            "Write ranges instead of long strings, and split the request.",
        )
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_keep_repeated, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise ProteinLabError(
            f"Expected UTF-8 text, but byte {error.start} is not.", "Save the request as UTF-8."
        ) from error
    except RecursionError as error:
        raise ProteinLabError(
            "The request is nested too deeply.", "A request needs at most five levels."
        ) from error
    except ValueError as error:
        raise ProteinLabError(
            f"Expected JSON, but {_shorten(str(error))}.", "Check commas, quotes and brackets."
        ) from error


class Reader:
    """Walks a JSON value along a type and collects faults.

    Attributes
    ----------
    faults : list of Fault
        All faults so far, in the order of the document.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def read(self, value: Any, kind: inspect.Type, path: str) -> Any:
        """Build the value of type ``kind``; parts with faults are ``None`` in it.

        Parameters
        ----------
        value : object
            What JSON (or :func:`msgspec.to_builtins`) gave.
        kind : msgspec.inspect.Type
            What is expected.
        path : str
            JSON path of the value.

        Returns
        -------
        object
            Structs, tuples and plain values. Structs are built without validation, so that a
            fault in one part does not hide the faults of the others.
        """
        match kind:
            case inspect.UnionType():
                return self._read_union(value, kind, path)
            case inspect.Metadata(type=inspect.StrType() as text):
                return self._read_text(
                    value, text, path, (kind.extra or {}).get("multiline", False)
                )
            case inspect.Metadata():
                return self.read(value, kind.type, path)
            case inspect.StructType():
                return self._read_struct(value, kind, path)
            case inspect.VarTupleType():
                return self._read_list(value, kind, path)
            case inspect.TupleType():
                return self._read_tuple(value, kind, path)
            case inspect.LiteralType():
                return self._read_literal(value, kind, path)
            case inspect.IntType():
                return self._read_integer(value, kind, path)
            case inspect.FloatType():
                return self._read_number(value, kind, path)
            case inspect.StrType():
                return self._read_text(value, kind, path)
            case inspect.BoolType():
                return (
                    value
                    if isinstance(value, bool)
                    else self._unexpected(value, "true or false", path)
                )
            case inspect.DictType():
                return self._read_mapping(value, kind, path)
            case inspect.NoneType():
                return None if value is None else self._unexpected(value, "null", path)
        raise TypeError(f"{path}: no reader for {kind}")

    def _fault(self, path: str, message: str, remedy: str = "") -> None:
        self.faults.append(Fault(path=path, message=message, remedy=remedy))

    def _unexpected(self, value: Any, expected: str, path: str) -> None:
        remedy = ""
        if isinstance(value, float) and value.is_integer() and "integer" in expected:
            remedy = f"Write {int(value)}." if abs(value) < 1e18 else ""
        elif isinstance(value, str) and value.strip().isdecimal() and "integer" in expected:
            remedy = "Leave out the quotes."
        self._fault(path, f"Expected {expected}, but got {describe(value)}.", remedy)

    def _read_union(self, value: Any, kind: inspect.UnionType, path: str) -> Any:
        structs = [part for part in kind.types if isinstance(part, inspect.StructType)]
        if structs and isinstance(value, Mapping):
            return self._read_tagged(value, structs, path)
        for part in kind.types:
            if _accepts(part, value):
                return self.read(value, part, path)
        return self._unexpected(value, _name(kind), path)

    def _read_tagged(
        self, value: Mapping[str, Any], structs: Sequence[inspect.StructType], path: str
    ) -> Any:
        if len(structs) == 1:
            return self._read_struct(value, structs[0], path)
        field = str(structs[0].tag_field)
        tags = {str(struct.tag): struct for struct in structs}
        if field not in value:
            return self._fault(
                path, f"Expected a field {field!r}: {join_names(tags)}.", f"Add {field!r}."
            )
        tag = value[field]
        if isinstance(tag, str) and tag in tags:
            return self._read_struct(value, tags[tag], path)
        return self._fault(
            f"{path}.{field}",
            f"Expected {join_names(tags)}, but got {describe(tag)}.",
            did_you_mean(tag, tags),
        )

    def _read_struct(self, value: Any, kind: inspect.StructType, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._unexpected(value, "an object", path)
        fields = {field.encode_name: field for field in kind.fields}
        known = set(fields) | ({kind.tag_field} if kind.tag_field else set())
        for key in getattr(value, "repeated", ()):
            self._fault(f"{path}.{_shorten(key)}", "This key is given twice.", "Keep one of them.")
        for key in value:
            if len(self.faults) > MAX_FAULTS:
                return None
            if key not in known:
                self._fault(
                    f"{path}.{_shorten(str(key))}",
                    f"Expected one of the fields {join_names(fields)}; this one is unknown.",
                    did_you_mean(key, fields),
                )
        built: dict[str, Any] = {}
        for name, field in fields.items():
            if name in value:
                built[field.name] = self.read(value[name], field.type, f"{path}.{name}")
            elif field.required:
                self._fault(f"{path}.{name}", f"Expected {_name(field.type)}; it is missing.")
                built[field.name] = None
        return kind.cls(**built)

    def _read_list(self, value: Any, kind: inspect.VarTupleType, path: str) -> Any:
        if not isinstance(value, list | tuple):
            return self._unexpected(value, "a list", path)
        if kind.max_length is not None and len(value) > kind.max_length:
            return self._fault(
                path, f"Expected at most {kind.max_length} entries, but got {len(value)}."
            )
        return tuple(
            self.read(item, kind.item_type, f"{path}[{number}]")
            for number, item in enumerate(value)
        )

    def _read_tuple(self, value: Any, kind: inspect.TupleType, path: str) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(kind.item_types):
            return self._unexpected(value, _name(kind), path)
        items = tuple(
            self.read(item, part, f"{path}[{number}]")
            for number, (item, part) in enumerate(zip(value, kind.item_types, strict=True))
        )
        return None if None in items else items

    def _read_mapping(self, value: Any, kind: inspect.DictType, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self._unexpected(value, "an object", path)
        for key in getattr(value, "repeated", ()):
            self._fault(f"{path}.{_shorten(key)}", "This key is given twice.", "Keep one of them.")
        return {
            key: self.read(item, kind.value_type, f"{path}.{_shorten(str(key))}")
            for key, item in value.items()
        }

    def _read_literal(self, value: Any, kind: inspect.LiteralType, path: str) -> Any:
        if isinstance(value, str) and value in kind.values:
            return value
        names = [str(name) for name in kind.values]
        return self._fault(
            path,
            f"Expected {join_names(names)}, but got {describe(value)}.",
            did_you_mean(value, names),
        )

    def _read_integer(self, value: Any, kind: inspect.IntType, path: str) -> Any:
        if not isinstance(value, int) or isinstance(value, bool):
            return self._unexpected(value, _name(kind), path)
        if not (_LEAST_INTEGER <= value <= _MOST_INTEGER and _is_within(value, kind)):
            return self._unexpected(value, _name(kind), path)
        return value

    def _read_number(self, value: Any, kind: inspect.FloatType, path: str) -> Any:
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not -1e300 < value < 1e300
        ):
            return self._unexpected(value, _name(kind), path)
        if not _is_within(value, kind):
            return self._unexpected(value, _name(kind), path)
        return float(value)

    def _read_text(
        self, value: Any, kind: inspect.StrType, path: str, multiline: bool = False
    ) -> Any:
        if not isinstance(value, str):
            return self._unexpected(value, "a text", path)
        if kind.max_length is not None and len(value) > kind.max_length:
            return self._fault(
                path, f"Expected at most {kind.max_length} characters, but got {len(value)}."
            )
        if multiline and not value.translate(_LINE_ENDS).isprintable():
            return self._fault(path, "Expected lines of printable characters.")
        if not multiline and not value.isprintable():
            return self._fault(path, "Expected printable characters on one line.")
        return value


def _is_within(value: float, kind: inspect.IntType | inspect.FloatType) -> bool:
    """Tell whether a number keeps all limits of its type."""
    return (
        (kind.ge is None or value >= kind.ge)
        and (kind.gt is None or value > kind.gt)
        and (kind.le is None or value <= kind.le)
        and (kind.lt is None or value < kind.lt)
    )


def limit_faults(faults: Sequence[Fault]) -> list[Fault]:
    """Keep the first :data:`MAX_FAULTS` faults and say how many were left out."""
    kept = list(faults[:MAX_FAULTS])
    if len(faults) > MAX_FAULTS:
        left_out = len(faults) - MAX_FAULTS
        kept.append(Fault(path="$", message=f"{left_out} more faults are not listed."))
    return kept


def _accepts(kind: inspect.Type, value: Any) -> bool:
    match kind:
        case inspect.Metadata():
            return _accepts(kind.type, value)
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.DictType():
            return isinstance(value, Mapping)
        case inspect.StrType() | inspect.LiteralType():
            return isinstance(value, str)
        case inspect.TupleType() | inspect.VarTupleType():
            return isinstance(value, list | tuple)
    return False


def _name(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _name(kind.type)
        case inspect.UnionType():
            parts = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
            return " or ".join(_name(part) for part in parts)
        case inspect.StructType():
            return "an object"
        case inspect.VarTupleType():
            return "a list"
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)} integers"
        case inspect.LiteralType():
            return join_names(str(name) for name in kind.values)
        case inspect.IntType():
            if kind.ge is not None and kind.le is not None:
                return f"an integer from {kind.ge} to {kind.le}"
            return "an integer" if kind.ge is None else f"an integer of at least {kind.ge}"
        case inspect.FloatType():
            if kind.ge is not None and kind.le is not None:
                return f"a number from {kind.ge:g} to {kind.le:g}"
            if kind.gt is not None:
                most = "" if kind.le is None else f" and at most {kind.le:g}"
                return f"a number above {kind.gt:g}{most}"
            return "a number" if kind.ge is None else f"a number of at least {kind.ge:g}"
    return "a text"


def join_names(names: Iterable[str]) -> str:
    """Write names for a message: ``'a', 'b' or 'c'``."""
    quoted = [repr(name) for name in names]
    return " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Suggest the nearest known name, or nothing when none is near."""
    if not isinstance(value, str) or len(value) > 2 * _SHOWN:
        return ""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(value.strip().lower(), by_lower, n=1, cutoff=0.6)
    return f"Did you mean {by_lower[near[0]]!r}?" if near else ""


def describe(value: object) -> str:
    """Name a JSON value in a message, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(_shorten(value))
        case int() if abs(value) >= 10**30:
            return "an integer of more than 30 digits"
        case int() | float():
            return str(value)
        case list() | tuple():
            return f"a list of {len(value)}"
        case Mapping():
            return "an object"
    return f"a {type(value).__name__}"


def _shorten(text: str) -> str:
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[: _SHOWN + 1])
    return clean if len(clean) <= _SHOWN else f"{clean[: _SHOWN - 1]}…"
