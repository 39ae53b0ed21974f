"""Rank the teachers of a pool for a student, a piece at a time: `python rank_teachers.py --help`.

Readings are kept in the student's cache, so a run that was stopped reads the rest. Numbers only
are printed; the tables stand in OUT.
"""

import argparse
import json
import time
from pathlib import Path

from tutelage.experiments.rank import rank_teachers

ARGUMENTS = (
    ("pool", {"help": "A file of answers of several teachers."}),
    ("student", {}),
    ("--out", {"required": True}),
    ("--questions", {"type": int, "default": 100}),
    ("--predictors", {"default": "rsr,ifd,likelihood,mean_rank,length"}),
    ("--right-field", {}),
    ("--template", {"default": "chat"}),
    ("--seed", {"type": int, "default": 0}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, options in ARGUMENTS:
        parser.add_argument(name, **options)
    given = parser.parse_args()
    started = time.monotonic()
    ranked = rank_teachers(
        {
            "data": {"path": given.pool},
            "student": {"model": given.student, "template": given.template},
            "out": given.out,
            "questions": given.questions,
            "predictors": given.predictors.split(","),
            "fields": {} if given.right_field is None else {"right": given.right_field},
            "seed": given.seed,
        }
    )
    facts = {
        "student": given.student,
        "pool": Path(given.pool).name,
        "wall_seconds": round(time.monotonic() - started, 1),
        **ranked.tally,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
