"""How fast is the search for near duplicates, and what does it miss?

    python benchmarks/near_duplicates.py .../alpaca_cleaned_52k.jsonl.gz

Every row is one candidate. The search is timed on all rows. Recall and precision are measured
against the exact truth: all pairs of texts whose Jaccard similarity reaches the threshold, found
with a prefix filter (Chaudhuri et al., 2006: two such sets share one of their few rarest members),
which needs no signatures. Where that is slow (long texts, a low threshold) it is done over the last
8,000 rows, which hold everything planted. The prefix filter itself is checked against comparing all
pairs of a smaller sample. Because real rows hold few near duplicates, rows with a few words changed
are planted as well.
"""

import argparse
import gzip
import json
import math
import os
import platform
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from tutelage.data.schemas import CANDIDATES
from tutelage.filters import NearDuplicatesSettings, apply_filters
from tutelage.filters.candidates import pool_of
from tutelage.filters.duplicates import bucket, choose_bands, jaccard, shingle_sets
from tutelage.filters.ngrams import spaced_words

SLOW_ROWS = 8_000  # the exact search is slow for long texts and low thresholds
QUICK = 0.8
SAMPLE = 1_000
PLANTED = 2_000
SEED = 7
RESULTS = Path(__file__).parent / "results" / "near_duplicates.json"


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def candidates(rows):
    return pa.Table.from_pylist(
        [
            {
                "candidate_id": row["id"],
                "example_id": row["id"],
                "status": "ok",
                "messages": [
                    {"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()},
                    {"role": "assistant", "content": row["output"]},
                ],
            }
            for row in rows
        ],
        schema=CANDIDATES,
    )


def with_planted(rows):
    """Add copies of some rows in which one word in five to one in fifty is another word.

    Those rows are moved to the end, before their copies, so that the last rows hold both.
    """
    generator = random.Random(SEED)
    words = [word for row in generator.sample(rows, 500) for word in row["instruction"].split()]
    planted = []
    originals = generator.sample(rows, PLANTED)
    for number, row in enumerate(originals):
        copy = dict(row, id=f"planted-{number:05}")
        for field in ("instruction", "output"):
            text = row[field].split(" ")
            rate = generator.choice([0.02, 0.05, 0.1, 0.2])
            for at in range(len(text)):
                if generator.random() < rate:
                    text[at] = generator.choice(words)
            copy[field] = " ".join(text)
        planted.append(copy)
    moved = {row["id"] for row in originals}
    return [row for row in rows if row["id"] not in moved] + originals + planted


def exact_pairs(sets, threshold):
    """All pairs of sets with at least this Jaccard similarity, without signatures."""
    counts = Counter()
    for members in sets.values():
        counts.update(members.tolist())
    index = {}
    pairs = {}
    for text in sorted(sets, key=lambda t: (len(sets[t]), t)):
        size = len(sets[text])
        rare_first = sorted(sets[text].tolist(), key=lambda m: (counts[m], m))
        near = set()
        for member in rare_first[: size - math.ceil(threshold * size) + 1]:
            near.update(index.get(member, ()))
            index.setdefault(member, []).append(text)
        for other in near:
            if len(sets[other]) >= threshold * size:
                similarity = jaccard(sets[text], sets[other])
                if similarity >= threshold:
                    pairs[min(text, other), max(text, other)] = similarity
    return pairs


def check_the_truth(sets, pairs, threshold):
    """The prefix filter against all pairs of a sample that holds some of the pairs found."""
    generator = random.Random(SEED)
    sample = sorted({t for pair in list(pairs)[:200] for t in pair})
    sample += generator.sample(sorted(set(sets) - set(sample)), max(SAMPLE - len(sample), 0))
    plain = {
        (min(a, b), max(a, b))
        for i, a in enumerate(sample)
        for b in sample[i + 1 :]
        if min(len(sets[a]), len(sets[b])) >= threshold * max(len(sets[a]), len(sets[b]))
        and jaccard(sets[a], sets[b]) >= threshold
    }
    inside = set(sample)
    found = {pair for pair in pairs if pair[0] in inside and pair[1] in inside}
    assert plain == found, f"the truth is wrong: {len(plain ^ found)} pairs differ"
    return {"texts": len(sample), "pairs": len(plain)}


def greedy(order, pairs):
    """Which texts the filter should drop, in their order, given all true pairs."""
    near = {}
    for a, b in pairs:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    kept = set()
    for text in order:
        if not any(other in kept for other in near.get(text, ())):
            kept.add(text)
    return set(order) - kept


def measure(name, rows, settings):
    _, result, seconds, cpu_seconds = search(rows, settings)
    quick = settings.of == "instruction" and settings.minimum_similarity >= QUICK
    truth_rows = rows if quick else rows[-SLOW_ROWS:]
    return {
        "data": name,
        "rows": len(rows),
        "of": settings.of,
        "shingle": f"{settings.shingle_size} {settings.shingle}",
        "minimum_similarity": settings.minimum_similarity,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "compared_pairs": result.facts["compared_pairs"],
        "rows_dropped": result.tally().get("near_duplicate", 0),
        "against_the_truth": against_the_truth(truth_rows, settings),
    }


def search(rows, settings):
    table = candidates(rows)
    started, cpu_started = time.monotonic(), time.process_time()
    (result,) = apply_filters(table, filters=[settings]).results
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
    return table, result, seconds, cpu_seconds


def against_the_truth(rows, settings):
    table, result, _, _ = search(rows, settings)
    encoded = spaced_words(pool_of(table).text(settings.of)).dictionary_encode()
    texts = encoded.dictionary
    sets = shingle_sets(texts, np.arange(len(texts)), settings)
    started = time.monotonic()
    pairs = exact_pairs(sets, settings.minimum_similarity)
    exact_seconds = time.monotonic() - started
    checked = check_the_truth(sets, pairs, settings.minimum_similarity)
    buckets = bucket(texts, settings, choose_bands(settings.minimum_similarity))
    found = sum(1 for a, b in pairs if set(buckets.of(a)) & set(buckets.of(b)))
    codes = np.asarray(encoded.indices).tolist()
    first_of = {code: row for row, code in reversed(list(enumerate(codes)))}
    gone = greedy(range(len(texts)), pairs)
    truth = {row for row, code in enumerate(codes) if code in gone or first_of[code] != row}
    kept = result.decisions["kept"].to_pylist()
    dropped = {row for row, stays in enumerate(kept) if not stays}
    shared = len(truth & dropped)
    return {
        "rows": len(rows),
        "true_pairs": len(pairs),
        "pairs_found": found,
        "pair_recall": round(found / len(pairs), 4),
        "rows_that_should_go": len(truth),
        "rows_dropped": len(dropped),
        "row_recall": round(shared / len(truth), 4),
        "row_precision": round(shared / len(dropped), 4),
        "exact_search_seconds": round(exact_seconds, 2),
        "exact_search_checked_on": checked,
    }


def machine():
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = read(arguments.data)
    planted = with_planted(rows)
    name = arguments.data.name
    cases = [
        (name, rows, NearDuplicatesSettings()),
        (name, rows, NearDuplicatesSettings(of="both")),
        (f"{name} + {PLANTED} planted", planted, NearDuplicatesSettings()),
        (f"{name} + {PLANTED} planted", planted, NearDuplicatesSettings(of="both")),
        (
            f"{name} + {PLANTED} planted",
            planted,
            NearDuplicatesSettings(of="both", shingle="words", shingle_size=3),
        ),
        (
            f"{name} + {PLANTED} planted",
            planted,
            NearDuplicatesSettings(minimum_similarity=0.6),
        ),
    ]
    results = []
    for case in cases:
        results.append(measure(*case))
        print(json.dumps(results[-1], indent=2), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(
        json.dumps({"machine": machine(), "results": results}, indent=2) + "\n"
    )


if __name__ == "__main__":
    main()
