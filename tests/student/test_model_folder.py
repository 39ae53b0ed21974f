"""The folder, its fingerprint, and what is refused."""

import json

import pytest

from tutelage.errors import SettingsError, StudentError
from tutelage.student import StudentSettings, open_student


def fingerprint(folder, **settings):
    return open_student(StudentSettings(model=str(folder), **settings)).fingerprint


def test_a_trained_copy_has_another_fingerprint_and_a_plain_copy_the_same(tmp_path, save_tiny):
    one = save_tiny(tmp_path / "one", "llama", seed=1)
    same = save_tiny(tmp_path / "same", "llama", seed=1)
    other = save_tiny(tmp_path / "other", "llama", seed=2)
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    assert fingerprint(one) != fingerprint(one, template="alpaca")
    assert fingerprint(one) == fingerprint(one, dtype="float32")


def test_a_file_that_changed_is_hashed_again(tmp_path, save_tiny):
    folder = save_tiny(tmp_path, "llama", seed=1)
    before = fingerprint(folder)
    save_tiny(folder, "llama", seed=2)
    assert fingerprint(folder) != before


def test_the_length_is_the_models_limit_and_no_more_can_be_asked_for(tmp_path, save_tiny):
    folder = save_tiny(tmp_path, "llama")
    assert open_student(StudentSettings(model=str(folder))).describe()["max_length"] == 256
    with pytest.raises(SettingsError, match="takes 256 tokens"):
        open_student(StudentSettings(model=str(folder), max_length=300)).describe()


def test_a_base_model_without_chat_template_needs_a_raw_one(tmp_path, save_tiny):
    folder = save_tiny(tmp_path, "llama", template=None)
    with pytest.raises(SettingsError, match="no chat template") as caught:
        fingerprint(folder)
    assert "alpaca" in caught.value.hint
    assert fingerprint(folder, template="alpaca")


def test_a_users_template_file_is_used_by_content(tmp_path, tiny_llama):
    path = tmp_path / "mine.txt"
    path.write_text("Q: {instruction}\nA:")
    student = open_student(StudentSettings(model=str(tiny_llama), template=str(path)))
    assert student.describe()["template"] == "mine.txt"
    assert student.parts.template.header == "A:"
    path.write_text("Q: {instruction}\nB:")
    again = open_student(StudentSettings(model=str(tiny_llama), template=str(path)))
    assert again.fingerprint != student.fingerprint


@pytest.mark.parametrize("name", ["no-such-model", "./nowhere", "/no/such/folder"])
def test_a_model_that_is_nowhere_is_named(name):
    with pytest.raises(StudentError, match=name):
        fingerprint(name)


def test_a_folder_without_config_is_no_student(tmp_path):
    with pytest.raises(StudentError, match=r"config\.json"):
        fingerprint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(StudentError, match="expected a JSON object"):
        fingerprint(tmp_path)
