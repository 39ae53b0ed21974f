"""The rows that an audit reads: a random sample of examples, with at most two versions of each."""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tutelage.data import OK, ORIGINAL, SAMPLE, Candidate, Row, content_hash
from tutelage.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSample:
    """What was drawn, and what became of every row.

    Attributes:
        candidates: The versions to read, an example's original first.
        row_of: The 0-based input row of each, by candidate id.
        rows_by_status: How many input rows were read, or why not.
        examples: How many examples have a response.
        without_response: How many examples have none.
        drawn: How many examples were drawn.
        without_text: Why versions of drawn examples have no text, with counts.
        with_reference: How many drawn examples have a reference to check answers against.
    """

    candidates: tuple[Candidate, ...] = field(repr=False)
    row_of: Mapping[str, int] = field(repr=False)
    rows_by_status: Mapping[str, int]
    examples: int
    without_response: int
    drawn: int
    without_text: Mapping[str, int]
    with_reference: int

    @property
    def rows(self) -> int:
        """How many rows the input has."""
        return sum(self.rows_by_status.values())


@dataclass(slots=True)
class _Drawn:
    """The versions of one example of the sample."""

    place: int
    has_reference: bool
    versions: list[tuple[int, Candidate]] = field(default_factory=list)


def draw_sample(
    rows: Iterable[Row], *, examples: int, seed: int, progress: Progress
) -> AuditSample:
    """Draw examples in one pass over the rows, in memory for the sample alone.

    The draw depends on the seed and the ids of examples, not on their order. Of an example with
    several responses one is drawn, beside its original where there is one.

    Args:
        rows: All rows.
        examples: How many examples are drawn, at most.
        seed: Of the draw.
        progress: Told of each row.
    """
    statuses: Counter[str] = Counter()
    drawn: dict[str, _Drawn] = {}
    heap: list[tuple[int, str]] = []
    answered: set[str] = set()
    unanswered: set[str] = set()
    progress.begin("draw", total=None, unit="rows")
    for row in rows:
        statuses[row.status] += 1
        progress.advance()
        if row.example is None:
            continue
        name = row.example.example_id
        if not row.candidates:
            if not row.repeated:
                unanswered.add(name)
            continue
        if name not in answered:
            answered.add(name)
            place = int(content_hash("audit sample", seed, name), 16)
            heapq.heappush(heap, (-place, name))
            has_reference = row.example.reference is not None
            drawn[name] = _Drawn(place=place, has_reference=has_reference)
            if len(heap) > examples:
                del drawn[heapq.heappop(heap)[1]]
        if name in drawn:
            drawn[name].versions += [(row.row, c) for c in row.candidates]
    chosen = sorted(drawn.values(), key=lambda d: d.place)
    progress.end(note=f"{len(chosen):,} examples drawn")
    kept = [pair for d in chosen for pair in _two_versions(d.versions, seed=seed)]
    lost = Counter(c.status for d in chosen for _, c in d.versions if c.status != OK)
    return AuditSample(
        candidates=tuple(c for _, c in kept),
        row_of={c.candidate_id: row for row, c in kept},
        rows_by_status=dict(sorted(statuses.items())),
        examples=len(answered),
        without_response=len(unanswered - answered),
        drawn=len(chosen),
        without_text=dict(sorted(lost.items())),
        with_reference=sum(d.has_reference for d in chosen),
    )


def _two_versions(
    versions: Iterable[tuple[int, Candidate]], *, seed: int
) -> list[tuple[int, Candidate]]:
    """The original, and the most changed version; of several samples one that is drawn."""
    written = [(row, c) for row, c in versions if c.status == OK]
    originals = [(row, c) for row, c in written if c.step == ORIGINAL]
    others = [(row, c) for row, c in written if c.step != ORIGINAL]
    rewritten = [(row, c) for row, c in others if c.step != SAMPLE]
    if rewritten:
        return [*originals[:1], rewritten[-1]]
    others.sort(key=lambda pair: content_hash("audit version", seed, pair[1].candidate_id))
    return [*originals[:1], *others[:1]]
