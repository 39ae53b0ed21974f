"""Select among four million candidates of a million examples, nulls included.

The aim: under 15 seconds and under 4 GB of memory at the peak, on two cores. The data is made up:
ids of the real length, four versions an example, two in a hundred of them failed or unscored.

    python benchmarks/select_million.py [examples] [rule ...]
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

CANDIDATES = """
copy (
  select left(md5('c' || e || '-' || k), 20) as candidate_id, left(md5('e' || e), 20) as example_id,
    case k when 0 then null when 3 then left(md5('c' || e || '-1'), 20)
           else left(md5('c' || e || '-0'), 20) end as parent_id,
    ['original', 'instruction_reflection', 'response_reflection', 'response_reflection'][k + 1]
      as step,
    case when hash(e, k, 1) % 50 = 0 then 'teacher_failed' else 'ok' end as status
  from range({examples}) as examples(e), range(4) as versions(k) order by hash(e, k)
) to '{path}'
"""
SCORES = """
copy (
  select candidate_id, example_id, 'student' as student,
    case when hash(candidate_id, 2) % 50 = 0 then 'too_long' else 'ok' end as status,
    (hash(candidate_id, 3) % 400)::int as response_tokens,
    (hash(candidate_id, 4) % 1200) / 1000 as ifd, (hash(candidate_id, 5) % 1200) / 1000 as r_ifd,
    -(hash(candidate_id, 6) % 3000)::int / 1000 as grape,
    (hash(candidate_id, 7) % 9000) / 1000 as rsr
  from '{candidates}' where status = 'ok' order by hash(candidate_id)
) to '{path}'
"""


def make(folder: Path, examples: int) -> None:
    with duckdb.connect() as tables:
        tables.execute("set enable_progress_bar = false")
        path = folder / "candidates.parquet"
        tables.execute(CANDIDATES.format(examples=examples, path=path))
        tables.execute(SCORES.format(candidates=path, path=folder / "scores.parquet"))


def measure(folder: Path, rule: str) -> None:
    """Run in a process of its own, so that the peak is that of one selection."""
    from tutelage.selection import SelectSettings, select

    started = time.perf_counter()
    name, _, mode = rule.partition(":")
    share = 0.5 if rule in ("ifd_top", "random", "longest") else None
    selected = select(
        candidates=folder / "candidates.parquet",
        scores=folder / "scores.parquet",
        settings=SelectSettings(rule=name, mode=mode or "safe", keep_fraction=share),
    )
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / 1024**2
    coverage = selected.coverage
    print(
        f"{rule:<12} {coverage.examples:>9} examples {coverage.candidates:>9} candidates  kept "
        f"{coverage.kept:>8}  nulls {selected.nulls.num_rows:>8}  {seconds:6.1f} s  "
        f"({used.ru_utime + used.ru_stime:.1f} s of CPU)  "
        f"{peak:5.2f} GB at the peak",
        flush=True,
    )


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--measure":
        measure(Path(sys.argv[2]), sys.argv[3])
        return
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rules = sys.argv[2:] or ["srt", "srt:paper", "grape", "ifd_top", "random"]
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), examples)
        load = os.getloadavg()[0]
        print(f"{os.cpu_count()} cores, load {load:.1f} before the first selection", flush=True)
        for rule in rules:
            subprocess.run([sys.executable, __file__, "--measure", name, rule], check=True)


if __name__ == "__main__":
    main()
