"""Write the tables of docs/speed.md from benchmarks/results: of each kind the largest, last one.

python benchmarks/speed_page.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
WORKERS = {"one": "one worker", "two": "two workers", "here": "a single process without Ray"}
BEGIN, END = "<!-- tables: begin -->\n", "<!-- tables: end -->\n"


def results(name: str) -> list[dict]:
    path = HERE / "results" / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def table(head: list[str], rows: list[list]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def plain_loop() -> str:
    last: dict[tuple, dict] = {}
    for row in results("score_speed"):
        if row["what"] in {"refined", "pool"}:
            key = (row["what"], row["model"], row["context_words"], row["who"], row["dtype"])
            if row["candidates"] >= last.get(key, row)["candidates"]:
                last[key] = row
    rows = []
    for (what, model, words, who, dtype), row in sorted(last.items(), key=str):
        if who != "ours":
            continue
        beside = [
            f"{row[f'times_plain_{other}_wall']:.2f} ({row[f'times_plain_{other}_cpu']:.2f})"
            if f"times_plain_{other}_wall" in row
            else ""
            for other in ("bfloat16", "float32")
        ]
        name = what if words is None else "pool of 16" + (f", +{words} words" if words else "")
        first = [name, model, dtype, number(row["candidates"])]
        speed = number(row["tokens_per_wall_second"])
        worst = f"{row['worst_nats']:.1g}"
        rows.append([*first, speed, *beside, worst, number(row["load"], 1)])
    head = ["what", "student", "dtype", "candidates", "tokens/s", "times plain bfloat16"]
    head += ["times plain float32", "largest difference, nats", "load"]
    return table(head, rows)


def others() -> str:
    last = {(row["what"], row["model"]): row for row in results("score_speed")}
    text = ""
    again = [row for (what, _), row in last.items() if what == "again"]
    if again:
        text += (
            "\n### Scoring again from the cache, including the start of the process\n\n"
            + table(
                ["student", "candidates", "first time, s", "from the cache, s", "times as fast"],
                [
                    [
                        r["model"],
                        r["candidates"],
                        r["first_wall_seconds"],
                        r["second_wall_seconds"],
                        r["times"],
                    ]
                    for r in again
                ],
            )
        )
    memory = [row for (what, _), row in last.items() if what == "memory"]
    if memory:
        text += "\n### Peak memory of a row of 8,000 tokens\n\n" + table(
            ["student", "tokens", "peak, GiB"],
            [[r["model"], number(r["tokens"]), r["peak_gib"]] for r in memory],
        )
    return text


def shares() -> str:
    last = {(row["model"], row["length"]): row for row in results("flops_share")}
    rows = [
        [
            *(model, length, number(r["nll_tokens_per_second"])),
            f"{r['nll_share']:.0%} ({r['nll_share_cpu']:.0%})",
            number(r["full_tokens_per_second"]),
            f"{r['full_share']:.0%} ({r['full_share_cpu']:.0%})",
            *(r["peak_tflops"], number(r["load"], 1)),
        ]
        for (model, length), r in sorted(last.items())
    ]
    head = [
        "student",
        "tokens per passage",
        "tokens/s",
        "share of peak",
        "tokens/s, all statistics",
    ]
    return table([*head, "share of peak", "peak, TFLOP/s", "load"], rows) if rows else ""


def wana() -> str:
    rows = [
        [
            *(r["model"], r["rows"], d, r["whole_command_seconds"]["wana all"]),
            *(r["whole_command_seconds"][f"{d} all"], r["times_wana_whole"][d]),
            *(r["times_wana_reading"][d], number(r["load"], 1)),
        ]
        for r in {row["model"]: row for row in results("wana_speed")}.values()
        for d in ("bfloat16", "float32")
    ]
    head = [
        "student",
        "rows",
        "our dtype",
        "wana, s",
        "tutelage, s",
        "times as fast, whole command",
    ]
    return table([*head, "times as fast, scoring only", "load"], rows) if rows else ""


def workers() -> str:
    rows = [
        [
            *(WORKERS[r["who"]], r["model"], r["dtype"], r["candidates"], r["wall_seconds"]),
            *(r["times_one"], r.get("times_one_reading", ""), number(r["load"], 1)),
        ]
        for r in results("ray_workers")[-3:]
    ]
    head = [
        "who",
        "student",
        "dtype",
        "candidates",
        "s",
        "times one worker",
        "times one worker, scoring only",
    ]
    return table([*head, "load"], rows) if rows else ""


def main() -> None:
    parts = {
        "Compared with the plain loop": plain_loop() + others(),
        "Compared with wana 0.5.1": wana(),
        "Two workers compared with one": workers(),
        "Share of the machine's matrix products": shares(),
    }
    text = "\n".join(f"## {title}\n\n{body}" for title, body in parts.items() if body)
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
