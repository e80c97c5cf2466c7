// Attaching: what a session gets, what is refused and how, and that nothing of a refused message
// stays behind.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "daemon/session/versions.hpp"
#include "kvtier/wire/published.hpp"
#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

using wire::MessageType;

class Attach : public ServerTest {};

TEST_F(Attach, GivesTheSessionItsMemoryAndNumbers) {
  RawClient client = attach("an engine");
  const wire::AttachReply& reply = client.attached();
  EXPECT_EQ(reply.header.request, 77u);
  EXPECT_EQ(reply.version, 1u);
  EXPECT_EQ(reply.epoch, 42u);
  EXPECT_EQ(reply.verify_default, 2u);
  EXPECT_EQ(reply.lease_seconds_max, 30u);
  EXPECT_EQ(client.header().magic, wire::kSessionMagic);
  EXPECT_EQ(client.header().session, reply.session);
  EXPECT_EQ(client.header().daemon_need_wake.load(), 1u);
  const auto& published = *reinterpret_cast<const wire::PublishedHeader*>(client.published());
  EXPECT_EQ(published.magic, wire::kPublishedMagic);
  EXPECT_EQ(published.epoch.load(), 42u);
  EXPECT_EQ(session_of(client).name, "an engine");
  EXPECT_EQ(session_of(client).pid, ::getpid());
}

TEST_F(Attach, PublishedMemoryCannotBeMappedWritable) {
  RawClient client = attach();
  void* at =
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, client.published_fd().get(), 0);
  EXPECT_EQ(at, MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  EXPECT_NE(::ftruncate(client.published_fd().get(), 0), 0);
}

TEST_F(Attach, ANameIsCutAndMadePrintable) {
  RawClient client = connect();
  wire::AttachRequest request = RawClient::attach_request();
  std::memset(request.name, 'x', sizeof request.name);
  request.name[1] = '\n';
  client.send_bytes(&request, sizeof request);
  ASSERT_EQ(client.receive()->type(), MessageType::kAttachReply);
  EXPECT_EQ(core_->snapshot().sessions.at(0).name, "x?" + std::string(62, 'x'));
}

// --- Refusals of the first message.

struct Malformed {
  const char* name;
  std::function<void(std::vector<std::byte>*)> spoil;  // a sound attach request
  Code code;
  const char* says;
};

template <typename T>
void put(std::vector<std::byte>* bytes, size_t offset, T value) {
  std::memcpy(bytes->data() + offset, &value, sizeof value);
}
constexpr size_t kMagicAt = offsetof(wire::MessageHeader, magic);
constexpr size_t kTypeAt = offsetof(wire::MessageHeader, type);
constexpr size_t kBytesAt = offsetof(wire::MessageHeader, bytes);
constexpr size_t kMinAt = offsetof(wire::AttachRequest, version_min);
constexpr size_t kMaxAt = offsetof(wire::AttachRequest, version_max);
constexpr size_t kFlagsAt = offsetof(wire::AttachRequest, flags);

class RefusedAttach : public ServerTest, public testing::WithParamInterface<Malformed> {};

TEST_P(RefusedAttach, SaysWhyAndCloses) {
  RawClient client = connect();
  const wire::AttachRequest sound = RawClient::attach_request();
  std::vector<std::byte> bytes(sizeof sound);
  std::memcpy(bytes.data(), &sound, sizeof sound);
  GetParam().spoil(&bytes);
  ASSERT_EQ(client.send_bytes(bytes.data(), bytes.size()), 0);
  const auto reply = client.receive();
  ASSERT_TRUE(reply.has_value());
  ASSERT_EQ(reply->type(), MessageType::kRefused);
  EXPECT_EQ(reply->bytes.size(), sizeof(wire::Refused));
  EXPECT_EQ(reply->header().status, static_cast<int32_t>(GetParam().code)) << reply->text();
  EXPECT_NE(reply->text().find(GetParam().says), std::string::npos) << reply->text();
  EXPECT_EQ(reply->as<wire::Refused>().version_max, wire::kProtocolVersion);
  EXPECT_FALSE(client.receive().has_value());
  EXPECT_FALSE(client.timed_out());
  EXPECT_EQ(core_->session_count(), 0u);
  EXPECT_EQ(server_->connection_count(), 0u);
  EXPECT_EQ(core_->counters().attach_refused, 1u);
}

INSTANTIATE_TEST_SUITE_P(
    Table, RefusedAttach,
    testing::Values(
        Malformed{"Magic", [](auto* b) { put<uint32_t>(b, kMagicAt, 0x20544547); },
                  Code::kInvalidArgument, "20544547"},
        Malformed{"OneByte", [](auto* b) { b->resize(1); }, Code::kInvalidArgument, "1 bytes"},
        Malformed{"HalfAHeader", [](auto* b) { b->resize(12); }, Code::kInvalidArgument, "12"},
        Malformed{"SaysTooManyBytes", [](auto* b) { put<uint32_t>(b, kBytesAt, 4096); },
                  Code::kInvalidArgument, "4096"},
        Malformed{"CutShort",
                  [](auto* b) {
                    b->resize(100);
                    put<uint32_t>(b, kBytesAt, 100);
                  },
                  Code::kInvalidArgument, "attach of 100 bytes"},
        Malformed{"TooLong",
                  [](auto* b) {
                    b->resize(1024);
                    put<uint32_t>(b, kBytesAt, 1024);
                  },
                  Code::kInvalidArgument, "attach of 1024 bytes"},
        Malformed{"Oversize",
                  [](auto* b) {
                    b->resize(60'000);
                    put<uint32_t>(b, kBytesAt, 60'000);
                  },
                  Code::kInvalidArgument, "60000 bytes"},
        Malformed{"UnknownType", [](auto* b) { put<uint16_t>(b, kTypeAt, 999); },
                  Code::kInvalidArgument, "type 999"},
        Malformed{"AReplysType", [](auto* b) { put<uint16_t>(b, kTypeAt, 2); },
                  Code::kInvalidArgument, "type 2"},
        Malformed{"DetachBeforeAttach",
                  [](auto* b) {
                    b->resize(sizeof(wire::DetachRequest));
                    put<uint32_t>(b, kBytesAt, sizeof(wire::DetachRequest));
                    put<uint16_t>(b, kTypeAt, 7);
                  },
                  Code::kInvalidArgument, "before attach"},
        Malformed{"OnlyLaterVersions",
                  [](auto* b) {
                    put<uint32_t>(b, kMinAt, 2);
                    put<uint32_t>(b, kMaxAt, 3);
                  },
                  Code::kIncompatible, "2 to 3"},
        Malformed{"LaterVersionOfAnotherSize",
                  [](auto* b) {
                    b->resize(200);
                    put<uint32_t>(b, kBytesAt, 200);
                    put<uint32_t>(b, kMinAt, 9);
                    put<uint32_t>(b, kMaxAt, 9);
                  },
                  Code::kIncompatible, "9 to 9"},
        Malformed{"ReversedVersions",
                  [](auto* b) {
                    put<uint32_t>(b, kMinAt, 5);
                    put<uint32_t>(b, kMaxAt, 1);
                  },
                  Code::kIncompatible, "5 to 1"},
        Malformed{"UnknownFlag", [](auto* b) { put<uint32_t>(b, kFlagsAt, 0x80); },
                  Code::kUnsupported, "00000080"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(Attach, AMessageWithDescriptorsIsRefusedAndTheyAreClosed) {
  const size_t before = open_fd_count();
  {
    RawClient client = connect();
    const wire::AttachRequest request = RawClient::attach_request();
    ASSERT_EQ(client.send_bytes(&request, sizeof request, {0, 1, 2}), 0);
    const auto reply = client.receive();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->type(), MessageType::kRefused);
    EXPECT_NE(reply->text().find("3 file descriptors"), std::string::npos) << reply->text();
    turns();
  }
  EXPECT_EQ(open_fd_count(), before);
}

TEST_F(Attach, MoreDescriptorsThanFitAreRefusedAndNoneIsKept) {
  const size_t before = open_fd_count();
  {
    RawClient client = connect();
    const wire::AttachRequest request = RawClient::attach_request();
    ASSERT_EQ(client.send_bytes(&request, sizeof request, std::vector<int>(100, 0)), 0);
    const auto reply = client.receive();
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->type(), MessageType::kRefused);
    EXPECT_NE(reply->text().find("more than 8"), std::string::npos) << reply->text();
    turns();
  }
  EXPECT_EQ(open_fd_count(), before);
}

TEST_F(Attach, ARefusedSessionLeavesNoDescriptorBehind) {
  { RawClient first = attach(); }  // its tenant stays
  turns();
  core_->set_draining(true);
  const size_t before = open_fd_count();
  {
    RawClient client = connect();
    EXPECT_NE(client.attach(), "");
  }
  turns();
  EXPECT_EQ(open_fd_count(), before);
}

TEST_F(Attach, NothingStaysOfSessionsThatDetached) {
  { RawClient warm_up = attach(); }
  turns();
  const size_t before = open_fd_count();
  for (int i = 0; i < 20; ++i) {
    RawClient client = attach();
    EXPECT_TRUE(client.call(MessageType::kDetach, wire::DetachRequest{}).has_value());
  }
  EXPECT_EQ(open_fd_count(), before);
}

// --- Messages of an attached session.

TEST_F(Attach, AMalformedMessageOfAnAttachedSessionIsRefusedAndTheSessionGoesOn) {
  RawClient client = attach();
  ASSERT_EQ(client.send_bytes("rubbish", 7), 0);
  EXPECT_EQ(client.receive()->type(), MessageType::kRefused);
  EXPECT_NE(client.open_space("m", kPayload), 0u);
  EXPECT_EQ(core_->session_count(), 1u);
}

TEST_F(Attach, AttachingTwiceIsRefusedAndTheFirstSessionGoesOn) {
  RawClient client = attach();
  const auto reply = client.call(MessageType::kAttach, RawClient::attach_request());
  ASSERT_TRUE(reply.has_value());
  EXPECT_NE(reply->text().find("connect again"), std::string::npos) << reply->text();
  EXPECT_NE(client.open_space("m", kPayload), 0u);
}

TEST_F(Attach, AnotherUidOfASegmentIsNotFound) {
  RawClient client = attach();
  wire::GetSegmentRequest request = {};
  request.segment = 0;
  request.uid = 12345;
  const auto reply = client.call(MessageType::kGetSegment, request);
  EXPECT_EQ(reply->header().status, static_cast<int32_t>(Code::kNotFound));
  request.segment = UINT32_MAX;
  EXPECT_EQ(client.call(MessageType::kGetSegment, request)->type(), MessageType::kRefused);
}

TEST_F(Attach, AReadOnlySessionGetsReadOnlySegments) {
  RawClient writer = attach();
  const uint32_t space = writer.open_space("m", kPayload);
  const wire::Place place(reserve(writer, space, 1).place);
  ASSERT_FALSE(place.empty());
  const auto& published = *reinterpret_cast<const wire::PublishedHeader*>(writer.published());
  const auto* segments = reinterpret_cast<const wire::SegmentDescriptor*>(
      writer.published() + published.segments_offset);
  wire::GetSegmentRequest request = {};
  request.segment = place.segment();
  request.uid = segments[place.segment()].uid.load();

  RawClient reader = attach("reader", wire::kAttachReadOnly);
  auto reply = reader.call(MessageType::kGetSegment, request);
  ASSERT_EQ(reply->type(), MessageType::kGetSegmentReply) << reply->text();
  ASSERT_EQ(reply->fds.size(), 1u);
  EXPECT_EQ(::fcntl(reply->fds[0].get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  reply = writer.call(MessageType::kGetSegment, request);
  ASSERT_EQ(reply->fds.size(), 1u);
  EXPECT_EQ(::fcntl(reply->fds[0].get(), F_GETFL) & O_ACCMODE, O_RDWR);
}

TEST_F(Attach, ASessionWhoseSocketClosedKeepsItsGrantsUntilItIsGivenUp) {
  auto old = std::make_unique<RawClient>(attach());
  const uint32_t space = old->open_space("m", kPayload);
  ASSERT_NE(reserve(*old, space, 1).place, 0u);
  wire::GiveUpRequest request = {};
  request.session = old->attached().session;
  request.epoch = 42;

  RawClient next = attach();
  auto reply = next.call(MessageType::kGiveUp, request);
  EXPECT_EQ(reply->type(), MessageType::kRefused) << "it is attached still";

  old.reset();
  turns();
  ASSERT_EQ(core_->session_count(), 2u);
  EXPECT_EQ(core_->find_session(request.session)->state, SessionState::kOrphaned);
  EXPECT_EQ(core_->find_session(request.session)->grants.size(), 1u);

  request.epoch = 41;
  EXPECT_EQ(next.call(MessageType::kGiveUp, request)->type(), MessageType::kRefused);
  request.epoch = 42;
  EXPECT_EQ(next.call(MessageType::kGiveUp, request)->type(), MessageType::kGiveUpReply);
  EXPECT_EQ(core_->session_count(), 1u);
  EXPECT_EQ(server_->connection_count(), 1u);
  EXPECT_EQ(reserve(next, space, 1).outcome, uint32_t(wire::ReserveOutcome::kGranted));
}

TEST_F(Attach, AKilledSessionLosesItsConnection) {
  RawClient client = attach();
  ASSERT_TRUE(core_->kill_session(client.attached().session).ok());
  EXPECT_FALSE(client.receive().has_value());
  EXPECT_FALSE(client.timed_out());
  EXPECT_NE(client.header().ended.load(), 0u);
  EXPECT_EQ(core_->session_count(), 1u) << "until its process has ended";
}

TEST_F(Attach, AClientThatDoesNotReadItsRepliesIsGivenUp) {
  RawClient rude = attach("rude");
  RawClient other = attach("other");
  wire::GiveUpRequest request = {};
  request.header = RawClient::header_of(MessageType::kGiveUp, sizeof request);
  for (int i = 0; i < 10'000 && session_of(rude).state == SessionState::kAttached; ++i) {
    rude.send_bytes(&request, sizeof request);
    turns(1);
  }
  EXPECT_EQ(session_of(rude).state, SessionState::kOrphaned);
  EXPECT_NE(other.open_space("m", kPayload), 0u);
}

// --- Limits.

TEST_F(Attach, AConnectionThatSaysNothingIsClosedAfterTheDeadline) {
  RawClient client = connect();
  turns();
  clock_.advance_ns(1'999'000'000);
  turns();
  EXPECT_EQ(server_->connection_count(), 1u);
  clock_.advance_ns(1'000'000);
  turns();
  EXPECT_EQ(server_->connection_count(), 0u);
  const auto reply = client.receive();
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->header().status, static_cast<int32_t>(Code::kDeadline));
}

TEST_F(Attach, AnAttachedSessionMayBeSilent) {
  RawClient client = attach();
  clock_.advance_ns(3600ull * 1'000'000'000);
  turns();
  EXPECT_EQ(core_->session_count(), 1u);
}

TEST_F(Attach, OneUserCannotFillTheConnectionsOfAllOthers) {
  std::vector<RawClient> silent;
  for (size_t i = 0; i < 2 * Server::kGreetingsMax; ++i) silent.push_back(connect());
  turns();
  EXPECT_LE(server_->connection_count(), Server::kGreetingsMax / 2);
  const auto reply = silent.back().receive();
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->header().status, static_cast<int32_t>(Code::kFull));
}

TEST_F(Attach, MoreSessionsThanConfiguredAreRefused) {
  Config config = small_config();
  config.daemon.sessions_max = 2;
  start(config);
  RawClient first = attach();
  RawClient second = attach();
  RawClient third = connect();
  EXPECT_NE(third.attach().find("daemon.sessions_max"), std::string::npos);
  EXPECT_TRUE(first.call(MessageType::kDetach, wire::DetachRequest{}).has_value());
  RawClient fourth = connect();
  EXPECT_EQ(fourth.attach(), "");
}

TEST_F(Attach, UnlistedUsersAreRefusedWhereConfigured) {
  Config config = small_config();
  config.tenants.unlisted = UnlistedUids::kRefuse;
  start(config);
  RawClient client = connect();
  EXPECT_NE(client.attach().find("tenants.unlisted"), std::string::npos);
}

TEST_F(Attach, TheListeningSocketDecidesTheTenant) {
  Config config = small_config();
  config.tenant.emplace_back();
  config.tenant[0].name = "chat";
  start(config);
  RawClient client = connect("chat");
  ASSERT_EQ(client.attach(), "");
  EXPECT_EQ(core_->tenant(session_of(client).tenant).name, "chat");
}

TEST(Versions, TheHighestCommonOneIsChosen) {
  EXPECT_EQ(common_version({1, 2}, 1, 1), 1u);
  EXPECT_EQ(common_version({1, 2}, 1, 9), 2u);
  EXPECT_EQ(common_version({1, 2}, 2, 2), 2u);
  EXPECT_EQ(common_version({2, 3}, 1, 1), 0u);
  EXPECT_EQ(common_version({2, 3}, 1, 2), 2u);
  EXPECT_EQ(common_version({1, 1}, 2, 3), 0u);
  EXPECT_EQ(common_version({1, 1}, 3, 0), 0u);
}

}  // namespace
}  // namespace kvtier::daemon
