"""Prevalence of faults in data, estimated from the rejections of an imperfect gate.

A gate misses some faulty rows and rejects some clean ones, so the share that it rejects is not the
share that is faulty. With the rejected share p, the hit rate TPR and the false rejections FPR,
Rogan and Gladen (1978) estimate

    share = (p - FPR) / (TPR - FPR),    clipped to [0, 1]

A gate that names faults also confuses them: a mismatched answer may be named as another language.
So all kinds are estimated together, as the mixture of kinds under which the observed outcomes are
most likely. With one kind of fault this is the formula above.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.errors import DataError
from tutelage.stats.intervals import Numbers

DRAWS = 400
_STEPS = 400
"""Steps of the EM algorithm, which starts from equal shares."""
_DIGITS = 4
"""Decimal places of a stored share: no sample is large enough for more."""
_OBSERVED_PRIOR = 0.5
"""Pseudo-counts of each outcome of observed and of clean rows, for the interval."""
_PLANTED_PRIOR = 0.1
"""Pseudo-counts of planted rows, which are few: more would bias a hit rate of 1 downwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prevalence:
    """Estimated share of rows with its interval.

    Attributes:
        share: The estimate, in [0, 1].
        low: Lower end of the interval.
        high: Upper end.
    """

    share: float
    low: float
    high: float


def prevalences(
    observed_O: Sequence[int],
    *,
    known_C_O: Sequence[Sequence[int]],
    seed: int,
) -> list[Prevalence]:
    """Estimated share of each class in observed rows, given outcomes of rows of known classes.

    The 95 % interval covers the sampling error of all counts: each is sampled from its Dirichlet
    posterior, and the shares are estimated again. It does not account for faults that differ from
    the known ones.

    Args:
        observed_O: How many observed rows have each outcome of the gate, such as passed, or
            rejected as one of the kinds.
        known_C_O: The same of rows of each class; the first class is clean.
        seed: Seed of the resampling.

    Returns:
        One share for each class but the first, and last that of all of them together.

    Raises:
        DataError: There are no observed rows, or a class has no rows.

    Examples:
        With 20 of 100 rejected, a hit rate of 0.9 and 5 % false rejections:

        >>> found = prevalences([80, 20], known_C_O=[[95, 5], [10, 90]], seed=0)
        >>> round(found[-1].share, 3), round((0.20 - 0.05) / (0.90 - 0.05), 3)
        (0.176, 0.176)
    """
    observed = np.asarray(observed_O, dtype=np.float64)
    known = np.asarray(known_C_O, dtype=np.float64)
    if observed.sum() == 0 or (known.sum(axis=1) == 0).any():
        raise DataError(
            "a prevalence needs observed rows and rows of every class",
            hint="leave out classes without rows",
        )
    prior = np.full_like(known, _PLANTED_PRIOR)
    prior[0] = _OBSERVED_PRIOR
    point = _together(_mixture(observed[None], (known + 1e-9)[None]))[0]
    drawing = np.random.default_rng(seed)
    drawn_R_O = drawing.dirichlet(observed + _OBSERVED_PRIOR, size=DRAWS)
    drawn_R_C_O = np.stack([drawing.dirichlet(row, size=DRAWS) for row in known + prior], axis=1)
    spread = _together(_mixture(drawn_R_O, drawn_R_C_O))
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    return [
        Prevalence(
            share=round(float(p), _DIGITS),
            low=round(float(min(p, a)), _DIGITS),
            high=round(float(max(p, b)), _DIGITS),
        )
        for p, a, b in zip(point, low, high, strict=True)
    ]


def _mixture(observed_R_O: Numbers, known_R_C_O: Numbers) -> Numbers:
    """Maximum-likelihood shares of the classes, for each of R resamples."""
    given_R_C_O = known_R_C_O / known_R_C_O.sum(axis=2, keepdims=True)
    observed_R_O = observed_R_O / observed_R_O.sum(axis=1, keepdims=True)
    shares_R_C = np.full(known_R_C_O.shape[:2], 1 / known_R_C_O.shape[1])
    for _ in range(_STEPS):
        total_R_O = np.einsum("rc,rco->ro", shares_R_C, given_R_C_O)
        pull_R_O = observed_R_O / np.maximum(total_R_O, 1e-300)
        shares_R_C = shares_R_C * np.einsum("rco,ro->rc", given_R_C_O, pull_R_O)
    return shares_R_C


def _together(shares_R_C: Numbers) -> Numbers:
    """Shares of all classes but the clean one, and their sum."""
    faulty_R_K = shares_R_C[:, 1:]
    return np.concatenate([faulty_R_K, faulty_R_K.sum(axis=1, keepdims=True)], axis=1)


def break_even_share(
    *, hit_rate: float, false_refusals: float, benefit_to_harm: float
) -> float | None:
    """Share of harmful rewrites above which selection pays.

    Refusing a harmful rewrite saves its harm H; refusing a clean one loses its benefit B. With the
    share q of harmful ones, choosing pays where q / (1 - q) > (FPR / TPR) (B / H).

    Args:
        hit_rate: The share of harmful rewrites that is rejected, TPR.
        false_refusals: The share of clean rewrites that is rejected, FPR.
        benefit_to_harm: B / H, at least 0.

    Returns:
        A share in [0, 1); None where nothing harmful is rejected, so that choosing never pays.

    Examples:
        >>> round(break_even_share(hit_rate=0.9, false_refusals=0.05, benefit_to_harm=1.0), 3)
        0.053
    """
    if hit_rate <= 0.0:
        return None
    odds = false_refusals / hit_rate * benefit_to_harm
    return odds / (1 + odds)
