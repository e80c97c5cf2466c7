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
  const client::AttachmentRef attachment = session_->impl()->core->attached();
  client::Segments& segments = attachment->segments;
  descriptor().uid.store(0);
  ASSERT_TRUE(FakeDaemon::eventually([&] { return !segments.any(); })) << "the thread looks";
  EXPECT_EQ(segments.retired(), 1u);
  EXPECT_EQ(held.payload(0)[7], payload(0)[7]) << "unmapped memory would fault";
  held.release();
  EXPECT_TRUE(FakeDaemon::eventually([&] { return segments.retired() == 0; }));
  EXPECT_EQ(space_->match(chain)->ended(), MissReason::kUnavailable);
}

TEST_F(SegmentsTest, PopulatingFillsNoHoles) {
  start({.slots = 4096});
  const KeyChain chain = derive(prompt(2));
  store(chain, 2);
  auto attachment = session_->impl()->core->attached();
  ASSERT_TRUE(FakeDaemon::eventually([&] { return attachment->segments.populated() == 1; }));
  EXPECT_LT(daemon_->segment_bytes_used(0), 10 * 32 * wire::KiB);
}

TEST_F(SegmentsTest, AnotherUidIsMappedAnew) {
  start();
  const KeyChain chain = derive(prompt(1));
  store(chain, 1);
  ASSERT_EQ(space_->match(chain)->chunks(), 1u);
  descriptor().uid.store(77);
  EXPECT_EQ(space_->match(chain)->chunks(), 1u) << "asked for again under the new uid";
  auto attachment = session_->impl()->core->attached();
  EXPECT_TRUE(FakeDaemon::eventually([&] { return attachment->segments.retired() == 0; }));
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
