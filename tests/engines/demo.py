"""A conversation over real documents in vLLM, without and with kvtier: `make demo-engine`.

The project's own documents are long prompts; several users each ask several questions about each. Five arms: off
(no kvtier), cold, warm, after the engine was killed and restarted, after the daemon was killed and restarted. Each
prints the time to first token, tokens computed and loaded, and whether the answers are those of the first.

Usage: demo.py [--model NAME_OR_FOLDER] [--models FOLDER] [--documents 3] [--users 2] [--turns 3]
"""
import argparse
import pathlib
import statistics
import tempfile

from harness import ROOT, Daemon, Engine, eventually

import models

QUESTIONS = ["What does it promise?", "What happens when the daemon is gone?", "Who may write, and who may read?",
             "Name one limit and why it is there.", "What is measured, and how?"]
DOCUMENTS = ["docs/client.md", "docs/architecture.md", "docs/failures.md", "docs/threat-model.md", "docs/planner.md"]
DOCUMENT_TOKENS_MAX = 3000


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


class Conversation:
    """One user's, about one document. What was answered becomes part of the next prompt."""

    def __init__(self, tokenizer, document, user, turns):
        text = ids(tokenizer, (ROOT / document).read_text())[:DOCUMENT_TOKENS_MAX]
        self.prompt = ids(tokenizer, "Answer from this document.\n\n") + text
        self.questions = [
            ids(tokenizer, f"\n\nuser: {QUESTIONS[(user + turn) % len(QUESTIONS)]}\nassistant:")
            for turn in range(turns)]


def run(engine, tokenizer, options):
    """Every turn of every conversation, user after user. Own prefix cache emptied before each turn, so that what is
    not computed was loaded."""
    answers, times, computed, loaded = [], [], 0, 0
    for user in range(options.users):
        for document in DOCUMENTS[:options.documents]:
            talk = Conversation(tokenizer, document, user, options.turns)
            context = talk.prompt
            for question in talk.questions:
                context = context + question
                (answer,) = engine.fresh([context], max_tokens=16, logprobs=False)
                answers.append(answer["tokens"])
                times.append(answer["ttft"])
                loaded += answer["cached"]
                computed += len(context) - answer["cached"]
                context = context + answer["tokens"]
    return answers, times, computed, loaded


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="mid")
    parser.add_argument("--models", default=None)
    parser.add_argument("--documents", type=int, default=3)
    parser.add_argument("--users", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if not pathlib.Path(model).is_dir():
            model = models.make(options.models or folder, model, "float32")
            print(f"The model '{options.model}' has random weights: its answers mean nothing, its work is real.")
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model)
        daemon = Daemon(folder, 'host.capacity = "2GiB"', keep=True).start()
        engines = []

        def engine(socket):
            engines.append(Engine(folder, model, socket, {"verify": "always"} if socket else None))
            return engines[-1].ready()

        print(f"{'arm':34} {'TTFT ms: median':>16} {'max':>8} {'computed':>10} {'loaded':>10}  answers")
        right = None

        def arm(name, running):
            nonlocal right
            answers, times, computed, loaded = run(running, tokenizer, options)
            right = right if right is not None else answers
            same = sum(a == b for a, b in zip(answers, right))
            ms = [1000 * t for t in times]
            verdict = f"{same} of {len(right)} identical"
            print(f"{name:34} {statistics.median(ms):16.0f} {max(ms):8.0f} {computed:10} {loaded:10}  {verdict}",
                  flush=True)
            return same == len(right)

        ok = True
        try:
            # Without kvtier, every turn computes its whole prompt: vLLM's own cache is emptied in all arms alike.
            plain = engine(None)
            ok &= arm("off: vLLM alone", plain)
            plain.kill()
            running = engine(daemon.socket)
            ok &= arm("cold: kvtier empty", running)
            ok &= arm("warm", running)
            running.kill()
            running = engine(daemon.socket)
            ok &= arm("engine killed and restarted", running)
            daemon.kill()
            daemon.start()
            assert eventually(lambda: running.do("attached"))
            ok &= arm("daemon killed and restarted", running)
        finally:
            for started in engines:
                started.kill()
            daemon.close()
    if not ok:
        raise SystemExit("some answers differ")


if __name__ == "__main__":
    main()
