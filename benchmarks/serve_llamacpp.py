"""Serve a GGUF model on this machine as an OpenAI-compatible endpoint, for experiments.

    pip install xllamacpp
    python benchmarks/serve_llamacpp.py MODEL.gguf --port 8081 --parallel 4 --context 8192

Then use it as a teacher with `base_url: http://127.0.0.1:8081/v1`. Stop it with Ctrl-C.

The context is shared by all parallel requests: each can use what the others leave. The same seed
does not always give the same text: a cached prefix and the company in a batch change the rounding.
`cache_prompt: false` (a setting of the teacher: `extra_body`) removes the first cause only, so with
more than one request at a time it is the journal that makes a run repeatable, not the seed.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a .gguf file")
    parser.add_argument("--port", type=int, default=8081, help="0 takes a free one")
    parser.add_argument("--parallel", type=int, default=4, help="requests answered at once")
    parser.add_argument("--context", type=int, default=8192, help="tokens, shared by all of them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", help="the model's name; without it the file's name")
    return parser.parse_args()


def serve(arguments: argparse.Namespace) -> int:
    import xllamacpp

    if not arguments.model.is_file():
        print(f"no such file: {arguments.model}", file=sys.stderr)
        return 2
    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = {arguments.name or arguments.model.stem}
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.context
    params.kv_unified = True
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.verbosity = 1
    server = xllamacpp.Server(params)
    print(f"{server.listening_address}/v1", flush=True)

    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(serve(parse()))
