"""Do two students, or two stages of one, judge the same pool alike?

Everything here compares the numbers of two judges on the same answers: the order of entrants, the
answer each would choose to each question, the best part of the pool each would select.
"""

import numpy as np
import pyarrow as pa

from tutelage.errors import DataError
from tutelage.experiments.rank.predictors import Predictor
from tutelage.stats.intervals import Numbers
from tutelage.stats.rank_correlation import kendall

SHARES = (0.1, 0.25, 0.5)
"""Which best parts of a pool are compared."""
_KEYS = ("question", "entrant", "candidate_id")


def joined(one: pa.Table, other: pa.Table, predictor: Predictor) -> tuple[pa.Table, int]:
    """The answers that both judges have numbers for, with the columns `one` and `other`.

    Args:
        one: Answers of one judge, as for `rank`, with `candidate_id`.
        other: Of the other judge, over the same pool.
        predictor: Computed of each answer by itself; times its sign, so that more is better.

    Returns:
        The joined answers in the order of question, entrant and id; and how many answers only one
        of the two has a number for.

    Raises:
        DataError: The two share no answer with numbers, or lack a column.
    """
    tables = []
    for name, table in (("one", one), ("other", other)):
        missing = [c for c in (*_KEYS, *predictor.columns) if c not in table.column_names]
        if missing:
            raise DataError(
                f"the answers have no column {missing[0]!r}",
                hint=f"rank both with a predictor that gives {predictor.name}",
            )
        columns = [table[c].cast(pa.float64()).to_numpy() for c in predictor.columns]
        values = predictor.sign * predictor.of_means(columns)
        kept = table.select(list(_KEYS)).append_column(name, pa.array(values))
        tables.append(kept.filter(pa.array(np.isfinite(values))))
    both = tables[0].join(tables[1], keys=list(_KEYS), join_type="inner").combine_chunks()
    if not both.num_rows:
        raise DataError(
            "the two rankings share no answer that both could read",
            hint="rank the same pool with the same questions and seed",
        )
    alone = tables[0].num_rows + tables[1].num_rows - 2 * both.num_rows
    return both.sort_by([(key, "ascending") for key in _KEYS]), alone


def choice_agreement(both: pa.Table) -> tuple[int, int, float]:
    """On how many questions both judges would choose the same answer.

    Args:
        both: As `joined` gives it.

    Returns:
        Questions with the same choice, questions with at least two answers, and the share that
        two unrelated choosers would have in common: the mean of 1 / answers. Ties go to the
        smaller candidate id.
    """
    same, of, chance = 0, 0, 0.0
    for _, (one, other) in _by_question(both):
        if len(one) > 1:
            same += int(one.argmax() == other.argmax())
            of += 1
            chance += 1 / len(one)
    return same, of, chance / of if of else 0.0


def within_agreement(both: pa.Table) -> Numbers:
    """Kendall's tau between the judges within each question; questions without one are left out."""
    found = (kendall(one, other) for _, (one, other) in _by_question(both) if len(one) > 1)
    return np.array([tau for tau in found if tau is not None], dtype=np.float64)


def overlap(both: pa.Table, *, share: float) -> tuple[int, int, int]:
    """What the best parts of a pool have in common.

    Args:
        both: As `joined` gives it.
        share: The part that each selects, in (0, 1].

    Returns:
        Answers that both select, answers that each selects, answers in the pool. Unrelated judges
        would share selected / pool of what they select.
    """
    pool = both.num_rows
    size = max(1, round(share * pool))
    # The table is in the order of ids, and the sort keeps it where values are equal.
    best = [
        set(np.argsort(-both[name].to_numpy(), kind="stable")[:size].tolist())
        for name in ("one", "other")
    ]
    return len(best[0] & best[1]), size, pool


def _by_question(both: pa.Table) -> list[tuple[str, tuple[Numbers, Numbers]]]:
    questions = both["question"].to_pylist()
    one, other = both["one"].to_numpy(), both["other"].to_numpy()
    found: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        found.setdefault(str(question), []).append(place)
    return [(question, (one[places], other[places])) for question, places in found.items()]
