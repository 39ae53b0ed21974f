"""Turn the tables of a run into what a report says."""

from collections.abc import Mapping

from tutelage.reporting.manifest_facts import flatten, mode_of, read_account
from tutelage.reporting.metric_spread import (
    measure_agreement,
    measure_axes,
    measure_lengths,
    measure_plane,
    measure_spreads,
)
from tutelage.reporting.queries import Database, ReportTables, opened
from tutelage.reporting.row_flow import count_flow, count_troubles
from tutelage.reporting.run_summary import Summary
from tutelage.reporting.set_tallies import tally_sets, tally_sources, tally_teachers
from tutelage.reporting.shown_examples import clearest


def summarise(tables: ReportTables) -> Summary:
    """Count and measure everything that a report says.

    It does not depend on the order of any table. Whatever table is absent, the report is about the
    others: without decisions it says what was scored, without scores what was read.

    Args:
        tables: Arrow tables or Parquet files; the latter are never held in memory whole.

    Returns:
        Numbers and the few texts that are shown.
    """
    with opened(tables) as database:
        axes = measure_axes(database)
        sampled, scored = _counts(database)
        accepted, refused = clearest(database)
        return Summary(
            title=tables.title,
            student=_student_name(tables, database),
            fingerprint=database.student,
            other_students=database.other_students,
            teachers=_teachers(database),
            rule=_rule(database, mode_of(tables.manifest)),
            metrics=database.metrics,
            scored=scored,
            sampled=sampled,
            flow=count_flow(database, from_examples=tables.rows is None),
            axes=axes,
            spreads=measure_spreads(database, axes),
            plane=measure_plane(database),
            lengths=measure_lengths(database),
            correlations=measure_agreement(database),
            sources=tally_sources(database),
            written=tally_teachers(database),
            sets=tally_sets(database),
            troubles=count_troubles(database),
            accepted=accepted,
            refused=refused,
            account=read_account(tables.manifest),
            provenance=flatten(tables.manifest),
        )


def _student_name(tables: ReportTables, database: Database) -> str | None:
    noted = tables.manifest.get("student")
    if isinstance(noted, Mapping):
        if noted.get("fingerprint") in (None, database.student) and noted.get("model"):
            return str(noted["model"])
    elif noted:
        return str(noted)
    return database.student


def _teachers(database: Database) -> tuple[str, ...]:
    found = database.ask(
        "SELECT DISTINCT teacher FROM judged WHERE teacher IS NOT NULL ORDER BY teacher"
    )
    return tuple(name for (name,) in found)


def _rule(database: Database, mode: str | None) -> str | None:
    found = database.ask(
        "SELECT rule FROM decided WHERE rule IS NOT NULL"
        " GROUP BY rule ORDER BY count(*) DESC, rule LIMIT 1"
    )
    if not found:
        return None
    rule: str = found[0][0]
    return f"{rule}, {mode} mode" if rule == "srt" and mode else rule


def _counts(database: Database) -> tuple[int, int]:
    return (
        database.ask("SELECT count(*) FROM sampled")[0][0],
        database.ask("SELECT count(*) FROM judged WHERE score_status = 'ok'")[0][0],
    )
