"""Options that several commands share."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from tutelage.errors import SettingsError

Function = TypeVar("Function", bound=Callable[..., Any])

_SHAPES = ("auto", "messages", "prompt_completion", "alpaca", "sharegpt", "pairs", "pool")


def data_options(function: Function) -> Function:
    """How the input is read."""
    options = (
        click.option(
            "--map",
            "mapping",
            multiple=True,
            metavar="OURS=THEIRS",
            help="Field names that differ, such as instruction=question. Repeatable.",
        ),
        click.option("--limit", type=click.IntRange(min=1), help="Read only the first rows."),
        click.option("--source", "source_name", help="The source of rows that do not name one."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def data_settings(path: str, reading: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `data_options` as settings of the data room."""
    fields: dict[str, str] = {}
    for text in reading["mapping"]:
        ours, separator, theirs = text.partition("=")
        if not separator or not ours or not theirs:
            raise SettingsError(
                f"--map {text}: expected OURS=THEIRS", hint="such as --map instruction=question"
            )
        fields[ours] = theirs
    values: dict[str, Any] = {"path": path, "fields": fields}
    for name in ("limit", "source_name"):
        if reading[name] is not None:
            values[name] = reading[name]
    return values


def student_options(*, default: str | None = None) -> Callable[[Function], Function]:
    """Which student reads, and how."""

    def add(function: Function) -> Function:
        options = (
            click.option(
                "--student",
                default=default,
                show_default=default is not None,
                required=default is None,
                help="A folder, a hub id, or the alias of a bundled model such as smollm2-135m.",
            ),
            click.option(
                "--template",
                default="chat",
                show_default=True,
                help="chat, alpaca, or the path of a template of your own.",
            ),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
                default="auto",
                show_default=True,
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
            click.option("--max-length", type=click.IntRange(min=2), help="In tokens."),
            click.option(
                "--on-overflow",
                type=click.Choice(["drop", "truncate"]),
                default="drop",
                show_default=True,
                help="A candidate that is too long is left unscored, or cut on both sides alike.",
            ),
            click.option(
                "--turns",
                type=click.Choice(["last", "all"]),
                default="last",
                show_default=True,
                help="Which assistant turns of a conversation count.",
            ),
            click.option("--no-cache", is_flag=True, help="Read everything again."),
        )
        for option in reversed(options):
            function = option(function)
        return function

    return add


def student_values(student: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `student_options` as settings of the student room."""
    values: dict[str, Any] = {
        "model": student["student"],
        "template": student["template"],
        "dtype": student["dtype"],
        "device": student["device"],
        "on_overflow": student["on_overflow"],
        "turns": student["turns"],
        "use_cache": not student["no_cache"],
    }
    if student["max_length"] is not None:
        values["max_length"] = student["max_length"]
    return values
