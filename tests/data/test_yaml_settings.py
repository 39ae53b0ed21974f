"""What is said of keys and values that settings do not have."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ConfigDict, Field

from tutelage.cli import main
from tutelage.data.yaml_settings import close_matches
from tutelage.errors import SettingsError
from tutelage.experiments.prove.config import load_prove_settings
from tutelage.experiments.rank.proxy_training import probe_settings
from tutelage.experiments.rank.run import teachers_of
from tutelage.experiments.rounds import load_rounds_settings
from tutelage.filters import read_filters
from tutelage.pipeline import load_settings
from tutelage.pipeline.config import checked
from tutelage.pipeline.train_stage import tasks_of
from tutelage.refinement.prompt import load_prompt


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Apple(_Model):
    kind: Literal["apple"] = "apple"
    sweetness: float = 0.5


class Pear(_Model):
    kind: Literal["pear"] = "pear"
    softness: int = 1


class House(_Model):
    floors: int = 1
    street: str


class Basket(_Model):
    one: Apple | None = None
    several: tuple[Annotated[Apple | Pear, Field(discriminator="kind")], ...] = ()
    by_name: Mapping[str, Apple] = {}
    either: Apple | Pear = Apple()
    free: Mapping[str, int] = {}
    house: House | None = None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"onee": {}}, "onee: unknown key `onee`; did you mean `one`?"),
        (
            {"one": {"sweetnes": 1}},
            "one.sweetnes: unknown key `sweetnes`; did you mean `sweetness`?",
        ),
        ({"several": [{"kind": "apple"}, {"kind": "pear", "softnes": 2}]}, "`softness`?"),
        ({"by_name": {"mine": {"Sweetness": 1}}}, "did you mean `sweetness`?"),
        ({"either": {"kind": "pear", "sofness": 1}}, "did you mean `softness`?"),
        ({"BY-NAME": {}}, "unknown key `BY-NAME`; did you mean `by_name`?"),
        ({"sweetness": 1}, "unknown key `sweetness`; did you mean `one.sweetness`"),
        (
            {"xyzzy": 1},
            "unknown key `xyzzy`; known keys are by_name, either, free, house, one, several",
        ),
        ({"one": {"kind": "appel"}}, "did you mean `apple`?"),
        ({"one": "golden"}, "one: must be settings by name, such as {kind: ...}"),
        ({"by_name": ["golden"]}, "by_name: must be settings by name"),
        ({"several": "golden"}, "several: must be a list"),
        ({"house": "blue"}, "house: must be settings by name, such as {street: ...}"),
    ],
)
def test_a_mistyped_name_gets_the_name_that_was_meant(values: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        checked(Basket, values, place="basket.yaml")
    assert said in str(caught.value)


def test_a_value_far_from_all_allowed_ones_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        checked(Basket, {"one": {"kind": "sk-secret-0123456789"}}, place="basket.yaml")
    assert "sk-secret" not in str(caught.value)


def test_of_several_names_the_closest_comes_first() -> None:
    assert close_matches("keep_fractoin", ["keep_fraction", "keep_count"])[0] == "keep_fraction"
    assert close_matches("zzz", ["keep_fraction"]) == []


CONFIG = "data: {path: a.jsonl}\nstudent: {model: m}\nout: o\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("selct: {rule: grape}\n", "selct: unknown key `selct`; did you mean `select`?"),
        ("select: {ruel: grape}\n", "select.ruel: unknown key `ruel`; did you mean `rule`?"),
        (
            "select: {mix: {by: length, long_token: 3}}\n",
            "select.mix.long_token: unknown key `long_token`; did you mean `long_tokens`?",
        ),
        (
            "teacher: {model: t, prices: {input_per_milion: 1, output_per_million: 1}}\n",
            "teacher.prices.input_per_milion: unknown key `input_per_milion`; did you mean `input_",
        ),
        ("score: {ray: {worker: 2}}\n", "score.ray.worker: unknown key `worker`; did you mean"),
        ("max_length: 3\n", "did you mean `student.max_length`?"),
    ],
)
def test_a_mistyped_key_of_a_file_is_named_at_any_depth(
    tmp_path: Path, more: str, said: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG + more, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("selct.rule=grape", "unknown key `selct`; did you mean `select`?"),
        ("select.rul=grape", "select.rul: unknown key `rul`; did you mean `rule`?"),
        ("teacher.prices.curency=EUR", "unknown key `curency`; did you mean `currency`?"),
        ("select.rule=grap", "did you mean `grape`?"),
        ("rule=grape", "did you mean `select.rule`?"),
    ],
)
def test_a_mistyped_key_of_a_flag_is_named(tmp_path: Path, flag: str, said: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", str(path), "--set", flag])
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_the_other_files_get_suggestions_too(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(CONFIG + "rouns: 3\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="unknown key `rouns`; did you mean `rounds`"):
        load_rounds_settings(path, overrides={})


def test_what_is_no_yaml_is_said_to_be_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("data: {path: a.jsonl\nout: b\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert f'in "{path}", line 1, column 7' in str(caught.value)


FILES: Mapping[str, Callable[[Path], Any]] = {
    "run": load_settings,
    "rounds": lambda path: load_rounds_settings(path, overrides={}),
    "prove": load_prove_settings,
    "tasks": lambda path: tasks_of(file=path, given=(), limit=None),
    "teachers": teachers_of,
    "probe": probe_settings,
    "filters": read_filters,
    "prompt": lambda path: load_prompt(step="response_reflection", path=path),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_cannot_be_read_is_named_once_and_without_a_code(
    tmp_path: Path, kind: str
) -> None:
    nowhere, latin = tmp_path / "nowhere.yaml", tmp_path / "latin.yaml"
    latin.write_bytes("größe: 1".encode("latin-1"))
    for path, why in (
        (nowhere, "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
        (latin, "is not UTF-8 text: "),
    ):
        with pytest.raises(SettingsError) as caught:
            FILES[kind](path)
        assert str(caught.value).startswith(f"{path}: {why}")
        assert str(caught.value).count(path.name) == 1
        assert caught.value.hint
