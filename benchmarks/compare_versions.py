"""Reading and selection of two versions of the code, alternating on the same rows.

    python benchmarks/compare_versions.py 5a9db4f HEAD --repeats 3
    python benchmarks/compare_versions.py v0.3.0 HEAD --jobs pool --dtype bfloat16

Each version is unpacked from the repository's history and measured in processes of its own, in
turn, so that a busy or differently clocked machine changes both alike. Times are processor time,
without imports and loading of the model. `refined` and `pool` are the rows of `score_speed.py`,
`select` those of `select_million.py`. Results are appended to
benchmarks/results/compare_versions.jsonl.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).parent
JOBS = ("refined", "pool", "select")
RULES = ("srt", "srt:paper", "grape", "ifd_top", "random")


def _commit(version: str) -> str:
    """Short hash of a version."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", version], cwd=HERE.parent, check=True, capture_output=True
    )
    return found.stdout.decode().strip()


def unpacked(version: str, folder: Path) -> Path:
    """Source folder of a version."""
    archive = subprocess.run(
        ["git", "archive", version, "src"], cwd=HERE.parent, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    return folder / "src"


def read(job: str, rows: int, dtype: str) -> dict[str, float]:
    """Processor seconds of one reading by SmolLM2, and its numbers."""
    import score_speed

    from tutelage.data import VIEW_NAMES
    from tutelage.student import StudentSettings, open_student

    views = VIEW_NAMES if job == "refined" else VIEW_NAMES[:1]
    candidates = score_speed.refined_rows(rows) if job == "refined" else score_speed.pool_rows(2, 0)
    settings = StudentSettings(
        model=str(score_speed.MODELS / "smollm2-135m"), dtype=dtype, use_cache=False
    )
    with open_student(settings) as student:
        list(student.read(candidates[:1], views=views, statistics="nll"))
        began, wall = time.process_time(), time.perf_counter()
        outcomes = list(student.read(candidates, views=views, statistics="nll"))
        spent = time.process_time() - began
        wall = time.perf_counter() - wall
    sums = [outcome.views[view].mean_nll for outcome in outcomes for view in views]
    return {"cpu_seconds": spent, "wall_seconds": wall, "checksum": sum(sums), "rows": len(sums)}


def select(folder: Path, rule: str) -> dict[str, float]:
    """Processor seconds of one selection."""
    from tutelage.selection import SelectSettings
    from tutelage.selection import select as selected_by

    name, _, mode = rule.partition(":")
    share = 0.5 if rule in ("ifd_top", "random", "longest") else None
    settings = SelectSettings(rule=name, mode=mode or "safe", keep_fraction=share)
    began, wall = time.process_time(), time.perf_counter()
    found = selected_by(
        candidates=folder / "candidates.parquet",
        scores=folder / "scores.parquet",
        settings=settings,
    )
    return {
        "cpu_seconds": time.process_time() - began,
        "wall_seconds": time.perf_counter() - wall,
        "checksum": found.coverage.kept,
        "rows": found.coverage.candidates,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def measured(source: Path, words: list[str]) -> dict[str, float]:
    """One measurement in a process of its own."""
    paths = os.pathsep.join([str(source), str(HERE)])
    done = subprocess.run(
        [sys.executable, __file__, "--measure", *words],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(job: str, words: list[str], sources: dict[str, Path], repeats: int) -> dict:
    """Ratios of both versions, new over old, one for each repetition."""
    times: dict[str, list[dict[str, float]]] = {version: [] for version in sources}
    for number in range(repeats):
        for version in list(sources)[:: 1 if number % 2 == 0 else -1]:
            times[version].append(measured(sources[version], words))
            print(job, version, times[version][-1], file=sys.stderr, flush=True)
    old, new = times.values()
    ratios = [b["cpu_seconds"] / a["cpu_seconds"] for a, b in zip(old, new, strict=True)]
    return {
        "job": job,
        "versions": list(sources),
        "cpu_seconds": [[round(t["cpu_seconds"], 2) for t in one] for one in (old, new)],
        "wall_seconds": [[round(t["wall_seconds"], 2) for t in one] for one in (old, new)],
        "ratios": [round(r, 3) for r in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
        "checksums": [old[0]["checksum"], new[0]["checksum"]],
        "rows": new[0]["rows"],
    }


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        job, *words = sys.argv[2:]
        rows, dtype = words
        print(
            json.dumps(
                select(Path(rows), dtype) if job == "select" else read(job, int(rows), dtype)
            )
        )
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--rows", type=int, default=20, help="of `refined`, with two versions each")
    parser.add_argument("--examples", type=int, default=200_000, help="of `select`")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    machine = {"threads": os.environ.get("OMP_NUM_THREADS"), "load": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = {
            _commit(version): unpacked(version, folder / str(number))
            for number, version in enumerate((args.old, args.new))
        }
        work = []
        for job in args.jobs.split(","):
            if job == "select":
                import select_million

                select_million.make(folder, args.examples)
                work += [(f"select {rule}", ["select", name, rule]) for rule in RULES]
            else:
                work.append((job, [job, str(args.rows), args.dtype]))
        for job, words in work:
            found = compare(job, words, sources, args.repeats)
            line = json.dumps(found | {"dtype": args.dtype} | machine)
            print(line, flush=True)
            with (HERE / "results" / "compare_versions.jsonl").open("a", encoding="utf-8") as file:
                print(line, file=file)


if __name__ == "__main__":
    main()
