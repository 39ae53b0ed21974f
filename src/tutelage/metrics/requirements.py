"""What a list of metric names asks of the student."""

import difflib
from collections.abc import Iterable

from tutelage.data import VIEW_NAMES, ViewName
from tutelage.errors import SettingsError
from tutelage.metrics.registry import METRICS, scorable
from tutelage.metrics.spec import MetricSpec, Statistics

LEVELS: tuple[Statistics, ...] = ("nll", "ranks", "full")
"""From the least to the most; each holds what those before it hold."""


def table_metrics() -> tuple[str, ...]:
    """The metrics that can be a column of the scores table: not those of sets or two students."""
    return scorable()


def specs_for(names: Iterable[str]) -> tuple[MetricSpec, ...]:
    """The specs of metrics that can be columns of a scores table, and of what they are made of.

    Args:
        names: As in `--metrics`.

    Returns:
        Each metric once: ingredients before what is made of them, else in the order given.

    Raises:
        SettingsError: A name is unknown, or is a metric of something other than a candidate.
    """
    found: dict[str, MetricSpec] = {}
    for name in names:
        if name not in METRICS:
            close = difflib.get_close_matches(name, scorable(), n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise SettingsError(
                f"unknown metric {name!r}", hint=f"{meant}metrics are {', '.join(scorable())}"
            )
        if name not in scorable():
            raise SettingsError(
                f"{name!r} is not a score of one candidate: it needs {METRICS[name].needs}",
                hint=f"call tutelage.metrics.{name}, or score with {', '.join(scorable())}",
            )
        for part in (*METRICS[name].made_of, name):
            found.setdefault(part, METRICS[part])
    return tuple(found.values())


def views_for(names: Iterable[str]) -> tuple[ViewName, ...]:
    """The views that the student must read for these metrics, each once, in their usual order.

    Raises:
        SettingsError: A name is unknown.
    """
    wanted = {view for spec in specs_for(names) for view in spec.views}
    return tuple(view for view in VIEW_NAMES if view in wanted)


def statistics_for(names: Iterable[str]) -> Statistics:
    """The least that all of these metrics can be made of.

    Returns:
        `full` where one needs entropies or squares, else `ranks` where one needs ranks, else `nll`.

    Raises:
        SettingsError: A name is unknown.
    """
    return max((spec.statistics for spec in specs_for(names)), key=LEVELS.index, default="nll")


def beyond(names: Iterable[str], statistics: Statistics) -> tuple[str, ...]:
    """Those of these metrics that need more than these statistics.

    Raises:
        SettingsError: A name is unknown.
    """
    most = LEVELS.index(statistics)
    return tuple(n for n in names if LEVELS.index(statistics_for([n])) > most)


def needs_text(names: Iterable[str]) -> bool:
    """Whether one of these metrics looks for steps in the response's text.

    Raises:
        SettingsError: A name is unknown.
    """
    return any("the response's text" in spec.needs for spec in specs_for(names))


def needs_steps(names: Iterable[str]) -> bool:
    """Whether one of these metrics needs a reading of every step (see `step_views`).

    Raises:
        SettingsError: A name is unknown.
    """
    return any(spec.name == "lalp" for spec in specs_for(names))
