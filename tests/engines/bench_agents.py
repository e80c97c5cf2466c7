"""Recorded agent sessions as prompts through vLLM: the hit rate in tokens beside that of an infinite cache.

Usage: bench_agents.py FOLDER_OF_JSONL [--sessions 12] [--tokens 4096] [--models FOLDER]
FOLDER holds one file a session, one JSON object a line with `timestamp` and `input` (text). Prompts are cut at
--tokens ids of the tests' tokenizer; order is by time. vLLM's own prefix cache is emptied before each request.
"""
import argparse
import json
import pathlib
import tempfile

from harness import Daemon, Engine

import models

BLOCK = 128


def requests(folder, sessions):
    rows = []
    for path in sorted(pathlib.Path(folder).rglob("*.jsonl"))[:sessions]:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            rows.append((int(row["timestamp"]), row["input"]))
    return [text for _, text in sorted(rows)]


class Infinite:
    """What a cache that never forgets would hit: full chunks, by content, and one token left to compute."""

    def __init__(self):
        self.seen = set()

    def hit(self, ids):
        prefix, hits, keys = (), 0, []
        for begin in range(0, len(ids) // BLOCK * BLOCK, BLOCK):
            prefix = hash((prefix, tuple(ids[begin:begin + BLOCK])))
            keys.append(prefix)
        for key in keys[:(len(ids) - 1) // BLOCK]:
            if key not in self.seen:
                break
            hits += BLOCK
        self.seen.update(keys)
        return hits


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--models", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = models.make(options.models or folder, "tiny", "bfloat16")
        tokenizer = models.tokenizer()
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"][:options.tokens]
                   for text in requests(options.folder, options.sessions)]
        daemon = Daemon(folder, 'host.capacity = "3GiB"').start()
        engine = Engine(folder, model, daemon.socket, {"plan": False}, dtype="bfloat16")
        try:
            engine.ready()
            infinite = Infinite()
            asked = best = hit = 0
            for ids in filter(None, prompts):
                (answer,) = engine.fresh([ids], max_tokens=1, logprobs=False)
                asked += len(ids)
                best += infinite.hit(ids)
                hit += answer["cached"]
            engine.do("reset")
            counted = engine.do("counters")
        finally:
            engine.kill()
            daemon.close()
    print(f"{len(prompts)} requests of {options.sessions} sessions, {asked} tokens, chunks of {BLOCK}: hit "
          f"{100 * hit / asked:.2f} %, an infinite cache {100 * best / asked:.2f} % (within 1 point)")
    print(f"  chunks stored {counted['chunks_stored']}, loaded {counted['chunks_loaded']}, failed "
          f"{counted['chunks_failed']}, refused {counted['chunks_refused']}, dropped {counted['chunks_dropped']}")


if __name__ == "__main__":
    main()
