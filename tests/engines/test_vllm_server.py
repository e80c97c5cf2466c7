"""vLLM's OpenAI server (`vllm serve`) in its own processes, and tensor parallel ranks. Two engine starts."""
import json
import threading
import time

import pytest

import models
from harness import (
    AT_ONCE, BLOCK, PATIENT, Daemon, Engine, Server, complete_all, conversations, delta, eventually,
    little_memory_and_nvme, prompt, tokens_of)


@pytest.fixture(scope="module")
def model(model_folder):
    return models.make(model_folder, "tiny", "float32")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Not running yet."""
    made = Daemon(tmp_path_factory.mktemp("daemon"), 'host.capacity = "64MiB"')
    yield made
    made.close()


@pytest.fixture(scope="module")
def events_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory, model, daemon, events_port):
    events = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{events_port}"}
    # The tiny model computes faster than it loads at times: what is counted here are loads, so all that is there is loaded.
    running = Server(tmp_path_factory.mktemp("server"), model, daemon.socket,
                     {"verify": "always", "plan": False, "store_seconds_max": 5.0},
                     ["--dtype", "float32", "--kv-events-config", json.dumps(events)])
    yield running
    running.kill()


@pytest.fixture(scope="module")
def tensor_parallel(tmp_path_factory, model, daemon):
    running = Engine(tmp_path_factory.mktemp("tp"), model, daemon.socket, PATIENT, tensor_parallel_size=2)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def asked():
    return conversations(60)


@pytest.fixture(scope="module")
def right(server, asked):
    """By the server without a daemon, which is how it starts."""
    server.ready()
    assert "no daemon yet" in server.log()
    return complete_all(server.client(), asked)


def test_an_engine_without_a_daemon_works_and_attaches_when_it_comes(server, daemon, asked, right):
    assert all(len(tokens) == 8 for tokens in right)
    daemon.start()
    assert eventually(lambda: server.log().count(" attached; chunks of") == 2)
    server.reset()
    assert complete_all(server.client(), asked) == right
    server.reset()
    assert complete_all(server.client(), asked) == right
    counted = server.counters()
    assert counted["chunks_loaded"] > 0 and counted["chunks_stored"] > 0 and counted["chunks_failed"] == 0
    assert counted["misses_unavailable"] > 0


class Heard:
    """What a router hears of the cache behind the engine's own."""

    def __init__(self, port):
        import msgspec
        import zmq

        from vllm.distributed.kv_events import KVEventBatch

        self.socket = zmq.Context.instance().socket(zmq.SUB)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.socket.setsockopt_string(zmq.SUBSCRIBE, "")
        self.socket.setsockopt(zmq.RCVTIMEO, 500)
        self.nothing = zmq.Again
        self.decoder = msgspec.msgpack.Decoder(type=KVEventBatch)
        self.stored, self.removed = [], []

    def listen(self):
        from vllm.distributed.kv_events import BlockRemoved, BlockStored

        try:
            while True:
                for event in self.decoder.decode(self.socket.recv_multipart()[-1]).events:
                    if getattr(event, "medium", None) == "CPU":
                        (self.stored if isinstance(event, BlockStored) else self.removed).append(event)
                        assert isinstance(event, (BlockStored, BlockRemoved))
        except self.nothing:
            return self

    def held(self):
        """Hashes as a router keeps them: those stored and not removed since, by group."""
        return {(e.group_idx, h) for e in self.stored for h in e.block_hashes} - {
            (e.group_idx, h) for e in self.removed for h in e.block_hashes}


def test_routers_hear_what_was_stored_and_evicted_in_vllms_own_format(server, daemon, events_port, right):
    if daemon.process is None:
        daemon.start()
    heard = Heard(events_port)

    def stored():
        # A subscriber that joins late misses what was said before: asked again with another prompt.
        complete_all(server.client(), [prompt(400 + len(heard.stored) + time.monotonic_ns() % 1000, 3 * BLOCK + 1)])
        return len(heard.listen().stored) >= 3

    assert eventually(stored)
    assert {(event.block_size, len(event.token_ids)) for event in heard.stored} == {(BLOCK, BLOCK)}
    assert any(event.parent_block_hash is None for event in heard.stored)
    # One prompt, alone: then twice what host memory holds (128 chunks) comes over it.
    heard.stored.clear(), heard.removed.clear()
    complete_all(server.client(), [prompt(8000, 3 * BLOCK + 1)])
    first = {h for e in heard.listen().stored for h in e.block_hashes}
    assert len(first) == 3
    complete_all(server.client(), [prompt(8001 + i, 16 * BLOCK + 1) for i in range(16)])

    def taken_back():
        complete_all(server.client(), [prompt(9000 + time.monotonic_ns() % 100000, 20)])  # events come with steps
        heard.listen()
        return first <= {h for e in heard.removed for h in e.block_hashes}

    assert eventually(taken_back)
    # What a router believes is what the daemon has, once it was looked at.
    assert eventually(lambda: not taken_back() or len(heard.held()) <= 128)
    heard.socket.close()


def test_the_daemon_stopped_killed_and_restarted_under_the_server(server, daemon, asked, right):
    client = server.client()
    for fault in (daemon.pause, daemon.resume, daemon.kill, daemon.start):
        answers = []
        server.reset()
        running = threading.Thread(target=lambda: answers.extend(complete_all(client, asked)))  # noqa: B023
        running.start()
        fault()
        running.join()
        assert answers == right, fault.__name__

    def warm_again():
        before = server.counters()["chunks_loaded"]
        server.reset()
        assert complete_all(client, asked) == right
        return server.counters()["chunks_loaded"] > before

    assert eventually(warm_again)
    server.kill()  # its memory is for the next ones


def test_two_ranks_give_right_answers_and_one_that_fails_is_recomputed(tmp_path, daemon, tensor_parallel, asked):
    if daemon.process is None:
        daemon.start()
    engine = tensor_parallel.ready()
    assert eventually(lambda: engine.do("attached"))
    cold = engine.fresh(asked[:AT_ONCE])
    assert all(answer["finish"] == "length" for answer in cold)
    one = prompt(77, 7 * BLOCK + 50)
    (first,) = engine.fresh([one])
    (warm,) = engine.fresh([one])
    assert (warm["tokens"], warm["cached"]) == (first["tokens"], 7 * BLOCK)
    assert tokens_of(engine.fresh(asked[:AT_ONCE])) == tokens_of(cold)
    for shard in (0, 1):
        for position in (0, 3, 6):
            engine.do("damage", [position], shard=shard)
            (answer,) = engine.fresh([one])
            engine.do("damage", [])
            assert (answer["tokens"], answer["finish"]) == (first["tokens"], "length")
            before = engine.do("counters")["chunks_failed"]
            assert before > 0
            (answer,) = engine.fresh([one])
            assert (answer["tokens"], answer["cached"]) == (first["tokens"], 7 * BLOCK), (shard, position)
            assert engine.do("counters")["chunks_failed"] == before
    # Chunks of both ranks come up from NVMe.
    daemon.close()
    daemon.configure(little_memory_and_nvme(tmp_path / "disk"))
    daemon.start()
    assert eventually(lambda: engine.do("attached"))
    prompts = [prompt(6000 + i, 7 * BLOCK + 10) for i in range(25)]
    cold = [engine.fresh([p])[0] for p in prompts]
    before = engine.do("counters")
    warm = [engine.fresh([p])[0] for p in prompts]
    assert tokens_of(warm) == tokens_of(cold)
    moved = delta(engine, before)
    print("cached, with chunks of two ranks from NVMe:", [a["cached"] for a in warm])
    assert moved["chunks_prefetched"] > 0 and moved["chunks_loaded"] > 0 and moved["chunks_failed"] == 0
    assert sum(a["cached"] == 7 * BLOCK for a in warm) > len(prompts) // 2
