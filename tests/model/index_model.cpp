// Section 3 of docs/protocol.md: two positions of one bucket, two entries. Keys have two words so
// that a reader may see halves of two keys. No lease is taken here.
#include "tests/model/scenarios.hpp"

namespace kvtier::model {
namespace {

// Keys by number: A, C, half A and half C, B.
constexpr int kA = 0, kC = 1, kTorn = 2, kB = 3, kKeys = 4;
constexpr int kLow[kKeys] = {1, 2, 1, 3};
constexpr int kHigh[kKeys] = {1, 2, 2, 3};
// Which key lies at a place: every use of a slot is one chunk.
constexpr int kPlaceA = 5, kPlaceC = 6, kPlaceB = 7, kPlaceA2 = 8;

bool lies_at(int place, int key) {
  return ((place == kPlaceA || place == kPlaceA2) && key == kA) ||
         (place == kPlaceC && key == kC) || (place == kPlaceB && key == kB);
}

struct Index {
  int tags;  // position 0 in bit 0, position 1 in bit 1: all keys have the same tag
  std::vector<int> numbers;
  std::vector<int> places, lows, highs;  // by entry
};

Index make_index(Model& model, int tags, const int (&numbers)[2], const int (&keys)[2],
                 const int (&places)[2]) {
  Index index;
  index.tags = model.location("tags", tags);
  for (int i = 0; i < 2; ++i) {
    const std::string n = std::to_string(i);
    const auto at = static_cast<size_t>(i);
    index.numbers.push_back(model.location("number" + n, numbers[at]));
    index.places.push_back(model.location("E" + n + ".place", places[at]));
    index.lows.push_back(model.location("E" + n + ".key_lo", keys[at] < 0 ? 0 : kLow[keys[at]]));
    index.highs.push_back(model.location("E" + n + ".key_hi", keys[at] < 0 ? 0 : kHigh[keys[at]]));
  }
  return index;
}

constexpr Register kAsked{0}, kTags{1}, kNumber{2}, kPlace{3}, kLo{4}, kHi{5}, kAgain{6}, kFound{7};
constexpr Register kWas{8};  // told of the insert, and waited for it

int get(const Registers& r, Register reg) {
  return r[static_cast<size_t>(reg.index)];
}

// The look-up of section 3 for the key kAsked; kFound tells.
void look_up(Thread& reader, const Index& index, Variant& v) {
  const auto key_equal = [](const Registers& r) {
    const int key = get(r, kAsked);
    return get(r, kLo) == kLow[key] && get(r, kHi) == kHigh[key];
  };
  reader.load(kTags, index.tags, v.at("L1", Order::kAcquire));
  for (int position = 0; position < 2; ++position) {
    const std::string next = "after" + std::to_string(position);
    reader.jump_if([position](const Registers& r) { return ~get(r, kTags) >> position & 1; }, next);
    reader.load(kNumber, index.numbers[static_cast<size_t>(position)], Order::kRelaxed);
    for (int attempt = 0; attempt < 2; ++attempt) {
      const std::string again = next + "try" + std::to_string(attempt);
      reader.load(kPlace, Expr::pick(index.places, kNumber), v.at("L2", Order::kAcquire));
      reader.load(kLo, Expr::pick(index.lows, kNumber), Order::kRelaxed);
      reader.load(kHi, Expr::pick(index.highs, kNumber), Order::kRelaxed);
      reader.jump_if([key_equal](const Registers& r) { return !key_equal(r); }, next);
      reader.jump_if([](const Registers& r) { return get(r, kPlace) == 0; }, next);
      reader.fence(v.at("L3", Order::kAcquire));
      if (v.breaks("place read once")) {
        reader.set(kAgain, kPlace);
      } else {
        reader.load(kAgain, Expr::pick(index.places, kNumber), Order::kRelaxed);
      }
      reader.jump_if([](const Registers& r) { return get(r, kAgain) != get(r, kPlace); }, again);
      reader.check([](const Registers& r) { return lies_at(get(r, kPlace), get(r, kAsked)); },
                   "reports a place that belongs to another chunk");
      reader.set(kFound, 1).jump("done");
      reader.label(again);
    }
    reader.label(next);
  }
  reader.label("done");
}

}  // namespace

Model index_reuse(Variant& v) {
  Model model("index_reuse");
  const Index index = make_index(model, 3, {0, 1}, {kA, kB}, {kPlaceA, kPlaceB});

  // A goes and C comes, then C goes and A comes again, in the same entry and position.
  auto& daemon = model.thread("daemon");
  const auto replace = [&](int key, int place) {
    daemon.store(index.places[0], 0, Order::kRelaxed).store(index.tags, 2, Order::kRelaxed);
    daemon.fence(v.at("D", Order::kSeqCst));
    daemon.store(index.lows[0], kLow[key], Order::kRelaxed);
    daemon.store(index.highs[0], kHigh[key], Order::kRelaxed);
    daemon.store(index.places[0], place, v.at("I1", Order::kRelease));
    daemon.store(index.numbers[0], 0, Order::kRelaxed);
    daemon.store(index.tags, 3, v.at("I2", Order::kRelease));
  };
  replace(kC, kPlaceC);
  replace(kA, kPlaceA2);

  auto& reader = model.thread("reader");
  reader.choose(kAsked, kKeys);
  look_up(reader, index, v);
  reader.check([](const Registers& r) { return get(r, kAsked) != kB || get(r, kFound) != 0; },
               "does not find a chunk that nobody touches");
  model.finish();
  return model;
}

Model index_insert(Variant& v) {
  Model model("index_insert");
  // Position 1 holds A in entry 0; position 0 is empty and its number stale.
  const Index index = make_index(model, 2, {0, 0}, {kA, -1}, {kPlaceA, 0});
  const int told = model.location("told", 0);

  auto& daemon = model.thread("daemon");
  daemon.store(index.lows[1], kLow[kC], Order::kRelaxed);
  daemon.store(index.highs[1], kHigh[kC], Order::kRelaxed);
  daemon.store(index.places[1], kPlaceC, v.at("I1", Order::kRelease));
  daemon.store(index.numbers[0], 1, Order::kRelaxed);
  daemon.store(index.tags, 3, v.at("I2", Order::kRelease));
  daemon.store(told, 1, Order::kRelease);

  auto& reader = model.thread("reader");
  reader.choose(kAsked, kKeys).choose(kWas, 2);
  reader.jump_if([](const Registers& r) { return get(r, kWas) == 0; }, "untold");
  reader.await(kWas, told, 1, Order::kAcquire);
  reader.label("untold");
  look_up(reader, index, v);
  reader.check(
      [](const Registers& r) {
        const bool there = get(r, kAsked) == kA || (get(r, kAsked) == kC && get(r, kWas) == 1);
        return !there || get(r, kFound) != 0;
      },
      "does not find a chunk that was there before the look-up");
  model.finish();
  return model;
}

// A chunk that becomes verified: the checksum goes into the slot's header, then kUnverified goes.
Model index_verified(Variant& v) {
  Model model("index_verified");
  const int flags = model.location("E0.flags", 1);
  const int checksum = model.shared("header checksum", 0);

  auto& daemon = model.thread("daemon");
  daemon.plain_write(checksum, 1).store(flags, 0, v.at("flags", Order::kRelease));

  auto& reader = model.thread("reader");
  reader.load(kAgain, flags, Order::kRelaxed).fence(v.at("L3", Order::kAcquire));
  if (!v.breaks("checksum used while unverified")) reader.jump_if(kAgain, "end");
  reader.plain_read(kFound, checksum).check(kFound, "reads no checksum from a verified chunk");
  model.finish();
  return model;
}

}  // namespace kvtier::model
