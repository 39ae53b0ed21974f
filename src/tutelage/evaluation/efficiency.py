"""Which part of the possible gain a choice reaches: (choice - ungated) / (oracle - ungated).

An oracle knows which rows are faulty. A difference of 0.02 nats says little by itself; that it is
80 % of what perfect knowledge would give says how good the choice is.
"""

import math
from dataclasses import dataclass

from tutelage.errors import DataError
from tutelage.stats.paired_design import Differences, standard_error, t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """A ratio of two paired differences with Fieller's interval.

    Attributes:
        ratio: Gain of the choice over that of the oracle; 1 is as good as the oracle.
        low: Lower end of the interval.
        high: Upper end.
        room: Mean of oracle less ungated: what could be gained at all.
    """

    ratio: float
    low: float
    high: float
    room: float


def efficiency(
    *,
    choice_S_I: Differences,
    oracle_S_I: Differences,
    ungated_S_I: Differences,
    level: float = 0.95,
) -> Efficiency | None:
    """The efficiency of a choice, with Fieller's interval over seeds and items.

    Args:
        choice_S_I: Values of the arm that is gated, by seed and item.
        oracle_S_I: Values of the arm that knows the truth; the same seeds and items.
        ungated_S_I: Values of the arm that keeps everything.
        level: Of the interval.

    Returns:
        The efficiency; None where the oracle is not distinguishable from ungated: with no room
        there is no ratio.

    Raises:
        DataError: The tables differ in shape.

    Examples:
        >>> import numpy as np
        >>> noise = np.array([[0.01, -0.01, 0.0, 0.02], [0.0, 0.01, -0.02, 0.01]])
        >>> found = efficiency(
        ...     choice_S_I=0.8 + noise, oracle_S_I=1 - noise, ungated_S_I=0 * noise
        ... )
        >>> round(found.ratio, 2), found.low < 0.8 < found.high
        (0.8, True)
    """
    if not choice_S_I.shape == oracle_S_I.shape == ungated_S_I.shape:
        raise DataError(
            f"values of shapes {choice_S_I.shape}, {oracle_S_I.shape} and {ungated_S_I.shape} "
            "cannot be paired",
            hint="take the seeds and items that all three arms have",
        )
    gain_S_I, room_S_I = choice_S_I - ungated_S_I, oracle_S_I - ungated_S_I
    gain, room = float(gain_S_I.mean()), float(room_S_I.mean())
    (gain_error, freedom), (room_error, other) = (
        standard_error(gain_S_I), standard_error(room_S_I),
    )  # fmt: skip
    # Var(a + b) - Var(a - b) = 4 Cov(a, b), with the same two-way estimate for all.
    both, _ = standard_error(gain_S_I + room_S_I)
    apart, _ = standard_error(gain_S_I - room_S_I)
    covariance = (both**2 - apart**2) / 4
    t = t_quantile((1 + level) / 2, min(freedom, other))
    a = room**2 - (t * room_error) ** 2
    if a <= 0:
        return None
    b = gain * room - t * t * covariance
    c = gain**2 - (t * gain_error) ** 2
    reach = math.sqrt(max(0.0, b * b - a * c))
    return Efficiency(ratio=gain / room, low=(b - reach) / a, high=(b + reach) / a, room=room)
