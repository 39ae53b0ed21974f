"""Fitting of a calibrated gate on planted faults, and its measurement on held-out rows.

    clean rows and planted faults --> features --> a detector for each fault (cross-fitted)
        --> thresholds under the budget --> shares on held-out rows, for seen and left-out faults

Rows are split by example: an example, its clean versions and all its plants are either fit or
held out. Pure: features in, a gate out.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError, SettingsError
from tutelage.gate.contamination import contamination_of, suspected_rows
from tutelage.gate.detectors import TREES, Bins, Detector, Task, fit_detectors, with_linear
from tutelage.gate.features import NAMES
from tutelage.gate.gate_model import CalibratedGate, FaultResult
from tutelage.gate.planted_faults import Part
from tutelage.gate.text_signs import sign_of
from tutelage.gate.thresholds import FOLDS, Scored, choose_thresholds
from tutelage.stats.intervals import Share, share_of
from tutelage.stats.rank_correlation import auc

Numbers = NDArray[np.float64]

MIN_EXAMPLES = 60
"""Fewest examples with which a gate is fitted."""
_MIN_PLANTS = 12
"""Fewest plants among the fit rows with which a fault gets a detector."""
HELD_OUT = 0.4
"""Share of the examples that are held out to measure the gate."""
_ROUNDS = 4
"""Rounds in which rows that look faulty are set aside before the detectors are fitted."""
_QUICK_TREES = 15
"""Trees of the preliminary detectors by which those rows are found."""
_LEAST_CLEAN = 8
"""Fewest rows that must remain as clean ones."""
_LEAST_LEFT = 0.4
"""Where a smaller share would remain, the rows of the round before are set aside: a fault in more
than half of the rows cannot be distinguished from their style.
"""
_MOST_SIGNS = 0.75
"""Largest share of rows with a sign; above it, the sign is no fault of this data."""
_SCREENS = {
    "mismatch": ("log_ifd", 3.5),
    "scrambled_words": ("surprise", 7.0),
    "wrong_letters": ("surprise", 7.0),
    "truncation": ("end_surprise", 3.5),
}
"""Feature by which rows with a fault are first looked for, where no sign in the text shows it, and
the least gain in log-likelihood by the share of rows that it finds. A detector is fitted with the
user's rows as clean ones: if many of them have the fault, it learns nothing. One number whose
direction is known needs no fit. Headlines and verses are surprising, too, so that number has to
gain more.
"""
_SCREEN_AUC = 0.95
"""Least AUC of plants and the rest of the rows by that feature. Below it, the student may just not
be able to tell: then many rows lie among the plants, too."""
_SHORTEST = 0.05
"""Share of the plants that may be shorter than a row that is looked for in this way. Texts of a few
tokens are surprising to many students, so among longer plants they would look faulty.
"""
_ALIKE = {
    "doubling": {"looping"},
    "looping": {"doubling"},
    "wrong_turn": {"template_text"},
    "template_text": {"wrong_turn"},
    "truncation": {"introduction"},
    "introduction": {"truncation"},
}
"""Faults with each other's signs."""
_WEIGHTS = {"mild": 0.3}
"""Weight of a plant relative to a strong one."""
_ALONE_WEIGHT = 0.1
"""Weight of a plant's second view, without the numbers of its original. Second views teach the
detectors to judge originals. With weight 1, some students find only half of two faults in rewrites.
"""


class TooFewRowsError(DataError):
    """Too few rows to fit a gate on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One row on which a gate is fitted or measured.

    Attributes:
        example_id: By which rows are split.
        features_F: As `features_of` gives them.
        fault: The planted fault; None for a clean row.
        dose: `mild`, `strong`, or another word for rows of the user; None for a clean row.
        measured: Whether the row counts where it is held out; false for a further view of a row.
        suspected: The fault for which it does not count as clean; None to let `fit_gate` see.
    """

    example_id: str
    features_F: Numbers = field(repr=False)
    fault: str | None = None
    dose: str | None = None
    measured: bool = True
    suspected: str | None = None


def part_of(example_id: str, *, seed: int, held_out_fraction: float = HELD_OUT) -> Part:
    """Whether an example is used to fit or held out; depends on these arguments alone.

    Args:
        example_id: The example.
        seed: Another seed divides otherwise.
        held_out_fraction: About this share of the examples is held out, in (0, 1).

    Examples:
        >>> sorted({part_of(str(i), seed=0) for i in range(20)})
        ['fit', 'held_out']
    """
    fraction = _fraction("part", seed, example_id)
    return "held_out" if fraction < held_out_fraction else "fit"


def fit_gate(
    rows: Sequence[GateRow],
    *,
    max_false_refusals: float,
    seed: int,
    parts: Mapping[str, Part] | None = None,
) -> CalibratedGate:
    """Fit detectors for all faults, choose thresholds, and measure both on held-out rows.

    Args:
        rows: Clean rows and plants, in any order.
        max_false_refusals: The share of clean rows that may be rejected, in (0, 0.5].
        seed: Seed of the split.
        parts: Whether an example is fit or held out, by its id; by default as `part_of` says.

    Returns:
        The gate. It does not depend on the order of rows.

    Raises:
        SettingsError: The budget is out of range.
        TooFewRowsError: There are fewer than `MIN_EXAMPLES` clean examples, or no fault has
            enough plants.
    """
    if not 0 < max_false_refusals <= 0.5:  # noqa: PLR2004
        raise SettingsError(
            f"max_false_refusals is {max_false_refusals}; it must be above 0 and at most 0.5",
            hint="0.05 rejects about one clean row in twenty",
        )
    fit, held = _split(rows, seed=seed, parts=parts)
    faults, skipped = _faults_with_plants(fit, held)
    if not faults or not any(r.fault is None for r in held):
        raise TooFewRowsError(
            f"no fault could be planted into {_MIN_PLANTS} rows",
            hint="give more rows or longer responses, or set quality_gate: off",
        )
    known = any(r.suspected for r in rows)
    fit = fit if known else with_suspected(fit, seed=seed, faults=faults)
    fitting = _fitting_of(fit, faults, seed=seed)
    thresholds = choose_thresholds(fitting.scored(), max_false_refusals=max_false_refusals)
    detectors = fitting.detectors()
    held_clean = [r for r in held if r.fault is None]
    held_faulty = [r for r in held if r.fault in faults]
    if not known:
        held_clean = _held_out_with_suspected(fitting, held_clean, held_faulty)
    clean = [r for r in held_clean if r.suspected is None]
    if not clean:
        raise TooFewRowsError(
            f"all {len(held_clean)} held-out rows look faulty",
            hint="clean the data first (`tutelage filter`), or set quality_gate: off",
        )
    gate = CalibratedGate(
        detectors=detectors,
        thresholds=tuple(thresholds.log_odds_D.tolist()),
        max_false_refusals=max_false_refusals,
        expected_false_refusals=thresholds.expected,
        false_refusals=_refused(clean, detectors, thresholds.log_odds_D),
        results=(),
        skipped=skipped,
        suspected=_suspected_counts([r for r in (*fit, *held_clean) if r.fault is None]),
        fit_examples=len({r.example_id for r in fit if r.fault is None}),
        held_out_examples=len({r.example_id for r in held_clean}),
        seed=seed,
    )
    return _measured(gate, fitting, [*clean, *held_faulty], max_false_refusals=max_false_refusals)


def _split(
    rows: Sequence[GateRow], *, seed: int, parts: Mapping[str, Part] | None
) -> tuple[list[GateRow], list[GateRow]]:
    """Fit rows and held-out rows, each in an order independent of the input order."""
    ordered = sorted(
        rows, key=lambda r: (r.example_id, r.fault or "", r.dose or "", r.features_F.tobytes())
    )
    examples = {r.example_id for r in ordered if r.fault is None}
    if len(examples) < MIN_EXAMPLES:
        plural = "" if len(examples) == 1 else "s"
        raise TooFewRowsError(
            f"{len(examples)} clean example{plural} with scores; a quality gate needs "
            f"{MIN_EXAMPLES}",
            hint="give more rows, or set quality_gate: off",
        )
    where = {r.example_id: part_of(r.example_id, seed=seed) for r in ordered} | dict(parts or {})
    fit = [r for r in ordered if where[r.example_id] == "fit"]
    held = [r for r in ordered if r.measured and where[r.example_id] == "held_out"]
    return fit, held


def with_suspected(
    rows: Sequence[GateRow], *, seed: int, faults: Sequence[str] | None = None
) -> list[GateRow]:
    """User rows, with those that look faulty labelled with their fault, followed by the plants.

    A plant says its fault where one of the user's rows with its numbers would be suspected; one
    whose text has a sign of another fault is left out.

    A row is suspected for a sign in its text, or because it lies among the plants of a fault. Each
    round decides anew on all rows, so a row that was set aside can come back.

    Args:
        rows: The user's rows and the plants.
        seed: Seed of the folds.
        faults: Those that count; by default all that are planted.
    """
    names = sorted({r.fault for r in rows if r.fault}) if faults is None else list(faults)
    user = [r for r in rows if r.fault is None]
    faulty = without_other_signs([r for r in rows if r.fault in names])
    signs = signs_of([r.features_F for r in user])
    sign_N = places_of(signs, names)
    screened = _screened(user, faulty, signs, names)
    found = screened
    quick: _Fitting | None = None
    enough = sum(s is None for s in found) >= _LEAST_CLEAN
    for _ in range(_ROUNDS if faulty and enough else 0):
        clean_N = np.array([f is None for f in found], dtype=np.bool_)
        quick = _Fitting(
            user, faulty, names, clean_N, seed=seed, trees=_QUICK_TREES, alone_weight=1.0,
            linear=False,
        )  # fmt: skip
        among_N = suspected_rows(
            user_N_D=quick.user_odds_N_D, planted_M_D=quick.faulty_odds_M_D,
            fault_M=quick.fault_M, strong_M=quick.strong_M, sign_N=sign_N,
        )  # fmt: skip
        now = [s or (names[d] if d >= 0 else None) for s, d in zip(screened, among_N, strict=True)]
        left = sum(n is None for n in now)
        if left < max(_LEAST_CLEAN, _LEAST_LEFT * len(user)) or left == clean_N.sum():
            break
        found = now
    if quick is not None:
        cut_D = _cuts(quick, sign_N)
        own_odds_M = quick.faulty_odds_M_D[np.arange(len(faulty)), quick.fault_M]
        looks_M = own_odds_M >= cut_D[quick.fault_M]
        signed = set(signs)  # a sign counts where one of the user's rows has it
        faulty = [
            replace(r, suspected=r.fault if looks or _sign(r) in signed - {None} else None)
            for r, looks in zip(faulty, looks_M.tolist(), strict=True)
        ]
    others = [r for r in rows if r.fault is not None and r.fault not in names]
    return [
        *(replace(r, suspected=fault) for r, fault in zip(user, found, strict=True)),
        *faulty,
        *others,
    ]


def _screened(
    user: Sequence[GateRow],
    faulty: Sequence[GateRow],
    signs: Sequence[str | None],
    names: Sequence[str],
) -> list[str | None]:
    """Signs, and the faults of which rows are suspected by one feature, before any fit."""
    found = list(signs)
    for fault in names:
        if fault not in _SCREENS:
            continue
        feature, least_gain = _SCREENS[fault]
        place = NAMES.index(feature)
        strong = [r for r in faulty if r.fault == fault and r.dose not in _WEIGHTS]
        own_M = np.array([r.features_F[place] for r in strong])
        all_N = np.array([r.features_F[place] for r in user])
        known_N = np.isfinite(all_N) & np.array([s is None for s in signs], dtype=np.bool_)
        known_N &= _as_long_as(strong, user)
        share = contamination_of(all_N[known_N], own_M[np.isfinite(own_M)])
        if share.auc < _SCREEN_AUC or share.gain < least_gain:
            continue
        for at in np.flatnonzero(known_N & (all_N >= share.cut)).tolist():
            found[at] = found[at] or fault
    left = sum(f is None for f in found)
    return found if left >= max(_LEAST_CLEAN, _LEAST_LEFT * len(user)) else list(signs)


def _as_long_as(plants: Sequence[GateRow], user: Sequence[GateRow]) -> NDArray[np.bool_]:
    """Mask of the user's rows that are not shorter than nearly all plants."""
    place = NAMES.index("log_tokens")
    if not plants:
        return np.zeros(len(user), dtype=np.bool_)
    least = float(np.nanquantile([r.features_F[place] for r in plants], _SHORTEST))
    mask_N: NDArray[np.bool_] = np.array([r.features_F[place] for r in user]) >= least
    return mask_N


def _cuts(fitting: "_Fitting", sign_N: NDArray[np.int64]) -> Numbers:
    """Log-odds above which each fault is more likely than not; infinite where there are none."""
    odds_N_D, odds_M_D = fitting.user_odds_N_D, fitting.faulty_odds_M_D
    return np.array(
        [
            contamination_of(
                odds_N_D[(sign_N < 0) | (sign_N == d), d], odds_M_D[fitting.fault_M == d, d]
            ).cut
            for d in range(len(fitting.faults))
        ]
    )


def _held_out_with_suspected(
    fitting: "_Fitting", clean: Sequence[GateRow], faulty: Sequence[GateRow]
) -> list[GateRow]:
    """Held-out rows with suspected faults, found by the fitted detectors."""
    detectors = fitting.detectors()
    signs = signs_of([r.features_F for r in clean])
    among_N = suspected_rows(
        user_N_D=np.concatenate([_log_odds(clean, detectors), fitting.user_odds_N_D]),
        planted_M_D=np.concatenate([_log_odds(faulty, detectors), fitting.faulty_odds_M_D]),
        fault_M=np.concatenate([fitting.index_of(faulty), fitting.fault_M]),
        strong_M=np.concatenate([_is_strong(faulty), fitting.strong_M]),
        sign_N=np.concatenate(
            [places_of(signs, fitting.faults), places_of(fitting.signs, fitting.faults)]
        ),
    )[: len(clean)]
    found = [
        sign or (fitting.faults[d] if d >= 0 else None)
        for sign, d in zip(signs, among_N, strict=True)
    ]
    if sum(f is None for f in found) < _LEAST_LEFT * len(clean):
        found = signs
    return [replace(r, suspected=f) for r, f in zip(clean, found, strict=True)]


def places_of(signs: Sequence[str | None], faults: Sequence[str]) -> NDArray[np.int64]:
    """Index of the fault of each sign: -1 without a sign, len(faults) for an unknown fault."""
    places = {fault: d for d, fault in enumerate(faults)} | {None: -1}
    return np.array([places.get(sign, len(faults)) for sign in signs], dtype=np.int64)


def without_other_signs(planted: Sequence[GateRow]) -> list[GateRow]:
    """Plants without those whose text has a sign of another fault than the planted one.

    Such as a mismatched answer that is a refusal, since some of the user's rows are refusals.

    Args:
        planted: Rows with planted faults.
    """
    signs = [_sign(r) for r in planted]
    like = [{r.fault} | _ALIKE.get(str(r.fault), set()) for r in planted]
    fits = [s is None or s in own for s, own in zip(signs, like, strict=True)]
    left = Counter(r.fault for r, ok in zip(planted, fits, strict=True) if ok)
    return [r for r, ok in zip(planted, fits, strict=True) if ok or left[r.fault] < _MIN_PLANTS]


def _sign(row: GateRow) -> str | None:
    return sign_of(dict(zip(NAMES, row.features_F.tolist(), strict=True)))


def signs_of(features: Sequence[Numbers]) -> list[str | None]:
    """Fault that each row's text has a sign of, or None.

    A sign that most of the rows have is their manner, and no fault.

    Args:
        features: As `features_of` gives them.
    """
    found = [sign_of(dict(zip(NAMES, x_F.tolist(), strict=True))) for x_F in features]
    counts = Counter(found)
    usual = {f for f, n in counts.items() if f is not None and n > _MOST_SIGNS * len(found)}
    return [None if f in usual else f for f in found]


def _fitting_of(fit: Sequence[GateRow], faults: Sequence[str], *, seed: int) -> "_Fitting":
    user = [r for r in fit if r.fault is None]
    clean_N = np.array([r.suspected is None for r in user], dtype=np.bool_)
    if clean_N.sum() < _LEAST_CLEAN:
        raise TooFewRowsError(
            f"{len(user) - int(clean_N.sum())} of {len(user)} rows look faulty; too few are left",
            hint="clean the data first (`tutelage filter`), or set quality_gate: off",
        )
    return _Fitting(user, [r for r in fit if r.fault in faults], faults, clean_N, seed=seed)


def _suspected_counts(rows: Sequence[GateRow]) -> dict[str, int]:
    return dict(sorted(Counter(r.suspected for r in rows if r.suspected is not None).items()))


class _Fitting:
    """Detectors of all faults on the same clean rows, and their cross-fitted log-odds.

    Rows that do not count as clean, and the plants into them, teach nothing; they are scored.
    """

    def __init__(
        self,
        user: Sequence[GateRow],
        faulty: Sequence[GateRow],
        faults: Sequence[str],
        clean_N: NDArray[np.bool_],
        *,
        seed: int,
        trees: int = TREES,
        alone_weight: float = _ALONE_WEIGHT,
        linear: bool = True,
    ) -> None:
        self.faults = list(faults)
        self.clean_N = clean_N
        self.signs = signs_of([r.features_F for r in user])
        self.strong_M = _is_strong(faulty)
        self.fault_M = self.index_of(faulty)
        self.weight_M = np.array([_weight_of(r, alone_weight) for r in faulty])
        self.fold_N, self.fold_M = _folds(user, seed), _folds(faulty, seed)
        self.used_M = self._used(user, faulty)
        X_user, X_faulty = _matrix(user), _matrix(faulty)
        X_all = np.concatenate([X_user, X_faulty])
        everything = range(-1, FOLDS)  # -1: no fold is left out
        tasks = [self._task(d, left_out=fold) for fold in everything for d in range(len(faults))]
        fitted = fit_detectors(tasks, bins=Bins.of(X_all), trees=trees)
        if linear:
            fitted = with_linear(fitted, tasks, X_all)
        self._whole = tuple(fitted[: len(faults)])
        odds = np.zeros((len(X_all), len(faults)))
        fold_all = np.concatenate([self.fold_N, self.fold_M])
        for place, detector in enumerate(fitted[len(faults) :]):
            fold, d = divmod(place, len(faults))
            odds[fold_all == fold, d] = detector.log_odds(X_all[fold_all == fold])
        self.user_odds_N_D, self.faulty_odds_M_D = odds[: len(user)], odds[len(user) :]

    def index_of(self, faulty: Sequence[GateRow]) -> NDArray[np.int64]:
        """Index of each row's fault."""
        return np.array([self.faults.index(str(r.fault)) for r in faulty], dtype=np.int64)

    def _used(self, user: Sequence[GateRow], faulty: Sequence[GateRow]) -> NDArray[np.bool_]:
        """Mask of the plants in clean rows; all plants of a fault where these are too few."""
        doubtful = {r.example_id for r, ok in zip(user, self.clean_N, strict=True) if not ok}
        used_M = np.array([r.example_id not in doubtful for r in faulty], dtype=np.bool_)
        for d in range(len(self.faults)):
            if (used_M & (self.fault_M == d)).sum() < _MIN_PLANTS:
                used_M |= self.fault_M == d
        return used_M

    def _task(self, d: int, *, left_out: int) -> Task:
        own_M = self.used_M & (self.fault_M == d)
        clean_N, faulty_M = self.clean_N.astype(np.float64), own_M * self.weight_M
        zeros_N, zeros_M = np.zeros(len(clean_N)), np.zeros(len(faulty_M))
        clean_N = np.where(self.fold_N == left_out, 0.0, clean_N)
        faulty_M = np.where(self.fold_M == left_out, 0.0, faulty_M)
        return Task(
            fault=self.faults[d],
            clean_N=np.concatenate([clean_N, zeros_M]),
            faulty_N=np.concatenate([zeros_N, faulty_M]),
        )

    def detectors(self) -> tuple[Detector, ...]:
        """Detectors fitted on all training rows."""
        return self._whole

    def scored(self) -> Scored:
        """Cross-fitted log-odds of the training rows."""
        return Scored(
            clean_N_D=self.user_odds_N_D[self.clean_N],
            clean_fold_N=self.fold_N[self.clean_N],
            faulty_M_D=self.faulty_odds_M_D[self.used_M],
            fault_M=self.fault_M[self.used_M],
            weight_M=self.weight_M[self.used_M],
        )

    def without(self, left_out: int) -> Scored:
        """Cross-fitted log-odds without one fault's detector and plants."""
        scored = self.scored()
        others_M = scored.fault_M != left_out
        return Scored(
            clean_N_D=np.delete(scored.clean_N_D, left_out, axis=1),
            clean_fold_N=scored.clean_fold_N,
            faulty_M_D=np.delete(scored.faulty_M_D[others_M], left_out, axis=1),
            fault_M=scored.fault_M[others_M],
            weight_M=scored.weight_M[others_M],
        )


def _faults_with_plants(
    fit: Sequence[GateRow], held: Sequence[GateRow]
) -> tuple[list[str], dict[str, str]]:
    """Faults with enough plants on both sides, and the reasons for leaving out the others."""
    faults, skipped = [], {}
    for fault in sorted({r.fault for r in (*fit, *held) if r.fault is not None}):
        plants = len({r.example_id for r in fit if r.fault == fault})
        if plants < _MIN_PLANTS or not any(r.fault == fault for r in held):
            skipped[fault] = f"planted into {plants} fit rows; a detector needs {_MIN_PLANTS}"
        else:
            faults.append(fault)
    return faults, skipped


def _measured(
    gate: CalibratedGate, fitting: _Fitting, held: Sequence[GateRow], *, max_false_refusals: float
) -> CalibratedGate:
    """Gate with its results on held-out rows."""
    clean_X = _matrix([r for r in held if r.fault is None])
    clean_excess = gate.excess(clean_X)
    results = []
    for d, fault in enumerate(fitting.faults):
        others = [i for i in range(len(fitting.faults)) if i != d]
        without = None
        if others:
            other = choose_thresholds(fitting.without(d), max_false_refusals=max_false_refusals)
            without = replace(
                gate,
                detectors=tuple(gate.detectors[i] for i in others),
                thresholds=tuple(other.log_odds_D.tolist()),
            )
        for dose in sorted({str(r.dose) for r in held if r.fault == fault}):
            own = [r for r in held if r.fault == fault and r.dose == dose]
            excess = gate.excess(_matrix(own))
            left_out_refused = left_out_auc = None
            if without is not None:
                left, clean = without.excess(_matrix(own)), without.excess(clean_X)
                left_out_refused = share_of(int((left > 0).any(axis=1).sum()), len(own))
                left_out_auc = auc(left.max(axis=1), clean.max(axis=1))
            results.append(
                FaultResult(
                    fault=fault,
                    dose=dose,
                    refused=share_of(int((excess > 0).any(axis=1).sum()), len(own)),
                    auc=auc(excess.max(axis=1), clean_excess.max(axis=1)) or 0.0,
                    left_out_refused=left_out_refused,
                    left_out_auc=left_out_auc,
                )
            )
    return replace(gate, results=tuple(results))


def _refused(rows: Sequence[GateRow], detectors: Sequence[Detector], at_D: Numbers) -> Share:
    over_N = (_log_odds(rows, detectors) > at_D).any(axis=1)
    return share_of(int(over_N.sum()), len(rows))


def _log_odds(rows: Sequence[GateRow], detectors: Sequence[Detector]) -> Numbers:
    X_N_F = _matrix(rows)
    return np.stack([d.log_odds(X_N_F) for d in detectors], axis=1)


def _matrix(rows: Sequence[GateRow]) -> Numbers:
    return np.stack([r.features_F for r in rows]) if rows else np.zeros((0, len(NAMES)))


def _weight_of(plant: GateRow, alone: float) -> float:
    view = 1.0 if plant.measured else alone
    return _WEIGHTS.get(str(plant.dose), 1.0) * view


def _is_strong(rows: Sequence[GateRow]) -> NDArray[np.bool_]:
    return np.array([r.dose not in _WEIGHTS for r in rows], dtype=np.bool_)


def _folds(rows: Sequence[GateRow], seed: int) -> NDArray[np.int64]:
    return np.array(
        [int(_fraction("fold", seed, r.example_id) * FOLDS) for r in rows], dtype=np.int64
    )


def _fraction(purpose: str, seed: int, text: str) -> float:
    """Pseudo-random number in [0, 1) from a text and a seed."""
    digest = hashlib.blake2b(f"{purpose}:{seed}:{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
