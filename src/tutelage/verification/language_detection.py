# ruff: noqa: RUF001  (words in other scripts are what this file is about)
"""Language detection from the script and the most common words of a text.

A script that one language owns decides at once. Where several languages share a script, frequent
short words vote. What that cannot tell is not guessed: None.
"""

import re
import unicodedata
from collections import Counter

FEWEST_LETTERS = 10
SCRIPT_FRACTION = 0.6
"""Share of a text's letters that must belong to one script."""

_OWN_SCRIPT = {
    "KANNADA": "kn",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "TELUGU": "te",
    "TAMIL": "ta",
    "THAI": "th",
    "BENGALI": "bn",
    "HANGUL": "ko",
    "MALAYALAM": "ml",
    "HEBREW": "he",
    "GREEK": "el",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
}
# Of other languages, no word that is common in English: "How do I" would be Polish.
_WORDS = {
    "LATIN": {
        "en": "the and of to in is that it for you was with are this be on have not as your",
        "de": "der die und das ist nicht ein eine zu mit den von sich auf für ich sie im wir auch",
        "fr": "le la les et des est une dans que pour pas qui sur vous avec il ce au je nous",
        "es": "el los las y es una que por con para del se su como más pero lo en la esta",
        "it": "il di che è la per un una non sono con del si gli le della anche come più ma",
        "pt": "o que não uma os para com da em um é por mais se na ao como você mas ele",
        "nl": "de het een en van niet dat op te zijn voor met ik er maar om ook aan hij",
        "fi": "ja ei se että hän oli kun mutta niin kuin myös minä sinä voi ovat joka tämä",
        "sv": "och att det är som en på för inte av den med jag har till ett om vi",
        "sw": "na ya wa kwa ni katika la za kuwa hii cha hiyo yangu kama lakini pia sana wewe",
        "vi": "và của là có không được cho một những tôi với trong này các bạn để người đã",
        "tr": "ve bir bu için ile da de çok ne ama gibi daha olarak ben olan var değil",
        "pl": "w nie na się z jest że o jak co ale po przez dla są oraz był tym",
        "id": "yang dan di ini itu dengan untuk tidak dari dalam pada adalah akan saya anda",
    },
    "CYRILLIC": {
        "ru": "и в не на что это как он с по но я к все для вы от мы из его",
        "bg": "и на да се за е от са не че с по ще това аз как му си във който",
        "uk": "і в не на що це як та до але з я він для ви від ми є його",
    },
    "DEVANAGARI": {
        "hi": "है के में की और का को से यह पर हैं नहीं एक भी कि लिए था हम आप तो",
        "mr": "आहे आणि या च्या मध्ये आहेत हे ते एक तो ती मी नाही आपण काही साठी केले होते करा तर",
        "ne": "छ को र मा छन् हो यो गर्न भएको लागि हुन्छ पनि गर्छ तपाईं हामी यस थियो गर्ने म एक",
    },
    "ARABIC": {
        "ar": "في من على أن إلى هذا التي عن مع هو ما لا كان هذه ذلك الذي كل أو لم بعد",
        "fa": "و در به از که این است را با برای می یک آن های شما تا بر خود هم باید",
        "ur": "ہے کے میں کی اور کا کو سے یہ پر ہیں نہیں ایک بھی کہ لیے تھا ہم آپ تو",
    },
}
_ENOUGH_VOTES = 2


def language_of(text: str) -> str | None:
    """ISO 639-1 code of a text's language, or None where it is uncertain.

    Examples:
        >>> language_of("The cat is on the mat and it is not for you.")
        'en'
        >>> language_of("Der Hund ist nicht im Garten, und ich auch nicht.")
        'de'
        >>> language_of("Bzzz 123") is None
        True
    """
    scripts = Counter(_script(character) for character in text if character.isalpha())
    letters = sum(scripts.values())
    if letters < FEWEST_LETTERS:
        return None
    if (
        scripts["HIRAGANA"] + scripts["KATAKANA"] > letters // 10
        and scripts["LATIN"] < letters // 2
    ):
        return "ja"
    script, count = scripts.most_common(1)[0]
    if count < SCRIPT_FRACTION * letters:
        return None
    return _OWN_SCRIPT.get(script) or _voted(text, _WORDS.get(script, {}))


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split(" ", 1)[0]


def _voted(text: str, languages: dict[str, str]) -> str | None:
    # Combining vowel signs are no word characters to `re`, so words end at spaces and marks only.
    words = Counter(re.split(r"[\s.,;:!?()\"'«»।،؛؟\-–]+", text.lower()))
    votes = Counter(
        {name: sum(words[word] for word in common.split()) for name, common in languages.items()}
    )
    if not votes:
        return None
    (first, most), *others = votes.most_common(2)
    runner_up = others[0][1] if others else 0
    return first if most >= _ENOUGH_VOTES and most > runner_up else None
