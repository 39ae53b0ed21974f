"""Findings of an audit: estimated shares of faulty rows, the gate's rates, a recommendation.

Pure: rows with features and fitted gates in, findings out. Of two gates each is fitted on one half
of the examples and judges the other half, so every row is counted, by a gate that has not seen it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from tutelage.data import ORIGINAL, SAMPLE
from tutelage.gate import (
    NAMES,
    CalibratedGate,
    FaultResult,
    GateRow,
    Judgement,
    Part,
    Prevalence,
    Share,
    break_even_share,
    fit_gate,
    part_of,
    pooled_results,
    prevalences,
    share_of,
    with_suspected,
)
from tutelage.gate.features import DIFFERENCES
from tutelage.pipeline.gate_stage import GateMaterial, GateVersion

Side: TypeAlias = Literal["rewritten", "sampled", "original"]
PASSED = "passed"
BEYOND = "beyond_student"

KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mismatched": ("mismatch",),
        "other_language": ("other_language",),
        "truncated": ("truncation", "introduction"),
        "echoing": ("echo",),
        "repetitive": ("doubling", "looping"),
        "low_effort": ("refusal",),
        "corrupted": ("scrambled_words", "wrong_letters", "markup_debris"),
        "template_or_turns": ("template_text", "wrong_turn"),
    }
)
"""Kinds of faults in an audit, with the planted faults of each."""
_KIND_OF = {fault: kind for kind, faults in KINDS.items() for fault in faults}

BEYOND_NATS = math.log(100)
"""A text is far beyond the student if its tokens have less than one chance in a hundred each, even
after the instruction (geometric mean).
"""
_BEYOND_TOKENS = 8
"""Shortest text that can be far beyond the student: the mean of a few tokens says little."""
SURE_HIT_RATE = 0.75
"""Hit rate of a planted fault below which (with its interval) an estimate is doubtful.

A gate that was fitted on rows of which many have a fault misses many planted ones; on clean rows it
finds more.
"""
LEAST_HIT_RATE = 0.5
"""Least hit rate of the gate with which the share of a kind is estimated."""
RATIOS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Values of B / H for which break-even shares are given."""
_ENOUGH = 0.1
"""Share of faulty rewrites above which filtering paid in published studies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFinding:
    """Findings on one kind of fault on one side.

    Attributes:
        kind: One of `KINDS`.
        named: Measured rows that the gate rejected and named as this kind.
        estimate: The share corrected for the gate's errors; None where there is a reason.
        hit_rate: Strong planted faults of this kind that the gate rejected, under any name.
        reason: `no_detector` or `low_hit_rate`; None where there is an estimate.
        alike: Measured rows that score like a typical planted row: a detector of this kind gives
            them at least the score of its median planted row; None without a detector. About half
            of the rows with the fault are among them, and few clean ones. If many rows have the
            fault, the gate learns it as normal, and only this share shows it.
        missed: The planted fault of this kind that the gate rejects least often, with its hit rate,
            where the interval of that rate is below `SURE_HIT_RATE`; else None. Either the student
            can hardly see the fault, or many rows have it and it looks normal.
    """

    kind: str
    named: Share
    estimate: Prevalence | None = None
    hit_rate: Share | None = None
    reason: str | None = None
    alike: Share | None = None
    missed: tuple[str, Share] | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether the estimate may be too low, for one of these two reasons."""
        return self.missed is not None or self.looks_more_frequent

    @property
    def looks_more_frequent(self) -> bool:
        """Whether more rows look like planted ones than the estimate accounts for."""
        if self.alike is None or self.alike.low <= _ENOUGH / 2:
            return False
        return self.estimate is None or self.alike.fraction > self.estimate.high


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFinding:
    """Findings on the rewritten versions, the sampled responses, or the original rows.

    Attributes:
        side: Which of these.
        read: How many the student read.
        beyond: Those far beyond the student, among all that were read and not rejected.
        measured: How many of them the shares are measured on; 0 without a gate.
        refused: How many of these the gate rejected.
        estimate: The share with any fault, corrected for the gate's errors.
        false_refusals: How many of the clean ones the gate rejected.
        hit_rate: The mean share of strong planted faults that it rejected, each kind counted
            alike; the interval counts each example once.
        suspected: How many rows looked so much like a planted fault that they did not count as
            clean, by fault. They count in every share.
        kinds: By kind.
    """

    side: Side
    read: int
    beyond: Share
    measured: int = 0
    refused: Share | None = None
    estimate: Prevalence | None = None
    false_refusals: Share | None = None
    hit_rate: Prevalence | None = None
    suspected: Mapping[str, int] = field(default_factory=dict)
    kinds: tuple[KindFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReadings:
    """Token statistics of an audit.

    Attributes:
        material: What the gates were fitted on.
        reserve: Versions of further examples, which no gate was fitted on.
    """

    material: GateMaterial
    reserve: Sequence[GateVersion] = ()

    @property
    def versions(self) -> list[GateVersion]:
        """All versions of the sample."""
        return [*self.material.versions, *self.reserve]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedGates:
    """Two gates, each of which judges the examples on which the other was fitted.

    So every row and every plant is judged by a gate that has not seen it.

    Attributes:
        fitted_on_fit: Fitted on the examples of the part `fit`; judges those held out.
        fitted_on_held_out: Fitted on the others.
        suspected: The fault that a version looks like so much that it does not count as clean, by
            candidate id.
        plants: The planted rows, with what they would be suspected of.
    """

    fitted_on_fit: CalibratedGate
    fitted_on_held_out: CalibratedGate
    suspected: Mapping[str, str] = field(repr=False)
    plants: Sequence[GateRow] = field(repr=False)

    @property
    def both(self) -> tuple[CalibratedGate, CalibratedGate]:
        """Both gates as a tuple."""
        return self.fitted_on_fit, self.fitted_on_held_out

    @property
    def faults(self) -> list[str]:
        """Faults for which both gates have a detector."""
        first, second = ([d.fault for d in gate.detectors] for gate in self.both)
        return [fault for fault in first if fault in second]

    @property
    def results(self) -> tuple[FaultResult, ...]:
        """Results of both gates on all planted faults."""
        return tuple(r for r in pooled_results(self.both) if r.fault in self.faults)

    def judge(self, rows: Sequence[GateRow | GateVersion]) -> list[Judgement]:
        """Judgement of each row by the gate that was not fitted on its example."""
        found: list[Judgement | None] = [None] * len(rows)
        for gate, places in self._divided(rows):
            judged = gate.judge(np.stack([rows[i].features_F for i in places]))
            for place, judgement in zip(places, judged, strict=True):
                found[place] = judgement
        return [j for j in found if j is not None]

    def excess(self, rows: Sequence[GateRow | GateVersion]) -> np.ndarray:
        """Log-odds above the threshold, one column for each of `faults`."""
        found = np.zeros((len(rows), len(self.faults)))
        for gate, places in self._divided(rows):
            columns = [[d.fault for d in gate.detectors].index(fault) for fault in self.faults]
            excess = gate.excess(np.stack([rows[i].features_F for i in places]))
            found[places] = excess[:, columns]
        return found

    def alike(self, rows: Sequence[GateVersion], plants: Sequence[GateRow]) -> np.ndarray:
        """Which rows score at least as high as half of the plants, a column for each of `faults`.

        Rows and plants of each half are compared with each other, since another gate judges them.
        """
        found = np.zeros((len(rows), len(self.faults)), dtype=np.bool_)
        rows_N_D, plants_M_D = self.excess(rows), self.excess(plants)
        seed = self.fitted_on_fit.seed
        half_N, half_M = (
            np.array([half_of(r.example_id, seed=seed) for r in some]) for some in (rows, plants)
        )
        for d, fault in enumerate(self.faults):
            is_fault_M = np.array([r.fault == fault for r in plants])
            for half in ("fit", "held_out"):
                planted = plants_M_D[is_fault_M & (half_M == half), d]
                if len(planted):
                    own_N = half_N == half
                    found[own_N, d] = rows_N_D[own_N, d] >= np.median(planted)
        return found

    def _divided(
        self, rows: Sequence[GateRow | GateVersion]
    ) -> Iterator[tuple[CalibratedGate, list[int]]]:
        seed = self.fitted_on_fit.seed
        for gate, part in zip(self.both, ("held_out", "fit"), strict=True):
            places = [i for i, r in enumerate(rows) if half_of(r.example_id, seed=seed) == part]
            if places:
                yield gate, places


def half_of(example_id: str, *, seed: int) -> Part:
    """Half of the sample to which an example belongs."""
    return part_of(example_id, seed=seed, held_out_fraction=0.5)


def crossed_gates(readings: AuditReadings, *, max_false_refusals: float, seed: int) -> CrossedGates:
    """Fit one gate on each half of the sample.

    Args:
        readings: What the student read.
        max_false_refusals: The share of clean rows that may be rejected.
        seed: Seed of the division.

    Raises:
        TooFewRowsError: There are too few rows.
    """
    versions = readings.versions
    user = [GateRow(example_id=v.example_id, features_F=v.features_F) for v in versions]
    told = with_suspected([*user, *readings.material.planted], seed=seed)
    suspected = {
        v.candidate_id: r.suspected
        for v, r in zip(versions, told, strict=False)
        if r.suspected is not None
    }
    plants = told[len(user) :]
    read = {v.candidate_id for v in readings.material.versions}
    fitted_on = [r for v, r in zip(versions, told, strict=False) if v.candidate_id in read]
    rows = [*fitted_on, *plants]
    half = {r.example_id: half_of(r.example_id, seed=seed) for r in rows}
    other: dict[str, Part] = {k: "held_out" if p == "fit" else "fit" for k, p in half.items()}
    first, second = (
        fit_gate(rows, max_false_refusals=max_false_refusals, seed=seed, parts=parts)
        for parts in (half, other)
    )
    return CrossedGates(
        fitted_on_fit=first, fitted_on_held_out=second, suspected=suspected, plants=plants
    )


def sides_of(
    readings: AuditReadings, gates: CrossedGates | None, *, seed: int
) -> list[SideFinding]:
    """Findings on each side, the rewritten or sampled one first.

    Args:
        readings: What the student read.
        gates: Fitted on it; None where there were too few rows.
        seed: Seed of the intervals.
    """
    order: tuple[Side, ...] = ("rewritten", "sampled", "original")
    there = {_side(v) for v in readings.versions}
    return [_side_finding(side, readings, gates, seed=seed) for side in order if side in there]


def kind_of(judgement: Judgement) -> str:
    """Kind of fault that the gate names, or `passed`."""
    return PASSED if judgement.passed else _KIND_OF[judgement.fault]


def is_beyond(version: GateVersion) -> bool:
    """Whether a text is far beyond the student, by its surprisal after the instruction."""
    surprise = float(version.features_F[NAMES.index("surprise")])
    tokens = math.exp(float(version.features_F[NAMES.index("log_tokens")]))
    return surprise >= BEYOND_NATS and round(tokens) >= _BEYOND_TOKENS


def _side(version: GateVersion) -> Side:
    if version.step == ORIGINAL:
        return "original"
    return "sampled" if version.step == SAMPLE else "rewritten"


def _side_finding(
    side: Side, readings: AuditReadings, gates: CrossedGates | None, *, seed: int
) -> SideFinding:
    versions = [v for v in readings.versions if _side(v) == side]
    measured = [kind_of(j) for j in gates.judge(versions)] if gates else [PASSED] * len(versions)
    beyond = share_of(
        sum(o == PASSED and is_beyond(v) for o, v in zip(measured, versions, strict=True)),
        len(versions),
    )
    plain = SideFinding(side=side, read=len(versions), beyond=beyond)
    if gates is None:
        return plain
    plants = _comparable_plants(versions, gates)
    if not plants:
        return plain
    user = [gates.suspected.get(v.candidate_id) for v in versions]
    aside = Counter(fault for fault in user if fault is not None)
    clean_N = [fault is None for fault in user]
    if not any(clean_N):
        return plain
    by_gate = [kind_of(j) for j in gates.judge(plants)]
    found = _estimated(
        replace(plain, suspected=dict(sorted(aside.items()))),
        refused=measured,
        clean_N=clean_N,
        planted=_by_kind(plants, by_gate),
        looks=[_look(fault, o) for fault, o in zip(user, measured, strict=True)],
        planted_looks=_by_kind(
            plants, [_look(r.suspected, o) for r, o in zip(plants, by_gate, strict=True)]
        ),
        seed=seed,
    )
    alike_N_D = gates.alike(versions, plants)
    missed = _missed(plants, by_gate)
    return replace(
        found,
        kinds=tuple(
            replace(k, alike=_alike(k.kind, gates.faults, alike_N_D), missed=missed.get(k.kind))
            for k in found.kinds
        ),
    )


def _missed(plants: Sequence[GateRow], by_gate: Sequence[str]) -> dict[str, tuple[str, Share]]:
    """For each kind its planted fault that is rejected least often, if that is clearly too few."""
    outcomes: dict[str, list[str]] = {}
    for row, outcome in zip(plants, by_gate, strict=True):
        if row.fault is not None:
            outcomes.setdefault(row.fault, []).append(outcome)
    rates = {fault: _hits(rows) for fault, rows in outcomes.items()}
    found: dict[str, tuple[str, Share]] = {}
    for fault, rate in sorted(rates.items(), key=lambda item: item[1].fraction):
        if fault in _KIND_OF and rate.high < SURE_HIT_RATE:
            found.setdefault(_KIND_OF[fault], (fault, rate))
    return found


def _comparable_plants(versions: Sequence[GateVersion], gates: CrossedGates) -> list[GateRow]:
    """The plants that are compared with originals exactly where these versions are."""
    compared = any(v.step != ORIGINAL and _is_compared(v.features_F) for v in versions)
    return [
        r
        for r in gates.plants
        if r.fault in gates.faults and _is_compared(r.features_F) == compared
    ]


def look_faulty(
    sides: Sequence[SideFinding], readings: AuditReadings, gates: CrossedGates
) -> dict[str, str]:
    """Versions that look faulty, rejected or not, with the kind, by candidate id.

    Those that do not count as clean, and those for which a kind is doubtful.

    Args:
        sides: Findings on originals and rewrites.
        readings: What the student read.
        gates: The two gates, each fitted on one half.
    """
    found = {
        v.candidate_id: _KIND_OF[gates.suspected[v.candidate_id]]
        for v in readings.versions
        if gates.suspected.get(v.candidate_id) in _KIND_OF
    }
    for side in sides:
        kinds = {k.kind for k in side.kinds if k.is_doubtful}
        versions = [v for v in readings.versions if _side(v) == side.side]
        if not kinds:
            continue
        alike_N_D = gates.alike(versions, _comparable_plants(versions, gates))
        for d, fault in enumerate(gates.faults):
            if _KIND_OF.get(fault) in kinds:
                for place in np.flatnonzero(alike_N_D[:, d]).tolist():
                    found.setdefault(versions[place].candidate_id, _KIND_OF[fault])
    return found


def _alike(kind: str, faults: Sequence[str], alike_N_D: np.ndarray) -> Share | None:
    columns = [d for d, fault in enumerate(faults) if _KIND_OF.get(fault) == kind]
    if not columns:
        return None
    return share_of(int(alike_N_D[:, columns].any(axis=1).sum()), len(alike_N_D))


def _look(suspected: str | None, by_gate: str) -> str:
    """Kind of fault that a row resembles, for an estimate of shares.

    A gate's thresholds keep false rejections few, so in a small sample they miss much. Where a
    fault shows among the user's rows, a row counts as having it if that is more likely than not;
    otherwise the gate's verdict counts. How often either is wrong is measured on plants and on
    rows that look clean, and taken out of the estimate.
    """
    return by_gate if suspected is None else _KIND_OF.get(suspected, PASSED)


def _estimated(
    plain: SideFinding,
    *,
    refused: Sequence[str],
    clean_N: Sequence[bool],
    planted: Mapping[str, Sequence[str]],
    looks: Sequence[str],
    planted_looks: Mapping[str, Sequence[str]],
    seed: int,
) -> SideFinding:
    usable = [k for k, rows in planted_looks.items() if _hits(rows).fraction >= LEAST_HIT_RATE]
    names = [PASSED, *usable]  # a look of another kind says nothing, and counts as none

    def counted(outcomes: Sequence[str]) -> list[int]:
        found = Counter(o if o in usable else PASSED for o in outcomes)
        return [found[name] for name in names]

    clean = [o for o, is_clean in zip(looks, clean_N, strict=True) if is_clean]
    estimates = prevalences(
        counted(looks),
        known_C_O=[counted(rows) for rows in (clean, *(planted_looks[k] for k in usable))],
        seed=seed,
    )
    by_kind = dict(zip(usable, estimates, strict=False))
    named = Counter(refused)
    return replace(
        plain,
        measured=len(refused),
        refused=_hits(refused),
        estimate=estimates[-1] if usable else None,
        false_refusals=_hits([o for o, ok in zip(refused, clean_N, strict=True) if ok]),
        hit_rate=_mean_hit_rate(planted),
        kinds=tuple(
            KindFinding(
                kind=kind,
                named=share_of(named[kind], len(refused)),
                estimate=by_kind.get(kind),
                hit_rate=_hits(planted[kind]) if kind in planted else None,
                reason=_why_not(kind, by_kind, planted),
            )
            for kind in KINDS
        ),
    )


def _why_not(
    kind: str, by_kind: Mapping[str, Prevalence], planted: Mapping[str, Sequence[str]]
) -> str | None:
    if kind in by_kind:
        return None
    return "low_hit_rate" if kind in planted else "no_detector"


def _by_kind(plants: Sequence[GateRow], outcomes: Sequence[str]) -> dict[str, list[str]]:
    """Outcomes of plants by the kind of their fault."""
    found: dict[str, list[str]] = {}
    for row, outcome in zip(plants, outcomes, strict=True):
        if row.fault in _KIND_OF:
            found.setdefault(_KIND_OF[row.fault], []).append(outcome)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _is_compared(features_F: np.ndarray) -> bool:
    return not bool(np.isnan(features_F[-len(DIFFERENCES) :]).all())


def _hits(outcomes: Sequence[str]) -> Share:
    return share_of(sum(o != PASSED for o in outcomes), len(outcomes))


def _mean_hit_rate(known: Mapping[str, Sequence[str]]) -> Prevalence | None:
    rates = [_hits(rows) for rows in known.values() if rows]
    if not rates:
        return None
    mean, examples = fmean(r.fraction for r in rates), min(r.rows for r in rates)
    reach = share_of(round(mean * examples), examples)
    return Prevalence(share=mean, low=min(mean, reach.low), high=max(mean, reach.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """One row of the table of break-even shares.

    Attributes:
        ratio: B / H.
        share: The share of harmful rows above which choosing pays; None where it never does.
        low: The same, if the gate is as good as the ends of its intervals allow.
        high: The same, if it is as bad; None where choosing never pays then.
        is_above: Whether the estimated share is above it: `yes` where its whole interval is above
            `high`, `no` where it is below `low`, else `unclear`.
    """

    ratio: float
    share: float | None
    low: float | None
    high: float | None
    is_above: Literal["yes", "no", "unclear"]


def break_even_table(side: SideFinding) -> list[BreakEven]:
    """Break-even shares over B / H; empty where the gate's rates are unknown."""
    found, hits, false = side.estimate, side.hit_rate, side.false_refusals
    if found is None or hits is None or false is None:
        return []
    rows = []
    for ratio in RATIOS:
        share, low, high = (
            break_even_share(hit_rate=h, false_refusals=f, benefit_to_harm=ratio)
            for h, f in (
                (hits.share, false.fraction),
                (hits.high, false.low),
                (hits.low, false.high),
            )
        )
        above: Literal["yes", "no", "unclear"] = "unclear"
        if low is None or found.high < low:
            above = "no"
        elif high is not None and found.low > high:
            above = "yes"
        rows.append(BreakEven(ratio=ratio, share=share, low=low, high=high, is_above=above))
    return rows


Advice: TypeAlias = Literal["choose", "verify_first", "keep_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Recommendation of an audit.

    Attributes:
        advice: `choose`, `verify_first` or `keep_all`.
        because: Which of the rules gave it: `many_faults`, `gate_blind`, `doubtful`,
            `has_references`, `unclear` or `few_faults`.
    """

    advice: Advice
    because: str


def recommendation_of(side: SideFinding, *, checkable: bool) -> Recommendation | None:
    """Recommendation, or None where nothing could be estimated.

    Args:
        side: The rewrites, or the rows where there are none.
        checkable: Whether at least half of the examples have a reference answer.
    """
    if side.false_refusals is None or side.hit_rate is None:
        return None
    if side.estimate is None or side.hit_rate.share < LEAST_HIT_RATE:
        return Recommendation(advice="verify_first", because="gate_blind")
    even = next(row for row in break_even_table(side) if row.ratio == 1.0)
    if even.is_above == "yes" and side.estimate.share >= _ENOUGH:
        return Recommendation(advice="choose", because="many_faults")
    not_sure: Mapping[str, bool] = {
        "doubtful": any(k.is_doubtful for k in side.kinds),
        "has_references": checkable,
        "unclear": even.is_above != "no" and side.estimate.high >= _ENOUGH,
    }
    because = next((name for name, holds in not_sure.items() if holds), None)
    if because is not None:
        return Recommendation(advice="verify_first", because=because)
    return Recommendation(advice="keep_all", because="few_faults")
