"""The package kvtier against a real daemon."""
import asyncio
import ctypes
import gc
import os
import threading
import time

import pytest

import kvtier
import kvtier.aio
from daemons import Daemon, eventually

BYTES = 64 << 10
TOKENS = 16


def spec(**changes):
    fields = {"model": "test@1", "tokens_per_chunk": TOKENS, "chunk_bytes": BYTES}
    fields.update(changes)
    return kvtier.SpaceSpec(**fields)


@pytest.fixture
def session(daemon):
    with kvtier.Session(socket=daemon.socket, name="pytest") as opened:
        assert opened.wait_attached(10)
        yield opened


def payload(i):
    return bytes([i + 1]) * BYTES


def fill(space, chain):
    """Stores every chunk; a tier that is still growing says busy for a moment."""
    sources = [(i, [payload(i)]) for i in range(len(chain))]
    return space.store(chain, sources, timeout=20)


def test_what_was_stored_is_matched_and_loaded(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(4 * TOKENS + 3)))
    assert len(chain) == 4 and len(set(chain.keys())) == 4
    with space.match(chain) as empty:
        assert (empty.chunks, empty.ended) == (0, "absent")
    assert fill(space, chain) == ["stored"] * 4
    assert fill(space, chain) == ["present"] * 4
    buffers = [bytearray(BYTES) for _ in range(4)]
    with space.match(chain) as match:
        assert (match.chunks, match.tokens, match.ended) == (4, 4 * TOKENS, "none")
        loaded = space.load(match, [(i, [buffers[i]]) for i in range(4)])
        assert (loaded.chunks, loaded.bytes) == (4, 4 * BYTES)
    assert [bytes(b) for b in buffers] == [payload(i) for i in range(4)]
    assert space.lookup(chain).chunks_by_tier == {"host": 4}
    stats = session.stats()
    assert stats["chunks_hit"] == 4 and stats["stores"] == 4 and stats["misses"]["absent"] == 1


def test_token_ids_come_as_any_integers(session):
    space = session.open_space(spec())
    ids = list(range(TOKENS))
    keys = space.derive(ids).keys()
    for same in (tuple(ids), (ctypes.c_uint32 * TOKENS)(*ids), (ctypes.c_int64 * TOKENS)(*ids)):
        assert space.derive(same).keys() == keys
    assert space.derive(ids, extras=[(0, 7)]).keys() != keys
    for wrong in ([-1] * TOKENS, [1 << 32] * TOKENS, (ctypes.c_double * TOKENS)()):
        with pytest.raises(kvtier.Error):
            space.derive(wrong)


def test_folded_keys_compare_the_token_ids_in_the_headers(session):
    space = session.open_space(spec())
    hashes = [bytes([i]) * 32 for i in range(2)]
    ids = list(range(2 * TOKENS))
    assert fill(space, space.fold(hashes, ids)) == ["stored"] * 2
    assert space.match(space.fold(hashes)).chunks == 2  # the worker side: hashes only
    other = ids[:-1] + [9999]
    with space.match(space.fold(hashes, other)) as match:
        assert (match.chunks, match.ended) == (1, "mismatch")
    for wrong in ([b"short"], ["text"]):
        with pytest.raises(kvtier.Error):
            space.fold(wrong)


def test_a_view_keeps_its_chunk_leased_and_is_read_only(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(TOKENS)))
    fill(space, chain)
    match = space.match(chain)
    view = memoryview(match.payload(0))
    match.release()
    assert view.readonly and bytes(view) == payload(0)
    with pytest.raises(TypeError):
        view[0] = 0
    with pytest.raises(kvtier.Error):
        match.payload(0)
    with pytest.raises(IndexError):
        space.match(chain).payload(1)


def test_dlpack_shares_the_memory(session):
    import torch
    space = session.open_space(spec())
    chain = space.derive(list(range(TOKENS)))
    answers = []
    assert eventually(lambda: answers.append(space.reserve(chain, [0], timeout=20)[0]) or
                      answers[-1].outcome != "busy")
    answer = answers[-1]
    assert answer.outcome == "granted" and answer.grant.chunk == 0
    tensor = torch.from_dlpack(answer.grant.payload())
    assert tensor.shape == (BYTES,) and tensor.dtype == torch.uint8
    tensor.fill_(7)
    with pytest.raises(kvtier.Error, match="still in use"):
        space.commit([answer.grant])
    del tensor
    gc.collect()
    assert space.commit([answer.grant], [kvtier.checksum(b"\7" * BYTES)], timeout=10) == ["stored"]
    match = space.match(chain)
    view = torch.from_dlpack(match.payload(0))
    del match
    gc.collect()
    assert bool((view == 7).all())


def test_memory_of_blocks_in_planes(session):
    layers, blocks, part = 3, 8, BYTES // 6
    pool = [bytearray(os.urandom(blocks * part)) for _ in range(layers)]
    space = session.open_space(spec(chunk_bytes=2 * layers * part))  # two blocks a chunk
    planes = [(ctypes.addressof(ctypes.c_char.from_buffer(p)), part, part) for p in pool]
    layout = kvtier.PagedLayout(planes, blocks)
    assert layout.block_bytes == layers * part
    chain = space.derive(list(range(2 * TOKENS)))
    mover = kvtier.Mover()
    job = mover.submit_store(space, chain, [0, 1], layout, [5, 1, 7, 2], timeout=20)
    assert mover.wait([job], timeout=20)
    done = mover.poll()
    assert [(d.id, d.kind, d.outcomes) for d in done] == [(job, "store", ["stored"] * 2)]
    first = b"".join(bytes(p[b * part:(b + 1) * part]) for b in (5, 1) for p in pool)
    assert bytes(memoryview(space.match(chain).payload(0))) == first
    before = [bytes(p) for p in pool]
    for p in pool:
        p[0:] = bytes(len(p))
    job = mover.submit_load(space, chain, 0, 2, layout, [0, 3, 4, 6], timeout=20)
    assert mover.wait([job], timeout=20) and mover.poll()[0].chunks == 2
    for target, source in zip((0, 3, 4, 6), (5, 1, 7, 2)):
        for p, old in zip(pool, before):
            assert p[target * part:(target + 1) * part] == old[source * part:(source + 1) * part]
    with pytest.raises(kvtier.Error, match="does not exist"):
        mover.submit_load(space, chain, 0, 1, layout, [8, 0])
    with pytest.raises(kvtier.Error):
        mover.submit_store(space, chain, [0], layout, [1])  # half a chunk
    with pytest.raises(kvtier.Error):
        mover.submit_load(space, chain, 1, 2, layout, [0, 1, 2, 3])  # past the chain


def test_a_full_queue_takes_no_more(daemon, session):
    space = session.open_space(spec())
    chain = space.derive(list(range(2 * TOKENS)))
    pool = bytearray(2 * BYTES)
    layout = kvtier.PagedLayout([(ctypes.addressof(ctypes.c_char.from_buffer(pool)), BYTES, BYTES)], 2)
    mover = kvtier.Mover(jobs_max=1)
    daemon.pause()
    job = mover.submit_store(space, chain, [0], layout, [0], timeout=5)
    assert job is not None and mover.submit_store(space, chain, [1], layout, [1]) is None
    assert mover.pending == 1 and not mover.wait([job], timeout=0.05)
    daemon.resume()
    assert mover.wait([job], timeout=20) and mover.pending == 0


def test_awaited(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(4 * TOKENS)))
    pool = bytearray(b"".join(payload(i) for i in range(4)) + bytes(4 * BYTES))
    layout = kvtier.PagedLayout([(ctypes.addressof(ctypes.c_char.from_buffer(pool)), BYTES, BYTES)], 8)

    async def run():
        mover = kvtier.aio.Mover()
        stored = await asyncio.gather(*(
            mover.store(space, chain, [i], layout, [i], timeout=20) for i in range(4)))
        loaded = await mover.load(space, chain, 0, 4, layout, [4, 5, 6, 7], timeout=20)
        idle = mover.idle()
        mover.close()
        return stored, loaded, idle

    stored, loaded, idle = asyncio.run(run())
    assert all(s.outcomes == ["stored"] for s in stored) and loaded.chunks == 4 and idle
    assert pool[4 * BYTES:] == pool[:4 * BYTES]


def test_without_a_daemon_everything_is_a_miss(tmp_path):
    daemon = Daemon(tmp_path)
    session = kvtier.Session(socket=daemon.socket)
    status = session.wait_attached(0.05)
    assert not status and status.code in ("unavailable", "deadline") and not session.attached
    space = session.open_space(spec())
    assert space.derive(list(range(TOKENS))) is None
    daemon.start()
    try:
        assert session.wait_attached(10)
        chain = space.derive(list(range(TOKENS)))
        assert fill(space, chain) == ["stored"]
        daemon.kill()
        assert eventually(lambda: not session.attached)
        assert space.match(chain).ended == "unavailable"
        assert space.store(chain, [(0, [payload(0)])], timeout=0.1) == ["failed"]
        assert [r.outcome for r in space.reserve(chain, [0], timeout=0.1)] == ["failed"]
        assert space.prefetch(chain, 0, 1, timeout=0.1) == 0
        assert space.hint(chain, "pin", value=10).code == "unavailable"
        assert not space.flush_touches(timeout=0.1)
    finally:
        daemon.kill()


def test_a_stopped_daemon_is_not_waited_for_beyond_the_deadline(daemon, session):
    space = session.open_space(spec())
    chain = space.derive(list(range(2 * TOKENS)))
    space.store(chain, [(0, [payload(0)])], timeout=20)
    daemon.pause()
    begin = time.monotonic()
    assert space.match(chain).chunks == 1
    assert space.store(chain, [(1, [payload(1)])], timeout=0.2) == ["failed"]
    assert time.monotonic() - begin < 5
    daemon.resume()


def test_waiting_lets_other_threads_run(daemon, session):
    space = session.open_space(spec())
    chain = space.derive(list(range(TOKENS)))
    daemon.pause()
    waiting = threading.Thread(
        target=lambda: space.store(chain, [(0, [payload(0)])], timeout=1.0))
    waiting.start()
    steps = 0
    end = time.monotonic() + 0.5
    while time.monotonic() < end and waiting.is_alive():
        steps += 1
    daemon.resume()
    waiting.join()
    assert steps > 1000


def test_wrong_use_is_an_error(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(TOKENS)))
    other = session.open_space(spec(model="other"))
    fill(space, chain)
    with pytest.raises(kvtier.Error) as raised:
        other.match(chain)
    assert raised.value.code == "invalid_argument" and isinstance(raised.value, ValueError)
    with pytest.raises(kvtier.Error):
        space.load(space.match(chain), [(0, [bytearray(BYTES - 1)])])
    with pytest.raises(kvtier.Error):
        space.load(space.match(chain), [(0, [memoryview(bytearray(2 * BYTES))[::2]])])
    with pytest.raises((kvtier.Error, BufferError)):
        space.load(space.match(chain), [(0, [bytes(BYTES)])])  # read-only
    with pytest.raises(kvtier.Error):
        session.open_space(spec(tokens_per_chunk=0))
    with pytest.raises(kvtier.Error):
        space.hint(chain, "nonsense")
    with pytest.raises(kvtier.Error):
        space.report_prefill(0, 0, 1.0)
    with pytest.raises(kvtier.Error):
        kvtier.Session(verify="perhaps")
    session.close()
    assert session.closed
    with pytest.raises(kvtier.Error, match="closed"):
        space.lookup(chain)


def test_the_planner_hears_of_prefills(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(4 * TOKENS)))
    fill(space, chain)
    assert space.report_prefill(4 * TOKENS, 0, 0.5)
    plan = space.plan(space.lookup(chain))
    assert plan.load_chunks == 4 and plan.load_seconds >= 0


def test_another_shape_never_sees_the_chunk(session):
    chain_of = {}
    base = session.open_space(spec())
    fill(base, base.derive(list(range(TOKENS))))
    for change in ({"model": "test@2"}, {"dtype": "fp8"}, {"layout": "x"}, {"isa": "amx"}, {"shards": 2},
                   {"chunk_bytes": BYTES // 2}, {"kv_heads": 3}):
        space = session.open_space(spec(**change))
        chain = space.derive(list(range(TOKENS)))
        assert space.match(chain).chunks == 0, change
        chain_of[str(change)] = chain
    assert base.match(base.derive(list(range(TOKENS)))).chunks == 1


def test_a_forked_child_is_refused_and_the_parent_not_disturbed(session):
    space = session.open_space(spec())
    chain = space.derive(list(range(TOKENS)))
    fill(space, chain)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            space.match(chain)
        except kvtier.Error as error:
            code = 0 if error.code == "forked" else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert space.match(chain).chunks == 1
