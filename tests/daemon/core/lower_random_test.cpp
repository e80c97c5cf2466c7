// Random operations on the core above a lower tier, against a model that knows every byte. A seed
// is printed with a failure; KVTIER_SEED=n runs that one.
#include <cstdlib>
#include <map>
#include <random>

#include "tests/daemon/core/lower_fixture.hpp"

namespace kvtier::daemon {
namespace {

class LowerRandomTest : public LowerTest {
 protected:
  void run(uint64_t seed);
  void store_one();
  void prefetch_some();
  void lease_one();
  void damage_one();
  void check_all();

  uint64_t any(uint64_t below) { return random_() % below; }

  std::mt19937_64 random_;
  std::vector<Session*> sessions_;
  uint32_t space_ = 0;
  uint64_t next_user_data_ = 1;
  std::map<uint64_t, uint64_t> leased_;  // cell -> number
  static constexpr uint64_t kNumbers = 60;
};

void LowerRandomTest::store_one() {
  Session& session = *sessions_[any(sessions_.size())];
  const ChunkKey key = key_of(any(kNumbers));
  const Reserved granted = reserve(session, space_, key);
  if (granted.outcome != wire::ReserveOutcome::kGranted) return;
  if (any(8) == 0) {
    const wire::CommitArg argument = {granted.place, 0, 0, 0};
    return core_->abort(session, {&argument, 1});
  }
  fill(payload(session, granted.place), key, kPayload);
  commit(session, granted.place, any(4) != 0);
}

void LowerRandomTest::prefetch_some() {
  Session& session = *sessions_[any(sessions_.size())];
  std::vector<uint64_t> numbers;
  for (uint64_t i = 0; i < 1 + any(4); ++i) numbers.push_back(any(kNumbers));
  std::vector<wire::KeyArg> keys;
  for (const uint64_t number : numbers) keys.push_back({key_of(number)});
  core_->prefetch(session, next_user_data_++, space_, keys,
                  clock_.now_ns() + 1'000'000 * (1 + any(50)));
  collect();
  if (any(4) == 0) (void)core_->cancel(session, next_user_data_ - 1 - any(3));
}

void LowerRandomTest::lease_one() {
  Session& session = *sessions_[0];
  const auto cell = static_cast<uint32_t>(any(3));
  if (leased_.erase(cell) != 0) return release(session, cell);
  const uint64_t number = any(kNumbers);
  if (lease(session, space_, key_of(number), cell)) {
    leased_[cell] = number;
  } else {
    release(session, cell);
  }
}

void LowerRandomTest::damage_one() {
  const auto place = static_cast<TierPlace>(1 + any(64));
  if (!below_->holds(place)) return;
  auto& bytes = below_->bytes_at(place);
  bytes[any(kPayload)] ^= static_cast<std::byte>(1 + any(255));
}

// Whatever a reader finds is what was stored; what is leased stays.
void LowerRandomTest::check_all() {
  for (uint64_t i = 0; i < kNumbers; ++i) {
    const wire::FoundChunk found = find(*sessions_[0], space_, key_of(i));
    if (found.found != wire::Found::kHost || (found.flags & wire::kUnverified) != 0) continue;
    ASSERT_TRUE(right(*sessions_[0], space_, key_of(i))) << "chunk " << i;
  }
  for (const auto& [cell, number] : leased_) {
    ASSERT_TRUE(
        filled(payload(*sessions_[0], cells(*sessions_[0])[cell].load()), key_of(number), kPayload))
        << "leased chunk " << number;
  }
  const TierCapacity below = below_->capacity();
  ASSERT_LE(below.used_bytes, below.capacity_bytes);
}

void LowerRandomTest::run(uint64_t seed) {
  SCOPED_TRACE("KVTIER_SEED=" + std::to_string(seed));
  random_.seed(seed);
  leased_.clear();
  answers_.clear();
  sessions_.clear();
  Sizes sizes;
  sizes.host_slots = 4ull << any(3);
  sizes.below_chunks = 4 + any(60);
  sizes.when_behind = any(2) == 0 ? WhenBehind::kWait : WhenBehind::kDrop;
  sizes.bandwidth = 1e7 * static_cast<double>(1 + any(500));
  sizes.latency_s = 1e-4 * static_cast<double>(any(40));
  sizes.queue_max = 1 + any(16);
  sizes.demote_idle_after_ns = any(2) * 3'000'000;
  start_over(sizes);
  for (int i = 0; i < 3; ++i) sessions_.push_back(&attach());
  space_ = open_space(*sessions_[0]);
  for (int step = 0; step < 600; ++step) {
    switch (any(12)) {
      case 0:
      case 1:
      case 2:
      case 3:
        store_one();
        break;
      case 4:
      case 5:
      case 6:
        prefetch_some();
        break;
      case 7:
        lease_one();
        break;
      case 8:
        if (any(3) == 0) damage_one();
        break;
      case 9:
        if (any(20) == 0) (void)core_->flush("");
        if (any(20) == 0) below_->set_in_service(any(2) == 0);
        if (any(10) == 0) {
          core_->remove_session(*sessions_.back());
          sessions_.back() = &attach();
        }
        core_->tick();
        break;
      default:
        pass(any(3'000'000));
        break;
    }
    if (step % 8 == 0) check_all();
    if (HasFatalFailure()) return;
  }
  // At rest nothing is left behind: every slot is free or holds a chunk, every answer was given.
  below_->set_in_service(true);
  for (const auto& [cell, number] : leased_) release(*sessions_[0], static_cast<uint32_t>(cell));
  leased_.clear();
  for (int i = 0; i < 300; ++i) pass();
  for (int i = 0; i < 4; ++i) {
    clock_.advance_ns(Core::kPrefetchHoldMaxNs);
    core_->tick();
    settle(200);
  }
  collect();
  check_all();
  EXPECT_FALSE(core_->tier_active());
  EXPECT_EQ(filling_slots(), 0u);
  EXPECT_EQ(tier().retired_slots, 0u);
  EXPECT_EQ(tier().granted_slots, 0u);
  EXPECT_EQ(core_->next_deadline_ns(), UINT64_MAX);
  for (const Session* session : sessions_) {
    EXPECT_EQ(session->unanswered, 0u);
    EXPECT_EQ(session->prefetches, 0u);
  }
  const CoreSnapshot shown = core_->snapshot();
  uint64_t known = 0;
  uint64_t here = 0;
  uint64_t lower = 0;
  for (uint64_t i = 0; i < kNumbers; ++i) {
    const wire::FoundChunk found = find(*sessions_[0], space_, key_of(i));
    known += found.found != wire::Found::kAbsent;
    here += found.found == wire::Found::kHost;
    lower += found.found != wire::Found::kAbsent && (found.lower & wire::kOnNvme) != 0;
  }
  EXPECT_EQ(shown.tenants[0].index_entries, known);
  EXPECT_EQ(shown.tiers[0].chunks, here);
  EXPECT_EQ(shown.tiers[1].chunks, lower);
  EXPECT_EQ(below_->capacity().used_bytes, lower * 64 * wire::KiB);
}

TEST_F(LowerRandomTest, WhateverHappensBytesAreRightAndNothingLeaks) {
  if (const char* seed = std::getenv("KVTIER_SEED")) return run(std::strtoull(seed, nullptr, 10));
  const char* count = std::getenv("KVTIER_SEEDS");
  const uint64_t seeds = count == nullptr ? 150 : std::strtoull(count, nullptr, 10);
  for (uint64_t seed = 1; seed <= seeds && !HasFailure(); ++seed) run(seed);
}

}  // namespace
}  // namespace kvtier::daemon
