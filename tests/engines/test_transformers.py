"""KvTierCache in Transformers: the same tokens and logits as without it, in fp32."""
import json
import subprocess
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

import daemons
import harness
import kvtier
import models
from harness import Daemon, eventually, prompt

import kvtier.transformers as kt

CHUNK = 64
SHAPES = ["tiny", "sliding", "hybrid"]


@pytest.fixture
def daemon(tmp_path):
    running = Daemon(tmp_path, 'host.capacity = "128MiB"').start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def model_of(model_folder):
    torch.set_num_threads(1)
    loaded = {}

    def get(name):
        if name not in loaded:
            loaded[name] = AutoModelForCausalLM.from_pretrained(
                models.make(model_folder, name, "float32"), dtype=torch.float32).eval()
        return loaded[name]

    return get


@pytest.fixture
def store_of(daemon, model_of):
    made = []

    def get(name, **options):
        store = kt.KvTierStore(
            model_of(name), socket=daemon.socket, tokens_per_chunk=CHUNK, verify="always", store_seconds_max=20,
            **options)
        assert store.session.wait_attached(10)
        made.append(store)
        return store

    yield get
    for store in made:
        store.close()


def generate(model, ids, cache=None, new=24):
    """Tokens and the logits of each step."""
    out = model.generate(torch.tensor([ids]), past_key_values=cache, max_new_tokens=new, do_sample=False,
                         return_dict_in_generate=True, output_logits=True, eos_token_id=None, pad_token_id=0,
                         attention_mask=torch.ones((1, len(ids)), dtype=torch.long))
    return out.sequences[0].tolist(), torch.stack(out.logits)


@pytest.mark.parametrize("name", SHAPES)
def test_cold_and_warm_give_the_tokens_of_a_dynamic_cache(name, model_of, store_of):
    model, store, ids = model_of(name), store_of(name), prompt(1, 700)
    right, logits = generate(model, ids)
    cold = store.cache(ids)
    assert cold.tokens_loaded == 0
    assert generate(model, ids, cold)[0] == right
    warm = store.cache(ids)
    assert warm.tokens_loaded == 699 // CHUNK * CHUNK == warm.get_seq_length()
    tokens, warm_logits = generate(model, ids, warm)
    assert tokens == right
    assert torch.allclose(warm_logits, logits, atol=1e-3)
    # Shorter than the sliding window, and a shared head:
    for other in (prompt(1, 700)[:200] + prompt(2, 30), prompt(1, 700)[:CHUNK + 1]):
        cache = store.cache(other)
        assert cache.tokens_loaded == min(200, len(other) - 1) // CHUNK * CHUNK
        assert generate(model, other, cache)[0] == generate(model, other)[0]


def test_only_the_tail_is_computed(model_of, store_of):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(3, 300)
    generate(model, ids, store.cache(ids), new=1)
    lengths = []
    hook = model.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: lengths.append(args[0].shape[1]))
    generate(model, ids, store.cache(ids), new=2)
    hook.remove()
    assert lengths == [300 - 299 // CHUNK * CHUNK, 1]


def test_what_is_generated_is_stored_for_the_next_turn(model_of, store_of):
    model, store, ids = model_of("sliding"), store_of("sliding"), prompt(4, 100)
    said, _ = generate(model, ids, store.cache(ids), new=120)
    turn = said + prompt(5, 10)
    cache = store.cache(turn)
    assert cache.tokens_loaded == 219 // CHUNK * CHUNK  # the last token said was never computed
    assert generate(model, turn, cache)[0] == generate(model, turn)[0]


@pytest.mark.parametrize("make", [
    lambda model: DynamicCache(), lambda model: DynamicCache(config=model.config),
    lambda model: StaticCache(config=model.config, max_cache_len=400)], ids=["dynamic", "sliding-aware", "static"])
def test_other_caches_are_filled_with_the_same(make, model_of, store_of):
    model, store, ids = model_of("hybrid"), store_of("hybrid"), prompt(6, 300)
    right, _ = generate(model, ids, store.cache(ids))
    cache = make(model)
    assert store.fill(cache, torch.tensor([ids])) == 299 // CHUNK * CHUNK
    assert generate(model, ids, cache)[0] == right
    with pytest.raises(kvtier.Error, match="not empty"):
        store.fill(cache, ids)


def test_other_weights_dtype_and_chunk_size_are_misses(model_of, store_of, daemon, model_folder):
    ids = prompt(7, 300)
    store = store_of("tiny")
    generate(model_of("tiny"), ids, store.cache(ids), new=1)
    assert store.cache(ids).tokens_loaded > 0
    assert store_of("other").cache(ids).tokens_loaded == 0
    half = model_of("tiny").to(torch.bfloat16)
    try:
        assert store_of("tiny").cache(ids).tokens_loaded == 0
    finally:
        half.to(torch.float32)
    other = kt.KvTierStore(model_of("tiny"), session=store.session, tokens_per_chunk=32)
    assert other.cache(ids).tokens_loaded == 0
    other.close()
    # One weight changed in place (fine-tuning): another model.
    parameter = next(model_of("tiny").parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1
    changed = store_of("tiny")
    with torch.no_grad():
        parameter.view(-1)[0] -= 1
    assert changed.cache(ids).tokens_loaded == 0


def test_the_daemon_going_and_coming_changes_no_answer(model_of, store_of, daemon):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(8, 300)
    store.store_seconds_max = 0.2
    right, _ = generate(model, ids)
    daemon.pause()
    assert generate(model, ids, store.cache(ids))[0] == right
    daemon.resume()
    daemon.kill()
    assert eventually(lambda: not store.session.attached)
    assert generate(model, ids, store.cache(ids))[0] == right
    daemon.start()
    assert store.session.wait_attached(10)
    assert eventually(lambda: generate(model, ids, store.cache(ids))[0] == right and
                      store.cache(ids).tokens_loaded > 0)
    assert generate(model, ids, store.cache(ids))[0] == right


def test_batches_and_beams_work_and_store_nothing_wrong(model_of, store_of):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(9, 200)
    options = dict(max_new_tokens=8, do_sample=False, num_beams=2, eos_token_id=None, pad_token_id=0)
    right = model.generate(torch.tensor([ids]), **options).tolist()
    assert model.generate(torch.tensor([ids]), past_key_values=store.cache(ids), **options).tolist() == right
    with pytest.raises(kvtier.Error, match="one prompt"):
        store.cache(torch.tensor([ids, ids]))
    # Whatever was stored is right:
    assert generate(model, ids, store.cache(ids))[0] == generate(model, ids)[0]


def test_a_cropped_cache_stores_what_it_holds(model_of, store_of):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(10, CHUNK + 40)
    cache = store.cache(ids)
    model(torch.tensor([ids]), past_key_values=cache)
    cache.crop(-20)  # 20 tokens were not what was wanted: others come instead
    turn = ids[:-20] + prompt(11, 60)
    model(torch.tensor([turn[CHUNK + 20:]]), past_key_values=cache)
    warm = store.cache(turn + [5])
    assert warm.tokens_loaded == len(turn) // CHUNK * CHUNK
    assert generate(model, turn + [5], warm)[0] == generate(model, turn + [5])[0]


def test_a_masked_prompt_is_not_stored_and_a_loaded_cache_refuses_it(model_of, store_of):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(41, 300)
    mask = torch.ones((1, 300), dtype=torch.long)
    mask[0, :70] = 0  # padding on the left
    cache = store.cache(ids)
    right = model.generate(torch.tensor([ids]), attention_mask=mask, max_new_tokens=4, do_sample=False,
                           eos_token_id=None, pad_token_id=0)
    masked = model.generate(torch.tensor([ids]), attention_mask=mask, past_key_values=cache, max_new_tokens=4,
                            do_sample=False, eos_token_id=None, pad_token_id=0)
    assert masked.tolist() == right.tolist()
    assert store.cache(ids).tokens_loaded == 0
    generate(model, ids, store.cache(ids))  # now without the mask: stored
    loaded = store.cache(ids)
    assert loaded.tokens_loaded == 256
    with pytest.raises(kvtier.Error, match="padding"):
        model.generate(torch.tensor([ids]), attention_mask=mask, past_key_values=loaded, max_new_tokens=4)


def test_embeddings_and_positions_of_ones_own_are_not_stored(model_of, store_of):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(42, 200)
    embeddings = model.get_input_embeddings()(torch.tensor([ids])) + 0.5
    with torch.no_grad():
        model(inputs_embeds=embeddings, past_key_values=store.cache(ids), use_cache=True)
        model(input_ids=torch.tensor([ids]), position_ids=torch.arange(7, 207)[None], past_key_values=store.cache(ids),
              use_cache=True)
    assert store.cache(ids).tokens_loaded == 0


def test_weights_that_change_in_place_are_other_weights(model_folder, daemon):
    model = AutoModelForCausalLM.from_pretrained(models.make(model_folder, "tiny", "float32"), dtype=torch.float32).eval()
    store = kt.KvTierStore(model, socket=daemon.socket, tokens_per_chunk=CHUNK, store_seconds_max=20, plan=False)
    assert store.session.wait_attached(10)
    ids = prompt(43, 300)
    generate(model, ids, store.cache(ids))
    before = store.cache(ids)
    assert before.tokens_loaded == 256
    weight = next(p for name, p in model.named_parameters() if "v_proj" in name)
    with torch.no_grad():
        weight.add_(0.25)
    right, _ = generate(model, ids)
    cache = store.cache(ids)
    assert cache.tokens_loaded == 0
    assert generate(model, ids, cache)[0] == right
    assert store.cache(ids).tokens_loaded == 256  # of the new ones
    with torch.no_grad():
        weight.sub_(0.25)
    generate(model, ids + [5], before)  # a cache of the first weights: it stores nothing under the names of others
    store.close()


def test_quantised_weights_in_buffers_have_names_of_their_own():
    def module(fill):
        made = torch.nn.Linear(4, 4, bias=False)
        torch.nn.init.ones_(made.weight)
        made.register_buffer("qweight", torch.full((8, 8), fill, dtype=torch.int32))
        return made

    assert kt.weights_fingerprint(module(1)) == kt.weights_fingerprint(module(1))
    assert kt.weights_fingerprint(module(1)) != kt.weights_fingerprint(module(2))


def test_what_lies_on_nvme_is_brought_up(model_of, tmp_path):
    (tmp_path / "nvme").mkdir()
    running = Daemon(tmp_path, 'host.capacity = "32MiB"\nnvme.capacity = "256MiB"\nnvme.slow_below = 0\n'
                     f'nvme.io_timeout = "60s"\nnvme.paths = ["{tmp_path}/nvme"]').start()
    try:
        model = model_of("tiny")
        store = kt.KvTierStore(model, socket=running.socket, tokens_per_chunk=CHUNK, store_seconds_max=20, plan=False)
        assert store.session.wait_attached(10)
        ids = prompt(44, 700)
        generate(model, ids, store.cache(ids))
        chain = store.space.derive(ids[:640])
        for seed in range(200, 600):
            with store.space.match(chain, touch=False) as match:
                if match.chunks == 0 and match.chunks_lower == 10:
                    break
            generate(model, prompt(seed, 700), store.cache(prompt(seed, 700)), new=1)
        else:
            pytest.fail("the chunks never lay on nvme alone")
        assert store.cache(ids).tokens_loaded == 640
        store.close()
    finally:
        running.close()


def test_ids_of_the_harness_are_in_the_vocabulary():
    assert max(prompt(1, 1000)) < models.VOCABULARY and harness.ROOT.exists()


def slow_tier(store, model, ids, monkeypatch, seconds):
    """Chunks that take `seconds` each, and plans that split in the middle."""
    real = store.space

    class Slow:
        def __getattr__(self, name):
            return getattr(real, name)

        def plan_chain(self, chain, **options):
            plan = real.plan_chain(chain, **options)
            if options.get("restore") != "overlapped":
                return plan

            class Split:
                resident, id = plan.resident, plan.id
                load_first = plan.resident // 2
                load_chunks = plan.resident - plan.resident // 2

            return Split()

        def plan_ended(self, *args):
            pass

        def restore(self, chain, targets, timeout):
            restore = real.restore(chain, targets, timeout)

            class Paced:
                take_head, met, cancel = restore.take_head, restore.met, restore.cancel
                result = property(lambda self: restore.result)

                def run(self):
                    time.sleep(seconds)
                    return restore.run()

            return Paced()

    monkeypatch.setattr(store, "space", Slow())


@pytest.mark.parametrize("seconds", [0, 0.05, 5])
def test_a_restore_meets_in_the_middle_and_gives_the_same(seconds, model_of, store_of, monkeypatch):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(11, 1000)
    right, logits = generate(model, ids, store.cache(ids))
    slow_tier(store, model, ids, monkeypatch, seconds)
    cache = store.restore(model, ids)
    assert cache.get_seq_length() == 999 // CHUNK * CHUNK
    if seconds == 5:  # the head was there first
        assert cache.tokens_loaded == 0
    if seconds == 0:
        assert cache.tokens_loaded > 0
    tokens, warm = generate(model, ids, cache)
    assert tokens == right
    assert torch.allclose(warm, logits, atol=1e-3)
    # What follows is stored, and found: the cache knows its tokens.
    assert store.cache(right).tokens_loaded == (len(right) - 1) // CHUNK * CHUNK


def test_a_restore_with_a_lost_chunk_computes_it(model_of, store_of, daemon, monkeypatch):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(12, 700)
    right, _ = generate(model, ids, store.cache(ids))
    slow_tier(store, model, ids, monkeypatch, 0)
    real = store.space.restore

    def late(chain, targets, timeout):
        return real(chain, targets, 0)  # its deadline has passed

    monkeypatch.setattr(type(store.space), "restore", lambda self, *args: late(*args))
    cache = store.restore(model, ids)
    assert cache.tokens_loaded == 0 and cache.get_seq_length() == 699 // CHUNK * CHUNK
    assert generate(model, ids, cache)[0] == right


def test_layers_with_windows_are_restored_by_a_prefix(model_of, store_of, monkeypatch):
    model, store, ids = model_of("sliding"), store_of("sliding"), prompt(13, 700)
    right, _ = generate(model, ids, store.cache(ids))
    monkeypatch.setattr(store, "_compute_head", None)
    cache = store.restore(model, ids)
    assert generate(model, ids, cache)[0] == right


def test_an_error_of_the_model_ends_a_restore(model_of, store_of, monkeypatch):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(14, 700)
    generate(model, ids, store.cache(ids), new=1)
    slow_tier(store, model, ids, monkeypatch, 1)

    def broken(**arguments):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        store.restore(broken, ids)
    assert store.cache(ids).tokens_loaded > 0


def ask(daemon, *words):
    return json.loads(subprocess.check_output(
        [str(daemons.PROGRAMS / "kvtier"), *words, "--json", "--socket", daemon.socket], text=True))


def test_prefills_are_reported_and_plans_explained(model_of, store_of, daemon):
    model, store, ids = model_of("tiny"), store_of("tiny"), prompt(15, 700)
    generate(model, ids, store.cache(ids), new=1)

    def planned_with_a_report():  # the cost board tells of it a moment later
        store.cache(ids)
        return ask(daemon, "explain", "last")["plans"][0]["compute"]["samples"] > 0

    assert eventually(planned_with_a_report)
    assert ask(daemon, "space", "list")["spaces"][0]["prefill_samples"] > 0
    plan = ask(daemon, "explain", "last")["plans"][0]
    assert plan["resident_chunks"] == 699 // CHUNK == plan["load_end"]
    assert plan["ended"]["loaded_chunks"] == plan["load_end"]
    assert sum(plan["compute"][cost] for cost in (
        "seconds_per_token", "seconds_per_token_and_position", "seconds_per_call")) > 0
