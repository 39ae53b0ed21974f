"""Commented configuration file of `tutelage init`, and its JSON schema for editors.

Both are made from the settings models, so that they name no setting that does not exist.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tutelage.data import write_text
from tutelage.errors import SettingsError
from tutelage.pipeline.config import DataSettings, RunSettings, ScoreSettings
from tutelage.refinement import RefineSettings
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings

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
