"""Can a score that needs no training predict which of 53 teachers a student learns most from?

    python benchmarks/experiments/all_teachers.py make --data DATA --out OUT --examples 32 --items 100
    tutelage prove OUT/seed-3.yaml          # and the other seeds, in any order
    tutelage rank teachers OUT/scored.jsonl --student smollm2-135m --questions 48 --out OUT/ranked \
        --predictors rsr,ifd,likelihood,mean_rank,length --grace 16
    python benchmarks/experiments/all_teachers.py scores --out OUT --scores SCORES.csv
    python benchmarks/experiments/all_teachers.py report --raw RAW.csv.gz --scores SCORES.csv

`make` takes every system of the GSM8K pool and the questions of one half that all of them answered. A text is the
reasoning of an answer and one more line, the same words for all unless it ends so already: "The answer is N." with
the system's own N. So no JSON is trained on. There are two tasks that no system wrote: human solutions of the training questions, and right final answers to the other half of the test
questions. The predictors are computed from other questions of the first half than the students are trained
on. `report` needs only the two tables of numbers, so anybody can run it. The results have nothing to do with published
GSM8K scores: the test questions are trained on.
"""

import argparse
import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray
from teach_by_teachers import DOUBTFUL, rows_of, trains, write_tasks

import tutelage as tt
from tutelage.data import content_hash, write_jsonl
from tutelage.reporting.svg import LIGHT, svg_of
from tutelage.stats.rank_correlation import average_ranks, spearman, spearman_interval

PLAN = {
    "rsr": "lower",
    "ifd": "higher",
    "likelihood": "higher",
    "mean_rank": "lower",
    "lalp": "higher",
    "aslec_drop": "higher",
    "grace": "lower",
    "accuracy": "higher",
    "length": "neither",
}
"""Predictors, fixed before any training run, and which direction is claimed to be better."""
STEPS: tuple[str, ...] = ("lalp", "aslec_drop")
"""Predictors that `tutelage rank teachers` does not have: means of metrics."""
Array: TypeAlias = NDArray[np.float64]
RESAMPLES = 10_000
STYLES = {
    "cot_calc": "steps with calculator marks",
    "cot": "plain steps",
    "json_cot": "prose",
    "program_of_thought": "programs",
}
"""Names of the styles in the picture."""


def make(given: argparse.Namespace) -> None:
    data, out = given.data, given.out
    out.mkdir(parents=True, exist_ok=True)
    answers: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    right: dict[str, list[bool]] = defaultdict(list)
    gold: dict[str, dict[str, Any]] = {}
    styles: dict[str, str] = {}
    for row in rows_of(data / "gsm8k/multi_teacher.jsonl.gz"):
        key = row["prompt_id"]
        if key.rpartition("-")[2] in DOUBTFUL:
            continue
        gold[key] = {"instruction": row["question"], "output": f"The answer is {row['gold']:g}."}
        styles[row["model"]] = row["style"]
        if row["is_correct"] is not None:
            right[row["model"]].append(bool(row["is_correct"]))
        text = (row["reasoning"] or "").strip()
        if trains(key) and text:
            said = row["final_answer"]
            if said is not None and "the answer is" not in text.rpartition("\n")[2].lower():
                text += f"\nThe answer is {said.removesuffix('.0')}."
            answers[row["model"]][key] = {"instruction": row["question"], "output": text}
    teachers = sorted(answers, key=lambda name: content_hash("teacher", name))
    shared = sorted(set.intersection(*(set(found) for found in answers.values())))
    shared.sort(key=lambda key: content_hash("question of the scores", key))
    scored, trained = shared[: given.questions], sorted(shared[given.questions :])
    for number, teacher in enumerate(teachers):
        write_jsonl(out / f"arm-{number:02}.jsonl", [answers[teacher][key] for key in trained])
    pool = [
        {"id": f"{number:02}-{key}", "model": f"t{number:02}", **answers[teacher][key]}
        for key in scored
        for number, teacher in enumerate(teachers)
    ]
    write_jsonl(out / "scored.jsonl", pool)
    tasks = write_tasks(data, out, gold, items=given.items)[:2]
    tasks[1] |= {"limit": given.final_items}
    for seed in given.seeds:
        config = {
            "out": f"results-{seed}",
            "students": [{"name": "smollm2", "model": "smollm2-135m"}],
            "arms": [
                {"name": f"t{n:02}", "file": f"arm-{n:02}.jsonl"} for n in range(len(teachers))
            ],
            "choice": "t00",
            "reference": f"t{len(teachers) - 1:02}",
            "seeds": [seed],
            "examples": given.examples,
            "balance": ["examples"],
            "tasks": tasks,
            "train": {
                "epochs": 1,
                "learning_rate": given.learning_rate,
                "batch_examples": 4,
            },
            "evaluate": {"dtype": "bfloat16"},
        }
        text = yaml.safe_dump(config, sort_keys=False)
        (out / f"seed-{seed}.yaml").write_text(text, encoding="utf-8")
    facts = [
        {
            "arm": f"t{n:02}",
            "teacher": name,
            "style": styles[name],
            "accuracy": np.mean(right[name]),
        }
        for n, name in enumerate(teachers)
    ]
    (out / "teachers.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
    said = {"teachers": len(teachers), "trained": len(trained), "scored": len(scored)}
    print(json.dumps(said))


def scores(given: argparse.Namespace) -> None:
    """One row for each teacher: its predictors, style and accuracy; no text."""
    standings = pq.read_table(given.out / "ranked" / "standings.parquet").to_pylist()
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for row in standings:
        if row["domain"] == "all":
            found[row["entrant"]][row["predictor"]] = row["value"]
    text = (given.out / "scored.jsonl").read_text(encoding="utf-8")
    asked = set(pq.read_table(given.out / "ranked" / "answers.parquet")["question"].to_pylist())
    rows = [json.loads(line) for line in text.split("\n") if line]
    # The questions that were ranked: as `question_of` names them.
    rows = [r for r in rows if content_hash("key", [["user", r["instruction"]]]) in asked]
    metrics = [name for name in STEPS if not (name == "lalp" and given.without_lalp)]
    table = tt.score(rows, given.student, metrics=metrics).table.to_pylist()
    if [row["status"] for row in table] != ["ok"] * len(rows):
        raise SystemExit("not every answer of scored.jsonl could be scored")
    for name in metrics:
        values: dict[str, list[float]] = defaultdict(list)
        for row, score in zip(rows, table, strict=True):
            values[row["model"]].append(score[name])
        for arm, numbers in values.items():
            found[arm][name] = float(np.mean(numbers))
    with given.scores.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "teacher", "style", *PLAN])
        for teacher in json.loads((given.out / "teachers.json").read_text(encoding="utf-8")):
            known = found[teacher["arm"]] | {"accuracy": teacher["accuracy"]}
            cells = [known.get(name) for name in PLAN]
            shown = ["" if cell is None else f"{cell:.6g}" for cell in cells]
            writer.writerow([teacher["arm"], teacher["teacher"], teacher["style"], *shown])


def outcomes(raw: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Mean over items, by task, arm and seed."""
    values: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    with gzip.open(raw, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["value"]:
                key = (row["task"], row["arm"], int(row["train_seed"]))
                values[key].append(float(row["value"]))
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for (task, arm, seed), numbers in values.items():
        found[task][arm][seed] = float(np.mean(numbers))
    return found


def residual_ranks(values: Array, *, length: Array | None, styles: Sequence[str]) -> Array:
    """Ranks without what the ranks of length and the styles explain (least squares)."""
    known = sorted(set(styles))
    columns = [np.array([style == name for style in styles], dtype=float) for name in known]
    if length is not None:
        columns.append(average_ranks(length))
    design = np.stack(columns, axis=1)
    ranks = average_ranks(values)
    weights = np.linalg.lstsq(design, ranks, rcond=None)[0]
    return np.asarray(ranks - design @ weights, dtype=np.float64)


def partial(a: Array, b: Array, *, length: Array | None, styles: Sequence[str]) -> float:
    """Correlation of the ranks after length and style are regressed out, in [-1, 1]."""
    one, other = (residual_ranks(side, length=length, styles=styles) for side in (a, b))
    return float(np.corrcoef(one, other)[0, 1])


def gain_over_length(
    predictor: Array, length: Array, outcome: Array, *, seed: int = 0
) -> tuple[float, float, float]:
    """|rho| of a predictor minus |rho| of length, with the 95 % interval of a bootstrap."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        rows = rng.integers(len(outcome), size=len(outcome))
        one, other = (spearman(side[rows], outcome[rows]) for side in (predictor, length))
        found.append(abs(one or 0.0) - abs(other or 0.0))
    whole = abs(spearman(predictor, outcome) or 0.0) - abs(spearman(length, outcome) or 0.0)
    low, high = np.quantile(found, [0.025, 0.975])
    return whole, float(low), float(high)


def report(given: argparse.Namespace) -> None:
    with given.scores.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    measured = outcomes(given.raw)
    if given.picture:
        given.picture.write_text(picture(table, measured["human_solutions"]), encoding="utf-8")
    for task, arms in measured.items():
        seeds = sorted(set.intersection(*(set(found) for found in arms.values())))
        teachers = [row for row in table if row["arm"] in arms]
        print(f"## {task}: {len(teachers)} teachers, seeds {seeds}")
        print(f"untrained {np.mean(list(arms['untrained'].values())):+.4f}")
        outcome = np.array([np.mean([arms[row["arm"]][s] for s in seeds]) for row in teachers])
        styles = [row["style"] for row in teachers]
        length = np.array([float(row["length"]) for row in teachers])
        for a, b in combinations(seeds, 2):
            sides = [np.array([arms[row["arm"]][s] for row in teachers]) for s in (a, b)]
            print(f"seeds {a} and {b} agree by {spearman(*sides):+.3f}")
        print(f"teachers: mean {outcome.mean():+.4f}, sd {outcome.std(ddof=1):.4f}")
        for name in sorted(set(styles)):
            of = [v for v, style in zip(outcome, styles, strict=True) if style == name]
            print(f"{name}: {len(of)} teachers, mean {np.mean(of):+.4f}")
        explained = 1 - residual_ranks(outcome, length=None, styles=styles).var() / (
            average_ranks(outcome).var()
        )
        print(f"share of the variance of ranks between styles {explained:.3f}")
        for predictor, better in PLAN.items():
            if any(row[predictor] == "" for row in teachers):
                print(f"{predictor}: not computed")
                continue
            describe(predictor, better, teachers, outcome, length=length, styles=styles)


def describe(
    predictor: str,
    better: str,
    teachers: Sequence[dict[str, str]],
    outcome: Array,
    *,
    length: Array,
    styles: Sequence[str],
) -> None:
    """Print how well one predictor agrees with the outcome, and what its first choice costs."""
    values = np.array([float(row[predictor]) for row in teachers])
    rho = spearman(values, outcome) or 0.0
    low, high = spearman_interval(rho, n=len(outcome))
    said = f"{predictor:<12} rho {rho:+.3f} ({low:+.3f} to {high:+.3f})"
    if predictor == "length":
        said += f", without style {partial(values, outcome, length=None, styles=styles):+.3f}"
    else:
        rest = partial(values, outcome, length=length, styles=styles)
        # The regression costs one degree of freedom for length and one for each style but the first.
        reach = spearman_interval(rest, n=len(outcome) - len(set(styles)))
        said += f", without length and style {rest:+.3f} ({reach[0]:+.3f} to {reach[1]:+.3f})"
        gain, worst, best = gain_over_length(values, length, outcome)
        said += f", |rho| minus that of length {gain:+.3f} ({worst:+.3f} to {best:+.3f})"
    prose = np.array([style == "json_cot" for style in styles])
    within = spearman(values[prose], outcome[prose]) or 0.0
    reach = spearman_interval(within, n=int(prose.sum()))
    said += f"; {prose.sum()} teachers of prose {within:+.3f} ({reach[0]:+.3f} to {reach[1]:+.3f})"
    for way in ("higher", "lower") if better == "neither" else (better,):
        first = int(np.argmin(values) if way == "lower" else np.argmax(values))
        said += (
            f"; first ({way}) {teachers[first]['teacher']}: {outcome[first] - outcome.mean():+.4f} "
            f"to the mean, {outcome[first] - outcome.max():+.4f} to the best, "
            f"rank {int((outcome > outcome[first]).sum()) + 1}"
        )
    print(said)


def picture(table: Sequence[dict[str, str]], found: dict[str, dict[int, float]]) -> str:
    """SVG: a point for each teacher, the outcome over `rsr` and over length, coloured by style."""
    import altair as alt

    colours = {"cot_calc": "chosen", "cot": "refinement", "json_cot": "refused"}
    rows = [
        {
            "outcome": float(np.mean(list(found[row["arm"]].values()))),
            "rsr": float(row["rsr"]),
            "length": float(row["length"]),
            "style": STYLES[row["style"]],
        }
        for row in table
        if row["arm"] in found
    ]
    colour = alt.Color(
        "style:N",
        title=None,
        scale=alt.Scale(
            domain=list(STYLES.values()),
            range=[LIGHT[colours.get(name, "lost")] for name in STYLES],
        ),
        legend=alt.Legend(orient="bottom"),
    )
    panels = [
        alt.Chart(alt.Data(values=rows), width=300, height=260)
        .mark_point(filled=True, size=55, opacity=0.8)
        .encode(
            x=alt.X(f"{name}:Q", title=title, scale=alt.Scale(zero=False)),
            y=alt.Y(
                "outcome:Q",
                title="log-likelihood of human solutions",
                scale=alt.Scale(zero=False),
            ),
            color=colour,
            shape=alt.Shape("style:N", title=None, legend=None),
        )
        for name, title in (
            ("rsr", "rsr (lower: claimed to be better)"),
            ("length", "length, tokens"),
        )
    ]
    return svg_of(alt.hconcat(*panels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "scores", "report"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--student", default="smollm2-135m")
    parser.add_argument("--without-lalp", action="store_true", help="it takes many short views")
    parser.add_argument("--raw", type=Path, help="items, written by raw_items.py")
    parser.add_argument("--scores", type=Path, help="predictors of each teacher")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--examples", type=int, default=32)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--final-items", type=int, default=60)
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    given = parser.parse_args()
    {"make": make, "scores": scores, "report": report}[given.what](given)


if __name__ == "__main__":
    main()
