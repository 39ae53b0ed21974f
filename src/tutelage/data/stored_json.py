"""Typed reading of JSON documents that this package wrote: manifests of runs, trainings and cells.

A document can be cut short, edited by hand, or come from another version. What is read from it is
either of the declared type or an error that names the file, the value in it and the next step.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tutelage.errors import RunError

_SHOWN_CHARACTERS = 60
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "tuple_type": "a list",
}


class StoredShape(BaseModel):
    """Types of the values that are read from a document; others may be there and are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


def optional() -> Any:
    """A value that a document need not have; where present, it has the declared type."""
    return Field(default=None)


class StoredDict(dict[str, Any]):
    """A JSON object of a stored document: a name that it lacks is an error that says where.

    Attributes:
        at: The file, the next step where something is wrong, and the place in the file.

    Examples:
        >>> StoredDict({"stages": {}}, path=Path("run/manifest.json"), hint="restore it")["student"]
        Traceback (most recent call last):
            ...
        tutelage.errors.RunError: run/manifest.json: student is missing
        hint: restore it
    """

    def __init__(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        *,
        path: Path | None = None,
        hint: str = "",
        place: tuple[str, ...] = (),
    ) -> None:
        # Without a path it is any dictionary, as `dataclasses.asdict` makes a copy of one.
        inner = {
            name: _inner(value, path=path, hint=hint, place=(*place, name))
            for name, value in dict(values).items()
        }
        super().__init__(inner)
        self.at = (path, hint, place)

    def __missing__(self, name: str) -> Any:
        path, hint, place = self.at
        if path is None:
            raise KeyError(name)
        raise RunError(f"{path}: {'.'.join((*place, str(name)))} is missing", hint=hint)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (dict(self), *self.at))


def _rebuilt(
    values: dict[str, Any], path: Path | None, hint: str, place: tuple[str, ...]
) -> StoredDict:
    return StoredDict(values, path=path, hint=hint, place=place)


def _inner(value: Any, *, path: Path | None, hint: str, place: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return StoredDict(value, path=path, hint=hint, place=place)
    if isinstance(value, list):
        return [
            _inner(one, path=path, hint=hint, place=(*place, str(at)))
            for at, one in enumerate(value)
        ]
    return value


def read_stored(path: Path, shape: type[StoredShape], *, what: str, hint: str) -> StoredDict:
    """A JSON document, once everything in it that is read is known to be of its type.

    Args:
        path: The file.
        shape: The types of its values.
        what: What the file should be, such as `the manifest of a training`.
        hint: The next step where it is not.

    Raises:
        RunError: It cannot be read, is not JSON, or a value is missing or of another type.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(
            f"{path}: is neither a file nor a folder, but a pipe, a socket or a device",
            hint="move it away; reading it might never end",
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        stored = StoredDict(values, path=path, hint=hint) if isinstance(values, dict) else None
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read: {error.strerror or error}",
            hint="check that it is a file that you may read",
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: is not valid JSON: {error}", hint=hint) from error
    if stored is None:
        raise RunError(f"{path}: is not {what}: it holds {_shown(values)}", hint=hint)
    problem = problem_of(values, shape)
    if problem is not None:
        raise RunError(f"{path}: is not {what}: {problem}", hint=hint)
    return stored


def need_shape(part: StoredDict, shape: type[StoredShape]) -> StoredDict:
    """A part of a stored document, once what is read from it is known to be of its type.

    Raises:
        RunError: A value is missing or of another type.
    """
    path, hint, place = part.at
    problem = problem_of(dict(part), shape, place=place)
    if problem is not None:
        raise RunError(f"{path}: {problem}", hint=hint)
    return part


def problem_of(
    values: object, shape: type[StoredShape], *, place: tuple[str, ...] = ()
) -> str | None:
    """The first value that is missing or of another type, in words; None where there is none.

    Args:
        values: A JSON value.
        shape: The types of its values.
        place: Where it lies in its document.

    Examples:
        >>> class Cell(StoredShape):
        ...     seed: int
        >>> problem_of({"seed": "x"}, Cell, place=("cells", "0"))
        "cells.0.seed is 'x', not a whole number"
        >>> problem_of({}, Cell)
        'seed is missing'
        >>> problem_of({"seed": 3, "more": []}, Cell)
    """
    try:
        shape.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    else:
        return None
    name = ".".join(map(str, (*place, *first["loc"]))) or "it"
    if first["type"] == "missing":
        return f"{name} is missing"
    wanted = _KINDS.get(first["type"])
    told = f"not {wanted}" if wanted is not None else first["msg"]
    return f"{name} is {_shown(first['input'])}, {told}"


def _shown(value: object) -> str:
    """A JSON value as an error message shows it, on one line and not too long."""
    try:
        text = ascii(value)
    except ValueError:  # a number of more digits than Python writes
        text = "a number of thousands of digits"
    short = text[:_SHOWN_CHARACTERS]
    return short if short == text else f"{short}..."
