# ruff: noqa: RUF001  (sentences in other scripts)
"""Instructions that a program can check, and the language of a response."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.verification.ifeval import CHECKERS, check_constraint, check_constraints
from tutelage.verification.language_detection import language_of
from tutelage.verification.verdict import Constraint

THREE = "One two three. Is it four? Yes!"
CASES = [
    # kind, arguments, a response that meets it, one that does not
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "I like NASA",
        "I like it",
    ),
    (
        "change_case:english_capital",
        {},
        "THE CAT IS ON THE MAT AND IT IS NOT FOR YOU",
        "The cat is on the mat and it is not for you",
    ),
    (
        "change_case:english_lowercase",
        {},
        "the cat is on the mat and it is not for you",
        "The cat is on the mat and it is not for you",
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say hello."},
        "say hello. Hello!",
        "Hello! Say hello.",
    ),
    ("combination:two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. Hi", "PS Hi"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P. P. S more", "P.S. more"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "my answer is no."),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', 'Here: {"a": 1}'),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION one\na\nSECTION two\nb",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n* b\n* c"),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*a* and **b**",
        "*a* and ****",
    ),
    ("detectable_format:title", {}, "<<A title>>\nText", "<< >>\nText"),
    ("keywords:existence", {"keywords": ["Moon", "sun"]}, "the sun, the moon", "the sun"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocket", "a Rock!"),
    (
        "keywords:frequency",
        {"keyword": "war", "frequency": 2, "relation": "at least"},
        "War, war",
        "peace, war",
    ),
    (
        "keywords:letter_frequency",
        {"letter": "t", "let_frequency": 2, "let_relation": "less than"},
        "Tea",
        "Tart",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Der Hund ist nicht im Garten, und ich auch nicht.",
        "The dog is not in the garden and it is not here.",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "then"},
        "First.\n\n'Then, second.",
        "Then.\n\nFirst.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 4},
        THREE,
        THREE + " Four.",
    ),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 3},
        "one two three",
        "one two",
    ),
    ("punctuation:no_comma", {}, "so it goes", "so, it goes"),
    ("startend:end_checker", {"end_phrase": "the end."}, "It is The End.", "The end. Not yet"),
    ("startend:quotation", {}, ' "All of it" ', '"Only" a part'),
]


@pytest.mark.parametrize(("kind", "arguments", "good", "bad"), CASES)
def test_each_kind_tells_a_response_that_meets_it_from_one_that_does_not(
    kind, arguments, good, bad
):
    constraint = Constraint(kind=kind, arguments=arguments)
    assert check_constraints(good, [constraint]).verdict == "right", check_constraint(
        good, constraint
    )
    assert check_constraints(bad, [constraint]).verdict == "wrong", check_constraint(
        bad, constraint
    )


def test_every_kind_has_a_case():
    assert {case[0] for case in CASES} == set(CHECKERS)
    assert len(CHECKERS) == 25


@given(
    st.sampled_from(sorted(CHECKERS)),
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(["keywords", "letter", "num_words", "relation", "language", "first_word"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=5)),
    ),
)
def test_wrong_arguments_never_raise(kind, response, arguments):
    check_constraint(response, Constraint(kind=kind, arguments=arguments))


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        (Constraint(kind="weather:sunny"), "unknown kind"),
        (Constraint(kind="keywords:existence"), "'keywords' is missing"),
        (Constraint(kind="keywords:existence", arguments={"keywords": "x"}), "not a list"),
        (
            Constraint(
                kind="length_constraints:number_words",
                arguments={"relation": "around", "num_words": 3},
            ),
            "unknown relation",
        ),
        (
            Constraint(kind="language:response_language", arguments={"language": "de"}),
            "is uncertain",
        ),
    ],
)
def test_what_cannot_be_checked_says_why(constraint, why):
    found = check_constraints("Hm", [constraint])
    assert found.verdict == "cannot_check"
    assert why in found.evidence


def test_one_missed_constraint_outweighs_one_that_cannot_be_checked():
    unknown, comma = Constraint(kind="weather:sunny"), Constraint(kind="punctuation:no_comma")
    assert check_constraints("a, b", [unknown, comma]).verdict == "wrong"
    assert check_constraints("a b", [unknown, comma]).verdict == "cannot_check"


def test_nothing_to_check_is_not_right():
    assert check_constraints("text", []).verdict == "cannot_check"
    assert check_constraints(" ", [Constraint(kind="punctuation:no_comma")]).verdict == "no_answer"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three?", 3),
        ("Mr. Smith met Dr. Low. They spoke.", 2),
        ("It costs 3.50 euros. Cheap!", 2),
        ("1. First\n2. Second", 1),
        ('He said "Go." Then he went.', 2),
        ("no end", 1),
        ("...", 0),
    ],
)
def test_sentences_are_counted(text, sentences):
    kind = "length_constraints:number_sentences"
    for relation, limit, met in (("at least", sentences, True), ("less than", sentences, False)):
        arguments = {"relation": relation, "num_sentences": limit}
        assert check_constraint(text, Constraint(kind=kind, arguments=arguments))[0] is met, text


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


@pytest.mark.parametrize(
    "question", ["How do I boil an egg?", "What do I do to a bike?", "Is a to-do list as useful?"]
)
def test_an_english_question_is_in_no_other_language(question: str) -> None:
    assert language_of(question) in ("en", None)


@pytest.mark.parametrize("text", ["", "123 456", "OK", "etchings", "Bzzz brr hmm tsk", "Zug Bahn"])
def test_what_is_too_short_or_too_strange_is_not_told(text):
    assert language_of(text) is None


@given(st.text(max_size=60))
def test_no_text_breaks_it(text):
    language_of(text)
