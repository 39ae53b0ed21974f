"""`tutelage init`: the file, its schema, and what is never overwritten."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tutelage.cli import main
from tutelage.pipeline import load_settings
from tutelage.pipeline.config import SCHEMA_FILE, config_schema, config_text


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def uncommented(text: str, *, but: tuple[str, ...] = ()) -> str:
    """The file with every setting switched on; text after `# ` stays a comment."""
    lines = [re.sub(r"^(\s*)#(?=[a-z]|  )", r"\1", line) for line in text.splitlines()]
    return "\n".join(line for line in lines if line.split(":")[0].strip() not in but)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_is_a_configuration_as_it_stands(here: Path) -> None:
    done = call("init")
    assert done.exit_code == 0, done.stderr
    assert "Next: tutelage run tutelage.yaml" in done.stdout
    settings = load_settings(here / "tutelage.yaml")
    assert settings.teacher is None
    assert settings.student.model == "smollm2-135m"


def test_values_that_are_given_are_in_the_file(here: Path) -> None:
    words = ("--data", "a: [b].jsonl", "--student", "null", "--out", "runs/#1")
    assert call("init", "mine.yaml", *words).exit_code == 0
    settings = load_settings(here / "mine.yaml")
    assert (settings.data.path, settings.student.model) == ("a: [b].jsonl", "null")
    assert settings.out == "runs/#1"


def test_every_setting_of_the_file_exists_and_shows_its_default(here: Path) -> None:
    text = uncommented(config_text(), but=("keep_count",))
    (here / "all.yaml").write_text(text, encoding="utf-8")
    values = yaml.safe_load(text)
    assert {"data", "student", "teacher", "refine", "score", "select", "out"} == values.keys()
    settings = load_settings(here / "all.yaml")
    examples = {"path", "model", "base_url", "api_key_env", "max_cost", "prices"}
    for section, given in values.items():
        if section == "out":
            continue
        model = type(getattr(settings, section))
        assert len(given) > 0
        for name in given.keys() - examples:
            default = model.model_fields[name].get_default(call_default_factory=True)
            assert getattr(getattr(settings, section), name) == default, (section, name)


def test_a_file_that_is_there_is_not_changed(here: Path) -> None:
    (here / "tutelage.yaml").write_text("mine: 1\n", encoding="utf-8")
    refused = call("init")
    assert refused.exit_code == 2
    assert "tutelage.yaml: exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert (here / "tutelage.yaml").read_text(encoding="utf-8") == "mine: 1\n"
    assert not (here / SCHEMA_FILE).exists()
    assert call("init", "--force").exit_code == 0
    load_settings(here / "tutelage.yaml")


def test_a_second_file_beside_the_same_schema_is_written(here: Path) -> None:
    assert call("init", "a.yaml").exit_code == 0
    assert call("init", "b.yaml").exit_code == 0
    (here / SCHEMA_FILE).write_text("{}", encoding="utf-8")
    refused = call("init", "c.yaml")
    assert refused.exit_code == 2
    assert SCHEMA_FILE in refused.stderr
    assert not (here / "c.yaml").exists()
    assert (here / SCHEMA_FILE).read_text(encoding="utf-8") == "{}"


def test_a_place_where_nothing_can_be_written_is_named(here: Path) -> None:
    (here / "folder").mkdir()
    (here / "link.yaml").symlink_to(here / "nowhere.yaml")
    for name in ("no/such/file.yaml", "folder", SCHEMA_FILE, "link.yaml"):
        refused = call("init", name)
        assert refused.exit_code == 2, name
        assert "hint: " in refused.stderr


def test_editors_find_the_schema_that_the_first_line_names(here: Path) -> None:
    found = json.loads(call("init", "--json").stdout)
    first = Path(found["config"]).read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    assert json.loads(Path(found["schema"]).read_text(encoding="utf-8")) == config_schema()


def test_the_schema_accepts_the_file_and_refuses_a_mistyped_key() -> None:
    jsonschema: Any = pytest.importorskip("jsonschema")
    values = yaml.safe_load(uncommented(config_text(), but=("keep_count",)))
    validator = jsonschema.Draft202012Validator(config_schema())
    assert not list(validator.iter_errors(values))
    wrong = values | {"select": values["select"] | {"ruel": "srt"}}
    assert list(validator.iter_errors(wrong))
