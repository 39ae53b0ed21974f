import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tutelage.errors import DataError
from tutelage.filters import Item, TextSource, read_items

ROWS = [{"id": "x", "question": "Why?"}, {"question": "Who?"}]


def _write(folder, kind):
    path = folder / f"bench.{kind}"
    lines = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    match kind:
        case "jsonl":
            path.write_text(lines)
        case "jsonl.gz":
            path.write_bytes(gzip.compress(lines.encode()))
        case "json":
            path.write_text(json.dumps(ROWS))
        case "csv":
            path.write_text('id,question\nx,Why?\n,"Who?"\n')
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "parquet"])
def test_every_format_gives_the_same_items(tmp_path, kind):
    items = read_items(TextSource(path=_write(tmp_path, kind)))
    assert items == [Item(item_id="x", text="Why?"), Item(item_id="bench:1", text="Who?")]


def test_csv_and_plain_text_are_read(tmp_path):
    assert [i.text for i in read_items(TextSource(path=_write(tmp_path, "csv")))] == [
        "Why?",
        "Who?",
    ]
    plain = tmp_path / "bench.txt"
    plain.write_text("Why?\n\nWho?\n")
    assert [i.text for i in read_items(TextSource(path=plain))] == ["Why?", "Who?"]


def test_fields_are_joined_and_lists_are_spread(tmp_path):
    path = tmp_path / "mcq.jsonl"
    path.write_text(json.dumps({"question": "Why?", "choices": ["a", "b"]}))
    items = read_items(TextSource(path=path, fields=("question", "choices")))
    assert items == [Item(item_id="mcq:0", text="Why?\na\nb")]


def test_a_row_without_the_field_is_named_with_its_place(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text('{"question": "Why?"}\n{"other": "Who?"}\n')
    with pytest.raises(DataError, match=r"bench\.jsonl:2: no field any of instruction"):
        read_items(TextSource(path=path))
    with pytest.raises(DataError, match=r"bench\.jsonl:1: no field choices; the row has question"):
        read_items(TextSource(path=path, fields=("question", "choices")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "not json", "malformed_json"),
        ("a.jsonl", "[1]", "expected an object"),
        ("a.jsonl", '{"text": "Who?"}\n{"text": "W', "malformed_json"),
        ("a.jsonl", '{"text": " "}', "the text is empty"),
        ("a.jsonl", "", "contains no rows"),
        ("a.json", "{}", "no field any of instruction"),
        ("a.xml", "x", "has no supported format"),
        ("a.parquet", "PAR1", "(?i)parquet"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_items(TextSource(path=path))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        read_items(TextSource(path=tmp_path / "gone.jsonl"))


def test_a_source_is_a_file_or_texts_and_not_both(tmp_path):
    with pytest.raises(ValidationError, match="either path or texts"):
        TextSource()
    with pytest.raises(ValidationError, match="either path or texts"):
        TextSource(path=tmp_path, texts=("a",))


def _texts(path, **settings):
    return [item.text for item in read_items(TextSource(path=path, **settings))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", "\ufeffQuestion,Best Answer\nWhy?,so\nWho?,me\n"),
        ("bom.jsonl", '\ufeff{"Question": "Why?"}\n{"Question": "Who?"}\n'),
        ("bom.txt", "\ufeffWhy?\r\nWho?\r\n"),
        ("tabs.tsv", "Question\tanswer\nWhy?\tso\nWho?\tme\n"),
        ("texts.json", '["Why?", "Who?"]'),
    ],
)
def test_a_set_is_read_like_data_with_a_mark_in_front_or_with_tabs(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert _texts(path) == ["Why?", "Who?"]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"question": {"stem": "Why?", "choices": [{"text": "a", "label": "A"}]}}, "Why?"),
        ({"question": {"text": "Why?", "kind": "short"}}, "Why?"),
        ({"question": [{"role": "user", "content": "Why?"}]}, "Why?"),
        (
            {"messages": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So"}]},
            "Why?",
        ),
        ({"prompt": {"question": {"stem": "Why?"}}}, "Why?"),
        ({"question": [{"type": "text", "text": "Why?"}, {"type": "image_url"}]}, "Why?"),
        ({"turns": ["Why?", "And then?"], "category": "maths"}, "Why?\nAnd then?"),
        ({"input": 5, "prompt": "Why?"}, "Why?"),
        ({"doc_id": 0, "doc": {"question": "Why?"}, "target": "so"}, "Why?"),
    ],
)
def test_an_object_gives_its_text(tmp_path, row, text):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps(row))
    assert _texts(path) == [text]


def test_a_field_of_an_object_can_be_named(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"doc": {"body": {"ask": "Why?"}, "note": "x"}, "a.b": "dotted"}))
    assert _texts(path, fields=("doc.body.ask", "a.b")) == ["Why?\ndotted"]


def test_an_object_without_a_text_is_an_error_that_names_the_field(tmp_path):
    path = tmp_path / "bench.jsonl"
    path.write_text(json.dumps({"question": {"en": "Why?", "fr": "Pourquoi ?"}}))
    with pytest.raises(DataError, match=r"field question is an object, not a text; it has en, fr"):
        read_items(TextSource(path=path, fields=("question",)))


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ({"question": True}, "field question is True, not a text", "as `fields`"),
        ({"question": 17}, "field question is 17, not a text", "as `fields`"),
        ({"id": "a", "puzzle": "Who owns the fish?"}, "no field any of", "`fields: [puzzle]`"),
        ({"n": 1, "questions": [{"q": "Why?"}]}, "no field any of", "list in questions"),
        ({"a": {"x": "Why?"}, "b": {"x": "Who?"}}, "no field any of", "save the objects as a list"),
    ],
)
def test_a_row_without_a_text_is_an_error_with_the_next_step(tmp_path, row, message, hint):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match=message) as caught:
        read_items(TextSource(path=path))
    assert hint in caught.value.hint
