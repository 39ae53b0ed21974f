"""How well single metrics separate planted faults from clean rewrites, on what audit_sets.py read.

    python benchmarks/experiments/metric_auc.py SMOLLM2/expert.npz SMOLLM2/gpt4.npz ... --out metric-auc.csv.gz

The folder of each file names the student, the file the data set. For every number of the gate and every
planted fault: AUC, the probability that a faulty text has the higher number than a clean rewrite (.5: the
number does not see the fault; below .5: faulty texts have lower ones), with the standard error of Hanley
and McNeil; and, where rows have originals, how often `srt` takes the faulty text. `--picture`: the mean AUC over
the data sets, for the metrics that choose and for the length, by student.
"""

import argparse
import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from gate_comparison import Numbers, ReadSet, not_taken_by_srt
from map_heat import heat_panel
from scipy.stats import rankdata

from tutelage.gate import NAMES
from tutelage.reporting.svg import svg_of

Line = tuple[str, str, str, str, str, str, int, int]


SHOWN = {
    "log_ifd": "ifd", "log_r_ifd": "r_ifd", "surprise": "-grape", "rsr": "rsr",
    "log_tokens": "length", "entropy_gap_top": "gap", "repeated_share": "repeated",
    "instruction_copied": "copied", "end_surprise": "end",
}  # fmt: skip
"""Numbers in the picture, with their captions: the metrics, the length, and four other numbers of the gate."""
EDGES = (0.05, 0.15, 0.3, 0.7, 0.85, 0.95)
STEPS = ("minus3", "minus2", "minus1", "zero", "plus1", "plus2", "plus3")


def auc(faulty: Numbers, clean: Numbers) -> tuple[float, float]:
    """The AUC and its standard error, both NaN without numbers on one side."""
    faulty, clean = faulty[np.isfinite(faulty)], clean[np.isfinite(clean)]
    m, n = len(faulty), len(clean)
    if not m or not n:
        return np.nan, np.nan
    ranks = rankdata(np.concatenate([faulty, clean]))[:m]
    area = float((ranks.sum() - m * (m + 1) / 2) / (m * n))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    square = area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)
    return area, float(np.sqrt(max(square, 0.0) / (m * n)))


def lines_of(found: ReadSet, student: str) -> list[Line]:
    """A line for each number and each fault."""
    lines: list[Line] = []
    clean = found.what == "clean"
    taken = ~not_taken_by_srt(found)[found.judged] if found.has_originals else None
    what = found.what[found.judged]
    for fault in found.faults:
        own = found.what == fault
        for name in NAMES:
            area, error = auc(found.column(name)[own], found.column(name)[clean])
            if np.isfinite(area):
                values = (f"{area:.4f}", f"{error:.4f}", int(own.sum()), int(clean.sum()))
                lines.append((student, found.name, fault, name, *values))
    for fault in ["clean", *found.faults] if taken is not None else []:
        own = what == fault
        share = f"{taken[own].mean():.4f}" if taken is not None else ""
        lines.append(
            (
                student,
                found.name,
                fault,
                "taken_by_srt",
                share,
                "",
                int(own.sum()),
                int(clean.sum()),
            )
        )
    return lines


def picture(lines: Sequence[Line]) -> str:
    """A panel for each student: fault by number, the mean AUC over the data sets, as SVG."""
    import altair as alt

    found: dict[tuple[str, str, str], list[float]] = {}
    for student, _, fault, number, area, *_ in lines:
        if number in SHOWN:
            found.setdefault((student, fault, SHOWN[number]), []).append(float(area))
    rows: list[dict[str, Any]] = []
    for (student, fault, number), areas in found.items():
        step = STEPS[sum(fmean(areas) >= edge for edge in EDGES)]
        rows.append({
            "student": student, "fault": fault, "number": number, "step": step,
            "shown": f"{fmean(areas):.2f}", "strong": step in (STEPS[0], STEPS[-1]),
        })  # fmt: skip
    x = alt.X(
        "number:N", title=None, sort=list(SHOWN.values()),
        axis=alt.Axis(labelAngle=0, orient="top"),
    )  # fmt: skip
    panels = [
        heat_panel(
            [r for r in rows if r["student"] == student],
            x=x, y=alt.Y("fault:N", title=None), width=560, step=20, title=student,
        )
        for student in dict.fromkeys(r["student"] for r in rows)
    ]  # fmt: skip
    return svg_of(alt.vconcat(*panels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    lines = [line for path in given.sets for line in lines_of(ReadSet.of(path), path.parent.name)]
    with (
        gzip.GzipFile(given.out, "wb", mtime=0) as packed,
        io.TextIOWrapper(packed, newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("student", "set", "fault", "number", "auc", "error", "faulty_texts", "clean_texts")
        )
        writer.writerows(lines)
    if given.picture:
        given.picture.write_text(picture(lines))


if __name__ == "__main__":
    main()
