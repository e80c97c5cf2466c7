// Keys: that clients derive what include/kvtier/wire/key.hpp defines, and refuse what has no key.
#include "client/key_chain.hpp"

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class KeysTest : public ClientTest {
 protected:
  static wire::KeySecret secret() {
    wire::KeySecret made;
    std::memset(made.bytes, FakeOptions().secret_seed, sizeof made.bytes);
    return made;
  }
  static wire::SpaceSpecWire wire_spec() {
    wire::SpaceSpecWire made = {};
    std::strcpy(made.model, "model@1");
    std::strcpy(made.dtype, "bf16");
    std::strcpy(made.layout, "flat-1");
    made.tokens_per_chunk = kTokensPerChunk;
    made.shards = 1;
    made.chunk_bytes_max = kChunkBytes;
    return made;
  }
};

TEST_F(KeysTest, AreChainedAsTheProtocolSays) {
  start();
  const auto tokens = prompt(70);  // more than one hash batch
  const KeyChain chain = derive(tokens);
  ASSERT_EQ(chain.size(), 70u);
  ChunkKey parent = wire::root_key(secret(), wire::group_fingerprint_of(wire_spec()));
  for (size_t i = 0; i < chain.size(); ++i) {
    const ChunkKey content = wire::content_hash(secret(), tokens.data() + i * kTokensPerChunk,
                                                kTokensPerChunk * sizeof(uint32_t));
    parent = wire::chain_key(secret(), parent, content);
    ASSERT_EQ(chain.keys()[i], parent) << i;
  }
}

TEST_F(KeysTest, ExtraIdsChangeTheirChunkAndAllBehind) {
  start();
  const auto tokens = prompt(4);
  const ExtraId extras[] = {{1, 77}, {1, 78}, {9, 1}};
  const KeyChain plain = derive(tokens);
  auto extra = space_->derive({.tokens = tokens, .extras = extras});
  ASSERT_TRUE(extra.ok());
  EXPECT_EQ(plain.keys()[0], extra->keys()[0]);
  EXPECT_NE(plain.keys()[1], extra->keys()[1]);
  EXPECT_NE(plain.keys()[3], extra->keys()[3]);
  struct {
    uint32_t tokens[kTokensPerChunk];
    uint64_t ids[2];
  } bytes;
  std::memcpy(bytes.tokens, tokens.data() + kTokensPerChunk, sizeof bytes.tokens);
  bytes.ids[0] = 77;
  bytes.ids[1] = 78;
  EXPECT_EQ(extra->keys()[1], wire::chain_key(secret(), plain.keys()[0],
                                              wire::content_hash(secret(), &bytes, sizeof bytes)));
  // Stored and found again with their ids, which stand in the header.
  store(*extra, 4);
  EXPECT_EQ(space_->match(*extra)->chunks(), 4u);
  EXPECT_EQ(space_->match(plain)->chunks(), 1u);
}

TEST_F(KeysTest, BadExtraIdsAreRefused) {
  start();
  const auto tokens = prompt(4);
  const ExtraId unsorted[] = {{2, 1}, {1, 1}};
  EXPECT_EQ(space_->derive({.tokens = tokens, .extras = unsorted}).code(), Code::kInvalidArgument);
  const std::vector<ExtraId> many(wire::kExtraIdsMax + 1, {0, 5});
  EXPECT_EQ(space_->derive({.tokens = tokens, .extras = many}).code(), Code::kInvalidArgument);
}

TEST_F(KeysTest, OnlyFullChunksHaveKeys) {
  start();
  auto tokens = prompt(2);
  tokens.pop_back();
  EXPECT_EQ(derive(tokens).size(), 1u);
  EXPECT_EQ(derive({}).size(), 0u);
  EXPECT_EQ(KeyChain().size(), 0u);
}

TEST_F(KeysTest, FoldedKeysCompareTheEnginesWholeHash) {
  start();
  std::vector<std::array<uint8_t, 32>> hashes(3);
  for (size_t i = 0; i < 3; ++i) hashes[i].fill(static_cast<uint8_t>(i + 1));
  auto chain = space_->fold(hashes);
  ASSERT_TRUE(chain.ok());
  const ChunkKey root = wire::root_key(secret(), wire::group_fingerprint_of(wire_spec()));
  uint8_t bytes[32];
  std::memcpy(bytes, hashes[2].data(), sizeof bytes);
  EXPECT_EQ(chain->keys()[2], wire::fold_engine_hash(secret(), root, bytes));
  EXPECT_EQ(store(*chain, 3), std::vector<StoreOutcome>(3, StoreOutcome::kStored));
  EXPECT_EQ(space_->match(*chain)->chunks(), 3u);
  // Another hash with an equal key: a miss.
  chain->impl()->engine_hashes[1][31] ^= 1;
  auto collides = space_->fold(hashes);
  collides->impl()->engine_hashes[1][31] ^= 1;
  EXPECT_EQ(space_->match(*collides)->chunks(), 1u);
  // Token ids, where both sides have them, are compared too.
  EXPECT_EQ(space_->match(*space_->fold(hashes, prompt(3)))->chunks(), 3u);
  const auto few = prompt(2);
  EXPECT_EQ(space_->fold(hashes, few).code(), Code::kInvalidArgument);
}

TEST_F(KeysTest, WithoutASecretThereAreNone) {
  open_session(session_options());
  space_ = *session_->open_space(spec());
  EXPECT_EQ(space_->derive({.tokens = prompt(1)}).code(), Code::kUnavailable);
  EXPECT_EQ(space_->fold(std::vector<std::array<uint8_t, 32>>(1)).code(), Code::kUnavailable);
}

TEST_F(KeysTest, KeysOfAnotherSecretAreOfNoUse) {
  start();
  const KeyChain chain = derive(prompt(1));
  daemon_.reset();
  FakeOptions changed;
  changed.secret_seed = 99;
  changed.epoch = 2;
  start_daemon(changed);
  ASSERT_TRUE(FakeDaemon::eventually([&] { return session_->epoch() == 2; }));
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kUnavailable);
  const size_t chunk = 0;
  EXPECT_EQ(space_->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(1))).code(),
            Code::kUnavailable);
  const KeyChain again = derive(prompt(1));
  EXPECT_EQ(store(again, 1)[0], StoreOutcome::kStored);
}

}  // namespace
}  // namespace kvtier::testing
