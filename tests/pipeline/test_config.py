"""Settings that are wrong are named, all at once, before any work."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.pipeline.fakes import settings
from tutelage.cli import main
from tutelage.errors import SettingsError
from tutelage.pipeline import RunSettings, load_settings
from tutelage.pipeline.config import ScoreSettings, checked
from tutelage.selection import SelectSettings
from tutelage.student import StudentSettings


def made(**more: Any) -> RunSettings:
    return settings(Path("data.jsonl"), Path("run"), **more)


@pytest.mark.parametrize("path", ["", [], [""], ["a.jsonl", ""]])
def test_an_empty_path_is_not_the_folder_one_stands_in(path: object) -> None:
    with pytest.raises(SettingsError, match=r"data\.path: .*must not be empty"):
        checked(
            RunSettings,
            {"data": {"path": path}, "student": {"model": "m"}, "out": "o"},
            place="x",
        )


def test_a_value_of_a_closed_set_is_one_problem_with_all_its_words() -> None:
    student = {"model": "m", "dtype": "float31", "device": "gpu"}
    with pytest.raises(SettingsError) as caught:
        checked(StudentSettings, student, place="student")
    first, dtype, device = str(caught.value).splitlines()
    assert first == "student: 2 settings are wrong"
    assert dtype.startswith("  dtype: must be 'auto', 'float32', 'bfloat16' or 'float16'")
    assert dtype.endswith("; did you mean `float32`?")
    assert device == "  device: expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N"


def test_an_empty_out_is_not_the_folder_one_stands_in() -> None:
    with pytest.raises(SettingsError, match="out: must have at least 1 character"):
        checked(
            RunSettings, {"data": {"path": "d"}, "student": {"model": "m"}, "out": ""}, place="x"
        )


@pytest.mark.parametrize(
    ("rule", "metrics", "missing"),
    [("srt", ["ppl", "ifd"], "r_ifd"), ("grape", ["ifd"], "grape"), ("rsr", ["ifd"], "rsr")],
)
def test_a_rule_whose_metrics_are_not_scored_is_refused_before_the_student_reads(
    rule: str, metrics: list[str], missing: str
) -> None:
    with pytest.raises(SettingsError, match=rf"rule {rule} compares {missing}, which"):
        made(score={"metrics": metrics}, select={"rule": rule})
    made(score={"metrics": [*metrics, missing]}, select={"rule": rule})
    made(score={"metrics": ["ppl"]}, select={"rule": "random"})


@pytest.mark.parametrize("word", ["yes", "no", "auto", '"yes"'])
def test_a_bare_yes_is_a_word_where_words_are_expected(tmp_path: Path, word: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "data: {path: d.jsonl}\nstudent: {model: m}\nout: o\n"
        f"teacher: {{model: t, supports_schema: {word}}}\n"
    )
    teacher = load_settings(config).teacher
    assert teacher is not None
    assert teacher.supports_schema == word.strip('"')


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"a: [", b"\tb: 1", b"- 1", b"", b"a: 2020-13-45"]
)
def test_a_file_that_is_no_settings_is_misuse_that_names_it(tmp_path: Path, content: bytes) -> None:
    config = tmp_path / "c.yaml"
    config.write_bytes(content)
    result = CliRunner().invoke(main, ["run", str(config)])
    assert result.exit_code == 2
    assert str(config) in result.stderr
    assert "hint: " in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out: a\nselect:\n  rule: srt\n  rule: grape\n", ":4: select.rule is given twice: line 3"),
        ('out: a\nselect: {rule: srt}\n"out": b\n', ":3: out is given twice: line 1"),
        ("select: {seed: 1, seed: 1}", ":1: select.seed is given twice: this line"),
        ("tasks:\n- {a: 1}\n- a: 1\n  a: 2\n", ":4: tasks.1.a is given twice: line 3"),
        ("out: a\nout: b\nout: c\n", ":2: out is given twice: line 1"),
        ("out: a\nout: b\nout: c\n", ":3: out is given twice: line 1"),
        ("a: &a [*a]", "line 1 refers to itself"),
        (
            "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefgh")
            ),
            "write out more than 100,000 values",
        ),
    ],
)
def test_a_key_twice_and_aliases_without_end_are_named(
    tmp_path: Path, text: str, said: str
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(config))
    assert caught.value.hint


def test_keys_that_a_merge_brings_may_be_given_again(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        "student: &model {model: m, dtype: float32}\ndata: {path: d.jsonl}\nout: o\n"
        "teacher: {<<: *model, model: t}\n"
    )
    teacher = load_settings(config).teacher
    assert teacher is not None
    assert (teacher.model, teacher.dtype) == ("t", "float32")


def test_a_flag_whose_value_is_no_yaml_is_misuse_that_names_it(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("out: x\n")
    result = CliRunner().invoke(main, ["run", str(config), "--set", "select.rule=[a"])
    assert result.exit_code == 2
    assert "--set select.rule=[a" in result.stderr


def test_what_a_metric_is_made_of_counts_as_scored() -> None:
    assert made(select={"rule": "lark"}, score={"metrics": ["lark"]}).select.rule == "lark"
    with pytest.raises(SettingsError, match="rule best_of_n compares ppl"):
        made(select={"rule": "best_of_n", "best_by": "ppl"}, score={"metrics": ["ifd"]})


def test_an_embedder_that_there_is_not_is_refused_before_the_student_reads() -> None:
    diverse = {"rule": "grape", "keep_count": 2, "diversity": "k_center"}
    made(select=diverse, score={"metrics": ["grape"]})
    with pytest.raises(SettingsError, match="embedder"):
        made(select={**diverse, "embedder": {"kind": "wods"}}, score={"metrics": ["grape"]})


def test_a_mistyped_metric_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError) as caught:
        checked(ScoreSettings, {"metrics": ["idf"]}, place="score")
    assert "metrics: 'idf' is unknown; did you mean ifd? per-candidate metrics are" in str(
        caught.value
    )


def test_a_problem_of_several_settings_has_no_place_of_its_own() -> None:
    with pytest.raises(SettingsError) as caught:
        checked(SelectSettings, {"rule": "ifd_top"}, place="select")
    first, problem = str(caught.value).splitlines()
    assert first == "select: 1 setting is wrong"
    assert problem == "  rule ifd_top needs keep_fraction, keep_count or quotas"
