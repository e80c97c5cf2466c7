"""Engines and daemons for the engine tests. Everything started here is stopped when its object goes."""
import json
import os
import pathlib
import random
import select
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests/client/python")]

from daemons import Daemon, eventually  # noqa: E402,F401

import models  # noqa: E402

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TOKENIZERS_PARALLELISM": "false"}
START_SECONDS = 400
# CI starts at most so many engines: each costs a minute. Many cases share one.
STARTS_MAX = 10
BLOCK = 128
AT_ONCE = 20
# A machine that builds beside the tests must not turn a store or a load into a miss; what is counted are loads, so all
# that is there is loaded.
PATIENT = {"verify": "always", "plan": False, "store_seconds_max": 30.0, "load_seconds_max": 30.0,
           "call_deadline": 5.0}
_started = []


def count_start(what):
    _started.append(what)
    assert len(_started) <= STARTS_MAX, f"one engine too many: {_started}"


# A quiet machine starts an engine in about 40 s and answers in a second.
ANSWER_SECONDS = 600


def environment(**more):
    env = {**os.environ, **ENVIRONMENT, **more}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def transfer_config(socket, **options):
    return {"kv_connector": "KvTierConnector", "kv_connector_module_path": "kvtier.vllm", "kv_role": "kv_both",
            "kv_load_failure_policy": "recompute", "kv_connector_extra_config": {"socket": socket, **options}}


def little_memory_and_nvme(folder):
    """A daemon's configuration. A disk that others keep busy stays in service."""
    folder.mkdir()
    return (f'host.capacity = "32MiB"\nnvme.capacity = "512MiB"\nnvme.paths = ["{folder}"]\n'
            'nvme.slow_below = 0\nnvme.io_timeout = "60s"')


class Engine:
    """vLLM in a process; starts in the background: wait with ready()."""

    def __init__(self, folder, model, socket=None, options=None, env=None, **arguments):
        count_start(model)
        arguments = {"max_model_len": 8192, "dtype": "float32", "seed": 0, **arguments}
        if socket is not None:
            arguments["kv_transfer_config"] = transfer_config(socket, **(options or {}))
        self.log_path = pathlib.Path(folder) / f"engine-{random.randrange(1 << 40):x}.log"
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec 3>&{writing} {writing}>&-; exec "$@"', "engine", sys.executable,
                 str(HERE / "engine_process.py"), model, json.dumps(arguments)],
                stdin=subprocess.PIPE, stderr=log, stdout=log, pass_fds=[writing],
                env=environment(**(env or {})))
        os.close(writing)
        self._answers = os.fdopen(reading, "rb", buffering=0)
        self._started = False
        self._rest = b""

    def log(self):
        return self.log_path.read_text(errors="replace")

    def _answer(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            assert ready, f"the engine did not answer in {seconds} s:\n{self.log()[-3000:]}"
            data = self._answers.read(1 << 16)
            assert data, f"the engine has ended:\n{self.log()[-3000:]}"
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        answer = json.loads(line)
        assert "error" not in answer, answer["error"] + "\n" + self.log()[-3000:]
        return answer

    def ready(self):
        if not self._started:
            self._answer(START_SECONDS)
            self._started = True
        return self

    def begin(self, what, *args, **named):
        self.ready()
        self.process.stdin.write((json.dumps({"do": what, "args": args, "named": named}) + "\n").encode())
        self.process.stdin.flush()

    def end(self):
        return self._answer(ANSWER_SECONDS)["value"]

    def do(self, what, *args, **named):
        self.begin(what, *args, **named)
        return self.end()

    def generate(self, prompts, **named):
        return self.do("generate", prompts, **named)["answers"]

    def fresh(self, prompts, **named):
        """Without vLLM's own prefix cache: what is cached comes from kvtier."""
        assert self.do("reset")
        return self.generate(prompts, **named)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self._answers.close()


def prompt(seed, tokens):
    rng = random.Random(seed)
    return [rng.randrange(2, models.VOCABULARY) for _ in range(tokens)]


def conversations(requests, documents=10, document_tokens=384, question_tokens=60):
    """Questions to shared documents, each with a needle code of its own in it. Order shuffled, from a seed."""
    rng = random.Random(20)
    texts = [prompt(1000 + i, document_tokens + 128 * (i % 3)) for i in range(documents)]
    asked = []
    for i in range(requests):
        needle = [rng.randrange(2, models.VOCABULARY) for _ in range(6)]
        asked.append(texts[i % documents] + needle + prompt(5000 + i, question_tokens))
    rng.shuffle(asked)
    return asked


def in_batches(engine, prompts, fresh):
    """20 requests at a time; each batch with vLLM's own cache emptied, if asked for."""
    answers = []
    for i in range(0, len(prompts), AT_ONCE):
        batch = prompts[i:i + AT_ONCE]
        answers += engine.fresh(batch) if fresh else engine.generate(batch)
    return answers


def delta(engine, before):
    after = engine.do("counters")
    return {name: after[name] - before.get(name, 0) for name in after}


def full_chunks(tokens, block=BLOCK):
    """What can hit of a prompt: all full chunks but the one with the last token."""
    return (tokens - 1) // block * block


def tokens_of(answers):
    return [answer["tokens"] for answer in answers]


class Server:
    """vLLM's OpenAI server, in processes of its own; everything it starts dies with it."""

    def __init__(self, folder, model, socket, options=None, arguments=(), env=None):
        import socket as sockets

        count_start(model)
        with sockets.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = pathlib.Path(folder) / "server.log"
        vllm = pathlib.Path(sys.executable).with_name("vllm")
        command = [str(vllm), "serve", model, "--served-model-name", "m", "--host", "127.0.0.1", "--port",
                   str(self.port), "--enforce-eager", "--max-model-len", "8192", *arguments]
        if socket is not None:
            command += ["--kv-transfer-config", json.dumps(transfer_config(socket, **(options or {})))]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True,
                env=environment(VLLM_ENABLE_V1_MULTIPROCESSING="1", VLLM_SERVER_DEV_MODE="1", **(env or {})))

    def log(self):
        return self.log_path.read_text(errors="replace")

    def get(self, path, post=False):
        import urllib.request

        request = urllib.request.Request(self.url + path, method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def ready(self):
        def healthy():
            assert self.process.poll() is None, self.log()[-3000:]
            try:
                self.get("/health")
                return True
            except OSError:
                return False

        assert eventually(healthy, START_SECONDS), self.log()[-3000:]
        return self

    def client(self):
        import openai

        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, timeout=ANSWER_SECONDS)

    def reset(self):
        """vLLM's own prefix cache. It refuses while blocks are in use, and answers all the same: asked twice."""
        for _ in range(3):
            self.get("/reset_prefix_cache", post=True)
            time.sleep(0.05)

    def counters(self):
        """kvtier's rows of /metrics."""
        found = {}
        for line in self.get("/metrics").splitlines():
            if line.startswith("vllm:kvtier_") and "_created" not in line:
                name = line.split("{")[0].removeprefix("vllm:kvtier_").removesuffix("_total")
                found[name] = float(line.rsplit(" ", 1)[1])
        return found

    def kill(self):
        import signal

        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def complete(client, prompt_tokens, max_tokens=8):
    """Tokens of a completion and the seconds until its first one."""
    begin, first, tokens = time.monotonic(), None, []
    stream = client.completions.create(
        model="m", prompt=prompt_tokens, max_tokens=max_tokens, temperature=0, stream=True,
        extra_body={"ignore_eos": True, "return_token_ids": True})
    for event in stream:
        first = first if first is not None else time.monotonic() - begin
        tokens += getattr(event.choices[0], "token_ids", None) or []
    return tokens, first


def complete_all(client, prompts, at_once=20):
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return [tokens for tokens, _ in pool.map(lambda p: complete(client, p), prompts)]
