"""A made-up run that looks like a real one: every status, three sources, nasty text."""

import math
import random
from dataclasses import replace

import pyarrow as pa

from tutelage.data import Candidate, Example, Message, candidate_id_of, example_id_of
from tutelage.data.schemas import EXAMPLES, ROWS, SCORES, candidates_to_table, messages_to_arrow
from tutelage.reporting import ReportTables
from tutelage.selection import SelectSettings, select

METRICS = ("ifd", "ifd_loss", "r_ifd", "ppl", "grape", "rsr")
SOURCES = ("alpaca", "house <b>& garden</b>", None)
TEACHER = "big-teacher"
NASTY = (
    "<script>alert('instruction')</script>",
    "</div></section><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "before \u202etxt.exe\u202c after, a \x00 NUL and a \x1b[31m colour\x1b[0m",
    "\u200bzero width, \ufeffBOM, \U000e0041tag",
    "مرحبا بالعالم and English in one line",
    "emoji 👩\u200d🔬 and 日本語 and a\u0301 accent",
    "a | pipe, `code`, *stars*, [a link](https://example.org/x) and a \\ backslash",
)
WORDS = [
    "river",
    "stone",
    "light",
    "window",
    "maple",
    "signal",
    "copper",
    "garden",
    "planet",
    "method",
    "answer",
    "cause",
    "measure",
    "energy",
    "market",
    "letter",
    "winter",
    "engine",
    "number",
    "simple",
    "quiet",
    "sudden",
    "narrow",
    "plain",
    "compare",
    "explain",
    "because",
    "therefore",
    "however",
    "usually",
    "often",
    "rarely",
    "first",
    "second",
    "finally",
    "small",
    "large",
    "early",
    "late",
]
READ_STATUSES = (("bad_json", "line 7: expected ',' <here>"), ("no_instruction", "field missing"))
REFINE_STATUSES = [
    "cut_by_length",
    "refused",
    "echoed_prompt",
    "unparseable",
    "half_parsed",
    "unclear_end",
    "unchanged",
    "half_changed",
    "degenerate",
    "meta_talk",
    "teacher_failed",
    "over_budget",
]


def sentence(rng: random.Random, words: int) -> str:
    said = [rng.choice(WORDS) for _ in range(words)]
    return " ".join(said).capitalize() + "."


def changed(rng: random.Random, text: str) -> str:
    words = text.split()
    for _ in range(max(1, len(words) // 4)):
        words[rng.randrange(len(words))] = rng.choice(WORDS)
    return " ".join(words) + " " + sentence(rng, rng.randint(4, 30))


def an_example(rng: random.Random, index: int) -> Example:
    instruction = sentence(rng, rng.randint(4, 14))
    if index % 11 == 0:
        instruction = f"{instruction} {NASTY[(index // 11) % len(NASTY)]}"
    response = " ".join(sentence(rng, rng.randint(6, 14)) for _ in range(rng.randint(1, 8)))
    messages = (
        Message(role="user", content=instruction),
        Message(role="assistant", content=response),
    )
    return Example(
        example_id=example_id_of(messages), messages=messages, source=SOURCES[index % len(SOURCES)]
    )


def a_candidate(
    example: Example,
    *,
    step: str,
    instruction: str = "",
    response: str = "",
    parent: Candidate | None = None,
    status: str = "ok",
) -> Candidate:
    messages = (
        (Message(role="user", content=instruction), Message(role="assistant", content=response))
        if status == "ok"
        else ()
    )
    teacher = None if step == "original" else TEACHER
    parent_id = parent.candidate_id if parent else None
    return Candidate(
        candidate_id=candidate_id_of(
            example_id=example.example_id,
            step=step,
            parent_id=parent_id,
            teacher=teacher,
            messages=messages,
            distinction=None if status == "ok" else status,
        ),
        example_id=example.example_id,
        parent_id=parent_id,
        step=step,
        teacher=teacher,
        messages=messages,
        status=status,
        detail=None if status == "ok" else f"the reply said <{status}> \u202eback",
    )


def versions(rng: random.Random, example: Example) -> list[Candidate]:
    response = example.messages[-1].content
    original = a_candidate(
        example, step="original", instruction=example.instruction, response=response
    )
    if rng.random() < 0.03:
        return [a_candidate(example, step="original", status="empty_response")]
    out = [original]
    if rng.random() < 0.05:
        return out
    if rng.random() < 0.12:
        status = rng.choice(REFINE_STATUSES)
        return [
            *out,
            a_candidate(example, step="instruction_reflection", parent=original, status=status),
        ]
    first = a_candidate(
        example,
        step="instruction_reflection",
        instruction=changed(rng, example.instruction),
        response=changed(rng, response),
        parent=original,
    )
    parent = first if rng.random() < 0.6 else original
    if rng.random() < 0.1:
        second = a_candidate(
            example,
            step="response_reflection",
            parent=parent,
            status=rng.choice(REFINE_STATUSES),
        )
    else:
        second = a_candidate(
            example,
            step="response_reflection",
            instruction=parent.instruction,
            response=changed(rng, parent.response),
            parent=parent,
        )
    return [*out, first, second]


def a_score(rng: random.Random, candidate: Candidate, student: str) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys([*SCORES.names, *METRICS])
    row |= {
        "candidate_id": candidate.candidate_id,
        "example_id": candidate.example_id,
        "student": student,
        "status": candidate.status,
    }
    if candidate.status != "ok":
        return row
    draw = rng.random()
    if draw < 0.02:
        return row | {"status": "too_long", "detail": "2,311 tokens, the limit is 2,048"}
    if draw < 0.025:
        return row | {"status": "nonfinite"}
    tokens = max(3, int(len(candidate.response.split()) * rng.uniform(1.1, 1.5)))
    alone = rng.uniform(2.2, 3.4)
    gain = rng.gauss(0.42, 0.28) - (0.001 * tokens)
    given = max(alone - gain, 0.2)
    back_alone = rng.uniform(3.0, 4.5)
    refined = candidate.step != "original"
    back = back_alone - rng.gauss(0.45 if refined else 0.3, 0.3)
    return row | {
        "straddles": rng.random() < 0.1,
        "truncated": False,
        "response_tokens": tokens,
        "instruction_tokens": len(candidate.instruction.split()) + 3,
        "nll_response_given_instruction": given,
        "nll_response": alone,
        "nll_instruction_given_response": back,
        "nll_instruction": back_alone,
        "ifd": math.exp(given - alone),
        "ifd_loss": given / alone,
        "r_ifd": math.exp(back - back_alone),
        "ppl": math.exp(given),
        "grape": -given,
        "rsr": rng.lognormvariate(2.0, 0.5) + 2 / math.sqrt(tokens),
    }


def scores_table(rows: list[dict[str, object]]) -> pa.Table:
    schema = pa.schema([*SCORES, *(pa.field(name, pa.float64()) for name in METRICS)])
    return pa.Table.from_pylist(rows, schema=schema)


def rows_table(rng: random.Random, examples: list[Example]) -> pa.Table:
    rows: list[dict[str, object]] = []

    def add(status: str, example_id: str | None, detail: str | None = None) -> None:
        rows.append(
            {
                "row": len(rows),
                "file": "data.jsonl",
                "line": len(rows) + 1,
                "example_id": example_id,
                "status": status,
                "detail": detail,
            }
        )

    for example in examples:
        add("ok", example.example_id)
        if rng.random() < 0.03:
            add("duplicate", example.example_id)
        if rng.random() < 0.02:
            status, detail = rng.choice(READ_STATUSES)
            add(status, None, detail)
    return pa.Table.from_pylist(rows, schema=ROWS)


def examples_table(examples: list[Example], rows: pa.Table) -> pa.Table:
    first = {r["example_id"]: r["row"] for r in reversed(rows.to_pylist())}
    return pa.Table.from_pylist(
        [
            {
                "example_id": e.example_id,
                "row": first[e.example_id],
                "messages": messages_to_arrow(e.messages),
                "reference": None,
                "source": e.source,
                "extra": None,
            }
            for e in examples
        ],
        schema=EXAMPLES,
    )


MANIFEST: dict[str, object] = {
    "schema_version": 1,
    "settings": {
        "data": {"path": "data.jsonl"},
        "select": {"rule": "srt", "mode": "safe", "margin": 0.0, "seed": 0},
        "teacher": {"name": TEACHER, "max_tokens": 1024, "api_key": "sk-this-must-never-show-0123"},
    },
    "versions": {"tutelage": "0.1.0", "transformers": "5.23"},
    "seeds": {"select": 0},
    "inputs": {"data.jsonl": "9f" * 32},
    "student": {
        "model": "small-student-135m",
        "fingerprint": "f00d",
        "dtype": "float32",
        "template": "chat",
    },
    "stages": {
        "load": {"key": "a", "seconds": 0.42, "tally": {"rows": 1}},
        "refine": {
            "key": "b",
            "seconds": 412.7,
            "tally": {
                "teacher": {
                    "asked": 1180,
                    "from_journal": 210,
                    "answered": 940,
                    "failed": 30,
                    "failures": {"TeacherBusyError": 17, "TeacherUnreachableError": 13},
                    "prompt_tokens": 803_122,
                    "completion_tokens": 291_800,
                    "seconds": 3811.5,
                    "cost": 1.37,
                    "currency": "USD",
                }
            },
        },
        "score": {"key": "c", "seconds": 188.0, "tally": {}},
        "select": {"key": "d", "seconds": 1.1, "tally": {}},
    },
}


def synthetic(examples: int = 600, *, seed: int = 7) -> ReportTables:
    """A run of so many examples."""
    rng = random.Random(seed)
    made = {e.example_id: e for e in (an_example(rng, i) for i in range(examples))}
    rows = rows_table(rng, list(made.values()))
    candidates = [c for e in made.values() for c in versions(rng, e)]
    table = candidates_to_table(candidates)
    scores = scores_table([a_score(rng, c, "f00d") for c in candidates])
    tables = ReportTables(
        rows=rows,
        examples=examples_table(list(made.values()), rows),
        candidates=table,
        scores=scores,
        manifest=MANIFEST,
        title="A made-up run <of> nasty text",
    )
    chosen = select(
        candidates=table,
        scores=scores,
        examples=tables.examples,
        settings=SelectSettings(max_unscored_fraction=1.0),
    )
    return replace(tables, decisions=chosen.decisions, nulls=chosen.nulls)
