"""Rows and a student without a model, for tests of the quality gate.

The student counts words: what it has seen in front (the pair of words, or the word in the
instruction) surprises it little, a word it never met surprises it much. That is enough for every
planted fault to leave a trace, and it needs no model.
"""

import hashlib
import random
from itertools import pairwise

import numpy as np

from tutelage.data import END_VIEW, Candidate, Message, Reading, ViewName
from tutelage.gate import GateRow, PlantRow, ScoredText, features_of, part_of, plain_features, plant
from tutelage.student import TableStudent

TOPICS = {
    "bread": "flour yeast oven dough crust salt kneading baker loaf crumb",
    "rivers": "water bank current delta flood valley spring mouth bridge stone",
    "bees": "hive honey queen wax pollen swarm flower nectar comb wing",
    "clocks": "spring gear hand dial pendulum weight tower hour wheel chime",
    "trees": "root leaf bark branch ring seed forest shade crown sap",
    "trains": "rail engine station signal carriage ticket tunnel platform guard steam",
    "books": "page cover author chapter library print paper shelf reader binding",
    "weather": "cloud wind rain pressure front storm frost sun fog thunder",
    "music": "note rhythm chord melody string drum scale singer tempo tune",
    "gardens": "soil bed hedge path fence tool weed compost bulb lawn",
}
VERBS = [
    "holds",
    "moves",
    "shapes",
    "warms",
    "carries",
    "needs",
    "changes",
    "follows",
    "supports",
    "surrounds",
]
ADVERBS = [
    "slowly",
    "often",
    "at",
    "night",
    "in",
    "spring",
    "with",
    "care",
    "for",
    "years",
    "every",
    "day",
    "by",
    "hand",
]
KNOWN = {w for words in TOPICS.values() for w in words.split()} | set(VERBS) | set(ADVERBS)
KNOWN |= {
    "the",
    "a",
    "and",
    "of",
    "that",
    "it",
    "explain",
    "describe",
    "how",
    "to",
    "in",
    "few",
    "words",
    "why",
    "matters",
    "for",
}
KNOWN |= set(TOPICS)


_INSTRUCTION = (
    "{verb} in few words how the {a} matters for {topic}, and why the {b} needs the {c} "
    "of case {number}."
)


def gate_rows(count: int = 150, *, seed: int = 0) -> list[PlantRow]:
    """Rows of ten topics, each with an instruction of its own."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        topic = sorted(TOPICS)[number % len(TOPICS)]
        words = TOPICS[topic].split()
        asked = rng.sample(words, 3)
        verb = rng.choice(("Explain", "Describe"))
        a, b, c = asked
        instruction = _INSTRUCTION.format(verb=verb, a=a, b=b, c=c, topic=topic, number=number)
        sentences = []
        for _ in range(rng.randint(3, 6)):
            first, second = rng.choice(asked), rng.choice(words)
            action, one, two = rng.choice(VERBS), rng.choice(ADVERBS), rng.choice(ADVERBS)
            sentences.append(f"The {first} {action} the {second} {one} and {two}.")
        response = " ".join(sentences)
        rows.append(PlantRow(row_id=f"row{number:03}", instruction=instruction, response=response))
    return rows


class CountingStudent(TableStudent):
    """A student that is surprised by unknown words and broken order, and bored by repetition."""

    def _nats(self, candidate: Candidate, view: ViewName, entry: object) -> np.ndarray:  # noqa: ARG002  (of the base class)
        if view == END_VIEW:
            open_end = 0.0 if candidate.response.rstrip().endswith(".") else 6.0
            return np.array([0.5 + open_end + _unit(f"end {candidate.response}")], dtype=np.float32)
        of_response = view in {"response", "response_given_instruction"}
        text, other = (
            (candidate.response, candidate.instruction)
            if of_response
            else (candidate.instruction, candidate.response)
        )
        context = _plain(other.split()) if "given" in view else []
        seen = set(pairwise(context))
        nats, before = [], ""
        for word in _plain(text.split()):
            base = 1.0 + 3.0 * _unit(f"{self._name} {word}")
            if word not in KNOWN:
                base += 4.0
            if not before or (before in ("the", "a")) == (word in VERBS):
                base += 1.0
            if (before, word) in seen:
                base *= 0.01
            elif word in context:
                base *= 0.2
            seen.add((before, word))
            nats.append(base + 0.3 * _unit(f"{before} {word}"))
            before = word
        return np.array(nats, dtype=np.float32)


def read_one(student: TableStudent, name: str, row: PlantRow, response: str) -> ScoredText:
    """A version as the student read it."""
    candidate = Candidate(
        candidate_id=name,
        example_id=row.row_id,
        messages=(
            Message(role="user", content=row.instruction),
            Message(role="assistant", content=response),
        ),
    )
    views: tuple[ViewName, ...] = (
        "response_given_instruction",
        "response",
        "instruction_given_response",
        "instruction",
        "end_of_turn",
    )
    outcome = next(student.read([candidate], views=views, statistics="full"))
    assert isinstance(outcome, Reading)
    return ScoredText(reading=outcome, instruction=row.instruction, response=response)


def fit_rows(rows: list[PlantRow], *, faults: tuple[str, ...], seed: int = 0) -> list[GateRow]:
    """Clean rows and strong plants, with their features."""
    student, found = CountingStudent(), []
    for row in rows:
        clean = features_of(read_one(student, row.row_id, row, row.response))
        found.append(GateRow(example_id=row.row_id, features_F=clean))
        own = plain_features(read_one(student, row.row_id, row, row.response))
        assert len(own) < len(clean)
        for fault in faults:
            part = part_of(row.row_id, seed=seed)
            planted = plant(row, fault=fault, dose="strong", others=rows, seed=seed, part=part)
            if planted.response is not None:
                text = read_one(student, f"{fault} {row.row_id}", row, planted.response)
                found.append(
                    GateRow(
                        example_id=row.row_id,
                        features_F=features_of(text),
                        fault=fault,
                        dose="strong",
                    )
                )
    return found


def _plain(words: list[str]) -> list[str]:
    return [word.strip(".,:;!?").lower() for word in words]


def _unit(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
