import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tutelage.data import OK
from tutelage.data.schemas import FILTER_DECISIONS
from tutelage.filters import (
    FilterSettings,
    FiltersSettings,
    candidates,
    contamination,
    duplicates,
    llm_difficulty,
    numeric,
    similarity,
)

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
        if value != OK
        and name.isupper()
        and not name.startswith("_")
        and isinstance(value, str)
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
