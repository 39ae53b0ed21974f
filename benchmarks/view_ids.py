"""Which token ids a student reads of each candidate, as one hash a line: to compare two versions.

    python benchmarks/view_ids.py rows.jsonl --model smollm2-135m --rows 500 > new.tsv

Run it with both versions of the code on PYTHONPATH and compare the files: where the ids of all
views are the same, so are the scores, and so is every decision that rests on them.
"""

import argparse
import hashlib
import itertools
from pathlib import Path

from tutelage.data import Candidate, read
from tutelage.student import StudentSettings, open_student

MODELS = Path.home() / ".cache" / "tutelage" / "models"


def digest_of(builder, candidate: Candidate, side: str) -> str:
    encoded = builder.encode(candidate, side)
    if not hasattr(encoded, "given"):
        return f"{encoded.reason}"
    parts = hashlib.blake2b(digest_size=8)
    for passage in (*encoded.given, *encoded.alone):
        parts.update(passage.ids_T.astype("int32").tobytes())
        parts.update(str(passage.target_start).encode())
    return parts.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--template", default="chat")
    parser.add_argument("--rows", type=int, default=500)
    args = parser.parse_args()
    settings = StudentSettings(
        model=str(MODELS / args.model), template=args.template, dtype="float32"
    )
    builder = open_student(settings).parts.builder
    for row in itertools.islice(read(args.data), args.rows):
        for candidate in row.candidates:
            for side in ("response", "instruction") if candidate.messages else ():
                print(candidate.candidate_id, side, digest_of(builder, candidate, side), sep="\t")


if __name__ == "__main__":
    main()
