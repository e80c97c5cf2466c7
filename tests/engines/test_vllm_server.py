"""vLLM's OpenAI server in its own processes, and tensor parallel ranks. Two engine starts."""
import json
import threading
import time

import pytest


import models
from harness import Daemon, Engine, Server, complete_all, conversations, eventually, prompt, tokens_of

BLOCK = 128


@pytest.fixture(scope="module")
def model(model_folder):
    return models.make(model_folder, "tiny", "float32")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """Not running yet."""
    made = Daemon(tmp_path_factory.mktemp("daemon"), 'host.capacity = "256MiB"')
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
    running = Engine(tmp_path_factory.mktemp("tp"), model, daemon.socket,
                     {"verify": "always", "plan": False, "store_seconds_max": 5.0},
                     tensor_parallel_size=2)
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


def test_routers_hear_what_was_stored_in_vllms_own_format(server, daemon, events_port, right):
    import msgspec
    import zmq

    from vllm.distributed.kv_events import BlockStored, KVEventBatch

    if daemon.process is None:
        daemon.start()
    subscriber = zmq.Context.instance().socket(zmq.SUB)
    subscriber.connect(f"tcp://127.0.0.1:{events_port}")
    subscriber.setsockopt_string(zmq.SUBSCRIBE, "")
    subscriber.setsockopt(zmq.RCVTIMEO, 500)
    decoder = msgspec.msgpack.Decoder(type=KVEventBatch)
    stored = []

    def heard():
        # A subscriber that joins late misses what was said before: asked again with another prompt.
        complete_all(server.client(), [prompt(400 + len(stored) + time.monotonic_ns() % 1000, 3 * BLOCK + 1)])
        try:
            while True:
                batch = decoder.decode(subscriber.recv_multipart()[-1])
                stored.extend(e for e in batch.events if isinstance(e, BlockStored) and e.medium == "CPU")
        except zmq.Again:
            return len(stored) >= 3

    assert eventually(heard)
    assert {(event.block_size, len(event.token_ids)) for event in stored} == {(BLOCK, BLOCK)}
    assert any(event.parent_block_hash is None for event in stored)
    subscriber.close()


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


def test_two_ranks_give_right_answers_and_one_that_fails_is_recomputed(daemon, server, tensor_parallel, asked, right):
    server.kill()
    engine = tensor_parallel.ready()
    assert eventually(lambda: engine.do("attached"))
    cold = engine.fresh(asked[:20])
    assert all(answer["finish"] == "length" for answer in cold)
    one = prompt(77, 7 * BLOCK + 50)
    (first,) = engine.fresh([one])
    (warm,) = engine.fresh([one])
    assert (warm["tokens"], warm["cached"]) == (first["tokens"], 7 * BLOCK)
    assert tokens_of(engine.fresh(asked[:20])) == tokens_of(cold)
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
