// The end of a load (section 4 of docs/protocol.md): a lease is revoked, or its session ended,
// while the bytes are being read; the slot's next use is written by the daemon (the header) and by
// another client (the payload). What must hold: a load that ends well has the bytes of the chunk
// asked for, all of them.
#include "tests/model/lease_parts.hpp"
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

constexpr Register kCount{0}, kPlace{1}, kAgain{2}, kHead{3}, kBody{4}, kNow{5}, kEnded{6};
constexpr Register kWord{9}, kFound{10};

struct Words {
  int place, cell, revocations, ended, grant, head, body;
};

Words make_words(Model& model) {
  return {.place = model.location("E0.place", place_of(1, 0)),
          .cell = model.location("cell0"),
          .revocations = model.location("revocations"),
          .ended = model.location("ended"),
          .grant = model.location("grant"),
          .head = model.shared("head", kChunkA),
          .body = model.shared("body", kChunkA)};
}

void add_reader(Model& model, const Words& w, Variant& v) {
  auto& reader = model.thread("reader");
  const bool late = v.breaks("count read after the fence");
  const auto read_count = [&] { reader.load(kCount, w.revocations, Order::kRelaxed); };
  reader.load(kPlace, w.place, v.at("L2", Order::kAcquire));
  reader.jump_if([](const Registers& r) { return get(r, kPlace) == 0; }, "end");
  reader.store(w.cell, kPlace, v.at("M", Order::kRelease));
  if (!late) read_count();
  reader.fence(v.at("R", Order::kSeqCst));
  reader.load(kAgain, w.place, v.at("q", Order::kAcquire));
  if (!v.breaks("ended not read for the lease")) {
    reader.load(kEnded, w.ended, v.at("ended for the lease", Order::kAcquire));
    reader.jump_if(kEnded, "over");
  }
  reader.jump_if([](const Registers& r) { return get(r, kAgain) != get(r, kPlace); }, "over");
  if (late) read_count();
  reader.plain_read(kHead, w.head).plain_read(kBody, w.body);
  reader.fence(v.at("E", Order::kAcquire));
  if (!v.breaks("count not read at the end")) {
    reader.load(kNow, w.revocations, Order::kRelaxed);
    reader.jump_if([](const Registers& r) { return get(r, kNow) != get(r, kCount); }, "over");
  }
  if (!v.breaks("ended not read at the end")) {
    reader.load(kEnded, w.ended, Order::kRelaxed);
    reader.jump_if(kEnded, "over");
  }
  reader.check(
      [](const Registers& r) { return get(r, kHead) == kChunkA && get(r, kBody) == kChunkA; },
      "a load ends well with bytes of another chunk");
  reader.label("over").store(w.cell, 0, v.at("release", Order::kRelease));
}

// Announces through `word`, then hands the slot on.
void add_writers(Model& model, const Words& w, Variant& v, bool by_count) {
  auto& daemon = model.thread("daemon");
  daemon.store(w.place, 0, Order::kRelaxed).fence(v.at("D", Order::kSeqCst));
  const auto announce = [&] {
    // From here on this reader may meet new bytes: they must not survive its end check.
    daemon.step([](Local& l) { l.excused[0] = 1; });
    daemon.store(by_count ? w.revocations : w.ended, 1,
                 v.at(by_count ? "bump" : "end", Order::kRelease));
    daemon.fence(v.at("V", Order::kSeqCst));
  };
  const bool late = v.breaks("announced after the grant");
  if (by_count) {
    daemon.load(kWord, w.cell, v.at("scan cell", Order::kAcquire));
    daemon.jump_if([](const Registers& r) { return get(r, kWord) == 0; }, "free");
  }
  if (!late) announce();
  if (late) daemon.step([](Local& l) { l.excused[0] = 1; });
  daemon.label("free").plain_write(w.head, kChunkC).store(w.grant, 1, Order::kRelease);
  if (late) announce();

  auto& writer = model.thread("writer");
  writer.await(kFound, w.grant, 1, Order::kAcquire);
  writer.fence(v.at("G", Order::kRelease));
  writer.plain_write(w.body, kChunkC);
}

Model load_end(const char* name, Variant& v, bool by_count) {
  Model model(name);
  const Words words = make_words(model);
  add_reader(model, words, v);
  add_writers(model, words, v, by_count);
  model.finish();
  return model;
}

}  // namespace

Model revocation_by_count(Variant& v) {
  return load_end("revocation_by_count", v, true);
}

// The session ends: its cells are not looked at any more.
Model revocation_by_end(Variant& v) {
  return load_end("revocation_by_end", v, false);
}

}  // namespace kvtier::model
