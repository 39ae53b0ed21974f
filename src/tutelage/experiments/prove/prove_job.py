"""Run of `tutelage prove`: finish the remaining cells and report."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from tutelage.data import write_table, write_text
from tutelage.experiments.prove.compare import Compared, compare_all, comparisons_table
from tutelage.experiments.prove.config import ProveSettings, load_prove_settings
from tutelage.experiments.prove.efficiencies import (
    ArmEfficiency,
    efficiencies,
    efficiency_table,
)
from tutelage.experiments.prove.page import efficiency_words, facts_of, headline, sections_of
from tutelage.experiments.prove.run import (
    RunsCells,
    read_experiment,
    read_results,
    run_experiment,
)
from tutelage.progress import Progress
from tutelage.stats.power import detectable_effect


def prove(
    config: Path | Mapping[str, Any],
    *,
    out: Path | None,
    quick: bool,
    most_cells: int | None,
    progress: Progress,
    selection: str | None = None,
    elsewhere: RunsCells | None = None,
) -> dict[str, Any]:
    """Run an experiment, or the rest of it, and write the results so far.

    Args:
        config: A YAML file, or what it would hold.
        out: Instead of the folder it names.
        quick: Only choice and reference, with fewer examples, seeds and items.
        most_cells: Stop after this many trainings, to continue another time; 0 only reports.
        progress: Told of each cell.
        selection: The choice is this selection of each run, instead of what CONFIG says.
        elsewhere: Works on the cells instead of this process.

    Returns:
        The sentences, how much is done, and where the report is.
    """
    settings = load_prove_settings(config, out=out)
    if selection is not None:
        settings = settings.with_choice(selection)
    if quick:
        settings = settings.quick()
    done = run_experiment(settings, progress=progress, most_cells=most_cells, elsewhere=elsewhere)
    if not done["done"]:
        return {**done, "out": str(settings.out), "in_words": ["Nothing is finished yet."]}
    found = report_experiment(settings, done)
    if quick:
        found["in_words"] += _worth_it(found.pop("compared"), settings, config)
    found.pop("compared", None)
    return {**done, **found}


def report_experiment(settings: ProveSettings, done: Mapping[str, Any]) -> dict[str, Any]:
    """Write the tables, report.md and report.html of an experiment.

    Where an oracle and an ungated arm are there, efficiency.parquet is one of the tables.

    Args:
        settings: The experiment.
        done: How many cells there are and how many are done.
    """
    from tutelage.reporting import render_markdown_page, render_page

    results = read_results(settings.out)
    write_table(settings.out / "results.parquet", results)
    compared = compare_all(results, settings)
    write_table(settings.out / "comparisons.parquet", comparisons_table(compared))
    reached = _reached(results, settings)
    manifest = read_experiment(settings.out)
    primary = settings.primary or manifest["tasks"][0]["name"]
    opening = headline(compared, settings, primary=primary)
    opening += efficiency_words(reached, settings, primary=primary)
    if done.get("diverged"):
        opening.append(
            f"{done['diverged']} of {done['cells']} training runs diverged and have no values; "
            "results.parquet lists them. A lower learning rate may help."
        )
    page: dict[str, Any] = {
        "opening": opening,
        "facts": facts_of(compared, settings, done),
        "sections": sections_of(
            compared,
            settings,
            primary=primary,
            sets=manifest["sets"],
            cells=manifest["cells"],
            efficiencies=reached,
        ),
    }
    title = f"{settings.out.name}: effect of the selection"
    write_text(settings.out / "report.md", render_markdown_page(title=title, **page))
    html = render_page(title=settings.out.name, about="effect of the selection", **page)
    write_text(settings.out / "report.html", html)
    return {
        "in_words": opening,
        "out": str(settings.out),
        "report": str(settings.out / "report.html"),
        "compared": compared,
        **({"efficiency": [asdict(one) for one in reached]} if reached else {}),
    }


def _reached(results: pa.Table, settings: ProveSettings) -> list[ArmEfficiency]:
    """Efficiencies, also written to efficiency.parquet if there are any."""
    found = efficiencies(results, settings)
    path = settings.out / "efficiency.parquet"
    if found:
        write_table(path, efficiency_table(found))
    else:
        path.unlink(missing_ok=True)  # of arms that are no longer there
    return found


def _worth_it(
    compared: list[Compared], quick: ProveSettings, config: Path | Mapping[str, Any]
) -> list[str]:
    """Sentence on whether the full experiment is worthwhile after the quick look."""
    full = load_prove_settings(config)
    found = []
    for c in compared:
        if (c.arm, c.against, c.measure) != (quick.choice, quick.reference, "value"):
            continue
        if c.interval.standard_error == 0.0:
            found.append(
                f"{c.task}: the values do not vary between items and seeds in the quick look, "
                "so it gives no forecast of the full experiment."
            )
            continue
        # The standard error falls with the root of seeds: at worst all of it comes from them.
        shrink = (len(quick.seeds) / len(full.seeds)) ** 0.5
        detectable = detectable_effect(c.interval.standard_error * shrink, math.inf)
        larger = abs(c.interval.mean) >= detectable
        verdict = "is worth it" if larger else "would probably show no difference"
        found.append(
            f"{c.task}: with all its seeds ({len(full.seeds)}) a difference of about "
            f"{detectable:.2g} could be found, and the quick look sees {c.interval.mean:+.2g}: "
            f"the full experiment {verdict} here."
        )
    return found
