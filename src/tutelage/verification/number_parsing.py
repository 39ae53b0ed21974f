"""Parser of quantities: a number, optionally with a currency, a unit or a percent sign.

Values are exact fractions, so no comparison here depends on how a float is rounded. Where two
quantities both name a known unit, they are compared after conversion: 5 km is 5000 m, and 2 hours
are not 2 minutes.
"""

import re
import unicodedata
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
            return tuple(_powered(unit, power) for unit in units_of(match[1]))
    above, *below = _RATE.split(text, maxsplit=1)
    if below and above:
        return _rate(above, below[0])
    first, _, rest = text.partition(" ")
    is_unit = bool(rest) and first not in _AMBIGUOUS_BEFORE_WORDS
    return _UNITS.get(first, ()) if is_unit else ()


def _powered(unit: Unit, power: int) -> Unit:
    if (unit.kind, power) == ("length", 3):
        return Unit(kind="volume", factor=1000 * unit.factor**3)  # in litres
    return Unit(kind=f"{unit.kind}^{power}", factor=unit.factor**power)


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


_SMALL_NUMBERS = {
    word: value
    for value, word in enumerate(
        re.findall(
            r"\w+",
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen",
        )
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_WORD_SCALES = {
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4)}
_ORDINAL_PARTS = {
    word: Fraction(1, value)
    for value, word in enumerate(
        ["third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=3
    )
}
"""Parts whose names are ordinal numbers, too: `a third`, `two fifths`."""
_WORD = re.compile(r"[a-z]+")
_MOST_WORDS = 30


def number_from_words(  # noqa: PLR0911  (one return a form)
    text: str,
) -> tuple[Fraction, str] | None:
    """Read a number in words from the start of a text.

    Args:
        text: For example `twenty-five apples`.

    Returns:
        The number and the lower-case words that follow it, or None where the text does not start
        with a number in words.

    Examples:
        >>> number_from_words("Twenty-five apples")
        (Fraction(25, 1), 'apples')
        >>> number_from_words("one hundred and five")
        (Fraction(105, 1), '')
        >>> number_from_words("three and a half hours")
        (Fraction(7, 2), 'hours')
        >>> number_from_words("none of them") is None
        True
    """
    words = _WORD.findall(text.lower())[: _MOST_WORDS + 1]
    if not words or len(words) > _MOST_WORDS:
        return None
    if words[0] in _PARTS or (words[0] in {"a", "one"} and words[1:2] and words[1] in _PARTS):
        part = next(word for word in words if word in _PARTS)
        return _PARTS[part], " ".join(words[words.index(part) + 1 :])
    value, used = (1, 1) if words[0] == "a" else _cardinal(words)
    if not used:
        return None
    rest = words[used:]
    part = _part_of(rest[0]) if rest and rest[1:2] in ([], ["of"]) else None
    if part is not None:
        return value * part, " ".join(rest[1:])
    if words[0] == "a":
        return None
    if rest[:2] == ["and", "a"] and rest[2:3] and rest[2] in _PARTS:
        return value + _PARTS[rest[2]], " ".join(rest[3:])
    return Fraction(value), " ".join(rest)


def _part_of(word: str) -> Fraction | None:
    """The part that a word such as `thirds` names; None where it names none."""
    names = {**_ORDINAL_PARTS, **_PARTS, "halve": _PARTS["half"]}
    return names.get(word.removesuffix("s"))


def _cardinal(words: list[str]) -> tuple[int, int]:
    """Value of the leading number words, and how many words it took (0 for none)."""
    total = current = used = 0
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word in _SMALL_NUMBERS:
            # "five six" is two numbers, "twenty five" is one.
            if current % 10 or (current % 100 and _SMALL_NUMBERS[word] > 9):  # noqa: PLR2004  (digits)
                break
            current += _SMALL_NUMBERS[word]
        elif word in _TENS:
            if current % 100:
                break
            current += _TENS[word]
        elif word == "hundred" and used:
            current *= 100
        elif word in _WORD_SCALES and used:
            total += current * _WORD_SCALES[word]
            current = 0
        elif word == "and" and used and (follows in _SMALL_NUMBERS or follows in _TENS):
            if not total and current < 100:  # noqa: PLR2004  ("two and three" is two numbers)
                break
            continue
        else:
            break
        used = index + 1
    return total + current, used


FLOAT_NOISE = Fraction(1, 10**9)
"""Relative difference up to which a decimal matches the reference: programs print
17.999999999999996 for 18.
"""
_LAST_DIGIT = Fraction(3, 2 * 10**6)
"""Relative difference up to which a decimal matches a fraction whose decimals never end, such as
0.428571 for 3/7.
"""

_DIGITS = r"\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,300}"
_DECIMAL = rf"(?:(?:{_DIGITS})(?:\.\d{{0,300}})?|\.\d{{1,300}})(?:[eE][+-]?\d{{1,3}}(?![\d.]))?"
_SPACED = r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:\.\d{1,300})?"
_CURRENCY = r"(?:US\$|USD|EUR|GBP|Rs\.?|[$€£¥₹])"
_SIGN = r"[-+\u2212\u2013]"
_SCALES = {"hundred": 10**2, **_WORD_SCALES, "bn": 10**9}
_UNIT = r"[^\d=<>+*^_\\{}\[\]|,;:]{0,60}"
_QUANTITY = re.compile(
    rf"(?:(?:approximately|approx\.?|about|roughly|around|exactly|only)\s+|[~≈=]\s*)?"
    rf"(?P<sign>{_SIGN})?\s*(?P<currency>{_CURRENCY})?\s*(?P<sign2>{_SIGN})?\s*"
    rf"(?:(?P<whole>\d{{1,9}})[ -](?P<mixed>\d{{1,9}}/\d{{1,9}})"
    rf"|(?P<over>\d{{1,300}})\s*[/\u2044]\s*(?P<under>\d{{1,300}})"
    rf"|(?P<spaced>{_SPACED})|(?P<decimal>{_DECIMAL}))"
    rf"\s*(?P<percent>\\?%|percent\b|per cent\b)?"
    rf"\s*(?P<currency2>{_CURRENCY})?\s*(?P<unit>{_UNIT})"
)
_UNSPACED = r"\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters of scripts without a space before a number: Thai, Khmer, Chinese, Japanese, ..."""
_NUMBER = re.compile(
    rf"(?<![^\W{_UNSPACED}])(?<![.,])(?:{_SIGN}\s?)?{_CURRENCY}?\s?{_SIGN}?"
    rf"(?:\d{{1,9}}[ ]\d{{1,9}}/\d{{1,9}}|(?:{_DECIMAL})(?:/\d+)?)\s*%?"
)
_FRACTION = re.compile(r"(\d)?\s?([\u00bc-\u00be\u2150-\u215e])")
_KELVINS = {
    "celsius": (Fraction(1), Fraction(27315, 100)),
    "fahrenheit": (Fraction(5, 9), Fraction(45967, 100)),
    "kelvin": (Fraction(1), Fraction(0)),
}
"""For each scale of temperature, the size of a degree in kelvins, and what is added before."""
_SYMBOL = re.compile(r"[a-z\u00b5\u03bc]?[A-Z\u03a9][A-Za-z]?")
"""What looks like the symbol of a unit: N, Pa, kHz, MJ."""
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207b]")
_SHORT_UNIT = re.compile(r"[^\W\d_]{1,3}(?:/[^\W\d_]{1,3})?[\u00b2\u00b3]?")
"""A unit by its symbol, known or not: N, kN, m/s."""
_BEFORE_UNIT = re.compile(r"^(?:of )?(?:an?(?: |$))?")
"""Words between a part and its unit: half an hour, a quarter of a mile."""
_MINUS = re.compile(r"^(?:negative|minus)\s+", re.IGNORECASE)
_JOINED = re.compile(r"\b(?:or|and|to|plus|minus|times|either|maybe|not)\b", re.IGNORECASE)
_VARIABLE = re.compile(r"[abcdeijnpqrtuvwxyzπ](?:$|\s*[-+/(])")
"""Letters used in formulas; other letters directly after a number are units: 48g, 5m, 3h, 2k, 230V.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number with its unit and notation.

    Attributes:
        values: What it may mean: one value, or two for `60%` (60 and 0.6) and `2 dozen` (2, 24).
        exact: False where it was written as a decimal fraction, which may carry float noise.
        text: As written.
        unit: The words after the number, perhaps none.
        currency: The sign of a currency before or after the number, perhaps none.
    """

    values: tuple[Fraction, ...]
    exact: bool
    text: str
    unit: str = ""
    currency: str = ""

    @property
    def units(self) -> tuple[Unit, ...]:
        """Possible units; empty without a known one."""
        return units_of(self.unit) or units_of(self.currency)


def read_quantity(text: str) -> Quantity | None:
    """Parse a text that consists of one quantity.

    Args:
        text: Such as `$1,234.50`, `-3`, `7/3`, `2 1/2 hours`, `60%`, `1.5 million`, `ten apples`.

    Returns:
        The quantity, or None where the text is anything else: two numbers, a formula, a word.

    Examples:
        >>> read_quantity("$1,234.50").values
        (Fraction(2469, 2),)
        >>> read_quantity("12 or 13") is None
        True
    """
    text = text.strip()
    if text.endswith(("...", "\u2026")):  # there is more of it
        return None
    text = text.rstrip(".").strip()
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return _from_words(text)
    value = _value(match)
    if {match["sign"], match["sign2"]} == {"-"}:  # --3 is no quantity but a formula
        value = None
    unit = match["unit"].strip()
    if _SUPERSCRIPT.match(unit):  # 2\u00b3 is 8
        value = None
    # "12x" and "3 a + b" are formulas, "12 or so" and "3 to" are not one number.
    glued = not match["percent"] and match["unit"][:1].isalpha() and _VARIABLE.match(unit)
    if value is None or glued or unit.startswith("!") or _JOINED.search(unit):
        return None
    if match["sign"] not in (None, "+") or match["sign2"] not in (None, "+"):
        value = -value
    return Quantity(
        values=_meanings(value, percent=match["percent"] is not None, unit=unit),
        exact=match["decimal"] is None or not re.search(r"[.eE]", match["decimal"]),
        text=text,
        unit=unit,
        currency=(match["currency"] or match["currency2"] or "").rstrip("."),
    )


def numbers_in(text: str) -> list[Quantity]:
    """Every plain number of a text, in order, without looking at units.

    Examples:
        >>> [q.text for q in numbers_in("Take 5 from $1,200 and get 1,195.0, or 2 1/2.")]
        ['5', '$1,200', '1,195.0', '2 1/2']
    """
    return [quantity for quantity, _ in numbers_at(text)]


def numbers_at(text: str) -> list[tuple[Quantity, tuple[int, int]]]:
    """Every plain number of a text with its start and end in characters."""
    read = ((read_quantity(match[0]), match) for match in _NUMBER.finditer(text))
    return [(quantity, match.span()) for quantity, match in read if quantity is not None]


def without_fraction_signs(text: str) -> str:
    r"""Text in which signs such as \u00bd are written as 1/2.

    Examples:
        >>> without_fraction_signs("It is 3\u00bd or \u00be.")
        'It is 3 1/2 or 3/4.'
    """
    if text.isascii():
        return text

    def written(match: re.Match[str]) -> str:
        parts = unicodedata.normalize("NFKC", match[2]).replace("\u2044", "/")
        return f"{match[1]} {parts}" if match[1] else match[0].replace(match[2], parts)

    return _FRACTION.sub(written, text)


def same_quantity(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities can be the same number.

    Where both have two meanings of one kind (`60%` and `0.6%`), they are compared as written.

    Examples:
        >>> same_quantity(read_quantity("60%"), read_quantity("0.6"))
        True
        >>> same_quantity(read_quantity("60"), read_quantity("0.6"))
        False
    """
    return _same_values(one, other, Fraction(1))


def same_measure(  # noqa: PLR0911  (one return a case)
    one: Quantity, other: Quantity
) -> bool | None:
    """Whether two quantities can mean the same, with their units.

    Where both name a unit, they are converted. Where one does not, the numbers are compared, and
    a number that would be right in another unit of the same kind is not decided.

    Returns:
        None where this cannot be told: the units are of different kinds, or only one names a unit.

    Examples:
        >>> same_measure(read_quantity("5 km"), read_quantity("5000 m"))
        True
        >>> same_measure(read_quantity("2 hours"), read_quantity("2 minutes"))
        False
        >>> same_measure(read_quantity("2 hours"), read_quantity("120")) is None
        True
    """
    ours, theirs = one.units, other.units
    degrees = _same_temperature(one, other)
    if degrees is not None:
        return degrees
    alike = [(a, b) for a in ours for b in theirs if a.kind == b.kind]
    if alike:
        return any(_same_values(one, other, a.factor / b.factor) for a, b in alike)
    same = same_quantity(one, other)
    if ours and theirs:
        lengths = {unit.kind for unit in (*ours, *theirs)} <= {"time", "calendar"}
        return None if same or lengths else False  # a year has 365 days, or 366
    if same:
        symbols = [q.unit for q in (one, other) if _SHORT_UNIT.fullmatch(q.unit)]
        differ = len({symbol.removesuffix("s") for symbol in symbols}) > 1
        return None if differ else True  # 5 kN and 5 N
    if all(q.units or _SYMBOL.fullmatch(q.unit) for q in (one, other)):
        return None  # MJ and kWh: units of which one at least is not known here
    for named, bare in ((one, other), (other, one)):
        if named.units and not bare.unit and not bare.currency:
            factors = {f for unit in named.units for f in conversions(unit)}
            if any(_same_values(named, bare, factor) for factor in factors):
                return None
    return False


def _same_temperature(one: Quantity, other: Quantity) -> bool | None:
    """Compare temperatures on two scales; None for anything else."""
    kelvins = []
    for quantity in (one, other):
        kinds = ["kelvin"] if quantity.unit == "K" else [unit.kind for unit in quantity.units]
        offsets = [_KELVINS[kind] for kind in kinds if kind in _KELVINS]
        if not offsets:
            return None
        factor, offset = offsets[0]
        kelvins.append((quantity.values[0] + offset) * factor)
    noise = Fraction(0) if one.exact and other.exact else FLOAT_NOISE
    return abs(kelvins[0] - kelvins[1]) <= noise * max(map(abs, kelvins))


def _same_values(one: Quantity, other: Quantity, factor: Fraction) -> bool:
    exact = one.exact and other.exact
    ours, theirs = one.values, other.values
    if len(ours) == len(theirs) > 1 and ours[1] * theirs[0] == theirs[1] * ours[0]:
        ours, theirs = ours[:1], theirs[:1]  # both in per cent, or both in dozens
    for a in ours:
        for b in theirs:
            endless = one.exact != other.exact and _is_endless(
                a * factor if one.exact else b / factor
            )
            noise = Fraction(0) if exact else _LAST_DIGIT if endless else FLOAT_NOISE
            if abs(a * factor - b) <= noise * max(abs(a * factor), abs(b)):
                return True
    return False


def _is_endless(value: Fraction) -> bool:
    """Whether the decimals of a fraction never end, as those of 1/3."""
    return pow(10, value.denominator.bit_length(), value.denominator) != 0


def _value(match: re.Match[str]) -> Fraction | None:
    if match["mixed"]:
        over, under = match["mixed"].split("/")
        return Fraction(match["whole"]) + Fraction(int(over), int(under)) if int(under) else None
    if match["over"]:
        under = int(match["under"])
        return Fraction(int(match["over"]), under) if under else None
    digits = match["spaced"] or match["decimal"]
    return Fraction(re.sub(r"[,\s]", "", digits).rstrip("."))


def _meanings(value: Fraction, *, percent: bool, unit: str) -> tuple[Fraction, ...]:
    if percent:
        return value, value / 100
    word = unit.split(" ", 1)[0].lower().rstrip("s") if unit else ""
    if word == "dozen":
        return value, value * 12
    if unit == "K":  # thousands, or kelvins
        return value, value * 1000
    if unit.startswith("\u2030"):
        return value, value / 1000
    return (value * (10**3 if unit == "k" else _SCALES.get(word, 1)),)


def _from_words(text: str) -> Quantity | None:
    if len(text) > 200 or any(c.isdigit() for c in text):  # noqa: PLR2004  (prose, not a number)
        return None
    negative = _MINUS.match(text)
    read = number_from_words(_MINUS.sub("", text))
    if read is None:
        return None
    value, rest = read
    value = -value if negative else value
    if value.denominator > 1:
        rest = _BEFORE_UNIT.sub("", rest)
    if _JOINED.search(rest) or any(number_from_words(word) for word in rest.split()):
        return None
    return Quantity(
        values=_meanings(value, percent=rest.startswith("percent"), unit=rest),
        exact=True,
        text=text,
        unit=rest,
    )
