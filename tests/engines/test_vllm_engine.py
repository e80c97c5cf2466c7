"""KvTierConnector in real vLLM engines of one model: the same answers, whatever happens to the cache. Three engine
starts, with the one without kvtier."""
import json
import subprocess

import daemons
from harness import (
    AT_ONCE, BLOCK, delta, eventually, full_chunks, in_batches, prompt, tokens_of)


def test_cold_and_warm_answers_are_those_without_kvtier(engine, asked, right):
    cold = in_batches(engine, asked, fresh=True)
    assert tokens_of(cold) == tokens_of(right)
    before = engine.do("counters")
    warm = in_batches(engine, asked, fresh=True)
    assert tokens_of(warm) == tokens_of(right)
    # Everything that can hit hits: all full chunks but the one with the last token.
    assert [a["cached"] for a in warm] == [full_chunks(len(p)) for p in asked]
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


def ask(daemon, *words):
    return json.loads(subprocess.check_output(
        [str(daemons.PROGRAMS / "kvtier"), *words, "--json", "--socket", daemon.socket], text=True))


def test_the_planner_loads_what_pays_and_declines_what_is_computed_faster(engine, big_daemon):
    one = prompt(141, 5 * BLOCK + 40)
    (cold,) = engine.fresh([one])
    engine.do("reset")  # its stores have ended
    engine.do("options", plan=True)
    try:
        # An engine that says it computes 10 million tokens a second (until its own prefills say otherwise).
        engine.do("report_prefills", 1000, 0, 1e-4, 200)
        assert eventually(lambda: engine.do("plan", one)["load_chunks"] == 0)
        before = engine.do("counters")
        (answer,) = engine.generate([one])
        moved = delta(engine, before)
        assert (answer["tokens"], answer["logprob"], answer["cached"]) == (cold["tokens"], cold["logprob"], 0)
        assert moved["chunks_declined"] == 5 and moved["chunks_loaded"] == 0
        # This one's own prefills are what computing takes; loading pays.
        for i in range(12):
            engine.fresh([prompt(150 + i, (1 + i % 4) * BLOCK + 7 * i)], max_tokens=1)
        assert eventually(lambda: engine.do("plan", one)["load_chunks"] == 5)
        before = engine.do("counters")
        (answer,) = engine.fresh([one])
        moved = delta(engine, before)
        assert (answer["tokens"], answer["logprob"]) == (cold["tokens"], cold["logprob"])
        assert answer["cached"] == 5 * BLOCK
        assert moved["chunks_declined"] == 0 and moved["chunks_loaded"] == 5
        plan = ask(big_daemon, "explain", "last")["plans"][0]
        assert plan["compute"]["samples"] > 0 and plan["ended"]["loaded_chunks"] == 5
    finally:
        engine.do("options", plan=False)


def test_a_second_engine_hits_what_the_first_stored_and_survives_its_death(
        big_daemon, engine, second, asked, right):
    engine.fresh(asked[:60])
    second.ready()
    answers = second.fresh(asked[:60])
    assert tokens_of(answers) == tokens_of(right[:60])
    assert [a["cached"] for a in answers] == [full_chunks(len(p)) for p in asked[:60]]
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


def test_chunks_on_nvme_are_brought_up_and_loaded(second, little_memory):
    """Host memory holds a fifth of the prompts."""
    assert eventually(lambda: second.ready().do("attached"))
    prompts = [prompt(6000 + i, 7 * BLOCK + 10) for i in range(40)]
    cold = [second.fresh([p])[0] for p in prompts]
    before = second.do("counters")
    for p, right in zip(prompts, cold):
        (warm,) = second.fresh([p])
        assert (warm["tokens"], warm["finish"]) == (right["tokens"], "length")
    moved = delta(second, before)
    assert moved["chunks_prefetched"] > 0 and moved["chunks_loaded"] > len(prompts)
    assert tokens_of(second.fresh(prompts[:AT_ONCE])) == tokens_of(cold[:AT_ONCE])
    print(f"brought up {moved['chunks_prefetched']}, loaded {moved['chunks_loaded']} of {7 * len(prompts)}")
