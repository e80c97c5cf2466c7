// Codecs by configuration: chunks that go below in another codec come back right, whatever they
// are, and what clients are asked to use is published.
#include <cmath>
#include <random>

#include "kernels/codec_math.hpp"
#include "kernels/lossless.hpp"
#include "kernels/space_shape.hpp"
#include "tests/daemon/core/lower_fixture.hpp"

namespace kvtier::daemon {
namespace {

using kernels::Codec;

class ReencodeTest : public LowerTest {
 protected:
  static constexpr uint64_t kNumbers = kPayload / 2;  // bf16

  // 3 layers, keys and values, 5 heads of 64, 16 tokens.
  uint32_t open_typed(Session& session, const char* model = "typed") {
    wire::SpaceSpecWire spec = {};
    std::snprintf(spec.model, sizeof spec.model, "%s", model);
    std::snprintf(spec.dtype, sizeof spec.dtype, "bf16");
    spec.layers = 3;
    spec.kv_heads = 5;
    spec.head_dim = 64;
    spec.tokens_per_chunk = 16;
    spec.shards = 1;
    spec.kind = static_cast<uint32_t>(wire::PayloadKind::kTyped);
    spec.chunk_bytes_max = kPayload;
    auto space = core_->open_space(session, spec);
    EXPECT_TRUE(space.ok()) << space.error().message();
    return space->id;
  }
  static kernels::ChunkShape shape() {
    return {.layers = 3, .planes = 2, .heads = 5, .dim = 64, .tokens = 16};
  }
  static std::vector<uint16_t> numbers(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> made(kNumbers);
    for (uint16_t& one : made) {
      one = static_cast<uint16_t>(kernels::math::to_bf16(normal(random)));
    }
    return made;
  }
  uint64_t store_numbers(Session& session, uint32_t space, uint64_t number,
                         const std::vector<uint16_t>& what) {
    Reserved reserved = reserve(session, space, key_of(number), kPayload);
    for (int i = 0; i < 200 && reserved.outcome == wire::ReserveOutcome::kBusy; ++i) {
      pass();
      reserved = reserve(session, space, key_of(number), kPayload);
    }
    EXPECT_EQ(reserved.outcome, wire::ReserveOutcome::kGranted) << number;
    std::memcpy(payload(session, reserved.place), what.data(), kPayload);
    EXPECT_EQ(commit(session, reserved.place), wire::CommitOutcome::kStored);
    clock_.advance_ns(1000);
    return reserved.place;
  }
  void store_all(Session& session, uint32_t space, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) store_numbers(session, space, i, numbers(i));
    settle();
  }
  wire::ChunkHeader header(Session& session, uint32_t space, uint64_t number) {
    const wire::FoundChunk found = find(session, space, key_of(number));
    EXPECT_EQ(found.found, wire::Found::kHost);
    wire::ChunkHeader header;
    std::memcpy(&header, payload(session, found.place.word()) - 4096, sizeof header);
    return header;
  }
  // The chunk as an engine would have it.
  std::vector<uint16_t> loaded(Session& session, uint32_t space, uint64_t number) {
    const wire::FoundChunk found = find(session, space, key_of(number));
    const wire::ChunkHeader is = header(session, space, number);
    const std::byte* data = payload(session, found.place.word());
    EXPECT_EQ(is.payload_bytes, found.payload_bytes);
    EXPECT_EQ(is.checksum, kernels::hash_only(data, is.payload_bytes));
    std::vector<uint16_t> out(kNumbers);
    const Fragment to = {reinterpret_cast<std::byte*>(out.data()), kPayload};
    if (is.codec == wire::kCodecLossless) {
      auto context = kernels::LosslessContext::create();
      EXPECT_EQ(context->decode({data, is.payload_bytes}, {&to, 1}, kPayload),
                kernels::Status::kOk);
    } else {
      EXPECT_EQ(kernels::decode(static_cast<Codec>(is.codec), shape(), {data, is.payload_bytes},
                                {&to, 1}),
                kernels::Status::kOk);
    }
    return out;
  }
  static double worst(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      most = std::max(most, std::abs(static_cast<double>(kernels::math::from_bf16(a[i])) -
                                     static_cast<double>(kernels::math::from_bf16(b[i]))));
    }
    return most;
  }
};

TEST_F(ReencodeTest, LosslessBelowIsTheSameBytesAbove) {
  start_over({.host_slots = 32, .segments = 4, .encode = Encode::kLossless});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  store_all(session, space, 60);
  const uint64_t number = first_below(session, space, 60);
  ASSERT_EQ(prefetch(session, space, {number}), Code::kOk);
  EXPECT_EQ(header(session, space, number).codec, wire::kCodecLossless);
  EXPECT_LT(header(session, space, number).payload_bytes, kPayload);
  EXPECT_EQ(loaded(session, space, number), numbers(number));
  const CoreCounters& counted = core_->counters();
  EXPECT_EQ(counted.reencoded, counted.demoted);
  EXPECT_EQ(counted.demoted_bytes + counted.reencode_saved_bytes, counted.demoted * kPayload);
}

TEST_F(ReencodeTest, NumbersBelowStayWithinTheBoundOfTheirCodec) {
  for (const auto& [encode, codec, bound] : {std::tuple{Encode::kInt8, Codec::kInt8, 0.05},
                                             {Encode::kFp8, Codec::kFp8TokenHead, 0.4},
                                             {Encode::kInt4, Codec::kInt4, 0.5}}) {
    start_over({.host_slots = 32, .segments = 4, .encode = encode});
    Session& session = attach();
    const uint32_t space = open_typed(session);
    store_all(session, space, 60);
    const uint64_t number = first_below(session, space, 60);
    ASSERT_EQ(prefetch(session, space, {number}), Code::kOk);
    EXPECT_EQ(header(session, space, number).codec, static_cast<uint32_t>(codec));
    EXPECT_EQ(header(session, space, number).payload_bytes, kernels::encoded_bytes(codec, shape()));
    const auto came = loaded(session, space, number);
    EXPECT_LT(worst(came, numbers(number)), bound);
    EXPECT_NE(came, numbers(number)) << "this codec is not exact";
  }
}

TEST_F(ReencodeTest, WhatIsInHostMemoryStaysRaw) {
  start_over({.host_slots = 32, .demote_idle_after_ns = 1, .encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  store_all(session, space, 4);
  clock_.advance_ns(1'000'000'000);
  core_->tick();
  settle();
  EXPECT_EQ(core_->counters().reencoded, 4u);
  for (uint64_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(below(session, space, key_of(i)));
    EXPECT_EQ(loaded(session, space, i), numbers(i));
    EXPECT_EQ(header(session, space, i).codec, wire::kCodecNone);
  }
}

TEST_F(ReencodeTest, OpaqueSpacesGoDownAsTheyAre) {
  start_over({.host_slots = 32, .segments = 4, .encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t space = open_space(session);
  keep_all(session, space, 0, 60);
  settle();
  const uint64_t number = first_below(session, space, 60);
  ASSERT_EQ(prefetch(session, space, {number}), Code::kOk);
  EXPECT_TRUE(right(session, space, key_of(number)));
  EXPECT_EQ(core_->counters().reencoded, 0u);
}

TEST_F(ReencodeTest, AChunkThatTheCodecRefusesGoesDownAsItIs) {
  start_over({.host_slots = 32, .segments = 4, .encode = Encode::kInt4});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  const auto made = [](uint64_t i) {
    std::vector<uint16_t> what = numbers(i);
    what[i * 50] = 0x7f80;  // infinity
    return what;
  };
  for (uint64_t i = 0; i < 60; ++i) store_numbers(session, space, i, made(i));
  settle();
  const uint64_t number = first_below(session, space, 60);
  ASSERT_EQ(prefetch(session, space, {number}), Code::kOk);
  EXPECT_EQ(loaded(session, space, number), made(number));
  EXPECT_GT(core_->counters().reencode_kept, 0u);
  EXPECT_EQ(core_->counters().reencoded, 0u);
}

// Damage in host memory must not come back with a good checksum.
TEST_F(ReencodeTest, DamageIsNotEncodedAway) {
  start_over({.host_slots = 32, .demote_idle_after_ns = 1, .encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  const uint64_t place = store_numbers(session, space, 0, numbers(0));
  payload(session, place)[1234] ^= std::byte{1};
  clock_.advance_ns(1'000'000'000);
  core_->tick();
  settle();
  EXPECT_EQ(core_->counters().reencoded, 0u);
  EXPECT_EQ(core_->counters().reencode_kept, 1u);
  ASSERT_TRUE(below(session, space, key_of(0)));
  for (uint64_t i = 1; i < 64; ++i) store_numbers(session, space, i, numbers(i));
  settle();
  ASSERT_TRUE(only_below(session, space, key_of(0)));
  EXPECT_EQ(prefetch(session, space, {0}), Code::kCorrupt);
}

TEST_F(ReencodeTest, AChunkStoredAgainRawOverAnEncodedOneIsServedRaw) {
  start_over({.host_slots = 32, .segments = 4, .encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  store_all(session, space, 60);
  const uint64_t number = first_below(session, space, 60);
  EXPECT_LT(find(session, space, key_of(number)).payload_bytes, kPayload);
  store_numbers(session, space, number, numbers(number));
  EXPECT_EQ(loaded(session, space, number), numbers(number));
  for (uint64_t i = 100; i < 160; ++i) store_numbers(session, space, i, numbers(i));
  settle();
  ASSERT_TRUE(only_below(session, space, key_of(number)));
  ASSERT_EQ(prefetch(session, space, {number}), Code::kOk);
  EXPECT_LT(worst(loaded(session, space, number), numbers(number)), 0.05);
}

// They are of a size of their own, of which host memory has had none.
TEST_F(ReencodeTest, MoreThanASegmentOfEncodedChunksComesUp) {
  start_over({.host_slots = 32, .segments = 4, .encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t space = open_typed(session);
  store_all(session, space, 60);
  clock_.advance_ns(10'000'000'000);
  std::vector<uint64_t> wanted;
  for (uint64_t i = 0; i < 60 && wanted.size() < 20; ++i) {
    if (only_below(session, space, key_of(i))) wanted.push_back(i);
  }
  ASSERT_EQ(wanted.size(), 20u);
  ASSERT_EQ(prefetch(session, space, wanted), Code::kOk);
  for (const uint64_t i : wanted) EXPECT_LT(worst(loaded(session, space, i), numbers(i)), 0.05);
}

TEST_F(ReencodeTest, StoresAreAskedForTheCodecThatFits) {
  start_over({.host_slots = 8, .store_encode = Encode::kInt8});
  Session& session = attach();
  const uint32_t typed = open_typed(session);
  const uint32_t opaque = open_space(session);
  Session& other = attach(1001, 101);  // a tenant of its own
  const uint32_t others = open_typed(other);
  ASSERT_NE(session.tenant, other.tenant);
  const auto published_to = [&](const Session& who, uint32_t id) {
    const auto& spaces = core_->tenant(who.tenant).spaces;
    for (const auto& space : spaces) {
      if (space->id == id) {
        const auto view = core_->tenant(who.tenant).index->view();
        return static_cast<Codec>(view.spaces[space->number].codec.load());
      }
    }
    return Codec::kNone;
  };
  const auto published = [&](uint32_t id) { return published_to(session, id); };
  EXPECT_EQ(published(typed), Codec::kInt8);
  EXPECT_EQ(published_to(other, others), Codec::kInt8);
  EXPECT_EQ(published(opaque), Codec::kNone);

  Config config = core_->config();
  SpaceConfig entry;
  entry.model = "typ*";
  entry.encode = Encode::kFp8;
  config.space.push_back(entry);
  core_->apply_config(config);
  EXPECT_EQ(published(typed), Codec::kFp8TokenHead);
  EXPECT_EQ(published_to(other, others), Codec::kFp8TokenHead);
  config.space.clear();
  config.host.encode = Encode::kNone;
  core_->apply_config(config);
  EXPECT_EQ(published(typed), Codec::kNone);
}

}  // namespace
}  // namespace kvtier::daemon
