// Segments that go while they are used, and requests for them that are not what was published.
#include "client/segments.hpp"

#include "client/session_impl.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class SegmentsTest : public ClientTest {
 protected:
  wire::SegmentDescriptor& descriptor() {
    wire::PublishedView view = wire::PublishedView::of(&daemon_->published());
    return const_cast<wire::SegmentDescriptor&>(view.segments[0]);
  }
};

TEST_F(SegmentsTest, AMappingOutlivesItsSegmentWhileAMatchUsesIt) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  Match held = *space_->match(chain);
  auto attachment = session_->impl()->core->attached();
  client::Segments& segments = attachment->segments;
  descriptor().uid.store(0);
  for (int i = 0; i < 5; ++i) segments.tick();
  EXPECT_FALSE(segments.any());
  EXPECT_EQ(held.payload(0)[7], payload(0)[7]) << "unmapped memory would fault";
  held.release();
  for (int i = 0; i < 5; ++i) segments.tick();
  EXPECT_EQ(segments.retired(), 0u);
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kUnavailable);
}

TEST_F(SegmentsTest, AnotherUidIsMappedAnew) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  ASSERT_EQ(space_->match(chain)->chunks(), 1u);
  descriptor().uid.store(77);
  EXPECT_EQ(space_->match(chain)->chunks(), 1u) << "asked for again under the new uid";
  auto attachment = session_->impl()->core->attached();
  for (int i = 0; i < 5; ++i) attachment->segments.tick();
  EXPECT_TRUE(attachment->segments.any());
}

TEST_F(SegmentsTest, ADescriptorThatDoesNotFitTheMemoryIsAMiss) {
  start();
  const KeyChain chain = derive(prompt(1));
  auto outcomes = store(chain, 1);
  ASSERT_EQ(outcomes[0], StoreOutcome::kStored);
  const uint32_t slots = descriptor().slots.load();
  const auto try_with = [&](auto change) {
    change();
    descriptor().uid.fetch_add(1);
    return space_->match(chain)->chunks();
  };
  EXPECT_EQ(try_with([&] { descriptor().slots.store(slots * 2); }), 0u);
  EXPECT_EQ(try_with([&] { descriptor().slots.store(0); }), 0u);
  EXPECT_EQ(try_with([&] { descriptor().slots.store(1u << 21); }), 0u);
  descriptor().slots.store(slots);
  const uint64_t bytes = descriptor().bytes.load();
  EXPECT_EQ(try_with([&] { descriptor().bytes.store(bytes * 2); }), 0u);
  EXPECT_EQ(try_with([&] { descriptor().bytes.store(bytes); }), 1u);
}

}  // namespace
}  // namespace kvtier::testing
