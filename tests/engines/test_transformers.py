"""KvTierCache in Transformers: the same tokens and logits as without it, in fp32."""
import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

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


def test_ids_of_the_harness_are_in_the_vocabulary():
    assert max(prompt(1, 1000)) < models.VOCABULARY and harness.ROOT.exists()
