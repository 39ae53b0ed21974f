"""Settings of a run in one YAML file, with its commented template and its JSON schema for editors.

Template and schema are made from the settings models, so that they name no setting that does not
exist.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails, PydanticUndefined

from tutelage.data import ReadSettings, write_text
from tutelage.data.extensions import extensions_of, load_extensions
from tutelage.data.yaml_settings import close_matches, problem_in_words, settings_text
from tutelage.data.yaml_settings import yaml_value as _yaml_value
from tutelage.errors import SettingsError
from tutelage.filters import EmbedderSettings
from tutelage.metrics import METRICS, beyond, scores_schema, table_metrics
from tutelage.refinement import RefineSettings
from tutelage.selection import SelectSettings, needed_metrics
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings

# ----------------------------------------------------------------------------------------------
# How many workers a stage has, and on which cluster.
# ----------------------------------------------------------------------------------------------


EngineName: TypeAlias = Literal["local", "ray"]


class RaySettings(BaseModel):
    """A pool of workers on one machine or on many; used where the engine is `ray`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    address: str = Field(
        default="local",
        min_length=1,
        description="local: start Ray on this machine. auto: join the cluster this machine "
        "belongs to. Or ray://HOST:PORT.",
    )
    workers: int = Field(default=2, ge=1, description="Number of workers, each with its own model.")
    worker_cpus: int = Field(
        default=1, ge=1, description="Processors, and so threads, of one worker."
    )
    worker_gpus: float = Field(
        default=0, ge=0, description="Graphics cards of one worker: 1, or a fraction of one."
    )


# ----------------------------------------------------------------------------------------------
# Config.
# ----------------------------------------------------------------------------------------------


Model = TypeVar("Model", bound=BaseModel)

DEFAULT_METRICS = ("ifd", "ifd_loss", "r_ifd", "ppl", "grape", "rsr")


class DataSettings(ReadSettings):
    """Location of the rows and how they are read."""

    path: str | tuple[str, ...] = Field(
        description="A file, a folder, a glob, a hub dataset, or a list of these."
    )

    @field_validator("path")
    @classmethod
    def _names_something(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not path or "" in (path if isinstance(path, tuple) else ()):
            # An empty name would be the current folder.
            raise ValueError("must not be empty")
        return path


class ScoreSettings(BaseModel):
    """Metrics to compute, and what else is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    metrics: tuple[str, ...] = Field(
        default=DEFAULT_METRICS,
        min_length=1,
        description="Metrics to compute, as columns of scores.parquet.",
    )
    statistics: bool = Field(
        default=False,
        description="Also store the student's token statistics, in statistics.parquet.",
    )
    engine: EngineName = Field(
        default="local", description="local: the student in this process. ray: a pool of workers."
    )
    ray: RaySettings = Field(default_factory=RaySettings)

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_metrics(names)


class EmbedderChoice(BaseModel):
    """Embedder for a selection by diversity; the filters package implements them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    embedder: EmbedderSettings


class RunSettings(BaseModel):
    """All settings of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: DataSettings
    student: StudentSettings
    out: str = Field(min_length=1, description="The run folder.")
    teacher: TeacherSettings | None = Field(
        default=None, description="Leave out to use rewrites that came with the data."
    )
    refine: RefineSettings = Field(default_factory=RefineSettings)
    score: ScoreSettings = Field(default_factory=ScoreSettings)
    select: SelectSettings = Field(default_factory=SelectSettings)
    extensions: str | None = Field(
        default=None,
        description="A Python file with your own metrics, rules, filters, checks and exports; see "
        "extensions.md. It is run.",
    )

    @model_validator(mode="before")
    @classmethod
    def _load_extensions(cls, values: Any) -> Any:
        # First of all: the names that it defines are checked like all others.
        named = values.get("extensions") if isinstance(values, dict) else None
        if isinstance(named, str):
            load_extensions(Path(named))
        return values

    @model_validator(mode="after")
    def _scores_what_the_rule_compares(self) -> Self:
        # Said before the teacher was paid and the student has read for hours, not after.
        lost = beyond(self.score.metrics, "ranks") if self.student.backend == "vllm" else ()
        if lost:
            raise ValueError(
                f"score.metrics: {', '.join(lost)} are not available from a vLLM server"
            )
        if self.student.backend == "vllm" and self.select.quality_gate != "off":
            raise ValueError(
                "select.quality_gate: calibrated needs entropies, which vLLM servers do not provide"
            )
        own = [name for name in self.score.metrics if name in extensions_of("metric")]
        if own and self.score.engine == "ray":
            raise ValueError(
                f"score.metrics: {', '.join(own)} is of an extension, which Ray's workers do not "
                "have; leave score.engine at local"
            )
        by = self.select.best_by
        needed = (
            *needed_metrics(self.select.compared_rule),
            *_needed_by_extension(self.select),
            *((by,) if by in METRICS else ()),
        )
        computed = scores_schema(self.score.metrics).names
        missing = [n for n in needed if n not in computed]
        if self.select.diversity is not None or self.select.rule == "cheap":
            checked(EmbedderChoice, {"embedder": dict(self.select.embedder)}, place="select")
        if missing:
            raise ValueError(
                f"rule {self.select.rule} compares {', '.join(missing)}, "
                "which is not among score.metrics"
            )
        return self


def _needed_by_extension(select: SelectSettings) -> tuple[str, ...]:
    """Metrics that the rule of an extension compares."""
    rule = extensions_of("rule").get(select.function or "")
    return () if rule is None else tuple(rule.options.get("metrics", ()))


def known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of metrics, after checking that each is a metric of the scores table.

    Raises:
        ValueError: One is not; the message lists those that are.
    """
    allowed = table_metrics()
    for name in names:
        if name not in allowed:
            kind = f"a {METRICS[name].level} metric" if name in METRICS else "unknown"
            near = close_matches(name, allowed)
            meant = f"did you mean {near[0]}? " if near and name not in METRICS else ""
            raise ValueError(
                f"{name!r} is {kind}; {meant}per-candidate metrics are {', '.join(allowed)}"
            )
    return tuple(dict.fromkeys(names))


def load_settings(path: Path, *, overrides: Mapping[str, Any] | None = None) -> RunSettings:
    """Read a run's YAML file.

    Args:
        path: The file.
        overrides: Flags by dotted name, such as `select.rule`; they win over the file.

    Returns:
        The checked settings.

    Raises:
        SettingsError: The file cannot be read, or some settings are wrong: all of them are named.
    """
    return checked(RunSettings, file_values(path, overrides=overrides), place=str(path))


def file_values(path: Path, *, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Raw values of a YAML file of settings, with options applied.

    Args:
        path: The file.
        overrides: Flags by dotted name; they win over the file.

    Raises:
        SettingsError: The file cannot be read, or does not hold settings by name.
    """
    values = yaml_file(path)
    if not isinstance(values, dict):
        raise SettingsError(
            f"{path}: holds {type(values).__name__}, expected settings by name",
            hint="see docs/configuration.md for a complete example",
        )
    return with_overrides(values, overrides or {})


def with_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Raw settings with the values at some places replaced.

    Args:
        values: The settings by name.
        overrides: Values by dotted name, such as `select.rule`; they win.
    """
    found = dict(values)
    for dotted, value in overrides.items():
        _put(found, dotted.split("."), value)
    return found


def yaml_value(text: str, *, place: str) -> Any:
    """Value of a YAML text.

    Raises:
        SettingsError: It is not YAML, or gives a key twice.
    """
    return _yaml_value(text, place=place, hint="see docs/configuration.md")


def yaml_file(path: Path) -> Any:
    """Value of a YAML file.

    Raises:
        SettingsError: It cannot be read, is not YAML, or gives a key twice.
    """
    return yaml_value(settings_text(path, hint="give the path of a YAML file"), place=str(path))


def _put(values: dict[str, Any], names: list[str], value: object) -> None:
    for name in names[:-1]:
        inner = values.get(name)
        inner = values[name] = dict(inner) if isinstance(inner, Mapping) else {}
        values = inner
    values[names[-1]] = value


def _own_problems(error: ValidationError) -> Iterator[ErrorDetails]:
    """Problems of an invalid settings model, each once.

    A list's length error that only follows from invalid items is left out, and a value that is
    none of several sets of words is one problem.
    """
    problems = _with_all_words(error.errors())
    places = [problem["loc"] for problem in problems]
    for problem in problems:
        here = problem["loc"]
        inside = any(len(loc) > len(here) and loc[: len(here)] == here for loc in places)
        if problem["type"] != "too_short" or not inside:
            yield problem


def _with_all_words(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Problems in which the branches of a union of words are joined."""
    joined: list[ErrorDetails] = []
    for problem in problems:
        place = problem["loc"]
        if problem["type"] == "literal_error" and str(place[-1]).startswith("literal["):
            words = re.findall(r"'[^']*'", problem["ctx"]["expected"])
            before = joined[-1] if joined else None
            if before is not None and before["loc"] == place[:-1] and "words" in before["ctx"]:
                joined.pop()
                words = [*before["ctx"]["words"], *words]
            expected = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
            problem = {  # noqa: PLW2901
                **problem,
                "loc": place[:-1],
                "msg": f"Input should be {expected}",
                "ctx": {"expected": expected, "words": words},
            }
        joined.append(problem)
    return joined


def checked(kind: type[Model], values: Mapping[str, Any], *, place: str) -> Model:
    """Build settings, or report all their problems at once.

    Args:
        kind: The settings model.
        values: Raw values.
        place: File or option, for messages.

    Raises:
        SettingsError: One line a problem, with its dotted path.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [
            ": ".join(
                filter(None, (".".join(map(str, problem["loc"])), problem_in_words(kind, problem)))
            )
            for problem in _own_problems(error)
        ]
    # Raised out here so that pydantic's error is not chained to it: that one keeps what a check
    # raised, with its frames, out of reach of the garbage collector, and other libraries that are
    # imported in those frames then report leaks when the program ends.
    count = f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} wrong"
    raise SettingsError(
        f"{place}: {count}\n  " + "\n  ".join(problems),
        hint="docs/configuration.md lists every setting with its default",
    )


FILE = Path("tutelage.yaml")
SCHEMA_FILE = "tutelage-schema.json"
"""File name of the schema, to which a configuration file's first line refers."""

_WIDTH = 96
_OPENING = """\
# yaml-language-server: $schema={schema}
#
# Configuration of `tutelage run`. Only data.path, student.model and out must be set.
# Other settings are shown with their defaults: remove the # in front of one to change it.
# docs/configuration.md lists all settings. Run it with: tutelage run {file}
"""
_SECTIONS: tuple[tuple[str, type[BaseModel], str, tuple[str, ...]], ...] = (
    ("data", DataSettings, "The rows to choose from.", ("path", "shape", "fields", "limit")),
    (
        "student",
        StudentSettings,
        "The model that will be trained, which scores every version of a row.",
        ("model", "template", "dtype", "device", "max_length", "turns", "thinking"),
    ),
    (
        "teacher",
        TeacherSettings,
        "The model that rewrites the rows. Without it, the rewrites in the data are used.",
        ("model", "base_url", "api_key_env", "concurrency", "max_cost", "prices"),
    ),
    (
        "refine",
        RefineSettings,
        "What the teacher is asked to rewrite.",
        ("steps", "max_tokens", "temperature", "attempts"),
    ),
    ("score", ScoreSettings, "Metrics computed from the student's probabilities.", ("metrics",)),
    (
        "select",
        SelectSettings,
        "The rule that chooses one version of each example.",
        ("rule", "mode", "margin", "gate", "quality_gate", "keep_fraction", "keep_count", "seed"),
    ),
)
_OPTIONAL_SECTIONS = frozenset(("teacher", "refine", "score", "select"))
_EXAMPLES: Mapping[str, Any] = {
    "data.path": "data.jsonl",
    "student.model": "smollm2-135m",
    "teacher.model": "my-teacher",
    "teacher.base_url": "http://127.0.0.1:8081/v1",
    "teacher.api_key_env": "TEACHER_API_KEY",
    "teacher.max_cost": 5.0,
    "teacher.prices": {"input_per_million": 0.15, "output_per_million": 0.6},
    "data.fields": {},
    "out": "runs/first",
}
"""Example values of settings without a default, or without one that explains them."""

_MEANINGS = {
    "student.device": "The device: auto, cpu, cuda or cuda:N.",
    "student.max_length": "Maximum tokens of a scored text; by default the model's limit.",
    "student.turns": "Which assistant turns are scored: last, or all (pooled).",
    "teacher.concurrency": "Requests at the same time.",
    "teacher.model": "The name of the model on its server.",
    "teacher.prices": "Price of a million prompt and completion tokens; max_cost needs it.",
    "refine.steps": "What is rewritten, in this order.",
    "refine.temperature": "The sampling temperature of the first attempt.",
    "refine.attempts": "Maximum number of requests for a rewrite until a reply is usable.",
    "score.metrics": "The metrics to compute; `tutelage metrics` lists them.",
    "select.rule": "The rule; docs/rules.md explains each.",
    "select.mode": "The mode of the rule srt: safe or paper.",
    "select.margin": "How much better a rewrite must be to be chosen (srt in safe mode).",
    "select.gate": "The verdicts of `tutelage verify` that may be chosen: off (all), not_wrong or "
    "right.",
    "select.quality_gate": "off or calibrated: exclude versions in which fitted detectors find a "
    "fault; see docs/quality-gate.md.",
    "select.seed": "Seed of all random draws, including the baselines.",
}
"""Descriptions of settings that need the context of others or have none of their own."""


def config_text(
    *,
    file: Path = FILE,
    data: str | None = None,
    student: str | None = None,
    out: str | None = None,
) -> str:
    """Text of a commented configuration file.

    Args:
        file: Its name, which a comment repeats.
        data: `data.path`; an example where None.
        student: `student.model`; an example where None.
        out: The run folder; an example where None.
    """
    given = {"data.path": data, "student.model": student, "out": out}
    values = dict(_EXAMPLES) | {name: value for name, value in given.items() if value is not None}
    lines = _OPENING.format(schema=SCHEMA_FILE, file=file).splitlines()
    lines += [
        "",
        "# The run folder: tables, decisions and the report.",
        f"out: {_yaml(values['out'])}",
    ]
    for section, kind, meaning, names in _SECTIONS:
        off = "#" if section in _OPTIONAL_SECTIONS else ""
        lines += ["", f"# {meaning}", f"{off}{section}:"]
        for name in names:
            lines += _setting(kind, section, name, values, off=off)
    return "\n".join(lines) + "\n"


def _setting(
    kind: type[BaseModel], section: str, name: str, values: Mapping[str, Any], *, off: str
) -> Iterator[str]:
    """One setting with its description; commented out where it is optional."""
    field = kind.model_fields[name]
    path = f"{section}.{name}"
    described = _MEANINGS.get(path) or field.description
    if described is None:
        raise LookupError(f"{path} has no description")
    for line in textwrap.wrap(described, width=_WIDTH):
        yield f"{off}  # {line}"
    default = field.get_default(call_default_factory=True)
    value = values.get(path, default)
    if value is PydanticUndefined:
        raise LookupError(f"{path} has neither a default nor an example")
    # A whole section that is commented out needs no second mark in front of its settings.
    mark = "" if off or field.is_required() else "#"
    yield f"{off}  {mark}{name}: {_yaml(value)}"


def _yaml(value: object) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000, allow_unicode=True)
    return str(text).replace("\n...", "").strip()


def config_schema() -> dict[str, Any]:
    """JSON schema of a configuration file, for editors."""
    schema = RunSettings.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Configuration of tutelage run",
    }


def schema_text() -> str:
    """Text of the schema's file."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def write_config(
    file: Path = FILE,
    *,
    force: bool = False,
    data: str | None = None,
    student: str | None = None,
    out: str | None = None,
) -> dict[str, str]:
    """Write a commented configuration file with its schema.

    Args:
        file: The YAML file.
        force: Replace files that are there.
        data: `data.path` of the file; an example where None.
        student: `student.model` of the file; an example where None.
        out: `out` of the file; an example where None.

    Returns:
        The paths of the `config` and of its `schema`.

    Raises:
        SettingsError: One of the files is there already, or their folder is not.
    """
    schema = file.parent / SCHEMA_FILE
    texts = {
        file: config_text(file=file, data=data, student=student, out=out),
        schema: schema_text(),
    }
    if file.name == SCHEMA_FILE:
        raise SettingsError(
            f"{file}: is the name of the schema file next to it", hint="such as tutelage.yaml"
        )
    if not file.parent.is_dir():
        raise SettingsError(f"{file.parent}: no such folder", hint="create it, or name another one")
    for path, text in texts.items():
        if path.is_dir():
            raise SettingsError(f"{path}: is a folder", hint="name a file, such as tutelage.yaml")
        same = path == schema and path.is_file() and path.read_bytes() == text.encode("utf-8")
        if (path.exists() or path.is_symlink()) and not force and not same:
            raise SettingsError(
                f"{path}: exists already, and was not changed",
                hint="name another file, or replace it with --force",
            )
    for path, text in texts.items():
        write_text(path, text)
    return {"config": str(file), "schema": str(schema)}
