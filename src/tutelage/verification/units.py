"""Units of measure and money, and conversions between them.

Where two quantities both name a unit known here, they are compared after conversion: 5 km is
5000 m, and 2 hours are not 2 minutes.
"""

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Unit with its kind and size.

    Attributes:
        kind: What it measures; units of different kinds cannot be compared.
        factor: How many of the kind's first unit it is.
    """

    kind: str
    factor: Fraction


_SPELLINGS = {
    "length": {
        "m meter meters metre metres": "1",
        "km kilometer kilometers kilometre kilometres kms": "1000",
        "dm decimeter decimeters decimetre decimetres": "1/10",
        "cm centimeter centimeters centimetre centimetres cms": "1/100",
        "mm millimeter millimeters millimetre millimetres": "1/1000",
        "micrometer micrometers um": "1/1000000",
        "nm nanometer nanometers": "1/1000000000",
        "in inch inches": "127/5000",
        "ft foot feet": "381/1250",
        "yd yds yard yards": "1143/1250",
        "mi mile miles": "201168/125",
    },
    "time": {
        "s sec secs second seconds": "1",
        "ms millisecond milliseconds": "1/1000",
        "m min mins minute minutes": "60",
        "h hr hrs hour hours": "3600",
        "d day days": "86400",
        "week weeks wk wks": "604800",
        "fortnight fortnights": "1209600",
    },
    "calendar": {
        "month months": "1",
        "year years yr yrs": "12",
        "decade decades": "120",
        "century centuries": "1200",
    },
    "mass": {
        "g gram grams gm gms": "1",
        "kg kilogram kilograms kilo kilos kgs": "1000",
        "mg milligram milligrams": "1/1000",
        "t tonne tonnes ton tons": "1000000",
        "ton tons": "45359237/50",
        "lb lbs pound pounds": "45359237/100000",
        "oz ounce ounces": "45359237/1600000",
    },
    "volume": {
        "l liter liters litre litres": "1",
        "ml milliliter milliliters millilitre millilitres": "1/1000",
        "cl centiliter centiliters centilitre centilitres": "1/100",
        "gal gallon gallons": "473176473/125000000",
        "quart quarts qt": "473176473/500000000",
        "pint pints pt": "473176473/1000000000",
        "cup cups": "473176473/2000000000",
    },
    "dollars": {
        "$ us$ usd dollar dollars buck bucks": "1",
        "cent cents \u00a2": "1/100",
    },
    "euros": {"\u20ac eur euro euros": "1"},
    "pounds sterling": {"\u00a3 gbp": "1", "pence": "1/100"},
    "rupees": {"\u20b9 rs rs. rupee rupees inr": "1", "paise": "1/100"},
    "yen": {"\u00a5 yen jpy": "1"},
    "angle": {"\u00b0 degree degrees deg": "1"},
    "celsius": {"\u00b0c celsius": "1"},
    "fahrenheit": {"\u00b0f fahrenheit": "1"},
    "kelvin": {"kelvin kelvins": "1"},
    "data": {
        "byte bytes": "1",
        "kb kilobyte kilobytes": "1000",
        "mb megabyte megabytes": "1000000",
        "gb gigabyte gigabytes": "1000000000",
        "tb terabyte terabytes": "1000000000000",
    },
    "energy": {"j joule joules": "1", "kj kilojoule kilojoules": "1000", "kwh": "3600000"},
    "power": {"w watt watts": "1", "kw kilowatt kilowatts": "1000"},
}
_ALSO = {
    "mph": ("mile", "hour"),
    "kph": ("km", "hour"),
    "kmh": ("km", "hour"),
    "kmph": ("km", "hour"),
    "fps": ("foot", "second"),
}
_RATE = re.compile(r"\s*(?:/|\bper\b|\ba\b|\ban\b)\s*")
_SQUARE = re.compile(r"(?:square|sq\.?)\s+(.+)")
_CUBIC = re.compile(r"(?:cubic|cu\.?)\s+(.+)")
_OF_A_SCALE = re.compile(r"^(?:degrees?|deg\.?|\u00b0)\s*(c|f)(?:elsius|ahrenheit)?$")
_AMBIGUOUS_BEFORE_WORDS = {"in", "m", "s", "d", "h", "l", "t", "g", "j", "w", "min", "cup", "pt"}


def _table() -> dict[str, tuple[Unit, ...]]:
    table: dict[str, tuple[Unit, ...]] = {}
    for kind, spellings in _SPELLINGS.items():
        for names, factor in spellings.items():
            for name in names.split():
                unit = Unit(kind=kind, factor=Fraction(factor))
                table[name] = (*table.get(name, ()), unit)
    return table


_UNITS = _table()


def units_of(text: str) -> tuple[Unit, ...]:
    """Units that a text may name, such as the words behind a number.

    Args:
        text: Such as `km`, `square feet`, `miles per hour`, `dollars each`.

    Returns:
        Most often one; several for `m` (metres, minutes); none where no unit is known.

    Examples:
        >>> units_of("minutes")
        (Unit(kind='time', factor=Fraction(60, 1)),)
        >>> units_of("apples")
        ()
    """
    text = text.strip().casefold().rstrip(".,;:!").strip()
    text = _OF_A_SCALE.sub(lambda m: "\u00b0" + m[1], text)
    if text in _ALSO:
        return _rate(*_ALSO[text])
    if not text or text in _UNITS:
        return _UNITS.get(text, ())
    for pattern, power in ((_SQUARE, 2), (_CUBIC, 3)):
        match = pattern.match(text)
        if match is not None:
            return tuple(
                Unit(kind=f"{unit.kind}^{power}", factor=unit.factor**power)
                for unit in units_of(match[1])
            )
    above, *below = _RATE.split(text, maxsplit=1)
    if below and above:
        return _rate(above, below[0])
    first, _, rest = text.partition(" ")
    is_unit = bool(rest) and first not in _AMBIGUOUS_BEFORE_WORDS
    return _UNITS.get(first, ()) if is_unit else ()


def _rate(above: str, below: str) -> tuple[Unit, ...]:
    return tuple(
        Unit(kind=f"{one.kind} per {other.kind}", factor=one.factor / other.factor)
        for one in units_of(above)
        for other in units_of(below)
    )


def conversions(unit: Unit) -> frozenset[Fraction]:
    """Factors by which a number may change when it is written in another unit of its kind."""
    alike = [u.factor for units in _UNITS.values() for u in units if u.kind == unit.kind]
    return frozenset(unit.factor / factor for factor in alike) - {Fraction(1)}
