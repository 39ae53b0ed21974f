# /// script
# requires-python = ">=3.11"
# dependencies = ["tutelage[student,report,datasets]"]
# ///
"""A job on the hub: read a dataset, let the student choose, push the selection.

    hf jobs uv run --flavor a10g-small --secrets HF_TOKEN \
        examples/scale/hf_job.py me/pairs smollm2-135m me/chosen

Not run by us. It is a plain script as well: `python examples/scale/hf_job.py ...`.
"""

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
    tt.export(chosen, push_to=f"hub:{target}", push_sets=["random"])


if __name__ == "__main__":
    main(*sys.argv[1:])
