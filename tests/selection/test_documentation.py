"""docs/rules.md says what the code does."""

import re
from pathlib import Path

import pytest
from test_decide import RULES, decide, many

from tutelage.selection import NULL_NAMES, REASONS
from tutelage.selection.config import RuleName

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")


def test_the_reasons_on_the_page_are_those_of_the_code():
    section = PAGE.split("\n## Reasons\n")[1].split("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == dict(REASONS)


def test_every_rule_and_every_null_is_on_the_page():
    for name in (*RuleName.__args__, *NULL_NAMES):
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("rule", RULES)
def test_every_column_of_evidence_is_on_the_page(rule):
    names = decide(many([0.5]), rule).decisions.schema.names[6:]
    assert all(f"`{name}`" in PAGE for name in names)
