// The rest of the published memory (section 2 and 4 of docs/protocol.md): the cost board's sequence
// lock, and the segment table when a segment's number is used again.
#include "tests/model/lease_parts.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

constexpr Register kBefore{0}, kOne{1}, kTwo{2}, kAfter{3};
constexpr Register kPlace{0}, kAgain{1}, kUid{2}, kBytes{3};
constexpr Register kN{8}, kWord{9}, kFound{10};
constexpr int kGivenBack = 7;

}  // namespace

// Two updates of two words; a reader that accepts what it read must have both from one update.
Model cost_board(Variant& v) {
  Model model("cost_board");
  const int sequence = model.location("sequence");
  const int words[2] = {model.location("latency"), model.location("bandwidth")};

  auto& daemon = model.thread("daemon");
  for (int update = 1; update <= 2; ++update) {
    daemon.store(sequence, 2 * update - 1, Order::kRelaxed).fence(v.at("B1", Order::kRelease));
    for (int word : words) daemon.store(word, update, Order::kRelaxed);
    daemon.store(sequence, 2 * update, v.at("B2", Order::kRelease));
  }
  auto& reader = model.thread("reader");
  reader.load(kBefore, sequence, v.at("B3", Order::kAcquire));
  if (!v.breaks("odd sequence accepted")) {
    reader.jump_if([](const Registers& r) { return get(r, kBefore) % 2; }, "end");
  }
  reader.load(kOne, words[0], Order::kRelaxed).load(kTwo, words[1], Order::kRelaxed);
  reader.fence(v.at("B4", Order::kAcquire));
  if (!v.breaks("sequence read once")) {
    reader.load(kAfter, sequence, Order::kRelaxed);
    reader.jump_if([](const Registers& r) { return get(r, kAfter) != get(r, kBefore); }, "end");
  }
  reader.check(
      [](const Registers& r) {
        return get(r, kOne) == get(r, kTwo) && get(r, kOne) == get(r, kBefore) / 2;
      },
      "accepts words of two updates");
  model.finish();
  return model;
}

// Segment number 0 is freed and comes back as other memory, under another uid. The chunk that
// lies in it comes back too, at a new place of the same number.
Model segment_reuse(Variant& v) {
  Model model("segment_reuse");
  Pool pool;
  const auto entry = add_entry(model, pool, kChunkA, place_of(1, 0));
  const auto session = add_session(model, pool, 1, 1);
  const int uid = model.location("uid", 1);
  // What a client has mapped for uid 1 and for uid 2. Uid 1's memory is given back.
  const std::vector<int> memory = {model.shared("memory of uid 1", kChunkA),
                                   model.shared("memory of uid 2", 0)};

  auto& daemon = model.thread("daemon");
  const bool early = v.breaks("uid cleared before the scan");
  if (early) daemon.store(uid, 0, Order::kRelaxed).store(uid, 2, v.at("uid", Order::kRelease));
  daemon.store(entry.place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  scan(daemon, pool, v, {kN, kWord, kFound, place_of(1, 0), 0, "scan"});
  daemon.jump_if(kFound, "end");
  if (!early) daemon.store(uid, 0, Order::kRelaxed);
  daemon.plain_write(memory[0], kGivenBack).plain_write(memory[1], kChunkA);
  const bool late = v.breaks("uid published after a place in it");
  if (!early && !late) daemon.store(uid, 2, v.at("uid", Order::kRelease));
  daemon.store(entry.place, place_of(2, 0), v.at("I1", Order::kRelease));
  if (late) daemon.store(uid, 2, v.at("uid", Order::kRelease));

  auto& reader = model.thread("reader");
  const bool before = v.breaks("mapping chosen before the lease is held");
  const auto choose = [&] {
    reader.load(kUid, uid, v.at("uid seen", Order::kAcquire));
    // No descriptor: the real client asks for the segment and is refused.
    reader.jump_if([](const Registers& r) { return get(r, kUid) == 0; }, "over");
  };
  if (before) choose();
  reader.load(kPlace, entry.place, v.at("L2", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kPlace) == 0; }, "over");
  reader.store(session.cells[0], kPlace, v.at("M", Order::kRelease));
  reader.fence(v.at("R", Order::kSeqCst));
  reader.load(kAgain, entry.place, v.at("q", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kAgain) != get(r, kPlace); }, "over");
  if (!before) {
    reader.load(kUid, uid, v.at("uid seen", Order::kAcquire));
    reader.check(kUid, "holds a lease in a segment that has no uid");
  }
  reader.plain_read(kBytes,
                    Expr::pick(memory, [](const Registers& r) { return get(r, kUid) - 1; }));
  reader.check([](const Registers& r) { return get(r, kBytes) == kChunkA; },
               "holds a lease and reads the bytes of another memory");
  reader.label("over").store(session.cells[0], 0, v.at("release", Order::kRelease));
  model.finish();
  return model;
}

}  // namespace kvtier::model
