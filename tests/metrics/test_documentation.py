"""docs/metrics.md is held to the registry: run this file to write its tables again."""

import re
from pathlib import Path

import pytest

from tests.student.conformance.conversations import ROWS
from tutelage.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def cell(text):
    return text.replace("|", "\\|")


def interval(low, high):
    left = "(-inf" if low == float("-inf") else f"[{low:g}"
    right = "inf)" if high == float("inf") else f"{high:g}]"
    return f"{left}, {right}"


def table():
    lines = [
        "| metric | formula | better | level | range | views and statistics | also requires |",
        "|---|---|---|---|---|---|---|",
    ]
    for spec in METRICS.values():
        better = spec.better + (f", below {spec.ceiling:g}" if spec.ceiling else "")
        reads = f"{len(spec.views)} view{'s' * (len(spec.views) > 1)}, {spec.statistics}"
        made_of = ", ".join(f"`{name}`" for name in spec.made_of)
        needs = "; ".join(part for part in (spec.needs, made_of) if part)
        lines.append(
            f"| `{spec.name}` | {cell(spec.formula)} | {better} | {spec.level} | "
            f"{interval(*spec.valid_range)} | {reads} | {needs} |"
        )
    return "\n".join(lines)


def sources():
    lines = ["| metric | meaning | source | ours differs |", "|---|---|---|---|"]
    lines += [
        f"| `{spec.name}` | {spec.summary} | {spec.source} | {spec.deviation} |"
        for spec in METRICS.values()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("made", [table, sources])
def test_the_page_shows_the_registry(made):
    assert made() in PAGE.read_text(encoding="utf-8"), "python tests/metrics/test_documentation.py"


def test_the_page_says_on_which_rows_each_metric_was_validated():
    text = PAGE.read_text(encoding="utf-8")
    _, _, section = text.partition("## On which rows each metric was validated")
    section = section.partition("\n## ")[0]
    named = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(named))) == sorted(METRICS)
    kinds = re.search(r"\(conformance-templates\.md\): ([^|]+) \|", section)
    assert kinds is not None
    assert kinds[1].split(", ") == list(ROWS)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for make in (table, sources):
        head = re.escape(make().splitlines()[0])
        pattern = rf"{head}\n(?:\|.*\n?)+"
        before, after = re.split(pattern, text, maxsplit=1)
        text = f"{before}{make()}\n{after}"
    PAGE.write_text(text, encoding="utf-8")
