"""The heat map of docs/experiments/where-choosing-pays.md: fault by share, from the raw items.

    python benchmarks/experiments/map_heat.py docs/experiments/raw --picture docs/images/where-choosing-pays-map.svg

A cell is the student's choice minus permuted (does it matter which rewrites are rejected?), the choice minus ungated
(is it better than keeping all?) or the oracle minus ungated (could any choice be?), with a star where the interval
excludes 0. A comparison that was not trained is empty.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from map_table import OPEN, all_arms, difference, tasks_of

from tutelage.reporting.svg import LIGHT, svg_of
from tutelage.stats.paired_design import Interval

EDGES = (-0.05, -0.02, 0.0, 0.02, 0.05)
"""Bounds of the colours, in nats per token; an interval with 0 in it has no colour."""
STEPS = ("minus3", "minus2", "minus1", "plus1", "plus2", "plus3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fault at one share, and where its arms are."""

    fault: str
    share: str
    choice: str
    files: tuple[str, ...]
    gain_files: tuple[str, ...] = ()

    @property
    def comparisons(self) -> dict[str, tuple[str, str]]:
        """Arms that are compared, by what the panel is called."""
        permuted = "permuted" if self.choice == "choice" else "permuted_gated"
        return {
            "choice minus random rejections": (self.choice, permuted),
            "choice minus all rewrites": (self.choice, "ungated"),
            "oracle minus all rewrites": ("oracle", "ungated"),
        }


SHARED = ("mismatch", "echo", "truncated")
"""Experiments that share the seeds of the oracle, with half of the rewrites faulty."""

CELLS = (
    Cell(
        fault="mismatch", share="50 %", choice="choice", files=("mismatch",),
        gain_files=("mismatch-again", "mismatch"),
    ),
    Cell(fault="echo", share="50 %", choice="gated", files=("echo",)),
    Cell(fault="truncated", share="50 %", choice="gated", files=("truncated",)),
    Cell(fault="scrambled", share="50 %", choice="gated", files=("scrambled-again", "scrambled-50")),
    Cell(fault="scrambled", share="25 %", choice="gated", files=("scrambled-25",)),
    Cell(fault="mismatch", share="25 %", choice="choice", files=("mismatch-25",)),
    Cell(fault="echo", share="25 %", choice="gated", files=("echo-25",)),
    Cell(fault="truncated", share="25 %", choice="gated", files=("truncated-25",)),
)  # fmt: skip


def found(folder: Path, cell: Cell, arms: tuple[str, str], *, gain: bool) -> Interval | None:
    """The comparison of a cell: from its first file with both arms."""
    for name in (cell.gain_files if gain else ()) or cell.files:
        path = folder / f"map-{name}.csv.gz"
        if not path.exists():
            continue
        for task in tasks_of(path):
            if (task != OPEN) == gain:
                others = SHARED if cell.share == "50 %" else ()
                i = difference(all_arms(folder, name, others, task), *arms)
                if i is not None:
                    return i
    return None


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What is drawn: a row for each cell of each panel."""
    rows = []
    for cell in CELLS:
        for words, arms in cell.comparisons.items():
            for gain in (False, True):
                i = found(folder, cell, arms, gain=gain)
                outcome = "gain from the instruction" if gain else "open references"
                row = {
                    "panel": f"{outcome}: {words}",
                    "fault": cell.fault,
                    "share": cell.share,
                }
                if i is None:
                    rows.append({**row, "step": "none", "shown": "not trained", "strong": False})
                    continue
                at = sum(i.mean >= edge for edge in EDGES)
                step = STEPS[at] if i.excludes_zero else "zero"
                rows.append({
                    **row, "step": step, "strong": step in (STEPS[0], STEPS[-1]),
                    "shown": f"{i.mean:+.3f}{'*' if i.excludes_zero else ''}",
                    "interval": f"{i.low:+.3f} to {i.high:+.3f}", "seeds": i.seeds,
                })  # fmt: skip
    return rows


def heat_panel(
    rows: Sequence[dict[str, Any]], *, x: Any, y: Any, width: int, step: int, title: Any
) -> Any:
    """A heat map of rows with a colour step, a caption and whether the colour is dark."""
    import altair as alt

    colors = {"none": LIGHT["page"], "zero": LIGHT["zero"], **{s: LIGHT[s] for s in STEPS}}
    base = alt.Chart(alt.Data(values=list(rows))).encode(x=x, y=y)
    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    squares = base.mark_rect(stroke=LIGHT["page"], strokeWidth=2).encode(
        color=alt.Color("step:N", legend=None, scale=scale)
    )
    ink = alt.condition("datum.strong", alt.value(LIGHT["on_strong"]), alt.value(LIGHT["ink"]))
    texts = base.mark_text(fontSize=11).encode(text="shown:N", color=ink)
    head = alt.TitleParams(title, fontSize=12, anchor="start")
    return alt.layer(squares, texts).properties(width=width, height=alt.Step(step), title=head)


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """The panels as SVG."""
    import altair as alt

    faults = list(dict.fromkeys(c.fault for c in CELLS))
    panels = [
        heat_panel(
            [r for r in rows if r["panel"] == panel],
            x=alt.X("share:N", title="share of faulty rewrites", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("fault:N", title=None, sort=faults),
            width=190, step=26, title=panel.split(": "),
        )
        for panel in dict.fromkeys(r["panel"] for r in rows)
    ]  # fmt: skip
    return svg_of(alt.concat(*panels, columns=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    rows = rows_of(given.folder)
    for row in rows:
        print(
            row["panel"],
            row["fault"],
            row["share"],
            row["shown"],
            row.get("interval", ""),
            sep=" | ",
        )
    if given.picture:
        given.picture.write_text(picture(rows))


if __name__ == "__main__":
    main()
