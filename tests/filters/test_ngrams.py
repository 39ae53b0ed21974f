# ruff: noqa: RUF001  (texts in other scripts are what this file is about)
"""Hashes of n-grams, in any script."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.filters import apply_filters
from tutelage.filters.candidates import pool_of
from tutelage.filters.config import (
    ContaminationSettings,
    EchoSettings,
    LengthSettings,
    NearDuplicatesSettings,
    TextSource,
    WordsEmbedder,
)
from tutelage.filters.contamination import drop_contaminated
from tutelage.filters.duplicates import drop_near_duplicates
from tutelage.filters.embeddings import HashedWords
from tutelage.filters.ngrams import (
    character_symbols,
    runs_of,
    runs_or_whole,
    segmented_words,
    spaced_words,
    to_form,
    word_equivalents,
    word_symbols,
)
from tutelage.filters.numeric import drop_echoes, measure_length, repeated_share

texts = st.lists(st.text(alphabet="ab é.,X1\n", max_size=15), max_size=6)
SIZES = st.integers(1, 4)


def _strings(values):
    return pa.array(values, pa.string())


def _plain_runs(symbols, size):
    return [tuple(symbols[i : i + size]) for i in range(len(symbols) - size + 1)]


@settings(deadline=None, max_examples=50)
@given(texts, SIZES)
def test_two_runs_have_the_same_hash_exactly_when_they_have_the_same_words(values, size):
    words = [text.split() for text in spaced_words(_strings(values)).to_pylist()]
    expected = [(i, run) for i, w in enumerate(words) for run in _plain_runs(w, size)]
    runs = runs_of(word_symbols(_strings(values)), size)
    assert runs.texts_R.tolist() == [i for i, _ in expected]
    pairs = set(zip(runs.hashes_R.tolist(), [run for _, run in expected], strict=True))
    assert len(pairs) == len({run for _, run in expected}) == len({h for h, _ in pairs})


@settings(deadline=None, max_examples=50)
@given(texts, SIZES)
def test_a_text_shorter_than_a_run_is_one_run(values, size):
    symbols = character_symbols(_strings(values))
    runs = runs_or_whole(symbols, size)
    counts = np.bincount(runs.texts_R, minlength=len(values))
    for symbol_count, run_count in zip(symbols.counts_N.tolist(), counts.tolist(), strict=True):
        expected = max(symbol_count - size + 1, 1) if symbol_count else 0
        assert run_count == expected
    assert sorted(runs.texts_R.tolist()) == runs.texts_R.tolist()


@settings(deadline=None, max_examples=50)
@given(texts)
def test_hashes_do_not_depend_on_the_other_texts(values):
    together = word_symbols(_strings(values))
    alone = [word_symbols(_strings([value])).hashes_S.tolist() for value in values]
    assert together.hashes_S.tolist() == [h for hashes in alone for h in hashes]


def test_a_whole_short_text_is_not_the_same_as_a_run_of_another_length():
    runs = runs_or_whole(word_symbols(_strings(["a b", "a b c"])), 3)
    assert len(set(runs.hashes_R.tolist())) == 2


def test_null_has_no_words():
    assert word_symbols(_strings([None, "one two", "", "..."])).counts_N.tolist() == [0, 2, 0, 0]


def test_characters_are_framed_by_spaces():
    assert character_symbols(_strings(["ab", "!"])).counts_N.tolist() == [4, 0]


def test_forms_keep_what_they_say():
    values = _strings(["Did  n't\tx + 1.5", None])
    assert to_form(values, "verbatim").to_pylist() == ["Did  n't\tx + 1.5", None]
    assert to_form(values, "case_and_space").to_pylist() == ["did n't x + 1.5", None]
    assert to_form(values, "letters_and_digits").to_pylist() == ["didntx15", None]


def test_marks_belong_to_words():
    assert spaced_words(_strings(["हिन्दी भाषा"])).to_pylist() == ["हिन्दी भाषा"]


def test_powers_are_not_digits_in_the_form_that_drops_duplicates():
    squared, doubled = to_form(_strings(["x²", "x2"]), "case_and_space").to_pylist()
    assert squared != doubled


SENTENCES = {
    "chinese": "农夫有七头棕色的牛，他在市场上卖掉了两头，农场里还剩下几头牛？",
    "japanese": "農夫は茶色い牛を七頭飼っていて、市場で二頭売りました。何頭残っていますか。",
    "thai": "ชาวนามีวัวสีน้ำตาลเจ็ดตัวและขายไปสองตัวที่ตลาด เหลือวัวกี่ตัว",
    "khmer": "កសិករមានគោពណ៌ត្នោតប្រាំពីរក្បាលហើយលក់ពីរក្បាលនៅផ្សារតើនៅសល់ប៉ុន្មាន",
    "lao": "ຊາວນາມີງົວສີນ້ຳຕານເຈັດໂຕແລະຂາຍໄປສອງໂຕຢູ່ຕະຫຼາດເຫຼືອຈັກໂຕ",
    "burmese": "လယ်သမားတွင်နွားညိုခုနစ်ကောင်ရှိပြီးဈေးမှာနှစ်ကောင်ရောင်းလိုက်သည်ဘယ်နှစ်ကောင်ကျန်သလဲ",
    "mixed": "请用Python 3写一个函数，返回list中最大的两个int值，不要使用sort方法。",
}
SENTENCES |= {
    "yi": "ꀀꀁꀂꀃꀄꀅꀆꀇꀈꀉꀊꀋꀌꀍꀎꀏꀐꀑꀒꀓꀔꀕꀖꀗꀘ",
    "bopomofo": "ㄏㄨㄛㄔㄜㄗㄞㄓㄨㄥㄨㄌㄧㄎㄞㄔㄜㄓㄢㄧㄇㄟㄒㄧㄠㄕ",
    "balinese": "ᬲᬢᬸᬭᬶᬓᬧᬭᬶᬓᬧᬢᬶᬗᬸᬦ᭄ᬥᬶᬫᬲᬢᬸᬭᬶᬓᬧᬭᬶᬓᬢᬦᬮᬬᬲᬗ",
}
FRONT = {
    "chinese": "请回答：",
    "japanese": "答えてください。",
    "thai": "โปรดตอบ ",
    "khmer": "ចូរឆ្លើយ ",
    "lao": "ກະລຸນາຕອບ ",
    "burmese": "ဖြေပါ ",
    "mixed": "任务如下：",
    "yi": "ꆈꌠꁱꂷ",
    "bopomofo": "ㄑㄧㄥㄏㄨㄟㄉㄚ ",
    "balinese": "ᬫᬗᬦᬢᬲ ",
}
every_script = pytest.mark.parametrize("script", SENTENCES)


@every_script
def test_an_evaluation_item_with_a_sentence_in_front_is_found(script, make_candidates):
    text = FRONT[script] + SENTENCES[script] + FRONT[script]
    pool = pool_of(make_candidates([(text, "r"), (FRONT[script] * 3, "r"), ("2 + 3?", "5")]))
    evaluation = (TextSource(texts=(SENTENCES[script],)),)
    verdicts = drop_contaminated(pool, ContaminationSettings(evaluation=evaluation))
    assert verdicts.reasons_N == ["contaminated", "clean", "clean"]
    assert verdicts.values_N[0] == 1.0


@every_script
def test_a_sentence_has_more_than_one_word(script, make_candidates):
    pool = pool_of(make_candidates([("x", SENTENCES[script])]))
    measured = measure_length(pool, LengthSettings(unit="words"))
    assert measured.values_N[0] >= 10


@every_script
def test_a_sentence_with_one_changed_character_is_a_near_duplicate(script, make_candidates):
    text = SENTENCES[script] * 2
    pool = pool_of(make_candidates([(text, "r"), (text[:-4] + "好。", "r"), (FRONT[script], "r")]))
    for shingle, size in (("characters", 5), ("words", 2)):
        settings = NearDuplicatesSettings(shingle=shingle, shingle_size=size)
        assert drop_near_duplicates(pool, settings).kept_N.tolist() == [True, False, True]


@every_script
def test_a_response_that_repeats_its_instruction_is_an_echo(script, make_candidates):
    text = SENTENCES[script]
    pairs = [(text, f"{FRONT[script]}{text} 5"), (text, FRONT[script])]
    verdicts = drop_echoes(pool_of(make_candidates(pairs)), EchoSettings())
    assert verdicts.kept_N.tolist() == [False, True]
    half = text[: len(text) // 2]
    share = repeated_share(instruction=text, response=half, ngram_words=3)
    assert share is not None
    assert 0.25 < share < 0.75


@every_script
def test_bags_of_words_see_what_two_sentences_share(script):
    text = SENTENCES[script]
    others = [s for name, s in SENTENCES.items() if name != script]
    vectors = HashedWords(WordsEmbedder()).embed([text, FRONT[script] + text, *others])
    assert vectors[0] @ vectors[1] > 0.7
    assert vectors[0] @ vectors[1] > max(vectors[0] @ vectors[i] for i in range(2, len(vectors)))


def test_characters_carry_their_marks_and_latin_words_stay_whole():
    texts = pa.array(["我用pandas库", "นี่คือ", "ｶﾞｽ スーパー", "हिन्दी भाषा", "e\u200bx\u00adam"])
    assert segmented_words(texts).to_pylist() == [
        "我 用 pandas 库",
        "นี่ คื อ",
        "ガ ス ス ー パ ー",
        "हिन्दी भाषा",
        "exam",
    ]


def test_a_few_characters_are_as_long_as_a_word():
    texts = pa.array(["one two", "小明有三个苹果", "abc 小明", "", None])
    assert word_equivalents(texts).tolist() == [2.0, 3.5, 2.0, 0.0, 0.0]


def test_a_short_phrase_is_only_found_as_the_whole_text(make_candidates):
    pairs = [("你好吗？今天我们去公园散步，然后回家吃饭。", "好"), ("你好吗", "好")]
    evaluation = (TextSource(texts=("你好吗？",)),)
    verdicts = drop_contaminated(
        pool_of(make_candidates(pairs)), ContaminationSettings(evaluation=evaluation)
    )
    assert verdicts.kept_N.tolist() == [True, False]


def test_all_filters_together_keep_every_row(make_candidates):
    table = make_candidates([(text, text[:9]) for text in SENTENCES.values()])
    filters = [LengthSettings(unit="words", minimum=3), NearDuplicatesSettings(), EchoSettings()]
    assert all(apply_filters(table, filters=filters).final["kept"].to_pylist())
