"""Command-line options that are made from the settings models.

Type, default and help of an option come from the JSON schema of a run's settings, which lies
beside this file as `settings-schema.json`. It is generated from the models, and a test holds it to
them: importing the models here would make every `--help` wait for libraries.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

SCHEMA = Path(__file__).with_name("settings-schema.json")

_OF_THE_SETTING = object()


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def setting_schema(path: str) -> Mapping[str, Any]:
    """The part of the schema that describes a setting.

    Args:
        path: Its dotted name, such as `student.max_length`.

    Raises:
        LookupError: There is no such setting.
    """
    part: Mapping[str, Any] = _schema()
    for name in path.split("."):
        found = next((p[name] for p in _objects(part) if name in p), None)
        if found is None:
            raise LookupError(f"{path}: the settings have no {name!r}; {SCHEMA.name} may be old")
        part = found
    return part


def _objects(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The settings inside a part, by name."""
    for one in _variants(part):
        if "properties" in one:
            yield one["properties"]


def _variants(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A part itself, or what it refers to, or each of the parts it may be."""
    if "$ref" in part:
        yield from _variants(_schema()["$defs"][part["$ref"].rsplit("/", 1)[1]])
    elif "anyOf" in part:
        for one in part["anyOf"]:
            yield from _variants(one)
    else:
        yield part


def setting_option(
    path: str,
    *names: str,
    default: Any = _OF_THE_SETTING,
    help: str | None = None,  # noqa: A002  (click's own word)
    **more: Any,
) -> Callable[[Function], Function]:
    """An option for a setting.

    Args:
        path: The dotted name of the setting, such as `student.max_length`.
        names: The flag and the name of the parameter, where they are not those of the setting.
        default: Instead of the setting's own; None where a flag that is not given leaves the
            setting as it is.
        help: Instead of the setting's description, where a flag needs another one.
        more: What else `click.option` takes.
    """
    setting = setting_schema(path)
    flag = "--" + path.rpartition(".")[2].replace("_", "-")
    if default is _OF_THE_SETTING:
        default = setting.get("default")
    given: dict[str, Any] = {"type": _type_of(setting), "help": help or setting.get("description")}
    if default is not None:
        given |= {"default": default, "show_default": True}
    return click.option(*(names or (flag,)), **(given | more))


def _type_of(setting: Mapping[str, Any]) -> click.ParamType[Any]:
    """How the words of a command line become a value of a setting."""
    variants = [one for one in _variants(setting) if one.get("type") != "null"]
    words = [
        w for one in variants for w in one.get("enum", [one["const"]] if "const" in one else [])
    ]
    if words and all("enum" in one or "const" in one for one in variants):
        return click.Choice(words)
    kinds = {one.get("type") for one in variants}
    if kinds == {"integer"}:
        least = variants[0].get("minimum")
        return click.INT if least is None else click.IntRange(min=int(least))
    if kinds == {"number"}:
        return click.FLOAT
    return click.STRING


def add_options(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """A decorator that adds options in the order in which they are given."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add
