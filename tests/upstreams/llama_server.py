#!/usr/bin/env python3
"""Run llama.cpp's own HTTP server (the C++ one, from the PyPI wheel xllamacpp).

Same server code as `llama-server`; only the command line is ours. Binds to 127.0.0.1, prints
READY <url> on stdout and stays in the foreground. Run by start_llama_server.sh, in an environment
of its own.
"""

import argparse
import signal
import sys
import threading
import time

import xllamacpp as xlc


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", required=True)
    p.add_argument("--alias", default="")
    p.add_argument("--port", type=int, default=8081)
    p.add_argument("--ctx", type=int, default=8192, help="total context, split over the slots")
    p.add_argument("--parallel", type=int, default=2)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--api-key", action="append", default=[])
    p.add_argument("--embeddings", action="store_true")
    p.add_argument("--reranking", action="store_true")
    p.add_argument(
        "--sse-ping", type=int, default=None, help="seconds between SSE keep-alive comments"
    )
    p.add_argument("--verbosity", type=int, default=1)
    a = p.parse_args()

    c = xlc.CommonParams()
    c.model.path = a.model
    if a.alias:
        c.model_alias = {a.alias}
    c.hostnames = ["127.0.0.1"]
    c.port = a.port
    c.n_ctx = a.ctx
    c.n_parallel = a.parallel
    c.cpuparams.n_threads = a.threads
    c.cpuparams_batch.n_threads = a.threads
    c.n_threads_http = 8
    c.n_gpu_layers = 0
    c.use_jinja = True
    c.endpoint_metrics = True
    c.endpoint_props = True
    c.endpoint_slots = True
    c.verbosity = a.verbosity
    c.warmup = False
    c.offline = True
    if a.api_key:
        c.api_keys = a.api_key
    if a.embeddings or a.reranking:
        c.embedding = True
        c.pooling_type = (
            xlc.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
            if a.reranking
            else xlc.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        )
    if a.sse_ping is not None:
        c.sse_ping_interval = a.sse_ping
    server = xlc.Server(c)
    print("READY", server.listening_address, flush=True)  # noqa: T201
    stop = threading.Event()
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, lambda *_: stop.set())
    while not stop.is_set():
        time.sleep(0.2)
    del server
    sys.exit(0)


if __name__ == "__main__":
    main()
