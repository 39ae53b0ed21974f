"""Sections of a report, in order. A new one is a function here, or is passed in."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tutelage.reporting.blocks import Section
from tutelage.reporting.comparison_section import (
    comparison_sections,
    null_section,
    source_section,
    teacher_section,
)
from tutelage.reporting.metric_section import (
    agreement_section,
    length_section,
    plane_section,
    spread_section,
)
from tutelage.reporting.outcome_section import (
    account_section,
    flow_section,
    provenance_section,
    trouble_section,
)
from tutelage.reporting.run_summary import Summary

Chapter: TypeAlias = Callable[[Summary], Sequence[Section]]
"""Type of a section's function; None where the run has nothing to show."""

BEFORE: tuple[Chapter, ...] = (
    flow_section,
    null_section,
    spread_section,
    plane_section,
    length_section,
    agreement_section,
    source_section,
    teacher_section,
    trouble_section,
    comparison_sections,
    account_section,
)
AFTER: tuple[Chapter, ...] = (provenance_section,)


def sections_of(summary: Summary, *, more: Sequence[Section] = ()) -> tuple[Section, ...]:
    """All non-empty sections; those from other packages precede the settings."""
    before = [section for chapter in BEFORE for section in chapter(summary)]
    after = [section for chapter in AFTER for section in chapter(summary)]
    return (*before, *more, *after)
