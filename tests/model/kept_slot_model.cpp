// Section 8 of docs/protocol.md: the life of one slot in the table that is kept over restarts, with
// a kill between any two steps, also of the daemon that takes over. Somebody else writes the bytes
// and outlives the daemons: an engine that was granted the slot, or a device that fills it. What
// must hold: nobody writes or reads bytes while he does, and what a daemon publishes is the chunk
// that the record names.
#include "tests/model/lease_parts.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

constexpr Register kState{0}, kWord{1}, kKey{2}, kSum{3}, kBytes{4};
constexpr int kFree = 0, kWritten = 1, kValid = 2, kRetired = 3;  // kWritten: granted, or filling
constexpr int kOld = 0, kSecond = 1;                              // thread numbers

struct Words {
  int state, key, sum;  // the record; checksums are the chunks' numbers, as their bytes are
  int bytes;            // plain
  int entry;            // of the published index: the chunk, or 0
  int asked, done;      // between the daemon and who writes
};

// From free to published: grant and commit, or promotion. Chunk B.
void store_chunk(Thread& daemon, const Words& w, Variant& v, const std::string& how) {
  const bool early_answer = v.breaks(how + " before its state");
  const bool early_valid = v.breaks("valid before " + how + " has ended");
  daemon.store(w.key, kChunkB, Order::kRelaxed);
  if (early_answer) daemon.store(w.asked, 1, Order::kRelease);
  daemon.store(w.state, early_valid ? kValid : kWritten, Order::kRelease);
  if (early_valid) daemon.store(w.sum, kChunkB, Order::kRelaxed);
  if (!early_answer) daemon.store(w.asked, 1, Order::kRelease);
  daemon.await(kWord, w.done, 1, Order::kAcquire).set(kWord, 0);
  daemon.store(w.sum, kChunkB, Order::kRelaxed);
  if (!early_valid) daemon.store(w.state, kValid, Order::kRelease);
  daemon.store(w.entry, kChunkB, Order::kRelease);
}

// What the next daemon makes of the record it finds; then the slot goes to chunk C, whose bytes it
// writes itself.
void take_over(Thread& daemon, const Words& w, Variant& v, const std::string& how,
               const std::string& round) {
  daemon.store(w.entry, 0, Order::kRelaxed);  // the index is rebuilt
  daemon.load(kState, w.state, Order::kAcquire);
  daemon.jump_if([](const Registers& r) { return get(r, kState) != kWritten; }, round + " known");
  if (!v.breaks(how + " forgotten over a restart")) {
    daemon.await(kWord, w.done, 1, Order::kAcquire).set(kWord, 0);
  }
  daemon.jump(round + " give");
  daemon.label(round + " known");
  daemon.jump_if([](const Registers& r) { return get(r, kState) != kValid; }, round + " give");
  // Its entry says that the first load compares.
  daemon.load(kKey, w.key, Order::kRelaxed).load(kSum, w.sum, Order::kRelaxed);
  daemon.store(w.entry, kKey, Order::kRelease);
  daemon.plain_read(kBytes, w.bytes);
  daemon.jump_if([](const Registers& r) { return get(r, kBytes) != get(r, kSum); }, round + " out");
  daemon.check([](const Registers& r) { return get(r, kBytes) == get(r, kKey); },
               "a chunk of before the restart is served under another's key");
  daemon.label(round + " out");
  daemon.store(w.entry, 0, Order::kRelaxed).store(w.state, kRetired, Order::kRelease);
  daemon.label(round + " give").set(kKey, 0).set(kSum, 0).set(kBytes, 0).set(kState, 0);
  daemon.store(w.state, kFree, Order::kRelease);
  daemon.store(w.key, kChunkC, Order::kRelaxed);
  const bool late_state = v.breaks("written while the record is free");
  if (!late_state) daemon.store(w.state, kRetired, Order::kRelease);  // its own; nobody outlives it
  daemon.plain_write(w.bytes, kChunkC);
  daemon.store(w.sum, kChunkC, Order::kRelaxed);
  daemon.store(w.state, kValid, Order::kRelease).store(w.entry, kChunkC, Order::kRelease);
}

Model kept_slot(Variant& v, const std::string& name, const std::string& how) {
  Model model(name);
  model.kills = true;
  Words w{};
  w.state = model.shared("record.state", kValid);
  w.key = model.shared("record.key", kChunkA);
  w.sum = model.shared("record.checksum", kChunkA);
  w.bytes = model.shared("slot0", kChunkA);
  w.entry = model.shared("entry", kChunkA);
  w.asked = model.location("asked");
  w.done = model.location("done");
  const int keeper = model.location("keeper");

  auto& old_daemon = model.thread("old daemon");
  old_daemon.store(w.entry, 0, Order::kRelaxed);
  old_daemon.store(w.state, kRetired, Order::kRelease).store(w.state, kFree, Order::kRelease);
  store_chunk(old_daemon, w, v, how);

  auto& second = model.thread("second daemon");
  second.kill(kOld);
  second.store(keeper, 1, Order::kRelease);  // which serves one daemon at a time
  take_over(second, w, v, how, "second");

  auto& third = model.thread("third daemon");
  third.await(kWord, keeper, 1, Order::kAcquire).set(kWord, 0);
  third.kill(kSecond);
  take_over(third, w, v, how, "third");

  auto& writer = model.thread(how == "a grant" ? "engine" : "device");
  writer.await(kWord, w.asked, 1, Order::kAcquire);
  writer.plain_write(w.bytes, kChunkB);
  writer.store(w.done, 1, Order::kRelease);
  model.finish();
  return model;
}

}  // namespace

Model kept_slot_granted(Variant& v) {
  return kept_slot(v, "kept_slot_granted", "a grant");
}

Model kept_slot_filled(Variant& v) {
  return kept_slot(v, "kept_slot_filled", "a read");
}

}  // namespace kvtier::model
