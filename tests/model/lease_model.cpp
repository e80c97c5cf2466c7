// Section 4 of docs/protocol.md: readers that lease against a daemon that reclaims. What must
// hold: nobody reads bytes of a slot while they are written for its next use, and the bytes read
// are those of the chunk asked for.
#include "tests/model/lease_parts.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

constexpr Register kPlace{0}, kKey{1}, kAgain{2}, kBytes{3}, kAsked{4};
constexpr Register kPlace2{5}, kKey2{6}, kAgain2{7};
constexpr Register kN{8}, kWord{9}, kFound{10}, kOther{11};

// Step 1 of section 4: the place, then the key; anything else ends at `miss`.
void find(Thread& reader, const EntryWords& entry, Variant& v, Register place, Register key,
          Expr asked, const std::string& miss) {
  reader.load(place, entry.place, v.at("L2", Order::kAcquire));
  reader.jump_if([place](const Registers& r) { return get(r, place) == 0; }, miss);
  reader.load(key, entry.key, Order::kRelaxed);
  reader.jump_if([key, asked](const Registers& r) { return get(r, key) != asked(r); }, miss);
  reader.set(key, 0);
}

// Step 5: is it still there? Broken: nobody looks.
void validate(Thread& reader, const EntryWords& entry, Variant& v, Register place, Register again,
              const std::string& miss) {
  if (v.breaks("place not validated")) return;
  reader.load(again, entry.place, v.at("q", Order::kAcquire));
  reader.jump_if([=](const Registers& r) { return get(r, again) != get(r, place); }, miss);
  reader.set(again, 0);
}

void read_bytes(Thread& reader, const Pool& pool, Register place, Expr asked) {
  reader.plain_read(kBytes, Expr::pick(pool.bytes, [place](const Registers& r) {
                      return slot_of(get(r, place));
                    }));
  reader.check([asked](const Registers& r) { return get(r, kBytes) == asked(r); },
               "holds a lease and reads the bytes of another chunk");
  reader.set(kBytes, 0);
}

// Step 3.
void write_cell(Thread& reader, int cell, Register place, Variant& v, int entry = 0) {
  reader.store(
      cell, [=](const Registers& r) { return cell_word(get(r, place), entry); },
      v.at("M", Order::kRelease));
}

// One lease of `asked` in `entry`, its bytes, its release. Ends at `miss` in any case.
struct One {
  const EntryWords& entry;
  int cell;
  Expr asked;
  std::string miss;
  int mark = -1;
  int mark_value = 0;
  int number = 0;  // of the entry
};
void lease_one(Thread& reader, const Pool& pool, Variant& v, const One& one) {
  find(reader, one.entry, v, kPlace, kKey, one.asked, one.miss);
  const bool late_mark = v.breaks("mark after the fence");
  const bool late_cell = v.breaks("cell after the fence");
  const auto mark = [&] {
    if (one.mark >= 0) reader.store(one.mark, one.mark_value, v.at("mark", Order::kRelease));
  };
  if (!late_mark) mark();
  if (!late_cell) write_cell(reader, one.cell, kPlace, v, one.number);
  reader.fence(v.at("R", Order::kSeqCst));
  if (late_mark) mark();
  if (late_cell) write_cell(reader, one.cell, kPlace, v, one.number);
  const std::string lost = one.miss + " lost";
  validate(reader, one.entry, v, kPlace, kAgain, lost);
  read_bytes(reader, pool, kPlace, one.asked);
  reader.store(one.cell, 0, v.at("release", Order::kRelease)).jump(one.miss);
  reader.label(lost).store(one.cell, 0, v.at("give up", Order::kRelease));
  reader.label(one.miss);
}

// A batch of both chunks, the one of entry `first` at its head; the valid head is kept.
void lease_two(Thread& reader, const Pool& pool, const SessionWords& session, Variant& v,
               int first) {
  const int second = 1 - first;
  const auto& e1 = pool.entries[static_cast<size_t>(first)];
  const auto& e2 = pool.entries[static_cast<size_t>(second)];
  find(reader, e1, v, kPlace, kKey, first + 1, "end");
  find(reader, e2, v, kPlace2, kKey2, second + 1, "end");
  const bool late_mark = v.breaks("mark after the fence");
  const bool late_cell = v.breaks("cell after the fence");
  const auto mark = [&] { reader.store(session.mark, 2, v.at("mark", Order::kRelease)); };
  const auto cells = [&] {
    write_cell(reader, session.cells[0], kPlace, v, first);
    write_cell(reader, session.cells[1], kPlace2, v, second);
  };
  if (!late_mark) mark();
  if (!late_cell) cells();
  reader.fence(v.at("R", Order::kSeqCst));
  if (late_mark) mark();
  if (late_cell) cells();
  validate(reader, e1, v, kPlace, kAgain, "lost");
  if (!v.breaks("place not validated")) {
    reader.load(kAgain2, e2.place, v.at("q", Order::kAcquire));
    reader.jump_if([](const Registers& r) { return get(r, kAgain2) == get(r, kPlace2); }, "both");
    reader.store(session.cells[1], 0, v.at("give up", Order::kRelease)).set(kPlace2, 0);
    reader.label("both").set(kAgain2, 0);
  }
  read_bytes(reader, pool, kPlace, first + 1);
  reader.store(session.cells[0], 0, v.at("release", Order::kRelease));
  reader.jump_if([](const Registers& r) { return get(r, kPlace2) == 0; }, "end");
  read_bytes(reader, pool, kPlace2, second + 1);
  reader.store(session.cells[1], 0, v.at("release", Order::kRelease)).jump("end");
  reader.label("lost").store(session.cells[0], 0, v.at("give up", Order::kRelease));
  reader.store(session.cells[1], 0, v.at("give up", Order::kRelease));
}

// Clears the place of `entry`, which is in slot 0 with this generation, scans, scans once more
// when it found the slot. Goes on when the slot is free, else ends.
void reclaim(Thread& daemon, const Pool& pool, Variant& v, int entry, int generation = 1) {
  const auto& words = pool.entries[static_cast<size_t>(entry)];
  const int place = place_of(generation, 0);
  const std::string round = std::to_string(generation);
  const auto look = [&](const std::string& labels) {
    scan(daemon, pool, v, {kN, kWord, kFound, place, entry, labels + round});
  };
  const bool early = v.breaks("scan before the place is cleared");
  if (v.breaks("key changed before the fence")) {
    daemon.store(words.key, kChunkC + generation - 1, Order::kRelaxed);
  }
  if (early) look("early");
  daemon.store(words.place, 0, Order::kRelaxed);
  daemon.fence(v.at("D", Order::kSeqCst));
  if (!early) look("first");
  if (v.breaks("found slots are not retired")) {
    daemon.set(kFound, 0);
    return;
  }
  daemon.jump_if([](const Registers& r) { return get(r, kFound) == 0; }, "free" + round);
  daemon.fence(v.at("D again", Order::kSeqCst));
  look("second");
  daemon.jump_if(kFound, "end");
  daemon.label("free" + round);
}

// The slot's next use: chunk C, then D; its bytes are there. Published in `entry`.
void publish(Thread& daemon, const Pool& pool, Variant& v, int entry, int last_generation = 1) {
  const auto& words = pool.entries[static_cast<size_t>(entry)];
  const int generation = v.breaks("generation not grown") ? 1 : last_generation + 1;
  daemon.store(words.key, kChunkC + last_generation - 1, Order::kRelaxed);
  daemon.store(words.place, place_of(generation, 0), v.at("I1", Order::kRelease));
}

}  // namespace

Model lease_batch(Variant& v) {
  Model model("lease_batch");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_entry(model, pool, kChunkB, place_of(1, 1));
  add_slot(model, pool, kChunkA);
  add_slot(model, pool, kChunkB);
  // The victim's chunk is at the head of one batch and at the end of the other.
  for (int i = 0; i < 2; ++i) {
    const auto session = add_session(model, pool, 2, 0);
    lease_two(model.thread("reader" + std::to_string(i)), pool, session, v, i);
  }
  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.plain_write(pool.bytes[0], kChunkC);
  publish(daemon, pool, v, 0);
  model.finish();
  return model;
}

Model lease_two_sessions(Variant& v) {
  Model model("lease_two_sessions");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_slot(model, pool, kChunkA);
  add_session(model, pool, 1, 0);
  add_session(model, pool, 1, 0);
  const int grant = model.location("grant", 0);
  const int commit = model.location("commit", 0);

  for (int i = 0; i < 2; ++i) {
    auto& reader = model.thread("reader" + std::to_string(i));
    // Asks for what is there at first, or for what comes.
    if (i == 0) {
      reader.set(kAsked, kChunkA);
    } else {
      reader.choose(kAsked, 2).step(
          [](Local& l) { l[kAsked] = l[kAsked] != 0 ? kChunkC : kChunkA; });
    }
    const auto& session = pool.sessions[static_cast<size_t>(i)];
    lease_one(reader, pool, v,
              {pool.entries[0], session.cells[0], kAsked, "miss", session.mark, 1});
  }
  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.store(grant, 1, v.at("grant", Order::kRelease));
  daemon.await(kFound, commit, 1, v.at("take commit", Order::kAcquire));
  publish(daemon, pool, v, 0);

  auto& writer = model.thread("writer");
  writer.await(kFound, grant, 1, v.at("take grant", Order::kAcquire));
  writer.fence(Order::kRelease);
  writer.plain_write(pool.bytes[0], kChunkC);
  writer.store(commit, 1, v.at("commit", Order::kRelease));
  model.finish();
  return model;
}

// The slot changes hands twice; one reader wants what is there first, one wants anything.
Model lease_two_rounds(Variant& v) {
  Model model("lease_two_rounds");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_slot(model, pool, kChunkA);
  for (int i = 0; i < 2; ++i) {
    const auto session = add_session(model, pool, 1, 0);
    auto& reader = model.thread("reader" + std::to_string(i));
    reader.set(kAsked, kChunkA);
    if (i == 1) {
      reader.choose(kAsked, 3).step([](Local& l) {
        l[kAsked] = static_cast<int16_t>(l[kAsked] == 0 ? kChunkA : kChunkC + l[kAsked] - 1);
      });
    }
    lease_one(reader, pool, v,
              {pool.entries[0], session.cells[0], kAsked, "miss", session.mark, 1});
  }
  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0, 1);
  daemon.plain_write(pool.bytes[0], kChunkC);
  publish(daemon, pool, v, 0, 1);
  reclaim(daemon, pool, v, 0, 2);
  daemon.plain_write(pool.bytes[0], kChunkC + 1);
  publish(daemon, pool, v, 0, 2);
  model.finish();
  return model;
}

Model lease_other_entry(Variant& v) {
  Model model("lease_other_entry");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_entry(model, pool, 0, 0);
  add_slot(model, pool, kChunkA);
  const auto session = add_session(model, pool, 2, 0);

  auto& reader = model.thread("reader");
  reader.choose(kOther, 2).jump_if(kOther, "new");
  lease_one(reader, pool, v, {pool.entries[0], session.cells[0], kChunkA, "miss", session.mark, 1});
  reader.jump("end").label("new");
  lease_one(reader, pool, v,
            {pool.entries[1], session.cells[0], kChunkC, "miss new", session.mark, 1});

  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.plain_write(pool.bytes[0], kChunkC);
  publish(daemon, pool, v, 1);
  model.finish();
  return model;
}

Model lease_cell_again(Variant& v) {
  Model model("lease_cell_again");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_entry(model, pool, kChunkB, place_of(1, 1));
  add_slot(model, pool, kChunkA);
  add_slot(model, pool, kChunkB);
  const auto session = add_session(model, pool, 1, 1);

  auto& reader = model.thread("reader");
  lease_one(reader, pool, v, {pool.entries[0], session.cells[0], kChunkA, "miss"});
  lease_one(reader, pool, v, {pool.entries[1], session.cells[0], kChunkB, "miss 2", -1, 0, 1});

  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.plain_write(pool.bytes[0], kChunkC);
  publish(daemon, pool, v, 0);
  model.finish();
  return model;
}

Model lease_moved(Variant& v) {
  Model model("lease_moved");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_slot(model, pool, kChunkA);
  const auto session = add_session(model, pool, 2, 2);

  auto& reader = model.thread("reader");
  const auto& entry = pool.entries[0];
  find(reader, entry, v, kPlace, kKey, kChunkA, "end");
  write_cell(reader, session.cells[1], kPlace, v);
  reader.fence(v.at("R", Order::kSeqCst));
  validate(reader, entry, v, kPlace, kAgain, "lost");
  // Held in cell 1, wanted in cell 0, which the scan looks at first.
  write_cell(reader, session.cells[0], kPlace, v);
  if (!v.breaks("lease moved without validation")) {
    reader.fence(v.at("R moved", Order::kSeqCst));
    validate(reader, entry, v, kPlace, kAgain, "lost both");
  }
  reader.store(session.cells[1], 0, v.at("release", Order::kRelease));
  read_bytes(reader, pool, kPlace, kChunkA);
  reader.label("lost both").store(session.cells[0], 0, v.at("release", Order::kRelease));
  reader.label("lost").store(session.cells[1], 0, v.at("give up", Order::kRelease));

  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.plain_write(pool.bytes[0], kChunkC);
  publish(daemon, pool, v, 0);
  model.finish();
  return model;
}

// A retired slot whose chunk is stored again: the same place under another entry. Then the slot is
// wanted after all, while the first lease may still be held.
Model lease_republished(Variant& v) {
  Model model("lease_republished");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_entry(model, pool, 0, 0);
  add_slot(model, pool, kChunkA);
  add_session(model, pool, 1, 1);
  add_session(model, pool, 1, 1);

  // Two sessions, one looks where the chunk was, the other where it comes to be.
  for (int i = 0; i < 2; ++i) {
    auto& reader = model.thread("reader" + std::to_string(i));
    const auto at = static_cast<size_t>(i);
    lease_one(reader, pool, v,
              {pool.entries[at], pool.sessions[at].cells[0], kChunkA, "miss", -1, 0, i});
  }
  auto& daemon = model.thread("daemon");
  daemon.store(pool.entries[0].place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  scan(daemon, pool, v, {kN, kWord, kFound, place_of(1, 0), 0, "first"});
  daemon.jump_if([](const Registers& r) { return get(r, kFound) == 0; }, "write");
  daemon.store(pool.entries[1].key, kChunkA, Order::kRelaxed);
  daemon.store(pool.entries[1].place, place_of(1, 0), v.at("I1", Order::kRelease));
  daemon.store(pool.entries[1].place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  scan(daemon, pool, v, {kN, kWord, kFound, place_of(1, 0), 1, "second"});
  daemon.jump_if(kFound, "end");
  daemon.label("write").plain_write(pool.bytes[0], kChunkC);
  model.finish();
  return model;
}

// Threads of one client share the mark. One leases in cell 1, one raises the mark for that cell
// (and the first may rely on it), one raises it for cell 0, perhaps late.
Model lease_mark(Variant& v) {
  Model model("lease_mark");
  Pool pool;
  add_entry(model, pool, kChunkA, place_of(1, 0));
  add_slot(model, pool, kChunkA);
  const auto session = add_session(model, pool, 2, 0);
  model.locations[static_cast<size_t>(session.mark)].many_writers = true;
  const bool plain = v.breaks("mark raised by a plain store");
  const auto raise = [&](Thread& thread, int value) {
    thread.load(kN, session.mark, Order::kRelaxed);
    thread.jump_if([value](const Registers& r) { return get(r, kN) >= value; }, "high enough");
    if (plain) {
      thread.store(session.mark, value, Order::kRelease);
    } else {
      thread.raise(session.mark, value, v.at("mark", Order::kRelease));
    }
    thread.label("high enough").set(kN, 0);
  };
  auto& reader = model.thread("reader");
  const auto& entry = pool.entries[0];
  find(reader, entry, v, kPlace, kKey, kChunkA, "end");
  raise(reader, 2);
  write_cell(reader, session.cells[1], kPlace, v);
  reader.fence(v.at("R", Order::kSeqCst));
  validate(reader, entry, v, kPlace, kAgain, "end");
  read_bytes(reader, pool, kPlace, kChunkA);
  reader.store(session.cells[1], 0, v.at("release", Order::kRelease));
  raise(model.thread("high"), 2);
  raise(model.thread("low"), 1);

  auto& daemon = model.thread("daemon");
  reclaim(daemon, pool, v, 0);
  daemon.plain_write(pool.bytes[0], kChunkC);
  model.finish();
  return model;
}

}  // namespace kvtier::model
