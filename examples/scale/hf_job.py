# /// script
# requires-python = ">=3.11"
# dependencies = ["tutelage[student,report,datasets]"]
# ///
"""A job on the hub: read a dataset, let the student choose, push the selection.

    hf jobs uv run --flavor a10g-small --secrets HF_TOKEN \
        examples/scale/hf_job.py me/pairs smollm2-135m me/chosen

Not run by us as a job. It runs as a plain script: `python examples/scale/hf_job.py ...`.
"""

import subprocess
import sys

import tutelage as tt


def main(data: str, student: str, target: str) -> None:
    """Choose and push.

    Args:
        data: A dataset on the hub, or a file.
        student: The model that will be trained.
        target: The dataset to push to.
    """
    chosen = tt.run(data=data, student=student, out="run")
    print(chosen.summary["in_words"])
    push = ["--out", "train.jsonl", "--push-to", f"hub:{target}", "--push-set", "random"]
    subprocess.run(["tutelage", "export", "run", *push], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
