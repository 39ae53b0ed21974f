"""Findings of an audit: estimated shares of faulty rows, the gate's rates, a recommendation.

Pure: rows with features and a fitted gate in, findings out. All shares are measured on examples on
which the gate was not fitted.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np

from tutelage.data import ORIGINAL, SAMPLE
from tutelage.gate import (
    NAMES,
    CalibratedGate,
    GateRow,
    Judgement,
    Prevalence,
    Share,
    break_even_share,
    part_of,
    prevalences,
    share_of,
    unsuspected,
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
        "truncated": ("truncation",),
        "echoing": ("echo",),
        "repetitive": ("doubling", "looping"),
        "low_effort": ("refusal",),
        "corrupted": ("scrambled_words", "wrong_letters", "markup_debris"),
        "template_or_turns": ("template_text", "wrong_turn"),
    }
)
"""What an audit reports on, and the planted faults of this kind."""
_KIND_OF = {fault: kind for kind, faults in KINDS.items() for fault in faults}

BEYOND_NATS = math.log(100)
"""A text is far beyond a student that gives its tokens, even after the instruction, less than one
chance in a hundred each (geometric mean)."""
_BEYOND_TOKENS = 8
"""Shorter texts are not called that: the mean of a few tokens says little."""
LEAST_HIT_RATE = 0.5
"""Of a kind that the gate refuses less often than this, no share is estimated."""
RATIOS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""B / H for which break-even shares are given."""
_ENOUGH = 0.1
"""The share of faulty rewrites from which published studies found that filtering pays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFinding:
    """One kind of fault on one side.

    Attributes:
        kind: One of `KINDS`.
        named: Measured rows that the gate refused and named as this kind.
        estimate: The share corrected for the gate's errors; None where there is a reason.
        hit_rate: Strong planted faults of this kind that the gate refused, under any name.
        reason: `no_detector` or `low_hit_rate`; None where there is an estimate.
    """

    kind: str
    named: Share
    estimate: Prevalence | None = None
    hit_rate: Share | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFinding:
    """The rewritten versions, the sampled responses, or the original rows.

    Attributes:
        side: Which of these.
        read: How many the student read.
        beyond: Those far beyond the student, among all that were read and not refused.
        measured: How many of them the shares are measured on; 0 without a gate.
        refused: What the gate refused of these.
        estimate: The share with any fault, corrected for the gate's errors.
        false_refusals: What the gate refused of clean ones.
        hit_rate: The mean share of strong planted faults that it refused, each kind counted
            alike; the interval counts each example once.
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
    kinds: tuple[KindFinding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReadings:
    """What the student read for an audit.

    Attributes:
        material: What the gate was fitted on; a part of it is held out.
        reserve: Versions of further examples, which the gate has not seen.
    """

    material: GateMaterial
    reserve: Sequence[GateVersion] = ()

    @property
    def versions(self) -> list[GateVersion]:
        """All of them."""
        return [*self.material.versions, *self.reserve]

    def measured(self, *, seed: int) -> list[GateVersion]:
        """Those on which the gate was not fitted."""
        held = [v for v in self.material.versions if part_of(v.example_id, seed=seed) == "held_out"]
        return [*held, *self.reserve]

    def plants(self, *, seed: int) -> list[GateRow]:
        """The plants on which the gate was not fitted."""
        return [r for r in self.material.planted if part_of(r.example_id, seed=seed) == "held_out"]


def sides_of(
    readings: AuditReadings, gate: CalibratedGate | None, *, seed: int
) -> list[SideFinding]:
    """What is found on each side, the rewritten or sampled one first.

    Args:
        readings: What the student read.
        gate: Fitted on it; None where there were too few rows.
        seed: Of the intervals.
    """
    order: tuple[Side, ...] = ("rewritten", "sampled", "original")
    there = {_side(v) for v in readings.versions}
    return [_side_finding(side, readings, gate, seed=seed) for side in order if side in there]


def kind_of(judgement: Judgement) -> str:
    """The kind of fault that the gate names, or `passed`."""
    return PASSED if judgement.passed else _KIND_OF[judgement.fault]


def is_beyond(version: GateVersion) -> bool:
    """Whether a text is far beyond the student, by its surprise given the instruction."""
    surprise = float(version.features_F[NAMES.index("surprise")])
    tokens = math.exp(float(version.features_F[NAMES.index("log_tokens")]))
    return surprise >= BEYOND_NATS and round(tokens) >= _BEYOND_TOKENS


def _side(version: GateVersion) -> Side:
    if version.step == ORIGINAL:
        return "original"
    return "sampled" if version.step == SAMPLE else "rewritten"


def _side_finding(
    side: Side, readings: AuditReadings, gate: CalibratedGate | None, *, seed: int
) -> SideFinding:
    versions = [v for v in readings.versions if _side(v) == side]
    passed = [True] * len(versions)
    if gate is not None:
        passed = [o == PASSED for o in _outcomes(gate, [v.features_F for v in versions])]
    beyond = share_of(
        sum(p and is_beyond(v) for p, v in zip(passed, versions, strict=True)), len(versions)
    )
    plain = SideFinding(side=side, read=len(versions), beyond=beyond)
    if gate is None:
        return plain
    measured = [v for v in readings.measured(seed=gate.seed) if _side(v) == side]
    compared = side != "original" and any(_is_compared(v.features_F) for v in measured)
    plants = [r for r in readings.plants(seed=gate.seed) if _is_compared(r.features_F) == compared]
    rows = [GateRow(example_id=v.example_id, features_F=v.features_F) for v in measured]
    clean = _outcomes(gate, [r.features_F for r in unsuspected(rows, plants, gate)])
    if not measured or not clean:
        return plain
    return _estimated(
        plain,
        measured=_outcomes(gate, [v.features_F for v in measured]),
        clean=clean,
        planted=_planted_outcomes(gate, plants),
        seed=seed,
    )


def _estimated(
    plain: SideFinding,
    *,
    measured: Sequence[str],
    clean: Sequence[str],
    planted: Mapping[str, Sequence[str]],
    seed: int,
) -> SideFinding:
    usable = [k for k, rows in planted.items() if _hits(rows).fraction >= LEAST_HIT_RATE]
    names = [PASSED, *usable]  # refusals as another kind say nothing, and count as passed

    def counted(outcomes: Sequence[str]) -> list[int]:
        found = Counter(o if o in usable else PASSED for o in outcomes)
        return [found[name] for name in names]

    estimates = prevalences(
        counted(measured),
        known_C_O=[counted(rows) for rows in (clean, *(planted[k] for k in usable))],
        seed=seed,
    )
    by_kind = dict(zip(usable, estimates, strict=False))
    named = Counter(measured)
    return replace(
        plain,
        measured=len(measured),
        refused=_hits(measured),
        estimate=estimates[-1] if usable else None,
        false_refusals=_hits(clean),
        hit_rate=_mean_hit_rate(planted),
        kinds=tuple(
            KindFinding(
                kind=kind,
                named=share_of(named[kind], len(measured)),
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


def _planted_outcomes(gate: CalibratedGate, plants: Sequence[GateRow]) -> dict[str, list[str]]:
    """Outcomes of plants by kind, for faults that have a detector."""
    faults = {detector.fault for detector in gate.detectors} & set(_KIND_OF)
    rows = [r for r in plants if r.fault in faults]
    planted: dict[str, list[str]] = {}
    for row, outcome in zip(rows, _outcomes(gate, [r.features_F for r in rows]), strict=True):
        planted.setdefault(_KIND_OF[str(row.fault)], []).append(outcome)
    return {kind: planted[kind] for kind in KINDS if kind in planted}


def _is_compared(features_F: np.ndarray) -> bool:
    return not bool(np.isnan(features_F[-len(DIFFERENCES) :]).all())


def _outcomes(gate: CalibratedGate, features: Sequence[np.ndarray]) -> list[str]:
    return [kind_of(j) for j in gate.judge(np.stack(features))] if features else []


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
    """Break-even shares over B / H; empty where the gate's rates are not known."""
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
    """The advice of an audit.

    Attributes:
        advice: `choose`, `verify_first` or `keep_all`.
        because: Which of the rules gave it: `many_faults`, `gate_blind`, `has_references`,
            `unclear` or `few_faults`.
    """

    advice: Advice
    because: str


def recommendation_of(side: SideFinding, *, checkable: bool) -> Recommendation | None:
    """The advice, or None where nothing could be estimated.

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
    if checkable:
        return Recommendation(advice="verify_first", because="has_references")
    if even.is_above != "no" and side.estimate.high >= _ENOUGH:
        return Recommendation(advice="verify_first", because="unclear")
    return Recommendation(advice="keep_all", because="few_faults")
