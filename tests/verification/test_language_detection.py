# ruff: noqa: RUF001  (sentences in other scripts)
"""Languages are told or not told, never guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.language_detection import language_of

SENTENCES = {
    "en": "The river is high and it was not safe for the children to cross.",
    "de": "Der Fluss ist hoch, und es war nicht sicher für die Kinder, ihn zu überqueren.",
    "fr": "La rivière est haute et il n'est pas prudent pour les enfants de passer dans l'eau.",
    "es": "El río está alto y no es seguro para los niños que quieren cruzar.",
    "it": "Il fiume è alto e non è sicuro per i bambini che vogliono una gita di sera.",
    "pt": "O rio não está seguro para as crianças que vão com uma bola.",
    "fi": "Joki on korkealla ja se ei ole turvallinen, kun lapset ovat yksin.",
    "vi": "Con sông này không được an toàn cho các bạn nhỏ và người già.",
    "sw": "Mto huu ni wa hatari kwa watoto na wazee katika kijiji cha pwani.",
    "ru": "Река высокая, и это не безопасно для детей, как мы вам сказали.",
    "bg": "Реката е висока и не е безопасна за децата, това са думите на кмета.",
    "hi": "नदी में पानी बहुत है और यह बच्चों के लिए ठीक नहीं है।",
    "mr": "नदी खूप मोठी आहे आणि ती मुलांसाठी चांगली नाही.",
    "ar": "النهر عال في هذا اليوم وهو غير آمن على الأطفال من القرية.",
    "fa": "رودخانه بالا است و این برای بچه ها خوب نیست که از آن بگذرند.",
    "ur": "دریا میں پانی بہت ہے اور یہ بچوں کے لیے ٹھیک نہیں ہے۔",
    "ko": "강물이 높아서 아이들에게 안전하지 않습니다.",
    "th": "แม่น้ำสูงและไม่ปลอดภัยสำหรับเด็ก",
    "kn": "ನದಿ ತುಂಬಿದೆ ಮತ್ತು ಅದು ಮಕ್ಕಳಿಗೆ ಸುರಕ್ಷಿತವಲ್ಲ.",
    "ja": "川の水が多くて、子どもには安全ではありません。",
    "zh": "河水很高,对孩子们来说不安全。今天不要过河。",
}


@pytest.mark.parametrize(("language", "sentence"), SENTENCES.items())
def test_a_sentence_is_told(language, sentence):
    assert language_of(sentence) == language


@pytest.mark.parametrize("text", ["", "123 456", "OK", "etchings", "Bzzz brr hmm tsk", "Zug Bahn"])
def test_what_is_too_short_or_too_strange_is_not_told(text):
    assert language_of(text) is None


@given(st.text(max_size=60))
def test_no_text_breaks_it(text):
    language_of(text)
