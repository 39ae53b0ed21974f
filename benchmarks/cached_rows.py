"""Read rows with a cache and stop: what `score_speed.py again` starts twice."""

import json
import sys
from pathlib import Path

from tutelage.data import VIEW_NAMES, Candidate, Message
from tutelage.student import Cache, StudentSettings, open_student

folder, rows, cache = sys.argv[1:]
candidates = []
for line in Path(rows).read_text(encoding="utf-8").splitlines():
    turns = tuple(Message(role=role, content=content) for role, content in json.loads(line))
    candidates.append(Candidate(candidate_id=str(len(candidates)), example_id="e", messages=turns))
student = open_student(StudentSettings(model=folder), cache=Cache(Path(cache)))
total = sum(
    outcome.views["response"].mean_nll for outcome in student.read(candidates, views=VIEW_NAMES)
)
print(f"{len(candidates)} candidates, sum {total!r}")
