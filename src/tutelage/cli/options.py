"""Options that several commands share, generated from settings."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tutelage.errors import SettingsError

if TYPE_CHECKING:
    from tutelage.pipeline.resources import Doors


# ----------------------------------------------------------------------------------------------
# Command-line options that are made from the settings models.
#
# Type, default and help of an option come from the JSON schema of a run's settings,
# `settings-schema.json` in this folder. The schema is generated from the models, and a test holds
# it to them: importing the models here would make every `--help` wait for libraries.
# ----------------------------------------------------------------------------------------------


Function = TypeVar("Function", bound=Callable[..., Any])

SCHEMA = Path(__file__).with_name("settings-schema.json")

_OF_THE_SETTING = object()


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def setting_schema(path: str) -> Mapping[str, Any]:
    """JSON schema of a setting.

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
    """Settings inside a part of the schema, by name."""
    for one in _variants(part):
        if "properties" in one:
            yield one["properties"]


def _variants(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Alternatives of a part of the schema: itself, its reference, or its variants."""
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
    """Command-line option for a setting.

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


def _type_of(setting: Mapping[str, Any]) -> "click.ParamType[Any]":
    """Click type of a setting."""
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
    """Decorator that adds options in the order in which they are given."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


# ----------------------------------------------------------------------------------------------
# Options.
# ----------------------------------------------------------------------------------------------


def data_options(function: Function) -> Function:
    """Decorator with the options for reading the input."""
    return add_options(
        click.option(
            "--map",
            "mapping",
            multiple=True,
            metavar="OURS=THEIRS",
            help="A field name that differs from the usual one, such as instruction=question; a "
            "dot reaches a field inside a field. Repeatable.",
        ),
        setting_option("data.shape", "--as", "shape", default=None),
        setting_option("data.limit"),
        setting_option("data.source_name", "--source", "source_name"),
    )(function)


def data_settings(path: str, reading: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the data from the values of `data_options`."""
    fields: dict[str, str] = {}
    for text in reading["mapping"]:
        ours, separator, theirs = text.partition("=")
        if not separator or not ours or not theirs:
            raise SettingsError(
                f"--map {text}: expected OURS=THEIRS", hint="such as --map instruction=question"
            )
        fields[ours] = theirs
    values: dict[str, Any] = {"path": path, "fields": fields}
    for name in ("limit", "source_name", "shape"):
        if reading.get(name) is not None:
            values[name] = reading[name]
    return values


TEMPLATE_NAMES = ("template_args", "template_date", "thinking")
"""Parameters of `template_options`, by the names of their settings."""


def template_options(function: Function) -> Function:
    """Decorator with the options of the chat template."""
    return add_options(
        click.option(
            "--template-arg",
            "template_args",
            multiple=True,
            metavar="NAME=VALUE",
            help="An argument of the chat template, its value as JSON or as plain text, such as "
            "enable_thinking=false. Repeatable.",
        ),
        setting_option(
            "student.template_date",
            default=None,
            metavar="YYYY-MM-DD",
            help="The date that chat templates see as today; 2026-01-01 by default.",
        ),
        setting_option("student.thinking"),
    )(function)


def template_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from the values of `template_options`; options that were not given are left out."""
    values: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for text in options["template_args"]:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise SettingsError(
                f"--template-arg {text}: expected NAME=VALUE",
                hint="such as --template-arg enable_thinking=false",
            )
        found[name] = _json_or_text(value)
    if found:
        values["template_args"] = found
    if options["template_date"] is not None:
        values["template_date"] = options["template_date"]
    if options["thinking"] != "include":
        values["thinking"] = options["thinking"]
    return values


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def student_options(*, default: str | None = None) -> Callable[[Function], Function]:
    """Decorator with the options of the student."""
    return add_options(
        setting_option(
            "student.model",
            "--student",
            default=default,
            required=default is None,
        ),
        setting_option("student.template"),
        setting_option("student.dtype"),
        setting_option("student.device"),
        setting_option("student.device_map"),
        setting_option("student.batch_tokens"),
        setting_option("student.tensor_parallel"),
        setting_option("student.max_length"),
        setting_option("student.on_overflow"),
        setting_option("student.turns"),
        setting_option(
            "student.backend",
            help="auto: packed for the decoders it knows on a CPU, transformers elsewhere. vllm: a "
            "vLLM server, which needs --student-url and --dtype.",
        ),
        setting_option("student.base_url", "--student-url"),
        setting_option("student.served_model"),
        setting_option("student.api_key_env", "--student-key-env"),
        click.option("--no-cache", is_flag=True, help="Score everything again."),
        template_options,
    )


def engine_options(function: Function) -> Function:
    """Decorator with the options of the engine."""
    options = (
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="local: in this process; ray: on a pool of Ray workers.",
        ),
        click.option("--workers", type=click.IntRange(min=1), help="Ray: number of workers."),
        click.option("--worker-cpus", type=click.IntRange(min=1), help="Ray: CPUs of each worker."),
        click.option(
            "--worker-gpus",
            type=click.FloatRange(min=0),
            help="Ray: GPUs of each worker.",
        ),
        click.option(
            "--ray-address", help="Ray: local starts Ray here; auto joins this machine's cluster."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


POOL_FLAGS = ("workers", "worker_cpus", "worker_gpus", "ray_address")
"""Parameters of `engine_options` other than the engine."""


def ray_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the worker pool from the values of `engine_options`."""
    values = {name: options[name] for name in ("workers", "worker_cpus", "worker_gpus")}
    values["address"] = options["ray_address"]
    return {name: value for name, value in values.items() if value is not None}


def student_values(student: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the student from the values of `student_options`."""
    values: dict[str, Any] = {
        "model": student["student"],
        "template": student["template"],
        "dtype": student["dtype"],
        "device": student["device"],
        "on_overflow": student["on_overflow"],
        "turns": student["turns"],
        "use_cache": not student["no_cache"],
        "backend": student["backend"],
        **template_values(student),
    }
    if student["student_url"] is not None:
        values["base_url"] = student["student_url"]
    if student["served_model"] is not None:
        values["served_model"] = student["served_model"]
    if student["student_key_env"] is not None:
        values["api_key_env"] = student["student_key_env"]
    for name in ("max_length", "device_map"):
        if student[name] is not None:
            values[name] = student[name]
    if student["batch_tokens"] != "auto":
        values["batch_tokens"] = student["batch_tokens"]
    if student["tensor_parallel"] != 1:
        values["tensor_parallel"] = student["tensor_parallel"]
    return values


def teacher_options(function: Function) -> Function:
    """Decorator with the options of the teacher."""
    return _teacher_options(function, required=True)


def optional_teacher_options(function: Function) -> Function:
    """Decorator with the options of the teacher, for a command where it is optional."""
    return _teacher_options(function, required=False)


def _teacher_options(function: Function, *, required: bool) -> Function:
    return add_options(
        setting_option("teacher.model", "--teacher", required=required),
        setting_option("teacher.base_url"),
        setting_option("teacher.api_key_env"),
        setting_option("teacher.key_header"),
        setting_option("teacher.kind", "--teacher-kind"),
        setting_option("teacher.concurrency"),
        click.option(
            "--omit",
            metavar="NAMES",
            help=f"{setting_schema('teacher.omit')['description']} Comma-separated: seed, top_p, "
            "temperature.",
        ),
        setting_option("teacher.max_tokens_field"),
        setting_option("teacher.max_cost"),
        click.option(
            "--prices",
            metavar="IN,OUT",
            help="The price of a million prompt tokens and of a million completion tokens.",
        ),
        batch_option,
    )(function)


def batch_option(function: Function) -> Function:
    """Whether the teacher is asked through the provider's batch API."""
    return click.option(
        "--batch",
        is_flag=True,
        help="Use the provider's batch API, at about half the price: the command submits the "
        "requests and exits; run it again later to collect the replies.",
    )(function)


def teacher_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the teacher from the values of `teacher_options`."""
    values = {
        "kind": options["teacher_kind"],
        "model": options["teacher"],
        "base_url": options["base_url"],
        "api_key_env": options["api_key_env"],
        "key_header": options["key_header"],
        "concurrency": options["concurrency"],
        "max_cost": options["max_cost"],
        "prices": _prices(options["prices"]),
        "max_tokens_field": options["max_tokens_field"],
        "omit": _names_in(options["omit"]),
        "batch": options["batch"] or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _names_in(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _prices(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    try:
        of_input, of_output = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SettingsError(
            f"--prices {text}: expected two numbers", hint="such as --prices 0.15,0.60"
        ) from error
    return {"input_per_million": of_input, "output_per_million": of_output}


def weights_by_name(parts: Iterable[str], *, option: str) -> dict[str, float]:
    """Weights by name, from values of the form NAME=WEIGHT.

    Raises:
        SettingsError: One has another form.
    """
    found: dict[str, float] = {}
    for part in parts:
        name, _, number = part.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise SettingsError(
                f"{option} {part}: expected a name and a number", hint="such as strong=1"
            )
    return found


def counts_by_name(parts: Iterable[str], *, option: str) -> dict[str, int]:
    """Counts by name, from values of the form NAME=COUNT.

    Raises:
        SettingsError: One has another form.
    """
    found = weights_by_name(parts, option=option)
    for name, number in found.items():
        if not number.is_integer():
            raise SettingsError(f"{option} {name}={number:g}: expected a whole number")
    return {name: int(number) for name, number in found.items()}


def tracker_options(function: Function) -> Function:
    """Decorator with the options of experiment trackers."""
    options = (
        click.option(
            "--tracker",
            type=click.Choice(["trackio", "wandb", "mlflow"]),
            help="Experiment tracker that shows losses and results; trackio is local.",
        ),
        click.option(
            "--tracker-project",
            default="tutelage",
            show_default=True,
            help="Name of the project in the tracker.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def override_option(example: str) -> Callable[[Function], Function]:
    """Decorator with the option `--set`, whose texts `override_of` parses."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="NAME=VALUE",
        help=f"A setting that overrides the file, such as {example}. Repeatable.",
    )


def override_of(text: str) -> tuple[str, Any]:
    """Dotted name and value of a `--set` option.

    Raises:
        SettingsError: It is not NAME=VALUE.
    """
    from tutelage.pipeline import yaml_value

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise SettingsError(
            f"--set {text}: expected NAME=VALUE", hint="such as --set select.rule=grape"
        )
    return name, yaml_value(value, place=f"--set {text}")


def dry_run_options(function: Function) -> Function:
    """Decorator with the options of dry runs."""
    options = (
        click.option(
            "--dry-run",
            is_flag=True,
            help="Estimate calls, tokens, cost and time, and stop. Nothing is sent or paid.",
        ),
        click.option(
            "--measure-seconds",
            type=click.FloatRange(min=0),
            default=20.0,
            show_default=True,
            help="--dry-run: seconds of each speed measurement; 0 uses the last one.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def doors_with_workers() -> "Doors":
    """Factories of student and teacher, with Ray's workers for `--engine ray`."""
    from tutelage.distributed import RayWorkers
    from tutelage.pipeline.resources import Doors

    return Doors(workers=RayWorkers())
