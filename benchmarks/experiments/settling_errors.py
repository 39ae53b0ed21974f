"""How often does the watch over the first place err? `python settling_errors.py [TRIALS]`.

Equal teachers, or one better by half a standard deviation; answers with skewed ranks and
surprisals as rsr meets them, or right and wrong ones; looks after every 5 of 300 questions. A
claim is wrong where the claimed teacher is not the best, and where all are equal. Beside it: who
looks as often at ordinary 95 % intervals of each difference with Bonferroni's correction.
"""

import sys
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from tutelage.experiments.rank import PREDICTORS, WatchSettings, first_place_by_questions
from tutelage.experiments.rank.standings import influences

QUESTIONS, EVERY, FEWEST = 300, 5, 25


def drawn(rng: np.random.Generator, kind: str, entrants: int, gain: float) -> dict[str, np.ndarray]:
    difficulty = rng.normal(size=QUESTIONS)
    if kind == "accuracy":
        chance = 1 / (1 + np.exp(-difficulty)) * np.ones((entrants, 1))
        chance[0] = np.clip(chance[0] + gain / 2, 0, 1)
        return {"right": (rng.random((entrants, QUESTIONS)) < chance).astype(float)}
    noise = rng.normal(size=(2, entrants, QUESTIONS))
    surprisal = np.exp(0.3 * difficulty + 0.3 * noise[0])
    rank = 3 * surprisal * np.exp(0.4 * noise[1])
    rank[0] *= 1 - 0.4 * gain
    return {"mean_rank": rank, "mean_surprisal": surprisal}


def table(columns: dict[str, np.ndarray]) -> pa.Table:
    entrants, questions = next(iter(columns.values())).shape
    keys = {
        "question": [f"q{q:04}" for _ in range(entrants) for q in range(questions)],
        "entrant": [f"t{e}" for e in range(entrants) for _ in range(questions)],
    }
    return pa.table({**keys, **{name: values.reshape(-1) for name, values in columns.items()}})


def naive(columns: dict[str, np.ndarray], kind: str) -> int | None:
    predictor = PREDICTORS["accuracy" if kind == "accuracy" else "rsr"]
    values = [columns[name] for name in predictor.columns]
    entrants = values[0].shape[0]
    z = NormalDist().inv_cdf(1 - 0.05 / 2 / (entrants - 1))
    for t in range(FEWEST, QUESTIONS + 1, EVERY):
        part = [v[:, :t] for v in values]
        value, terms = influences(part, np.ones_like(part[0], dtype=bool), predictor)
        best = int((predictor.sign * value).argmax())
        gaps = predictor.sign * (terms[best] - np.delete(terms, best, axis=0))
        if (gaps.mean(axis=1) > z * gaps.std(axis=1, ddof=1) / t**0.5).all():
            return best
    return None


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    looks = range(FEWEST, QUESTIONS + 1, EVERY)
    print("kind      entrants gain  claims wrong  median questions   ordinary: claims wrong")
    for kind in ("rsr", "accuracy"):
        predictor = PREDICTORS[kind]
        for entrants in (2, 5):
            for gain in (0.0, 0.5):
                rng = np.random.default_rng(entrants)
                counts = {"claims": 0, "wrong": 0, "naive": 0, "naive_wrong": 0}
                at = []
                for _ in range(trials):
                    columns = drawn(rng, kind, entrants, gain)
                    rows = first_place_by_questions(
                        table(columns), predictor, looks=looks, settings=WatchSettings()
                    ).to_pylist()
                    hit = next((row for row in rows if row["settled"]), None)
                    if hit is not None:
                        counts["claims"] += 1
                        counts["wrong"] += gain == 0 or hit["leader"] != "t0"
                        at.append(hit["questions"])
                    other = naive(columns, kind)
                    if other is not None:
                        counts["naive"] += 1
                        counts["naive_wrong"] += gain == 0 or other != 0
                share = {name: count / trials for name, count in counts.items()}
                middle = f"{np.median(at):.0f}" if at else "-"
                print(
                    f"{kind:<9} {entrants:>8} {gain:>4} {share['claims']:>7.3f} "
                    f"{share['wrong']:>5.3f} {middle:>17} {share['naive']:>18.3f} "
                    f"{share['naive_wrong']:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
