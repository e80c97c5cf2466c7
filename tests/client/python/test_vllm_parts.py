"""Parts of the vLLM connector that need no engine."""
import os
from types import SimpleNamespace

import pytest

pytest.importorskip("vllm")

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole  # noqa: E402
from vllm.v1.kv_cache_interface import FullAttentionSpec, SlidingWindowSpec  # noqa: E402

import kvtier  # noqa: E402
from kvtier.vllm import connector, namespace, scheduler  # noqa: E402
from kvtier.vllm.messages import Load, StepMetadata, Store, WorkerReport  # noqa: E402
from kvtier.vllm.options import Options  # noqa: E402
from kvtier.vllm.worker import NullWorker, Worker  # noqa: E402


def spec_of_a_space():
    return kvtier.SpaceSpec("test@1", tokens_per_chunk=16, chunk_bytes=64 << 10)


def groups(*kinds):
    def spec(kind):
        fake = object.__new__(kind)
        object.__setattr__(fake, "block_size", 16)
        object.__setattr__(fake, "sliding_window", 64)
        return fake

    return SimpleNamespace(
        kv_cache_groups=[SimpleNamespace(kv_cache_spec=spec(kind), layer_names=["a"]) for kind in kinds],
        num_blocks=8, hash_block_size=16)


@pytest.fixture
def make(monkeypatch, tmp_path):
    """A connector in a worker, without a daemon."""
    made = []

    def one(*kinds):
        monkeypatch.setattr(namespace, "weights_fingerprint", lambda *args: ("w", True))
        monkeypatch.setattr(namespace, "space_spec", lambda *args: spec_of_a_space())
        monkeypatch.setattr(connector.KvTierConnector, "_greet", lambda *args: None)  # waits for a daemon
        config = SimpleNamespace(
            kv_transfer_config=SimpleNamespace(
                kv_connector_extra_config={"socket": str(tmp_path / "none")}, kv_load_failure_policy="recompute"),
            parallel_config=SimpleNamespace(pipeline_parallel_size=1, rank=1),
            model_config=SimpleNamespace(model="m", revision=None))
        made.append(connector.KvTierConnector(config, KVConnectorRole.WORKER, groups(*kinds)))
        return made[-1]

    yield one
    for each in made:
        each.shutdown()


def step(connected, meta):
    connected.bind_connector_metadata(meta)
    connected.start_load_kv(None)
    connected.wait_for_save()
    results = connected.get_transfer_results(set())
    answer = (connected.get_block_ids_with_load_errors(), results, connected.build_connector_worker_meta())
    connected.clear_connector_metadata()
    return answer


def loads_and_stores():
    return StepMetadata(
        loads=[Load("sync", 0, [b"h" * 32] * 3, 1, [3, 4], 1.0, False),
               Load("async", 0, [b"h" * 32] * 2, 0, [5, 6], 1.0, True)],
        stores=[Store(7, "ends", 0, [b"h" * 32], list(range(16)), [0], [2])], finishing=["ends"])


def all_failed(answer):
    blocks, results, report = answer
    assert blocks == {3, 4, 5, 6}
    assert results.finished_recving == {"async"} and results.finished_sending == {"ends"}
    assert report.loaded == {"sync"} and report.stores == {7: (1, frozenset())} and report.broken


def broken(*args, **named):
    raise RuntimeError("broken")


def test_without_a_worker_every_load_fails_and_every_store_ends(make, monkeypatch):
    monkeypatch.setattr(connector, "Worker", broken)
    connected = make(FullAttentionSpec)
    assert isinstance(connected._worker, NullWorker)
    all_failed(step(connected, loads_and_stores()))
    blocks, results, report = step(connected, StepMetadata())
    assert blocks == set() and not results.finished_sending and not results.finished_recving


def test_without_a_worker_loads_of_several_groups_fail_by_request(make, monkeypatch):
    monkeypatch.setattr(connector, "Worker", broken)
    connected = make(FullAttentionSpec, SlidingWindowSpec)
    load = [Load("r", group, [b"h" * 32], 0, [3], 1.0, True) for group in range(2)]
    blocks, results, _ = step(connected, StepMetadata(loads=load))
    assert blocks == set() and results.finished_recving == results.failed_recving == {"r"}


@pytest.mark.parametrize("where", ["begin", "load", "save", "completed", "_ended", "_begin_load", "_begin_store"])
def test_a_fault_of_the_worker_fails_what_was_promised(make, monkeypatch, where):
    connected = make(FullAttentionSpec)
    assert isinstance(connected._worker, Worker)
    monkeypatch.setattr(connected._worker, where, broken)
    all_failed(step(connected, loads_and_stores()))
    assert isinstance(connected._worker, NullWorker)


def test_a_broken_rank_is_heard_of():
    assert WorkerReport().aggregate(WorkerReport(broken=True)).broken
    assert not WorkerReport().aggregate(WorkerReport()).broken


@pytest.fixture
def scheduling(tmp_path):
    with kvtier.Session(socket=str(tmp_path / "none"), name="pytest") as session:
        space = session.open_space(spec_of_a_space())
        yield scheduler.Scheduler(session, [space], [None], Options(), 16, 1024, False)


def request(name, lora=None):
    return SimpleNamespace(
        request_id=name, lora_request=lora, prompt_token_ids=list(range(64)), all_token_ids=list(range(64)),
        block_hashes=[bytes([i]) * 32 for i in range(4)], num_tokens=64, skip_reading_prefix_cache=False)


def adapter(path, number=1, load_inplace=False):
    return SimpleNamespace(lora_name="a", lora_int_id=number, lora_path=str(path), load_inplace=load_inplace)


def test_nothing_is_promised_while_loads_are_under_way(scheduling):
    scheduling.on_new_request(request("r"))
    state = scheduling._tracked["r"]
    state.loads = [Load("r", 0, [b"h" * 32], 0, [1], 1.0, False)]
    state.promise = promise = [object()]
    assert scheduling.matched_tokens(state.request, 0) == (0, False)
    assert state.promise is promise


def test_loads_outlive_a_fault_while_a_step_is_built(scheduling, monkeypatch):
    load = Load("r", 0, [b"h" * 32], 0, [1], 1.0, False)
    scheduling._loads, scheduling._finishing = [load], ["f"]
    monkeypatch.setattr(scheduling, "_store_evicted", broken)
    output = SimpleNamespace(total_num_scheduled_tokens=1, num_scheduled_tokens={"r": 1})
    with pytest.raises(RuntimeError):
        scheduling.build(output)
    meta = scheduling.drain(output)
    assert meta.loads == [load] and meta.finishing == ["f"]


def test_an_adapter_whose_files_changed_is_left_alone_until_it_is_read_anew(scheduling, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.bin").write_bytes(b"1" * 100)
    (folder / "adapter_config.json").write_text("{}")

    def ask(name, lora):
        scheduling.on_new_request(request(name, lora))
        return scheduling._tracked[name]

    first = ask("1", adapter(folder))
    assert not first.unnamed and first.salt and ask("2", adapter(folder)).salt == first.salt
    # Of the same size and time.
    times = (folder / "adapter_model.bin").stat()
    (folder / "new").write_bytes(b"2" * 100)
    os.utime(folder / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
    (folder / "new").replace(folder / "adapter_model.bin")
    assert ask("3", adapter(folder)).unnamed and first.unnamed
    assert ask("4", adapter(folder)).unnamed
    assert scheduling.matched_tokens(scheduling._tracked["4"].request, 0) == (0, False)
    anew = ask("5", adapter(folder, load_inplace=True))
    assert not anew.unnamed and anew.salt != first.salt
    assert ask("6", adapter(folder)).salt == anew.salt
    # What vLLM itself still holds under the adapter's name may be of the weights before.
    assert scheduling.matched_tokens(anew.request, 0) == (0, False) and not anew.unnamed
    assert scheduling.matched_tokens(anew.request, 16) == (0, False) and anew.unnamed
    assert ask("7", adapter(folder, number=2)).salt == anew.salt
    # A number that vLLM knows from elsewhere.
    assert ask("8", adapter("org/adapter", number=3)).unnamed
    assert ask("9", adapter(folder, number=3)).unnamed
    assert ask("10", adapter("org/adapter")).unnamed and ask("11", adapter(folder)).unnamed


def test_after_a_reset_keys_are_others(scheduling):
    before, after = request("before"), request("after")
    scheduling.on_new_request(before)
    hashes = scheduling._hashes(scheduling._tracked["before"], 0, 4)
    scheduling.reset()
    assert scheduling._tracked["before"].unnamed
    scheduling.on_new_request(after)
    state = scheduling._tracked["after"]
    assert not state.unnamed and not set(hashes) & set(scheduling._hashes(state, 0, 4))
    once = scheduling._hashes(state, 0, 4)
    scheduling.reset()
    scheduling.on_new_request(request("again"))
    assert not set(once) & set(scheduling._hashes(scheduling._tracked["again"], 0, 4))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".gguf", ".pt", ".pth"])
def test_a_folder_is_named_by_its_weights(tmp_path, suffix):
    (tmp_path / "config.json").write_text("{}")
    alone, named = namespace.model_fingerprint(str(tmp_path), None)
    assert not named and str(tmp_path) in alone
    (tmp_path / f"weights{suffix}").write_bytes(b"1" * 100)
    first, named = namespace.model_fingerprint(str(tmp_path), None)
    assert named
    (tmp_path / f"weights{suffix}").write_bytes(b"2" * 100)
    assert namespace.model_fingerprint(str(tmp_path), None) not in ((first, True), (alone, True))


def test_a_draft_model_has_a_say(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"1" * 100)

    def named(**speculative):
        return namespace.weights_fingerprint(SimpleNamespace(
            model_config=SimpleNamespace(model="m", revision="1"),
            speculative_config=SimpleNamespace(**speculative) if speculative else None), "")

    assert named() == named(model="ngram", method="ngram") == named(model="m", method="mtp") == ("m@1", True)
    assert named(model=str(tmp_path), method="eagle")[0] != "m@1"
    assert named(model="org/draft", method="eagle", revision=None)[1] is False


def test_unfit_options_are_refused():
    for extra in ({"verify": "perhaps"}, {"blocks_per_chunk": 0}, {"store": "now"}, {"nothing": 1}, {"load": 1}):
        with pytest.raises(ValueError):
            Options.of(extra)
