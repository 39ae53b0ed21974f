"""Look at a million examples with four candidates each, through the real server.

The budgets: the first page under a second, the list under a filter within 300 milliseconds, and
with it the filters' counts and the picture within a second. The data is made up:
ids of the real length, two in a hundred candidates failed or unscored, texts of the length that
instruction data has. The index is made once and is not part of the budgets; its cost is printed.

    python benchmarks/view_million.py [examples] [--keep FOLDER]

Exits with 1 where a budget is passed.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlparse

import duckdb

FIRST_PAGE_SECONDS = 1.0
FILTER_SECONDS = 0.3
ALL_THREE_SECONDS = 1.0
ROUNDS = 5
SETTINGS = "set enable_progress_bar = false; set memory_limit = '3GB'"
GROUP = "row_group_size 8192, compression zstd"  # as the tool itself writes
WORDS = [
    *("river", "stone", "light", "window", "maple", "signal", "copper", "garden", "planet"),
    *("method", "answer", "cause", "measure", "energy", "market", "letter", "winter", "engine"),
    *("number", "simple", "quiet", "sudden", "narrow", "plain", "compare", "explain", "because"),
    *("therefore", "write", "list", "describe", "summarise", "short", "paragraph", "about"),
    *("the", "of", "and", "in", "a", "to"),
]

EXAMPLES = """
copy (
  select left(md5('e' || e), 20) as example_id, e as "row",
    [{{'role': 'user', 'content': {instruction}}}, {{'role': 'assistant', 'content': {response}}}]
      as messages, null::varchar as reference,
    ['alpaca', 'dolly', 'oasst', 'code', 'maths', 'own'][(hash(e, 9) % 6)::bigint + 1] as source,
    null::varchar as extra
  from (select e, e as seed from range({examples}) as t(e)) order by e
) to '{path}' ({group})
"""
CANDIDATES = """
copy (
  select left(md5('c' || e || '-' || k), 20) as candidate_id, left(md5('e' || e), 20) as example_id,
    case k when 0 then null when 3 then left(md5('c' || e || '-1'), 20)
           else left(md5('c' || e || '-0'), 20) end as parent_id,
    ['original', 'instruction_reflection', 'response_reflection', 'response_reflection'][k + 1]
      as step,
    case when k = 0 then null when hash(e, 11) % 3 = 0 then 'teacher-a' else 'teacher-b' end
      as teacher,
    case when failed then null else
      [{{'role': 'user', 'content': {instruction}}}, {{'role': 'assistant', 'content': {response}}}]
    end as messages,
    case when failed then 'teacher_failed' else 'ok' end as status,
    case when k = 0 then null else 'stop' end as finish_reason, null::varchar as detail,
    case when k = 0 then null else 'It is vague; say more about ' || left(md5(e::varchar), 6) end
      as criticism,
    null::varchar as request_key
  from (select e, k, hash(e, k, 1) % 50 = 0 as failed, e * 4 + k as seed
        from range({examples}) as a(e), range(4) as b(k)) order by {order}
) to '{path}' ({group})
"""
SCORES = """
copy (
  select candidate_id, example_id, 'student' as student,
    case when hash(candidate_id, 2) % 50 = 0 then 'too_long' else 'ok' end as status,
    null::varchar as detail, false as straddles, false as truncated,
    (hash(candidate_id, 3) % 400)::int as response_tokens,
    (hash(candidate_id, 13) % 90)::int as instruction_tokens,
    {nlls},
    sqrt((hash(candidate_id, 4) % 1200000) / 1000000.0) as ifd,
    (hash(candidate_id, 8) % 1200000) / 1000000.0 as ifd_loss,
    (hash(candidate_id, 5) % 1200000) / 1000000.0 as r_ifd,
    exp((hash(candidate_id, 10) % 6000) / 1000.0) as ppl,
    -(hash(candidate_id, 6) % 3000000)::int / 1000000.0 as grape,
    (hash(candidate_id, 7) % 9000000) / 1000000.0 as rsr
  from '{candidates}' where status = 'ok'
) to '{path}' ({group})
"""
NLLS = ("response_given_instruction", "response", "instruction_given_response", "instruction")


def text(words: int, salt: int) -> str:
    """So many words of the list, drawn by a hash of the row."""
    listed = "[" + ", ".join(f"'{w}'" for w in WORDS) + "]"
    length = f"{words} + (hash(seed, {salt}) % {words})::bigint"
    word = f"{listed}[(hash(seed, i, {salt}) % {len(WORDS)})::bigint + 1]"
    drawn = f"list_transform(range({length}), lambda i: {word})"
    return f"list_aggregate({drawn}, 'string_agg', ' ')"


def make(folder: Path, examples: int) -> None:
    """A run folder as `tutelage run` leaves one."""
    from tutelage.selection import SelectSettings, select

    paths = {name: folder / f"{name}.parquet" for name in ("examples", "candidates", "scores")}
    texts = {"instruction": text(10, 21), "response": text(45, 22), "group": GROUP}
    with duckdb.connect() as tables:
        tables.execute(SETTINGS)
        tables.execute(EXAMPLES.format(examples=examples, path=paths["examples"], **texts))
        # First what was loaded, then what the teacher wrote: as a run writes them.
        order = "k > 0, e, k"
        path = paths["candidates"]
        tables.execute(CANDIDATES.format(examples=examples, path=path, order=order, **texts))
        nlls = ", ".join(f"1.5 as nll_{name}" for name in NLLS)
        tables.execute(SCORES.format(candidates=path, path=paths["scores"], nlls=nlls, group=GROUP))
        chosen = select(
            candidates=path, scores=paths["scores"], examples=paths["examples"],
            settings=SelectSettings(),
        ).decisions  # fmt: skip
        tables.register("chosen", chosen)
        tables.execute(f"copy chosen to '{folder / 'decisions.parquet'}' ({GROUP})")
    rule = {"rule": "srt", "mode": "safe", "margin": 0.0}
    manifest = {
        "schema_version": 1,
        "settings": {},
        "student": {"fingerprint": "student", "model": "made-up"},
        "stages": {"select": {"tally": {"rule": rule, "student": "student"}}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


class Browser:
    """What a browser does: one connection for each question, with the cookie."""

    def __init__(self, link: str) -> None:
        parts = urlparse(link)
        self.port = parts.port
        self.cookie = f"tutelage_{parts.port}={parse_qs(parts.query)['token'][0]}"

    def get(self, path: str, **query: object) -> dict:
        """The answer, and the seconds it took under `seconds`."""
        started = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        where = f"{path}?{urlencode(query, doseq=True)}" if query else path
        connection.request("GET", where, headers={"cookie": self.cookie})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200, (where, response.status, body[:300])
        found = json.loads(body) if path.startswith("/api") else {}
        return found | {"seconds": time.perf_counter() - started}

    def page(self, **query: object) -> float:
        """Seconds until list, filters and picture have answered, asked as the page asks."""
        started = time.perf_counter()
        self.get("/api/rows", **query)
        plot = {"x": "ifd", "y": "r_ifd", "whose": "any"}
        rest = [("/api/facets", query), ("/api/plot", query | plot)]
        threads = [threading.Thread(target=self.get, args=(p,), kwargs=q) for p, q in rest]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started


FILTERS = {
    "one source": {"source": "maths"},
    "refused": {"outcome": "refused"},
    "a reason and a teacher": {"reason": "response_reflection_won", "teacher": "teacher-a"},
    "a status": {"status": "too_long"},
    "ifd of the chosen": {"range": "ifd:chosen:0.6:0.7"},
    "a brush over every version": {"range": ["ifd:any:0.2:0.4", "r_ifd:any:0.1:0.3"]},
    "sorted by ifd": {"sort": "-ifd:chosen"},
    "sorted by gain, kept refined": {"sort": "-gain:ifd", "outcome": "kept_refined"},
}


def measure(link: str) -> list[str]:
    """Print the timings; give back what was over its budget."""
    browser, over = Browser(link), []

    def told(name: str, seconds: list[float], budget: float | None) -> None:
        worst = max(seconds)
        print(f"  {name:<34} median {statistics.median(seconds):6.3f} s  worst {worst:6.3f} s")
        if budget is not None and worst > budget:
            over.append(f"{name}: {worst:.3f} s, the budget is {budget} s")

    started = time.perf_counter()
    browser.get("/")
    about = browser.get("/api/about")
    first = browser.page()
    total = time.perf_counter() - started
    counted = ("examples", "candidates", "kept")
    print(", ".join(f"{about[name]:,} {name}" for name in counted))
    told("first page, nothing warm", [total], FIRST_PAGE_SECONDS)
    told("  of it list, filters, picture", [first], None)
    for name, query in FILTERS.items():
        seconds = [browser.get("/api/rows", **query, at=n)["seconds"] for n in range(ROUNDS)]
        told(f"list: {name}", seconds, FILTER_SECONDS)
    for at, (name, query) in enumerate(FILTERS.items()):
        # Another bound each time, so that no answer is one of before.
        fresh = [
            browser.page(
                **query | {"range": [*_listed(query), f"r_ifd:chosen:0:{1 + at + n / 10}"]}
            )
            for n in range(ROUNDS)
        ]
        told(f"all three: {name}", fresh, ALL_THREE_SECONDS)
    rows = browser.get("/api/rows", sort="-ifd:chosen", count=ROUNDS)["rows"]
    seconds = [browser.get(f"/api/examples/{row['id']}")["seconds"] for row in rows]
    told("a row with its texts", seconds, FILTER_SECONDS)
    told("deep in the list", [browser.get("/api/rows", start=900_000)["seconds"]], FILTER_SECONDS)
    search(browser, told)
    return over


def _listed(query: dict) -> list[str]:
    given = query.get("range", [])
    return [given] if isinstance(given, str) else list(given)


def search(browser: Browser, told) -> None:
    for words in ("river stone", "therefore zebra"):
        started = time.perf_counter()
        first = browser.get("/api/rows", q=words)
        told(f"search {words!r}: first answer", [first["seconds"]], FILTER_SECONDS)
        state = first
        while state["progress"] < 1:
            time.sleep(0.1)
            state = browser.get("/api/rows", q=words)
        told(f"search {words!r}: all of {state['total']:,}", [time.perf_counter() - started], None)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("examples", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="Make the run here, or use the one that is.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        if not (folder / "manifest.json").exists():
            started = time.perf_counter()
            make(folder, given.examples)
            size = sum(p.stat().st_size for p in folder.glob("*.parquet")) / 1e9
            print(f"made {size:.2f} GB of tables in {time.perf_counter() - started:.0f} s")
        for told in ("index", "again"):
            started = time.perf_counter()
            server = subprocess.Popen(
                [sys.executable, "-c", "from tutelage.cli import main; main()", "view", str(folder),
                 "--no-browser"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            try:
                link = server.stdout.readline().strip()
                print(f"start ({told}): {time.perf_counter() - started:.1f} s until the link")
                if told == "again":
                    size = (folder / ".view" / "index.duckdb").stat().st_size / 1e6
                    print(f"index: {size:.0f} MB; load {os.getloadavg()[0]:.1f}")
                    over = measure(link)
                    status = Path(f"/proc/{server.pid}/status").read_text()
                    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                    print(f"memory at the peak: {int(peak.split()[1]) / 1e6:.2f} GB")
            finally:
                server.terminate()
                server.wait()
    for line in over:
        print(f"OVER: {line}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
