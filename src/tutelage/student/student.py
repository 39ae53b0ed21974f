"""Student model: candidates in, token statistics out, in the same order, each text read once."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, runtime_checkable

from tutelage.data import (
    END_VIEW,
    VIEW_NAMES,
    Candidate,
    Reading,
    ReadingOutcome,
    TargetTokens,
    TokenStats,
    Unscored,
    ViewName,
)
from tutelage.errors import DataError, SettingsError
from tutelage.models.config import readings_path
from tutelage.models.hardware import kind_of
from tutelage.student.cache import Cache, Scope, SideRecord
from tutelage.student.components import OpenStudent
from tutelage.student.config import Statistics, StudentSettings
from tutelage.student.passage_reader import PassageReader, map_one_ahead
from tutelage.student.passages import (
    TURN_BREAK,
    EncodedSide,
    Measured,
    Passage,
    Refusal,
    SideName,
    chunks,
    chunks_of,
    pooled_stats,
)
from tutelage.student.template import Rendered
from tutelage.student.views import END_VIEWS, INSTRUCTION_VIEWS, RESPONSE_VIEWS, blank_reason

_VIEWS_OF: Mapping[SideName, tuple[ViewName, ...]] = {
    "response": RESPONSE_VIEWS,
    "instruction": INSTRUCTION_VIEWS,
    "end": END_VIEWS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPair:
    """A context and a target that follows it, without a template.

    Attributes:
        pair_id: By which the caller knows it.
        context: May be empty where the student's tokenizer adds a BOS token by itself.
        target: What is read after it.
    """

    pair_id: str
    context: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One side of an item of a chunk: its cache key and how it is encoded."""

    key: bytes
    given: bool
    alone: bool
    encode: Callable[[], EncodedSide | Refusal]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A chunk that is ready to be read.

    Attributes:
        records: Each side by its key.
        passages: What is to be read, by key.
        known: What the cache has of them, where it has everything; then nothing is read.
    """

    records: dict[bytes, SideRecord | Refusal]
    passages: Mapping[bytes, Passage] = field(default_factory=dict)
    known: Mapping[bytes, Measured | Refusal] | None = None


class StudentModel:
    """Language model that measures token statistics.

    Nothing is loaded until something has to be read that the cache does not have. Usable as a
    context manager.

    Args:
        settings: Which model, through which template.
        cache: Where readings are kept and looked up, or None to read everything again.
    """

    def __init__(self, settings: StudentSettings, *, cache: Cache | None) -> None:
        self.parts = OpenStudent(settings)
        self._reader = PassageReader(open_engine=self.parts.engine, cache=cache)

    def watch(self, on_batch: Callable[[int, int], None] | None) -> None:
        """Set a callback that gets, after each batch, the chunk's passages read and in all."""
        self._reader.on_batch = on_batch

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        """Content hash of weights, architecture, tokenizer and template; not of the dtype."""
        return self.parts.fingerprint

    def describe(self) -> Mapping[str, object]:
        """Description of the student for a manifest."""
        return self.parts.describe()

    def close(self) -> None:
        """Free memory and close files; both are opened again at the next reading."""
        self.parts.close()
        if self._reader.cache is not None:
            self._reader.cache.close()

    def read(
        self,
        candidates: Iterable[Candidate],
        *,
        views: Collection[ViewName],
        statistics: Statistics = "nll",
    ) -> Iterator[ReadingOutcome]:
        """Measure the token statistics of candidates.

        Args:
            candidates: Read chunk by chunk; never all in memory.
            views: Which views are wanted; at least one.
            statistics: `nll` for log-probabilities, `ranks` for ranks too, `full` for entropies
                and sums of squares as well. More than that may come.

        Yields:
            One outcome for each candidate, in the order given.

        Raises:
            SettingsError: There is no such view, or the backend does not measure these
                statistics.
            StudentError: The student cannot be loaded, or the cache cannot be used.
        """
        unknown = set(views) - {*VIEW_NAMES, END_VIEW}
        if unknown or not views:
            raise SettingsError(
                f"unknown views {sorted(unknown)}" if unknown else "no views are asked for",
                hint=f"views are {', '.join(VIEW_NAMES)}",
            )
        self._check_measures(statistics)
        return self._outcomes(candidates, views=frozenset(views), full=statistics != "nll")

    def recall(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[ReadingOutcome | None]:
        """Cached token statistics of candidates, without loading weights or tokenizer.

        Args:
            candidates: Looked up one by one.
            views: Which views are wanted.

        Yields:
            One outcome for each candidate, in the order given, with all four statistics where
            they were measured; None where it was not read, or not in all those views.
        """
        for candidate in candidates:
            yield self._recalled(candidate, frozenset(views))

    def tokens_to_read(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[int]:
        """Tokens that the model would read, cached or not; needs only the tokenizer.

        Args:
            candidates: Encoded one by one.
            views: Which views would be read.

        Yields:
            The tokens of each candidate's distinct passages, contexts included; 0 for one that
            cannot be read.
        """
        wanted = frozenset(views)
        sides = [side for side, names in _VIEWS_OF.items() if wanted & set(names)]
        for candidate in candidates:
            passages: dict[bytes, Passage] = {}
            if blank_reason(candidate) is None:
                for side in sides:
                    want = self._wanted_side(candidate, side, wanted)
                    encoded = want.encode()
                    if not isinstance(encoded, Refusal):
                        _record(encoded, want, self.parts.scope, into=passages)
            yield sum(len(passage.ids_T) for passage in passages.values())

    def _recalled(self, candidate: Candidate, views: frozenset[ViewName]) -> ReadingOutcome | None:
        cache, blank = self._reader.cache, blank_reason(candidate)
        if cache is None or blank is not None:
            return blank
        sides = [side for side, names in _VIEWS_OF.items() if views & set(names)]
        wanted = {side: self._wanted_side(candidate, side, views) for side in sides}
        records = cache.get_sides(want.key for want in wanted.values())
        if len(records) < len({want.key for want in wanted.values()}):
            return None
        keys = [key for want in wanted.values() for key in _keys(records[want.key], want)]
        for full in (True, False):
            known = self._reader.known(keys, full=full)
            if all(key in known and known[key].is_finite for key in keys):
                own = {side: records[want.key] for side, want in wanted.items()}
                return _outcome(candidate.candidate_id, own, views=views, measured=known)
        return None

    def read_pairs(self, pairs: Iterable[TextPair]) -> Iterator[TokenStats | Unscored]:
        """Measure log-probabilities of targets after contexts, without a template.

        Context and target are tokenized once, together; if the tokenizer adds a BOS token by
        itself, it comes first.

        Yields:
            One outcome for each pair, in the order given; an `Unscored` carries the pair's id.
        """
        for chunk in chunks(pairs, size=lambda pair: len(pair.context) + len(pair.target)):
            wanted = [self._wanted_pair(pair) for pair in chunk]
            records, measured = self._resolve(wanted, full=False)
            for pair, want in zip(chunk, wanted, strict=True):
                record = records[want.key]
                stats = _stats(record, given=True, measured=measured)
                if isinstance(stats, Refusal):
                    yield _unscored(pair.pair_id, stats)
                else:
                    yield stats

    @property
    def measures(self) -> Statistics:
        """Most detailed statistics available: `ranks` from vLLM, else `full`."""
        return "ranks" if self.parts.settings.backend in ("vllm", "vllm-offline") else "full"

    def _check_measures(self, statistics: Statistics) -> None:
        if statistics == "full" and self.measures != "full":
            raise SettingsError(
                "vLLM gives log-probabilities and ranks, not the distribution: "
                "entropies and sums of squares are not available",
                hint="use the backend packed or transformers",
            )

    def context_text(self, candidate: Candidate) -> str:
        """Text in front of a candidate's response, as the template renders it.

        Raises:
            DataError: The template does not accept this conversation, or rewrites it.
        """
        return self._rendered(candidate)[-1].context

    def response_text(self, candidate: Candidate) -> str:
        """Text to which `response_starts_T` refers: all turns that count."""
        return TURN_BREAK.join(turn.target for turn in self._rendered(candidate))

    def last_response_text(self, candidate: Candidate) -> str:
        """Text that follows `context_text` in the rendered row."""
        return self._rendered(candidate)[-1].target

    def _rendered(self, candidate: Candidate) -> list[Rendered]:
        return self.parts.builder.render_targets(candidate)

    def targets(self, candidate: Candidate, side: SideName) -> TargetTokens:
        """Counted tokens of a candidate's response or instruction.

        Needs the tokenizer, also where all readings come from the cache.

        Raises:
            DataError: The candidate cannot be read; `read` says so without an exception.
        """
        encoded = self.parts.builder.encode(candidate, side)
        if isinstance(encoded, Refusal):
            raise DataError(f"candidate {candidate.candidate_id}: {encoded.reason}")
        return TargetTokens(text=encoded.text, ids_T=encoded.ids_T, starts_T=encoded.starts_T)

    def _outcomes(
        self, candidates: Iterable[Candidate], *, views: frozenset[ViewName], full: bool
    ) -> Iterator[ReadingOutcome]:
        sides = [side for side, names in _VIEWS_OF.items() if views & set(names)]

        def prepare(
            chunk: Sequence[Candidate],
        ) -> tuple[list[Unscored | None], list[_Wanted], _Prepared]:
            blanks = [blank_reason(candidate) for candidate in chunk]
            wanted: list[_Wanted] = []
            for candidate, blank in zip(chunk, blanks, strict=True):
                if blank is None:
                    wanted += [self._wanted_side(candidate, side, views) for side in sides]
            return blanks, wanted, self._prepared(wanted, full=full)

        chunked = chunks_of(candidates)
        for chunk, following, (blanks, wanted, prepared) in map_one_ahead(
            prepare, chunked, ahead=self.encodes_ahead
        ):
            self._reader.ahead = len(following or ()) / len(chunk)
            records, measured = prepared.records, self._measured(prepared, full=full)
            ready = iter(wanted)
            for candidate, blank in zip(chunk, blanks, strict=True):
                if blank is not None:
                    yield blank
                    continue
                own = {side: records[next(ready).key] for side in sides}
                outcome = _outcome(candidate.candidate_id, own, views=views, measured=measured)
                if isinstance(outcome, Reading):
                    outcome = replace(
                        outcome, vocabulary_tokens=self.parts.folder.vocabulary_tokens
                    )
                yield outcome

    def _wanted_side(
        self, candidate: Candidate, side: SideName, views: frozenset[ViewName]
    ) -> _Wanted:
        given, *alone = _VIEWS_OF[side]
        return _Wanted(
            key=self.parts.scope.side_key(candidate, side),
            given=given in views,
            alone=bool(views & set(alone)),
            encode=lambda: self.parts.builder.encode(candidate, side),
        )

    def _wanted_pair(self, pair: TextPair) -> _Wanted:
        return _Wanted(
            key=self.parts.scope.pair_key(pair.context, pair.target),
            given=True,
            alone=False,
            encode=lambda: self.parts.builder.encode_pair(pair.context, pair.target),
        )

    @property
    def encodes_ahead(self) -> bool:
        """Whether the next chunk is encoded while one is read: not where both need the CPU."""
        elsewhere = self.parts.settings.backend in ("vllm", "vllm-offline")
        return elsewhere or kind_of(self.parts.device) != "cpu"

    def _resolve(
        self, wanted: Sequence[_Wanted], *, full: bool
    ) -> tuple[dict[bytes, SideRecord | Refusal], Mapping[bytes, Measured | Refusal]]:
        """Find what the cache has of a chunk; if that is not all, encode and read the chunk."""
        prepared = self._prepared(wanted, full=full)
        return prepared.records, self._measured(prepared, full=full)

    def _measured(self, prepared: _Prepared, *, full: bool) -> Mapping[bytes, Measured | Refusal]:
        if prepared.known is not None:
            return prepared.known
        return self._reader.read(prepared.passages, full=full)

    def _prepared(self, wanted: Sequence[_Wanted], *, full: bool) -> _Prepared:
        """Find what the cache has of a chunk; if that is not all, encode the chunk."""
        cache = self._reader.cache
        records = {} if cache is None else cache.get_sides(want.key for want in wanted)
        if all(want.key in records for want in wanted):
            keys = [key for want in wanted for key in _keys(records[want.key], want)]
            known = self._reader.known(keys, full=full)
            if all(key in known for key in keys):
                return _Prepared(records=records, known=known)
        passages: dict[bytes, Passage] = {}
        fresh: dict[bytes, SideRecord | Refusal] = {}
        for want in wanted:
            encoded = want.encode()
            record = (
                encoded
                if isinstance(encoded, Refusal)
                else _record(encoded, want, self.parts.scope, into=passages)
            )
            if want.key not in records:
                fresh[want.key] = record
            records[want.key] = record
        if cache is not None and fresh:
            cache.put_sides(fresh)
        return _Prepared(records=records, passages=passages)


def open_student(settings: StudentSettings, *, cache: Cache | None = None) -> StudentModel:
    """Student from its settings. Nothing is loaded or downloaded before something has to be read.

    Args:
        settings: Which model, through which template.
        cache: A cache to share between students; by default the one the settings name.

    Examples:
        >>> student = open_student(StudentSettings(model="smollm2-135m"))
        >>> student.close()
    """
    if cache is None and settings.use_cache:
        cache = Cache(settings.cache_path or readings_path())
    return StudentModel(settings, cache=cache if settings.use_cache else None)


def _record(
    side: EncodedSide, want: _Wanted, scope: Scope, *, into: dict[bytes, Passage]
) -> SideRecord:
    """Store a side's passages under their keys, and queue the wanted ones for reading."""
    given = [(scope.passage_key(passage), passage) for passage in side.given]
    alone = [(scope.passage_key(passage), passage) for passage in side.alone]
    if want.given:
        into |= given
    if want.alone:
        into |= alone
    return SideRecord(
        given=tuple(key for key, _ in given),
        alone=tuple(key for key, _ in alone),
        straddles=side.straddles,
        truncated=side.truncated,
        starts_T=side.starts_T,
        stripped=side.stripped,
        control_tokens_in_data=side.control_tokens_in_data,
    )


def _keys(record: SideRecord | Refusal, want: _Wanted) -> tuple[bytes, ...]:
    if isinstance(record, Refusal):
        return ()
    return (*(record.given if want.given else ()), *(record.alone if want.alone else ()))


def _stats(
    record: SideRecord | Refusal, *, given: bool, measured: Mapping[bytes, Measured | Refusal]
) -> TokenStats | Refusal:
    """Statistics of one view, or the first reason for having none."""
    if isinstance(record, Refusal):
        return record
    parts: list[Measured] = []
    for key in record.given if given else record.alone:
        part = measured[key]
        if isinstance(part, Refusal):
            return part
        parts.append(part)
    return pooled_stats(parts)


def _outcome(
    candidate_id: str,
    records: Mapping[SideName, SideRecord | Refusal],
    *,
    views: frozenset[ViewName],
    measured: Mapping[bytes, Measured | Refusal],
) -> ReadingOutcome:
    found: dict[ViewName, TokenStats] = {}
    for side, record in records.items():
        for view, given in zip(_VIEWS_OF[side], (True, False), strict=False):
            if view not in views:
                continue
            stats = _stats(record, given=given, measured=measured)
            if not isinstance(stats, Refusal):
                found[view] = stats
            elif view != END_VIEW:
                return _unscored(candidate_id, stats)
    sides = {side: r for side, r in records.items() if isinstance(r, SideRecord)}
    response, instruction = sides.get("response"), sides.get("instruction")
    return Reading(
        candidate_id=candidate_id,
        views=found,
        straddles=any(side.straddles for side in sides.values()),
        truncated=any(side.truncated for side in sides.values()),
        stripped=any(side.stripped for side in sides.values()),
        control_tokens_in_data=any(side.control_tokens_in_data for side in sides.values()),
        response_starts_T=None if response is None else response.starts_T,
        instruction_starts_T=None if instruction is None else instruction.starts_T,
    )


def _unscored(name: str, refusal: Refusal) -> Unscored:
    return Unscored(candidate_id=name, reason=refusal.reason, detail=refusal.detail)


class Reads(Protocol):
    """Protocol of reading: `StudentModel`, and `TableStudent` for tests."""

    def read(
        self,
        candidates: Iterable[Candidate],
        *,
        views: Collection[ViewName],
        statistics: Statistics = "nll",
    ) -> Iterator[ReadingOutcome]:
        """One outcome for each candidate, in the order given.

        Args:
            candidates: The candidates.
            views: The views to read.
            statistics: What to measure of each token.
        """
        ...

    def read_pairs(self, pairs: Iterable[TextPair]) -> Iterator[TokenStats | Unscored]:
        """One outcome for each pair, in the order given."""
        ...

    def context_text(self, candidate: Candidate) -> str:
        """Text in front of a candidate's response."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """Student that can count the tokens it would read."""

    def tokens_to_read(
        self, candidates: Iterable[Candidate], *, views: Collection[ViewName]
    ) -> Iterator[int]:
        """Tokens of each candidate's passages, in the order given; 0 where it has none."""
        ...
