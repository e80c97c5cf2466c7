// Section 6 of docs/protocol.md: a daemon is killed anywhere in a reclaim, the next one takes over
// the same memory. A reader belongs to the old epoch. What must hold: no slot that it holds is
// written, and a load that ends well has the bytes of the chunk asked for.
#include "tests/model/lease_parts.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

constexpr Register kPlace{0}, kAgain{1}, kEpoch{2}, kBytes{3}, kKey{4}, kAsked{5};
constexpr Register kN{8}, kWord{9}, kFound{10};
constexpr int kOldEpoch = 1, kNewEpoch = 2;
constexpr int kOldDaemon = 0;  // thread number

}  // namespace

Model restart(Variant& v) {
  Model model("restart");
  model.kills = true;
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_slot(model, pool, kChunkA);
  const auto session = add_session(model, pool, 1, 1);
  const int epoch = model.shared("epoch", kOldEpoch);
  model.locations[static_cast<size_t>(pool.entries[0].place)].many_writers = true;
  model.locations[static_cast<size_t>(pool.entries[0].key)].many_writers = true;
  const auto& entry = pool.entries[0];

  auto& old_daemon = model.thread("old daemon");
  old_daemon.store(entry.place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  scan(old_daemon, pool, v, {kN, kWord, kFound, place_of(1, 0), 0, "old"});
  old_daemon.jump_if(kFound, "end");
  old_daemon.plain_write(pool.bytes[0], kChunkB);
  old_daemon.store(entry.key, kChunkB, Order::kRelaxed);
  old_daemon.store(entry.place, place_of(2, 0), v.at("I1", Order::kRelease));

  auto& daemon = model.thread("new daemon");
  daemon.kill(kOldDaemon);
  const bool early_scan = v.breaks("scan before the epoch is stored");
  const auto look = [&] { scan(daemon, pool, v, {kN, kWord, kFound, place_of(1, 0), 0, "new"}); };
  if (v.breaks("old cells are not scanned")) {
    daemon.set(kFound, 0);
  } else if (early_scan) {
    look();
  }
  if (v.breaks("written before the epoch is stored")) {
    daemon.store(entry.key, kChunkC, Order::kRelaxed);
  }
  daemon.store(epoch, kNewEpoch, v.at("epoch", Order::kRelease));
  daemon.fence(v.at("T", Order::kSeqCst));
  if (!early_scan && !v.breaks("old cells are not scanned")) look();
  daemon.jump_if(kFound, "end");
  // The index is rebuilt; the slot goes to another chunk.
  daemon.plain_write(pool.bytes[0], kChunkC);
  daemon.store(entry.key, kChunkC, Order::kRelaxed);
  daemon.store(entry.place, place_of(3, 0), v.at("I1", Order::kRelease));

  auto& reader = model.thread("reader");
  reader.choose(kAsked, 3);  // A, B or C
  reader.load(kPlace, entry.place, v.at("L2", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kPlace) == 0; }, "end");
  reader.load(kKey, entry.key, Order::kRelaxed);
  reader.jump_if([](const Registers& r) { return get(r, kKey) != get(r, kAsked) + 1; }, "end");
  reader.store(session.cells[0], kPlace, v.at("M", Order::kRelease));
  reader.fence(v.at("R", Order::kSeqCst));
  reader.load(kAgain, entry.place, v.at("q", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kAgain) != get(r, kPlace); }, "over");
  if (!v.breaks("epoch not read for the lease")) {
    reader.load(kEpoch, epoch, v.at("epoch for the lease", Order::kAcquire));
    reader.jump_if([](const Registers& r) { return get(r, kEpoch) != kOldEpoch; }, "over");
  }
  reader.plain_read(kBytes, pool.bytes[0]);
  reader.fence(v.at("E", Order::kAcquire));
  if (!v.breaks("epoch not read at the end")) {
    reader.load(kEpoch, epoch, Order::kRelaxed);
    reader.jump_if([](const Registers& r) { return get(r, kEpoch) != kOldEpoch; }, "over");
  }
  reader.check([](const Registers& r) { return get(r, kBytes) == get(r, kAsked) + 1; },
               "a load ends well with the bytes of another chunk");
  reader.label("over").store(session.cells[0], 0, v.at("release", Order::kRelease));
  model.finish();
  return model;
}

// A client dies with a lease: its cells count no more once the process has ended, not at the end
// of file of its socket.
Model client_death(Variant& v) {
  Model model("client_death");
  model.kills = true;
  const int bytes = model.shared("slot0", kChunkA);
  const int place = model.location("E0.place", place_of(1, 0));
  const int cell = model.location("cell0");

  auto& reader = model.thread("reader");
  reader.load(kPlace, place, v.at("L2", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kPlace) == 0; }, "end");
  reader.store(cell, kPlace, v.at("M", Order::kRelease)).fence(v.at("R", Order::kSeqCst));
  reader.load(kAgain, place, v.at("q", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kAgain) != get(r, kPlace); }, "end");
  reader.plain_read(kBytes, bytes).plain_read(kBytes, bytes);
  reader.check([](const Registers& r) { return get(r, kBytes) == kChunkA; },
               "holds a lease and reads the bytes of another chunk");

  auto& daemon = model.thread("daemon");
  daemon.store(place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  if (!v.breaks("slots taken before the process has ended")) daemon.kill(0);
  daemon.plain_write(bytes, kChunkC);
  model.finish();
  return model;
}

}  // namespace kvtier::model
