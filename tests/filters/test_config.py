"""Settings of the filters, and the page that documents them."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.data import OK
from tutelage.data.schemas import FILTER_DECISIONS
from tutelage.errors import SettingsError
from tutelage.filters import (
    FilterSettings,
    FiltersSettings,
    candidates,
    contamination,
    duplicates,
    llm_difficulty,
    numeric,
    read_filters,
    similarity,
)
from tutelage.filters.config import LengthSettings, NearDuplicatesSettings

GOOD = """
filters:
  - {kind: length, of: response, unit: words, minimum: 3}
  - kind: near_duplicates
    minimum_similarity: 0.7
    keep: longest
  - kind: contamination
    evaluation: [{path: bench.jsonl, fields: [question, choices]}]
  - {kind: similarity, targets: {texts: [a]}, embedder: {kind: model2vec, model: folder}}
"""


def test_a_yaml_file_becomes_filters_in_its_order(tmp_path):
    path = tmp_path / "filters.yaml"
    path.write_text(GOOD)
    filters = read_filters(path).filters
    assert filters[0] == LengthSettings(unit="words", minimum=3)
    assert filters[1] == NearDuplicatesSettings(minimum_similarity=0.7, keep="longest")
    assert [f.kind for f in filters[2:]] == ["contamination", "similarity"]


def test_all_problems_are_named_at_once_with_their_place(tmp_path):
    path = tmp_path / "filters.yaml"
    path.write_text(
        "filters:\n  - {kind: length, minimun: 3}\n  - {kind: exact_duplicates, keep: best}\n"
        "  - {kind: magic}\n"
    )
    with pytest.raises(SettingsError) as caught:
        read_filters(path)
    message = str(caught.value)
    assert "filters.0.length.minimun: unknown key `minimun`; did you mean `minimum`?" in message
    assert "filters.1.exact_duplicates" in message
    assert "'magic'" in message


@pytest.mark.parametrize("content", ["filters: []", "filters: [", "nothing: 1", ""])
def test_a_file_without_filters_is_refused(tmp_path, content):
    path = tmp_path / "filters.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"filters\.yaml"):
        read_filters(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"gone\.yaml"):
        read_filters(tmp_path / "gone.yaml")


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 1.0))
def test_settings_survive_json(similarity):
    settings = FiltersSettings(filters=(NearDuplicatesSettings(minimum_similarity=similarity),))
    assert FiltersSettings.model_validate_json(settings.model_dump_json()) == settings


def test_a_key_that_is_given_twice_is_named_with_both_lines(tmp_path):
    path = tmp_path / "filters.yaml"
    path.write_text("filters:\n  - kind: length\n    minimum: 3\n    minimum: 4\n")
    with pytest.raises(SettingsError, match=r":4: filters\.0\.minimum is given twice: line 3 has"):
        read_filters(path)


PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
MODULES = (
    contamination,
    candidates,
    duplicates,
    numeric,
    llm_difficulty,
    similarity,
)
KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(FilterSettings)[0])]
REASONS = sorted(
    {
        value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, str)
        and value != OK
        and name.isupper()
        and not name.startswith("_")
        and re.fullmatch(r"[a-z_]+", value)
    }
)


@pytest.mark.parametrize("word", [*KINDS, *REASONS, *FILTER_DECISIONS.names])
def test_every_kind_reason_and_column_is_documented(word):
    assert f"`{word}`" in PAGE


def test_there_are_reasons_to_document():
    assert len(REASONS) > 20


def test_the_yaml_of_the_page_is_valid():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(FiltersSettings.model_validate(yaml.safe_load(block)).filters) == 5
