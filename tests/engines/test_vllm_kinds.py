"""Engines of other kinds beside one daemon: other weights with LoRA adapters, another block size with little memory, fp8,
several groups of layers. What must be apart is apart, and answers are right. Five engine starts.
"""
import json
import subprocess

import pytest

import daemons
import models
from harness import (
    AT_ONCE, BLOCK, PATIENT, Engine, delta, eventually, full_chunks, prompt, tokens_of)


@pytest.fixture(scope="module")
def stored(big_daemon, second, asked, right):
    """What a plain engine of the tiny model stored. It has gone since."""
    assert eventually(lambda: second.ready().do("attached"))
    second.fresh(asked[:AT_ONCE])
    assert [a["cached"] > 0 for a in second.fresh(asked[:AT_ONCE])] == [True] * AT_ONCE
    second.kill()
    return asked[:AT_ONCE]


def start(folder, model, daemon, options=PATIENT, **arguments):
    engine = Engine(folder, model, daemon.socket, options, **arguments)
    engine.ready()
    assert eventually(lambda: engine.do("attached"))
    return engine


def test_other_weights_and_adapters_are_kept_apart(tmp_path, model_folder, big_daemon, stored, right):
    other = models.make(model_folder, "other", "float32")
    folders = [models.make_adapter(tmp_path / f"adapter-{i}", "other", seed=i) for i in range(2)]
    # With the planner: see below.
    engine = start(tmp_path, other, big_daemon, {**PATIENT, "plan": True}, enable_lora=True, max_lora_rank=8)
    try:
        costs_are_known_before_the_first_prefill(engine, big_daemon)
        engine.do("options", plan=False)
        assert [a["cached"] for a in engine.fresh(stored[:1])] == [0]
        assert tokens_of(engine.fresh(stored)) != tokens_of(right[:AT_ONCE])
        one = prompt(31, 4 * BLOCK + 9)
        kinds = [None, ("a", 1, folders[0]), ("b", 2, folders[1])]
        cold = [engine.fresh([one], adapters=[kind])[0] for kind in kinds]
        assert [answer["cached"] for answer in cold] == [0, 0, 0]
        assert len({answer["logprob"] for answer in cold}) == 3
        warm = [engine.fresh([one], adapters=[kind])[0] for kind in kinds]
        assert [(a["tokens"], a["logprob"], a["cached"]) for a in warm] == [
            (a["tokens"], a["logprob"], 4 * BLOCK) for a in cold]
        # In one batch each finds its own, too. (Without None: this vLLM on CPUs gives it an adapter's answer there,
        # kvtier or not.)
        together = engine.fresh([one] * 2, adapters=kinds[1:])
        assert [(a["tokens"], a["cached"]) for a in together] == [(a["tokens"], 4 * BLOCK) for a in cold[1:]]
        # Other weights under the name and the folder of an adapter: not found.
        models.make_adapter(folders[0], "other", seed=7)
        changed = ("a", 3, folders[0])
        (first,) = engine.fresh([one], adapters=[changed])
        assert first["cached"] == 0 and first["logprob"] not in {a["logprob"] for a in cold}
        (again,) = engine.fresh([one], adapters=[changed])
        assert (again["tokens"], again["logprob"], again["cached"]) == (first["tokens"], first["logprob"], 4 * BLOCK)
        assert engine.do("counters")["chunks_failed"] == 0
    finally:
        engine.kill()


def costs_are_known_before_the_first_prefill(engine, daemon):
    def explained():
        engine.do("plan", prompt(32, 2 * BLOCK + 1))
        plans = json.loads(subprocess.check_output(
            [str(daemons.PROGRAMS / "kvtier"), "explain", "last", "--json", "--socket", daemon.socket]))["plans"]
        compute = plans[0]["compute"] if plans else {}
        # From the model's FLOPs: attention's share is there, which is not with the daemon's assumption.
        return compute.get("seconds_per_token_and_position", 0) > 0 and compute["samples"] == 0

    assert eventually(explained)


def test_another_block_size_is_apart_and_lazy_stores_keep_what_is_evicted(
        tmp_path, tiny, big_daemon, stored, right):
    engine = start(tmp_path, tiny, big_daemon, block_size=64, max_model_len=2048, max_num_batched_tokens=2048,
                   num_gpu_blocks_override=100)
    try:
        assert [engine.fresh([p])[0]["cached"] for p in stored[:1]] == [0]
        assert tokens_of(engine.fresh(stored)) == tokens_of(right[:AT_ONCE])
        # Its memory is too small for all: requests are preempted while their blocks are being stored.
        before = engine.do("preemptions")
        first = engine.fresh(stored, max_tokens=100)
        assert engine.do("preemptions") > before
        engine.do("options", load=False, store="off")
        assert tokens_of(engine.fresh(stored, max_tokens=100)) == tokens_of(first)
        engine.do("options", load=True, store="eager")
        assert tokens_of(engine.fresh(stored, max_tokens=100)) == tokens_of(first)
        lazy_stores(engine)
        # Preempted requests leave their blocks to the queue, too.
        engine.do("reset")
        assert tokens_of(engine.generate(stored, max_tokens=100)) == tokens_of(first)
        assert engine.do("counters")["chunks_failed"] == 0
    finally:
        engine.kill()


def lazy_stores(engine):
    block, wanted = 64, [prompt(40 + i, 5 * 64 + 3) for i in range(2)]
    engine.do("options", store="off")
    cold = [engine.fresh([p])[0] for p in wanted]
    engine.do("options", store="lazy")
    engine.do("reset")
    before = engine.do("counters")
    assert tokens_of(engine.generate(wanted)) == tokens_of(cold)
    assert delta(engine, before)["chunks_stored"] == 0  # vLLM's own cache still has them
    # Others come; the oldest are on their way out.
    for i in range(12):
        engine.generate([prompt(60 + i, 10 * block + 3)])
    engine.do("step_idle")
    moved = delta(engine, before)
    assert moved["chunks_stored"] >= 2 * 5 and moved["chunks_stored"] < 2 * 5 + 12 * 10
    warm = engine.fresh(wanted)
    assert [(a["tokens"], a["cached"]) for a in warm] == [(a["tokens"], 5 * block) for a in cold]
    print(f"lazily stored {moved['chunks_stored']} of {2 * 5 + 12 * 10}, evicted {moved['chunks_evicted']}, dropped "
          f"{moved['chunks_dropped']}")


def test_an_fp8_cache_is_apart_and_gives_its_own_answers(tmp_path, tiny, big_daemon, stored):
    engine = start(tmp_path, tiny, big_daemon, kv_cache_dtype="fp8")
    try:
        cold = [engine.fresh([p])[0] for p in stored[:6]]
        assert cold[0]["cached"] == 0
        for p, right in zip(stored, cold):
            (warm,) = engine.fresh([p])
            assert (warm["tokens"], warm["logprob"]) == (right["tokens"], right["logprob"])
            assert warm["cached"] == full_chunks(len(p))
        assert engine.do("counters")["chunks_failed"] == 0
    finally:
        engine.kill()


@pytest.mark.parametrize("name", ["hybrid", "sliding"])
def test_groups_of_layers_and_windows_are_kept_apart(name, tmp_path, model_folder, little_memory):
    """Sliding windows beside full attention (several groups), and nothing but windows. The engine's own cold answer
    is the control."""
    engine = start(tmp_path, models.make(model_folder, name, "float32"), little_memory)
    try:
        prompts = [prompt(3000 + i, 500 + 130 * i) for i in range(6)]
        cold = [engine.fresh([p])[0] for p in prompts]
        assert all(answer["cached"] == 0 for answer in cold)
        for p, right in zip(prompts, cold):
            (warm,) = engine.fresh([p])
            assert (warm["tokens"], warm["cached"]) == (right["tokens"], full_chunks(len(p)))
        assert tokens_of(engine.fresh(prompts)) == tokens_of(cold)
        # The next turn begins where the last one ended.
        longer = [p + right["tokens"] + prompt(4000, 100) for p, right in zip(prompts, cold)]
        first = engine.fresh(longer)
        assert [a["cached"] > 0 for a in first] == [True] * 6
        engine.do("options", load=False)
        assert tokens_of(engine.fresh(longer)) == tokens_of(first)
        engine.do("options", load=True)
        failures_at_every_position(engine, prompts[-1], cold[-1])
        promotions_of_all_groups(engine, name)
        assert "the connector is off" not in engine.log()
    finally:
        engine.kill()


def failures_at_every_position(engine, one, right):
    """Right answers, no failed request, and not failed again."""
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


def promotions_of_all_groups(engine, name):
    """More than host memory holds: each group's chunks come up from NVMe, and are loaded beside steps."""
    prompts = [prompt(7000 + i, 9 * BLOCK + 10) for i in range(30)]
    cold = [engine.fresh([p])[0] for p in prompts]
    before = engine.do("counters")
    warm = [engine.fresh([p])[0] for p in prompts]
    assert tokens_of(warm) == tokens_of(cold)
    moved = delta(engine, before)
    whole = sum(a["cached"] == 9 * BLOCK for a in warm)
    print(f"{name}: brought up {moved['chunks_prefetched']} in {moved['prefetches']}, loaded {moved['chunks_loaded']}; "
          f"{whole} of {len(prompts)} hit all")
    assert moved["chunks_prefetched"] > 0 and moved["chunks_failed"] == 0
    assert whole > len(prompts) // 2
    assert tokens_of(engine.fresh(prompts[:AT_ONCE])) == tokens_of(cold[:AT_ONCE])
