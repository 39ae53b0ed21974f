import re

import pytest

from tests.reporting.synthetic import synthetic
from tests.reporting.tables import original, tables
from tutelage.reporting import ReportTables, render_markdown, render_text, summarise


@pytest.fixture(scope="module")
def run() -> ReportTables:
    return synthetic(60)


def test_no_control_character_reaches_a_terminal(run: ReportTables) -> None:
    text = render_text(summarise(run))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_columns_line_up() -> None:
    run = tables(
        examples=[{"example_id": e, "source": s} for e, s in (("a", "short"), ("b", "a longer"))],
        candidates=[original("a"), original("b")],
        scores=[{"candidate_id": c, "ifd": 0.5} for c in ("ao", "bo")],
    )
    lines = render_text(summarise(run)).splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("source"))
    assert len({len(line) for line in lines[start : start + 3]}) == 1


def test_a_long_table_says_how_much_is_left_out() -> None:
    run = tables(rows=[{"row": i, "status": f"odd_{i}"} for i in range(20)])
    assert "... and 8 more" in render_text(summarise(run))
    assert "... and 8 more" in render_markdown(summarise(run))


def test_markdown_of_the_data_is_not_markdown_of_the_report() -> None:
    title = "a | b [x](https://example.org) <b> `c` *d*\n# e"
    said = render_markdown(summarise(tables(title=title)))
    head = said.splitlines()[0]
    assert head == (
        r"# a \| b \[x\](https://example.org) \<b\> \`c\` \*d\* \# e: what the student chose"
    )
