"""KvTierConnector in real vLLM engines: the same answers, whatever happens to the cache. Four engine starts."""
import pytest

import harness
import models
from harness import Engine, conversations, eventually, prompt, tokens_of

BLOCK = 128
AT_ONCE = 20
# A machine that builds beside the tests must not turn a store or a load into a miss.
PATIENT = {"verify": "always", "plan": False, "store_seconds_max": 30.0, "load_seconds_max": 30.0,
           "call_deadline": 5.0}


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


@pytest.fixture(scope="module")
def model(model_folder):
    return models.make(model_folder, "tiny", "float32")


@pytest.fixture(scope="module")
def off(tmp_path_factory, model):
    """Without kvtier, with vLLM's own prefix cache."""
    engine = Engine(tmp_path_factory.mktemp("off"), model)
    yield engine
    engine.kill()


@pytest.fixture(scope="module")
def engine(tmp_path_factory, model, big_daemon):
    running = Engine(tmp_path_factory.mktemp("engine"), model, big_daemon.socket, PATIENT)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def asked():
    return conversations(200)


@pytest.fixture(scope="module")
def right(off, engine, asked):
    """The answers without kvtier, by a cold engine. (Both engines start at once.)"""
    answers = in_batches(off, asked, fresh=True)
    assert all(answer["finish"] == "length" for answer in answers)
    return answers


def test_cold_and_warm_answers_are_those_without_kvtier(engine, asked, right):
    cold = in_batches(engine, asked, fresh=True)
    assert tokens_of(cold) == tokens_of(right)
    before = engine.do("counters")
    warm = in_batches(engine, asked, fresh=True)
    assert tokens_of(warm) == tokens_of(right)
    # Everything that can hit hits: all full chunks but the one with the last token.
    assert [a["cached"] for a in warm] == [(len(p) - 1) // BLOCK * BLOCK for p in asked]
    moved = delta(engine, before)
    assert moved["chunks_failed"] == 0 and moved["chunks_loaded"] > 0


def test_a_load_that_fails_at_any_position_is_recomputed_and_not_failed_again(engine):
    one = prompt(77, 7 * BLOCK + 50)
    (cold,) = engine.fresh([one])
    for asynchronous in (False, True):
        engine.do("options", async_load_seconds=0.0 if asynchronous else 1e9)
        for damaged in [[i] for i in range(7)] + [[0, 3, 6], list(range(7))]:
            before = engine.do("counters")
            engine.do("damage", damaged)
            (answer,) = engine.fresh([one])
            engine.do("damage", [])
            assert answer["finish"] == "length"
            assert (answer["tokens"], answer["logprob"]) == (cold["tokens"], cold["logprob"]), damaged
            assert delta(engine, before)["chunks_failed"] == 7 - damaged[0], damaged
            # A load ends at the first bad chunk: each further one is found, once, by a request of its own.
            for position in damaged[1:] + [None]:
                before = engine.do("counters")
                (answer,) = engine.fresh([one])
                assert (answer["tokens"], answer["logprob"]) == (cold["tokens"], cold["logprob"])
                failed = 0 if position is None else 7 - position
                assert delta(engine, before)["chunks_failed"] == failed, (damaged, position)
            assert answer["cached"] == 7 * BLOCK, damaged  # the failed ones were stored anew
    engine.do("options", async_load_seconds=0.25)


def test_failures_among_many_requests_leave_every_answer_right(engine, asked, right):
    for first in (0, 1, 2):
        engine.do("damage", [first])
        answers = engine.fresh(asked[:AT_ONCE])
        engine.do("damage", [])
        assert tokens_of(answers) == tokens_of(right[:AT_ONCE])
    assert tokens_of(engine.fresh(asked[:AT_ONCE])) == tokens_of(right[:AT_ONCE])


def test_asynchronous_loads_give_the_same_answers(engine, asked, right):
    engine.do("options", async_load_seconds=0.0)
    before = engine.do("counters")
    assert tokens_of(engine.fresh(asked[:60])) == tokens_of(right[:60])
    assert delta(engine, before)["chunks_loaded"] > 0
    engine.do("options", async_load_seconds=0.25)


def test_a_salt_keeps_apart(engine):
    one = prompt(88, 3 * BLOCK + 5)
    (first,) = engine.fresh([one], salts=["a"])
    (other,) = engine.fresh([one], salts=["b"])
    (again,) = engine.fresh([one], salts=["a"])
    (none,) = engine.fresh([one])
    assert [a["cached"] for a in (first, other, again, none)] == [0, 0, 3 * BLOCK, 0]
    assert len({tuple(a["tokens"]) for a in (first, other, again, none)}) == 1


def test_generated_tokens_are_stored_too(engine):
    one = prompt(99, BLOCK - 20)
    (answer,) = engine.fresh([one], max_tokens=BLOCK)
    longer = one + answer["tokens"]
    (next_turn,) = engine.fresh([longer + prompt(100, 30)])
    assert next_turn["cached"] == BLOCK


def test_a_request_that_ends_with_the_step_that_loads_is_stored_too(engine):
    one = prompt(101, 2 * BLOCK + 1)
    engine.fresh([one], max_tokens=1)
    longer = one[:2 * BLOCK] + prompt(102, 3 * BLOCK + 1)
    assert [a["cached"] for a in engine.fresh([longer], max_tokens=1)] == [2 * BLOCK]
    assert [a["cached"] for a in engine.fresh([longer], max_tokens=1)] == [5 * BLOCK]


def test_a_partial_match_gives_the_longest_valid_prefix(engine):
    one = prompt(111, 5 * BLOCK + 1)
    engine.fresh([one])
    assert [a["cached"] for a in engine.fresh([one[:3 * BLOCK] + prompt(112, 300)])] == [3 * BLOCK]
    assert [a["cached"] for a in engine.fresh([one[:5 * BLOCK]])] == [4 * BLOCK]  # one token is left to compute
    assert [a["cached"] for a in engine.fresh([one[1:]])] == [0]


def test_the_scheduler_is_asked_in_microseconds(engine):
    long = prompt(123, 8000)
    engine.fresh([long], max_tokens=1)
    engine.do("reset")
    timed = engine.do("time_matches", long, 300)
    times = sorted(timed["microseconds"])
    assert timed["tokens"] == 7999 // BLOCK * BLOCK
    print(f"matched_tokens of 8000 tokens: median {times[150]:.0f} us, p99 {times[296]:.0f} us")
    # The bar is 100 us for 32k tokens on a quiet machine; other work on this one must not fail a test of bytes.
    assert times[150] < 200


def test_an_engine_with_another_seed_of_its_hashes_is_told(engine):
    assert engine.do("seed_agrees", False) is True
    assert engine.do("seed_agrees", True) is False
    assert "hashes prompts with another seed" in engine.log()


def test_a_stopped_daemon_delays_nothing_for_long(engine, big_daemon, asked, right):
    engine.do("options", store_seconds_max=1.0)
    big_daemon.pause()
    try:
        answers = engine.generate(asked[:AT_ONCE])
        assert tokens_of(answers) == tokens_of(right[:AT_ONCE])
        (answer,) = engine.generate([prompt(131, 400)])
        assert answer["finish"] == "length"
    finally:
        big_daemon.resume()
    engine.do("options", store_seconds_max=30.0)
    assert eventually(lambda: engine.do("attached"))


def test_the_daemon_killed_and_restarted_under_load(engine, big_daemon, asked, right):
    engine.do("reset")
    engine.begin("generate", asked[:60])
    big_daemon.kill()
    assert tokens_of(engine.end()["answers"]) == tokens_of(right[:60])
    # Without a daemon:
    assert tokens_of(engine.fresh(asked[60:80])) == tokens_of(right[60:80])
    big_daemon.start()
    assert eventually(lambda: engine.do("attached"))
    assert tokens_of(engine.fresh(asked[:60])) == tokens_of(right[:60])
    before = engine.do("counters")
    assert tokens_of(engine.fresh(asked[:60])) == tokens_of(right[:60])
    assert delta(engine, before)["chunks_loaded"] > 0


def test_a_second_engine_hits_what_the_first_stored_and_survives_its_death(
        tmp_path, model, big_daemon, engine, asked, right):
    second = Engine(tmp_path, model, big_daemon.socket, PATIENT)
    try:
        engine.fresh(asked[:60])
        second.ready()
        answers = second.fresh(asked[:60])
        assert tokens_of(answers) == tokens_of(right[:60])
        assert [a["cached"] for a in answers] == [(len(p) - 1) // BLOCK * BLOCK for p in asked[:60]]
        assert second.do("counters")["chunks_loaded"] > 0
        # Both at work; the first is killed in the middle of loads and stores.
        engine.do("reset"), second.do("reset")
        engine.begin("generate", asked[100:200])
        second.begin("generate", asked[60:160])
        engine.process.kill()
        assert tokens_of(second.end()["answers"]) == tokens_of(right[60:160])
        # The tier warm, after a restart of the engine.
        assert tokens_of(in_batches(second, asked, fresh=True)) == tokens_of(right)
        assert tokens_of(in_batches(second, asked, fresh=True)) == tokens_of(right)
        big_daemon.kill()
        big_daemon.start()
        assert eventually(lambda: second.do("attached"))
        # Host memory outlived the daemon: its first batch hits already.
        before = second.do("counters")
        assert tokens_of(in_batches(second, asked, fresh=True)) == tokens_of(right)
        moved = delta(second, before)
        assert moved["chunks_loaded"] > moved["chunks_stored"]
        assert tokens_of(in_batches(second, asked, fresh=True)) == tokens_of(right)
    finally:
        second.kill()


def test_another_engine_configuration_never_sees_the_chunks(
        tmp_path, model, model_folder, big_daemon, engine, asked, right):
    """Changed block size, and tiny's twin with other weights."""
    other = models.make(model_folder, "other", "float32")
    engines = [Engine(tmp_path, other, big_daemon.socket, PATIENT),
               Engine(tmp_path, model, big_daemon.socket, PATIENT, block_size=64, max_model_len=2048,
                      num_gpu_blocks_override=100)]
    try:
        for changed in engines:
            changed.ready()
            assert [a["cached"] for p in asked[:5] for a in changed.fresh([p])][0] == 0
            assert changed.do("counters")["chunks_failed"] == 0
        twin, smaller = engines
        assert tokens_of(twin.fresh(asked[:AT_ONCE])) != tokens_of(right[:AT_ONCE])
        assert tokens_of(smaller.fresh(asked[:AT_ONCE])) == tokens_of(right[:AT_ONCE])
        # Its memory is too small for all: requests are preempted while their blocks are being stored.
        before = smaller.do("preemptions")
        first = smaller.fresh(asked[:AT_ONCE], max_tokens=100)
        assert smaller.do("preemptions") > before
        smaller.do("options", load=False, store=False)
        assert tokens_of(smaller.fresh(asked[:AT_ONCE], max_tokens=100)) == tokens_of(first)
        smaller.do("options", load=True, store=True)
        assert tokens_of(smaller.fresh(asked[:AT_ONCE], max_tokens=100)) == tokens_of(first)
        assert smaller.do("counters")["chunks_failed"] == 0
    finally:
        for changed in engines:
            changed.kill()


@pytest.mark.parametrize("name", ["hybrid", "sliding"])
def test_groups_of_layers_and_windows_are_kept_apart(name, tmp_path, model_folder, big_daemon):
    """Sliding windows beside full attention (several groups), and nothing but windows. The engine's own cold answer
    is the control."""
    if big_daemon.process is None:
        big_daemon.start()
    engine = Engine(tmp_path, models.make(model_folder, name, "float32"), big_daemon.socket, PATIENT)
    try:
        engine.ready()
        assert eventually(lambda: engine.do("attached"))
        prompts = [prompt(3000 + i, 500 + 130 * i) for i in range(6)]
        cold = [engine.fresh([p])[0] for p in prompts]
        assert all(answer["cached"] == 0 for answer in cold)
        for p, right in zip(prompts, cold):
            (warm,) = engine.fresh([p])
            assert (warm["tokens"], warm["cached"]) == (right["tokens"], (len(p) - 1) // BLOCK * BLOCK)
        assert tokens_of(engine.fresh(prompts)) == tokens_of(cold)
        # The next turn begins where the last one ended.
        longer = [p + right["tokens"] + prompt(4000, 100) for p, right in zip(prompts, cold)]
        first = engine.fresh(longer)
        assert [a["cached"] > 0 for a in first] == [True] * 6
        engine.do("options", load=False)
        assert tokens_of(engine.fresh(longer)) == tokens_of(first)
        engine.do("options", load=True)
        # A failure at any position: right answers, no failed request, and not failed again.
        one, right = prompts[-1], cold[-1]
        for position in range((len(one) - 1) // BLOCK):
            engine.do("damage", [position])
            (answer,) = engine.fresh([one])
            engine.do("damage", [])
            assert (answer["tokens"], answer["finish"]) == (right["tokens"], "length"), position
            failed = engine.do("counters")["chunks_failed"]
            (answer,) = engine.fresh([one])
            assert (answer["tokens"], answer["finish"]) == (right["tokens"], "length"), position
            assert engine.do("counters")["chunks_failed"] == failed
        assert engine.do("counters")["chunks_failed"] > 0
        assert "the connector is off" not in engine.log()
    finally:
        engine.kill()


def test_chunks_on_nvme_are_brought_up_and_loaded(tmp_path, model):
    """Host memory holds a fifth of the prompts."""
    (tmp_path / "disk").mkdir()
    daemon = harness.Daemon(
        tmp_path, f'host.capacity = "32MiB"\nnvme.capacity = "512MiB"\nnvme.paths = ["{tmp_path / "disk"}"]').start()
    engine = Engine(tmp_path, model, daemon.socket, PATIENT)
    try:
        engine.ready()
        assert eventually(lambda: engine.do("attached"))
        prompts = [prompt(6000 + i, 7 * BLOCK + 10) for i in range(40)]
        cold = [engine.fresh([p])[0] for p in prompts]
        before = engine.do("counters")
        for p, right in zip(prompts, cold):
            (warm,) = engine.fresh([p])
            assert (warm["tokens"], warm["finish"]) == (right["tokens"], "length")
        moved = delta(engine, before)
        assert moved["chunks_prefetched"] > 0 and moved["chunks_loaded"] > len(prompts)
        assert tokens_of(engine.fresh(prompts[:AT_ONCE])) == tokens_of(cold[:AT_ONCE])
        print(f"brought up {moved['chunks_prefetched']}, loaded {moved['chunks_loaded']} of {7 * len(prompts)}")
    finally:
        engine.kill()
        daemon.close()
