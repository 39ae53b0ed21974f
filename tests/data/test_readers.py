"""Files of every format, good and bad; and rows that add up."""

import bz2
import contextlib
import gzip
import json
import lzma
import os
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tutelage.data import ReadSettings, Row, read, write_jsonl
from tutelage.errors import DataError

ROWS = [
    {"instruction": "Add 2 and 2.", "input": "", "output": "4"},
    {"instruction": "Say é.", "input": 'a, "b"\nc', "output": "é\n\tlast"},
    {"instruction": "Count.", "input": "1", "output": "2"},
]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def csv_of(delimiter: str) -> bytes:
    cell = lambda text: '"' + text.replace('"', '""') + '"'  # noqa: E731
    lines = [delimiter.join(ROWS[0])] + [delimiter.join(map(cell, r.values())) for r in ROWS]
    return "\r\n".join(lines).encode()


def parquet(rows: list, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    return sink.getvalue().to_pybytes()


def arrow(rows: list, *, stream: bool) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


CONTENTS = {
    "jsonl": JSONL,
    "jsonl without a last newline": JSONL.rstrip(),
    "jsonl with CRLF, a BOM and blank lines": b"\xef\xbb\xbf\n"
    + JSONL.replace(b"\n", b"\r\n\r\n  \r\n"),
    "gzip": gzip.compress(JSONL),
    "gzip of two members": gzip.compress(JSONL[:50]) + gzip.compress(JSONL[50:]),
    "zstd": zstd(JSONL),
    "bzip2": bz2.compress(JSONL),
    "xz": lzma.compress(JSONL),
    "json array": json.dumps(ROWS).encode(),
    "json array with a BOM": b"\xef\xbb\xbf" + json.dumps(ROWS).encode(),
    "json array, pretty": json.dumps(ROWS, indent=2).encode(),
    "json array in gzip": gzip.compress(json.dumps(ROWS).encode()),
    "json array, a row a line": b"[\n" + b",\n".join(JSONL.splitlines()) + b"\n]\n",
    "json object": json.dumps({"version": [1], "data": ROWS, "note": "x"}).encode(),
    "json object, pretty": json.dumps({"data": ROWS}, indent=1).encode(),
    "json values, pretty": "\n".join(json.dumps(r, indent=2) for r in ROWS).encode(),
    "csv": csv_of(","),
    "csv with semicolons": csv_of(";"),
    "tsv": csv_of("\t"),
    "csv in zstd": zstd(csv_of(",")),
    "parquet": parquet(ROWS, row_group_size=2),
    "arrow file": arrow(ROWS, stream=False),
    "arrow stream": arrow(ROWS, stream=True),
}


def texts(rows: list[Row]) -> list[tuple[str, str]]:
    return [(r.example.instruction, r.candidates[0].response) for r in rows]


EXPECTED = texts(list(read(ROWS)))


@pytest.mark.parametrize("name", ["rows", "rows.json", "rows.jsonl.gz", "rows.csv", "rows.parquet"])
@pytest.mark.parametrize("content", CONTENTS)
def test_the_content_decides_and_not_the_name(tmp_path: Path, content: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENTS[content])
    rows = read(path)
    assert texts(list(rows)) == EXPECTED
    assert texts(list(rows)) == EXPECTED, "a second pass reads the same"
    assert [r.row for r in rows] == [0, 1, 2]
    assert {r.example.source for r in rows} == {"rows"}


def test_a_malformed_line_is_a_reason_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "seven.jsonl"
    lines = [json.dumps({"question": f"q{i}", "answer": "a"}) for i in range(10)]
    lines[6] = '{"question": "q6", "answer": '
    path.write_text("\n".join(lines))
    rows = list(read(path))
    assert [r.status for r in rows] == ["ok"] * 6 + ["malformed_json"] + ["ok"] * 3
    assert (rows[6].line, rows[6].row) == (7, 6)
    assert rows[6].detail.startswith(f"{path}:7: ")
    assert "q6" in rows[6].detail


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'{"question": "\xff\xfe", "answer": "a"}', "bad_encoding"),
        (b'{"question": "a\x00b", "answer": "a"}', "malformed_json"),
        (b"[" * 100_000, "nested_too_deeply"),
        (b'{"a":' * 100_000, "nested_too_deeply"),
        (b'{"question": ' + b"1" * 5000 + b"}", "malformed_json"),
        (b"null", "not_an_object"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b'{"question": "q"} {"question": "q"}', "malformed_json"),
        (b'{"question": "\\ud800", "answer": "NaN"}', "ok"),
        (b'{"question": "q", "answer": NaN}', "ok"),
        (b'{"question": "q", "answer": "a", "n": 1' + b"0" * 400 + b', "x": 1e999}', "ok"),
        (b'{"question": "\\u0000", "answer": "\xf0\x9f\x98\x80"}', "ok"),
    ],
)
def test_a_strange_line_costs_at_most_itself(tmp_path: Path, line: bytes, status: str) -> None:
    path = tmp_path / "strange.jsonl"
    good = b'{"question": "before", "answer": "a"}\n'
    path.write_bytes(good + line + b"\n" + good.replace(b"before", b"after"))
    rows = list(read(path))
    assert [r.status for r in rows] == ["ok", status, "ok"]
    assert [r.line for r in rows] == [1, 2, 3]
    for row in rows:
        for candidate in row.candidates:
            for message in candidate.messages:
                message.content.encode()


def test_deep_nesting_beside_the_text_is_kept_or_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "deep.jsonl"
    deep = [
        f'{{"question": "q{n}", "answer": "a", "x": {"[" * n}{"]" * n}}}' for n in (10, 400, 900)
    ]
    path.write_text("\n".join(deep))
    assert len(list(read(path))) == 3


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lzma.compress])
def test_a_packed_file_that_breaks_off_keeps_what_comes_before(tmp_path: Path, pack) -> None:
    count = 20_000
    lines = [
        json.dumps({"question": f"q{i} {i * i * 7919 % 10007}", "answer": "a" * (i % 50)})
        for i in range(count)
    ]
    packed = pack("\n".join(lines).encode())
    path = tmp_path / "cut"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    found = list(read(path))
    assert [r.status for r in found] == ["ok"] * (len(found) - 1) + ["broken_file"]
    assert [r.line for r in found] == list(range(1, len(found) + 1))
    assert f"line {len(found) - 1} " in found[-1].detail
    assert count / 3 < len(found) < count


def test_a_packed_file_that_breaks_off_at_once_is_an_error_that_says_so(tmp_path: Path) -> None:
    for pack in (zstd, bz2.compress):  # both unpack whole blocks
        path = tmp_path / "cut"
        path.write_bytes(pack(JSONL)[:-30])
        with pytest.raises(DataError, match="broken_file"):
            list(read(path))


def test_zstd_gives_what_was_unpacked_just_before_the_break(tmp_path: Path) -> None:
    noise = [json.dumps({"question": os.urandom(2000).hex(), "answer": "a"}) for _ in range(100)]
    # A frame a line, as programs write that flush after each line.
    packed = b"".join(zstd(line.encode() + b"\n") for line in noise)
    path = tmp_path / "cut.zst"
    for fraction in (0.303, 0.501, 0.707, 0.903):
        path.write_bytes(packed[: int(len(packed) * fraction)])
        unpacked = bytearray()
        with contextlib.suppress(OSError), pa.OSFile(str(path)) as file:
            stream = pa.CompressedInputStream(file, "zstd")
            while byte := stream.read(1):
                unpacked += byte
        found = list(read(path))
        assert len(found) == unpacked.count(b"\n") + 1
        assert found[-1].status == "broken_file"


def test_gzip_gives_every_whole_line_before_the_break(tmp_path: Path) -> None:
    packed = gzip.compress(JSONL * 2000, compresslevel=0)
    path = tmp_path / "stored.gz"
    path.write_bytes(packed[: len(packed) - 40])
    whole = (len(JSONL) * 2000 - 40) // len(JSONL) * 3
    found = list(read(path))
    assert found[-1].status == "broken_file"
    assert whole <= len(found) - 1 <= whole + 3


def test_a_json_array_that_is_malformed_keeps_what_comes_before(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"question": "q", "answer": "a"},\n{"question": oops}, {"question": "r"}]')
    good, bad = read(path)
    assert (good.status, good.line, bad.status, bad.line) == ("ok", 2, "malformed_json", 3)
    assert "oops" in bad.detail
    path.write_text('[{"question": "q", "answer": "a"}')
    assert [r.status for r in read(path)] == ["ok", "malformed_json"]
    path.write_text('[{"question": "q", "answer": "a"}] trailing')
    assert [r.status for r in read(path)] == ["ok", "malformed_json"]


def test_long_json_values_cross_the_borders_of_the_window(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    rows = [
        {"question": f"q{i}", "answer": 'é\\\n"' * 10_000 * (i % 5 + 1), "n": 10**i}
        for i in range(40)
    ]
    for indent in (None, 1):
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False))
        found = list(read(path))
        assert texts(found) == [(r["question"], r["answer"]) for r in rows]
        assert [r.line for r in found] == [1 + bool(indent) * (1 + 5 * i) for i in range(40)]


def test_bad_bytes_in_a_json_array_cost_only_their_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(
        b'[{"question": "q", "answer": "\xff"}, {"question": "\\ud800", "answer": "a"}]'
    )
    assert [r.status for r in read(path)] == ["bad_encoding", "ok"]


def test_a_row_whose_own_field_is_called_data_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    path.write_text(json.dumps({"data": turns}))
    (row,) = read(path, ReadSettings(fields={"messages": "data"}))
    assert row.status == "ok"


def test_csv_reasons_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'question,answer\n"two\nlines",a\ntoo,many,cells\nfew\n\nbad,\xff\ngood,\n')
    rows = list(read(path))
    assert [(r.line, r.status) for r in rows] == [
        (2, "ok"),
        (4, "malformed_csv"),
        (5, "malformed_csv"),
        (7, "bad_encoding"),
        (8, "ok"),
    ]
    assert rows[-1].candidates[0].status == "empty_response"


def test_a_csv_column_without_a_name_or_with_a_repeated_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(",question,answer,tag,tag\n0,q,a,x,y\n")
    (row,) = read(path)
    assert texts([row]) == [("q", "a")]
    assert json.loads(row.example.extra) == {"": "0", "tag": "x", "tag_2": "y"}


def test_csv_may_hold_conversations_as_json_and_very_long_cells(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    turns = json.dumps(
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a" * 200_000}]
    )
    path.write_text('id,messages\n1,"' + turns.replace('"', '""') + '"\n')
    (row,) = read(path)
    assert len(row.candidates[0].response) == 200_000


def test_parquet_of_conversations_with_nulls_and_odd_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(
        parquet(
            [
                {
                    "messages": [
                        {"role": "user", "content": "q"},
                        {"role": "assistant", "content": "a"},
                    ],
                    "score": float("nan"),
                    "raw": b"\xff",
                    "instruction": None,
                    "output": None,
                },
                {"messages": None, "score": 1.5, "raw": None, "instruction": "i", "output": "o"},
            ]
        )
    )
    assert texts(list(read(path))) == [("q", "a"), ("i", "o")]


def test_a_parquet_row_with_bad_text_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    good = pa.array(["a", "b", "c"])
    bad = pa.array([b"x", b"\xff", b"y"], type=pa.binary()).view(pa.string())
    pq.write_table(pa.table({"question": good, "answer": bad}), path)
    assert [r.status for r in read(path)] == ["ok", "bad_encoding", "ok"]


@pytest.mark.parametrize("stream", [True, False])
def test_an_arrow_file_with_offsets_that_point_nowhere_costs_only_the_row(tmp_path, stream) -> None:
    path = tmp_path / "t.arrow"
    rows = [{"question": "q" * n, "answer": "a"} for n in (5, 8, 11)]
    good = arrow(rows, stream=stream)
    offsets = struct.pack("<4i", 0, 5, 13, 24)
    assert good.count(offsets) == 1
    path.write_bytes(good.replace(offsets, struct.pack("<4i", 0, 5, 13, 2**30)))
    assert [r.status for r in read(path)] == ["ok", "ok", "bad_type"]


def test_several_files_are_counted_through_in_order(tmp_path: Path) -> None:
    for index, name in enumerate(("b.jsonl", "a.json", "c.csv")):
        (tmp_path / name).write_bytes(CONTENTS[("jsonl", "json array", "csv")[index]])
    (tmp_path / "README.md").write_text("# not data")
    (tmp_path / ".hidden.jsonl").write_text("{}")
    for source in (
        tmp_path,
        str(tmp_path / "*.*s*"),
        [tmp_path / "a.json", tmp_path / "b.jsonl", tmp_path / "c.csv"],
    ):
        rows = list(read(source))
        assert [r.row for r in rows] == list(range(9))
        assert [Path(r.file).name for r in rows] == ["a.json"] * 3 + ["b.jsonl"] * 3 + ["c.csv"] * 3
        assert [r.status for r in rows] == ["ok"] * 3 + ["duplicate"] * 6


def test_a_duplicate_row_has_the_example_it_repeats_and_no_candidates() -> None:
    first, second, other = read([ROWS[0], {**ROWS[0], "id": 5}, ROWS[2]])
    assert (first.status, second.status, other.status) == ("ok", "duplicate", "ok")
    assert second.example.example_id == first.example.example_id
    assert second.candidates == ()


def test_a_row_that_adds_a_candidate_to_a_known_example_is_no_duplicate() -> None:
    base = {"instruction": "i", "original_output": "o"}
    first, second, third = read(
        [
            {**base, "refined_output": "x"},
            {**base, "refined_output": "y"},
            {**base, "refined_output": "x"},
        ]
    )
    assert [len(r.candidates) for r in (first, second, third)] == [2, 1, 0]
    assert third.status == "duplicate"
    assert second.candidates[0].parent_id == first.candidates[0].candidate_id


def test_the_limit_counts_rows(tmp_path: Path) -> None:
    rows = list(read([1, *ROWS], ReadSettings(limit=2)))
    assert [r.status for r in rows] == ["not_an_object", "ok"]


def test_a_saved_dataset_is_read_without_its_library(tmp_path: Path) -> None:
    def save(folder: Path, rows: list) -> None:
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text(
            json.dumps({"_data_files": [{"filename": f"data-{i}.arrow"} for i in (1, 0)]})
        )
        (folder / "data-1.arrow").write_bytes(arrow(rows[:1], stream=True))
        (folder / "data-0.arrow").write_bytes(arrow(rows[1:], stream=True))

    save(tmp_path / "one", ROWS)
    assert texts(list(read(tmp_path / "one"))) == EXPECTED
    save(tmp_path / "dict" / "train", ROWS)
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert texts(list(read(tmp_path / "dict"))) == EXPECTED
    (tmp_path / "dict" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="train, test"):
        read(tmp_path / "dict")
    assert texts(list(read(tmp_path / "dict", ReadSettings(split="train")))) == EXPECTED


def test_objects_of_the_datasets_library_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_list(ROWS)
    assert texts(list(read(table))) == EXPECTED
    table.save_to_disk(tmp_path / "saved")
    assert texts(list(read(tmp_path / "saved"))) == EXPECTED
    both = datasets.DatasetDict(train=table, test=table.select([0]))
    assert texts(list(read(both, ReadSettings(split="train")))) == EXPECTED
    with pytest.raises(DataError, match="splits train, test"):
        read(both)


def test_tables_in_memory_are_read() -> None:
    assert texts(list(read(pa.Table.from_pylist(ROWS)))) == EXPECTED


def test_rows_that_can_be_read_only_once_say_so_the_second_time() -> None:
    rows = read(row for row in ROWS)
    assert len(list(rows)) == 3
    with pytest.raises(DataError, match="only once"):
        list(rows)
    assert list(read([])) == []


@pytest.mark.parametrize("source", [{"instruction": "q"}, 5, b"bytes", None])
def test_what_is_no_source_is_refused(source: object) -> None:
    with pytest.raises(DataError):
        read(source)


@pytest.mark.parametrize(
    "name", ["nothing.jsonl", "no/such/file.jsonl", "*.none", "x" * 5000, "a\0b"]
)
def test_a_path_to_nothing_is_an_error(tmp_path: Path, name: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        read(name)
    with pytest.raises(DataError):
        read(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01\x02\x03",
        b"PK\x03\x04zip",
        b"SQLite format 3\x00",
        b"just a line of prose\n",
        b"\xff\xfe{\x00",
        b"\x1f\x8b\x08\x00broken",
        b"PAR1broken",
        b"ARROW1broken",
        b"",
        gzip.compress(parquet(ROWS)),
        b"\n\n",
        b"question,question\nq,q\n",
        b"[]",
        b"{}",
    ],
)
def test_a_file_that_is_no_data_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.bin"):
        list(read(path))


def test_no_recognisable_row_lists_the_fields_and_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_text('{"frage": "q", "antwort": "a"}\n' * 3)
    with pytest.raises(DataError, match="none of the 3 rows") as caught:
        list(read(path))
    assert "frage, antwort" in caught.value.hint
    assert "--map instruction=FIELD" in caught.value.hint
    mapped = ReadSettings(fields={"instruction": "frage", "response": "antwort"})
    assert [r.status for r in read(path, mapped)] == ["ok", "duplicate", "duplicate"]


def test_settings_refuse_what_they_do_not_know() -> None:
    for wrong in ({"shape": "round"}, {"limit": 0}, {"colour": 1}, {"fields": {"who": "x"}}):
        with pytest.raises(ValidationError):
            ReadSettings(**wrong)


# Properties ----------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["user", "assistant", "human", "gpt", "original", "sample"]),
)
keys = st.sampled_from(
    [
        "messages",
        "conversations",
        "role",
        "from",
        "content",
        "value",
        "instruction",
        "input",
        "output",
        "prompt",
        "completion",
        "question",
        "answer",
        "model",
        "responses",
        "candidates",
        "step",
        "parent",
        "refined_output",
        "refined_instruction",
        "refined_input",
        "original_output",
        "reference",
        "history",
        "system",
        "refined_messages",
        "text",
        "type",
        "x",
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=20,
)
rows_of_fields = st.lists(st.one_of(st.dictionaries(keys, values, max_size=6), values), max_size=6)
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_or_error(source: object, **options) -> list[Row] | None:
    try:
        rows = list(read(source, ReadSettings(**options)))
    except DataError:
        return None
    for row in rows:
        assert (row.example is None) == (row.status not in ("ok", "duplicate"))
        assert row.detail or row.status == "ok"
        for candidate in row.candidates:
            assert candidate.example_id == row.example.example_id
    return rows


@quick
@given(
    rows_of_fields, st.sampled_from(["auto", "messages", "pool", "refined", "candidates", "alpaca"])
)
def test_any_values_give_one_row_each(given_rows: list, shape: str) -> None:
    rows = rows_or_error([{"question": "sentinel"}, *given_rows], shape=shape)
    if rows is not None:
        assert [r.row for r in rows] == list(range(len(given_rows) + 1))


@quick
@given(
    st.lists(
        st.one_of(
            values.map(lambda v: json.dumps(v).encode()),
            st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"")),
            st.sampled_from([b"", b" ", b"\r", JSONL.split(b"\n")[0]]),
        ),
        max_size=8,
    ),
    st.sampled_from([lambda b: b, gzip.compress, zstd]),
)
def test_jsonl_has_a_row_for_each_line_that_is_not_blank(tmp_path: Path, lines: list, pack) -> None:
    path = tmp_path / "lines"
    sentinel = b'{"question": "sentinel"}'
    path.write_bytes(pack(b"\n".join([sentinel, *lines])))
    rows = rows_or_error(path, format="jsonl")
    expected = [i for i, line in enumerate([sentinel, *lines], 1) if line and not line.isspace()]
    assert [r.line for r in rows] == expected


@quick
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda head, tail: head + tail,
            st.sampled_from(
                [
                    b"{",
                    b"[",
                    b"[{",
                    b'{"data": [',
                    b"PAR1",
                    b"ARROW1",
                    b"\xff\xff\xff\xff",
                    b"\x1f\x8b",
                    b"\x28\xb5\x2f\xfd",
                    b"question,answer\n",
                    b"\xef\xbb\xbf",
                ]
            ),
            st.binary(max_size=60),
        ),
        st.builds(
            lambda name, at, byte: (
                CONTENTS[name][: at % len(CONTENTS[name])]
                + bytes([byte])
                + CONTENTS[name][at % len(CONTENTS[name]) + 1 :]
            ),
            st.sampled_from(sorted(CONTENTS)),
            st.integers(0, 10**6),
            st.integers(0, 255),
        ),
    ),
    st.sampled_from(["x", "x.json", "x.jsonl", "x.csv", "x.parquet"]),
)
def test_any_bytes_give_rows_or_one_plain_error(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    rows_or_error(path)


@settings(quick, max_examples=40)
@given(
    st.lists(
        st.builds(
            lambda q, a, n: {"question": q, "answer": a, "n": n},
            st.text(max_size=10),
            st.text(max_size=10),
            st.integers(-(2**63), 2**63 - 1),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_every_format_gives_the_same_rows(tmp_path: Path, given_rows: list) -> None:
    contents = {
        "json": json.dumps(given_rows).encode(),
        "pretty": json.dumps(given_rows, indent=1, ensure_ascii=False).encode(),
        "parquet": parquet(given_rows),
        "arrow": arrow(given_rows, stream=True),
    }
    path = tmp_path / "rows"
    expected = [
        (r.status, r.example, r.candidates) for r in read(given_rows, ReadSettings(source_name="s"))
    ]
    write_jsonl(path, given_rows)
    for content in (path.read_bytes(), *contents.values()):
        path.write_bytes(content)
        found = read(path, ReadSettings(source_name="s"))
        assert [(r.status, r.example, r.candidates) for r in found] == expected
