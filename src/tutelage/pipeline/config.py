"""Settings of a run, which combine those of all packages in one YAML file."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from tutelage.data import ReadSettings
from tutelage.data.extensions import extensions_of, load_extensions
from tutelage.data.key_suggestions import close_matches, problem_in_words
from tutelage.data.yaml_values import yaml_value as _yaml_value
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
            # An empty name would be the folder one stands in.
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
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}", hint="give the path of a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}",
            hint="give the path of a YAML file",
        ) from error
    values = yaml_value(text, place=str(path))
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
            f"{'.'.join(str(part) for part in problem['loc']) or '(all)'}: "
            f"{problem_in_words(kind, problem)}"
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
