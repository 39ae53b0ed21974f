"""Options that are made from the settings models."""

import subprocess
import sys
from typing import Any, get_args

import click
import pytest

from tutelage.cli import main
from tutelage.cli.options import SCHEMA, setting_option, setting_schema
from tutelage.pipeline.config import schema_text
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings
from tutelage.teacher import TeacherSettings


def option(command: str, flag: str) -> click.Option:
    (found,) = [
        p for p in main.commands[command].params if isinstance(p, click.Option) and flag in p.opts
    ]
    return found


def test_the_stored_schema_is_that_of_the_models() -> None:
    stored = SCHEMA.read_text(encoding="utf-8")
    assert stored == schema_text(), "run: python -m tutelage.cli.docs_generator docs"


@pytest.mark.parametrize(
    ("command", "flag", "model", "field"),
    [
        ("score", "--on-overflow", StudentSettings, "on_overflow"),
        ("score", "--backend", StudentSettings, "backend"),
        ("refine", "--teacher-kind", TeacherSettings, "kind"),
        ("refine", "--max-tokens-field", TeacherSettings, "max_tokens_field"),
        ("select", "--gate", SelectSettings, "gate"),
    ],
)
def test_choices_are_those_of_the_setting(command: str, flag: str, model: Any, field: str) -> None:
    kind = option(command, flag).type
    assert isinstance(kind, click.Choice)
    assert tuple(kind.choices) == get_args(model.model_fields[field].annotation)


def test_a_choice_between_two_kinds_of_words_has_all_of_them() -> None:
    kind = option("score", "--dtype").type
    assert isinstance(kind, click.Choice)
    assert set(kind.choices) == {"auto", "float32", "bfloat16", "float16"}


def test_defaults_and_help_are_those_of_the_setting() -> None:
    for flag, field in (("--template", "template"), ("--device", "device"), ("--turns", "turns")):
        made = option("score", flag)
        assert made.default == StudentSettings.model_fields[field].default
        assert made.help == StudentSettings.model_fields[field].description
    assert option("refine", "--concurrency").default == TeacherSettings(model="m").concurrency


def test_a_flag_of_select_that_is_not_given_changes_nothing() -> None:
    given = (
        main.commands["select"]
        .make_context("select", ["runs/demo"], help_option_names=["-h", "--help"])
        .params
    )
    names = SelectSettings.model_fields.keys() & given.keys()
    assert len(names) > 15
    several = {"quotas", "truth_clean"}
    for name in names - several:
        assert given[name] is None, name
    assert all(given[name] == () for name in several)


def test_a_setting_that_is_not_there_is_an_error_of_the_program() -> None:
    for path in ("student.modell", "studen.model", "student.model.name"):
        with pytest.raises(LookupError, match="the settings have no"):
            setting_schema(path)
    with pytest.raises(LookupError):
        setting_option("select.ruel")


def test_help_does_not_wait_for_the_models() -> None:
    script = "import sys, tutelage.cli; print('pydantic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
