// Attaching: replies that the protocol does not allow are refused with a message that says what was
// found, and cost nothing but a retry.
#include "client/attach.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "client/session_impl.hpp"
#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class AttachTest : public ClientTest {
 protected:
  Result<client::AttachedMemory> attach(std::chrono::nanoseconds wait = std::chrono::seconds(10)) {
    return client::attach({.socket = socket_,
                           .name = "test",
                           .read_only = false,
                           .deadline = in(wait),
                           .stop_fd = -1});
  }
};

struct Malformed {
  const char* name;
  Code code;
  const char* says;
  void (*change)(AttachAnswer& answer);
};

int other_memfd(uint64_t bytes, int seals) {
  const int fd = ::memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(::fcntl(fd, F_ADD_SEALS, seals), 0);
  return fd;  // leaked to the end of the test program
}

constexpr Malformed kMalformed[] = {
    {"wrong magic", Code::kIncompatible, "magic",
     [](AttachAnswer& a) { a.reply.header.magic = 1; }},
    {"wrong type", Code::kIncompatible, "reply of type",
     [](AttachAnswer& a) {
       a.reply.header.type = static_cast<uint16_t>(wire::MessageType::kDetachReply);
     }},
    {"truncated", Code::kIncompatible, "received",
     [](AttachAnswer& a) { a.bytes_sent = sizeof(wire::AttachReply) - 8; }},
    {"shorter than a header", Code::kIncompatible, "bytes",
     [](AttachAnswer& a) { a.bytes_sent = 10; }},
    {"closed", Code::kUnavailable, "closed", [](AttachAnswer& a) { a.bytes_sent = 0; }},
    {"three fds", Code::kIncompatible, "3 fds", [](AttachAnswer& a) { a.fds.pop_back(); }},
    {"no fds", Code::kIncompatible, "0 fds", [](AttachAnswer& a) { a.fds.clear(); }},
    {"five fds", Code::kIncompatible, "5 fds", [](AttachAnswer& a) { a.fds.push_back(a.fds[0]); }},
    {"version 9", Code::kIncompatible, "protocol 9", [](AttachAnswer& a) { a.reply.version = 9; }},
    {"epoch 0", Code::kIncompatible, "epoch", [](AttachAnswer& a) { a.reply.epoch = 0; }},
    {"verify mode", Code::kIncompatible, "verify_default",
     [](AttachAnswer& a) { a.reply.verify_default = 3; }},
    {"published size", Code::kIncompatible, "announced",
     [](AttachAnswer& a) { a.reply.published_bytes += 4096; }},
    {"session size", Code::kIncompatible, "announced",
     [](AttachAnswer& a) { a.reply.session_bytes = 4096; }},
    {"unsealed memory", Code::kIncompatible, "seals",
     [](AttachAnswer& a) { a.fds[0] = other_memfd(a.reply.published_bytes, 0); }},
    {"memory that can grow", Code::kIncompatible, "seals",
     [](AttachAnswer& a) {
       a.fds[1] = other_memfd(a.reply.session_bytes, F_SEAL_SHRINK | F_SEAL_SEAL);
     }},
    {"eventfds that are none", Code::kIncompatible, "eventfd",
     [](AttachAnswer& a) { a.fds[2] = a.fds[0]; }},
    {"published magic", Code::kIncompatible, "published magic",
     [](AttachAnswer& a) { a.published->magic ^= 1; }},
    {"published version", Code::kIncompatible, "published version",
     [](AttachAnswer& a) { a.published->version = 2; }},
    {"published bytes", Code::kIncompatible, "published bytes",
     [](AttachAnswer& a) { a.published->bytes -= 1; }},
    {"published header", Code::kIncompatible, "header_bytes",
     [](AttachAnswer& a) { a.published->header_bytes = 128; }},
    {"bucket mask", Code::kIncompatible, "bucket_mask",
     [](AttachAnswer& a) { a.published->bucket_mask = 100; }},
    {"buckets outside", Code::kIncompatible, "buckets_offset",
     [](AttachAnswer& a) { a.published->bucket_mask = UINT32_MAX; }},
    {"entries outside", Code::kIncompatible, "entries_offset",
     [](AttachAnswer& a) { a.published->entries_max = UINT32_MAX; }},
    {"entries offset wraps", Code::kIncompatible, "entries_offset",
     [](AttachAnswer& a) { a.published->entries_offset = ~uint64_t{63}; }},
    {"misaligned board", Code::kIncompatible, "board_offset",
     [](AttachAnswer& a) { a.published->board_offset += 8; }},
    {"board in the header", Code::kIncompatible, "board_offset",
     [](AttachAnswer& a) { a.published->board_offset = 64; }},
    {"no entries", Code::kIncompatible, "entries_max",
     [](AttachAnswer& a) { a.published->entries_max = 0; }},
    {"too many spaces", Code::kIncompatible, "spaces_max",
     [](AttachAnswer& a) { a.published->spaces_max = 257; }},
    {"too many segments", Code::kIncompatible, "segments_max",
     [](AttachAnswer& a) { a.published->segments_max = 16'385; }},
    {"another epoch", Code::kUnavailable, "stopping",
     [](AttachAnswer& a) { a.published->epoch.store(5); }},
    {"session magic", Code::kIncompatible, "session magic",
     [](AttachAnswer& a) { a.session->magic = 0; }},
    {"session version", Code::kIncompatible, "session version",
     [](AttachAnswer& a) { a.session->version = 7; }},
    {"session number", Code::kIncompatible, "session number",
     [](AttachAnswer& a) { a.session->session += 1; }},
    {"session epoch", Code::kIncompatible, "session epoch",
     [](AttachAnswer& a) { a.session->epoch += 1; }},
    {"session bytes", Code::kIncompatible, "session bytes",
     [](AttachAnswer& a) { a.session->bytes += 1; }},
    {"ring not a power of two", Code::kIncompatible, "submission_entries",
     [](AttachAnswer& a) { a.session->submission_entries = 48; }},
    {"no completions", Code::kIncompatible, "completion_entries",
     [](AttachAnswer& a) { a.session->completion_entries = 0; }},
    {"plans outside", Code::kIncompatible, "plans_offset",
     [](AttachAnswer& a) { a.session->plan_entries = 1u << 30; }},
    {"plans no power", Code::kIncompatible, "plan_entries",
     [](AttachAnswer& a) { a.session->plan_entries = 3; }},
    {"touches outside", Code::kIncompatible, "touches_offset",
     [](AttachAnswer& a) { a.session->touch_entries = 1u << 31; }},
    {"too many cells", Code::kIncompatible, "cells_max",
     [](AttachAnswer& a) { a.session->cells_max = wire::kLeaseCellsMax + 1; }},
    {"cells over the header", Code::kIncompatible, "cells_offset",
     [](AttachAnswer& a) { a.session->cells_offset = 128; }},
    {"arguments outside", Code::kIncompatible, "args_offset",
     [](AttachAnswer& a) { a.session->args_bytes += 1; }},
};

TEST_F(AttachTest, MalformedRepliesAreRefusedByName) {
  for (const Malformed& malformed : kMalformed) {
    FakeOptions options;
    options.on_attach = malformed.change;
    start_daemon(options);
    const auto attached = attach();
    ASSERT_FALSE(attached.ok()) << malformed.name;
    EXPECT_EQ(attached.code(), malformed.code)
        << malformed.name << ": " << attached.error().message();
    EXPECT_NE(std::string(attached.error().message()).find(malformed.says), std::string::npos)
        << malformed.name << ": " << attached.error().message();
    daemon_.reset();
  }
}

TEST_F(AttachTest, AGoodReplyIsTaken) {
  start_daemon();
  const auto attached = attach();
  ASSERT_TRUE(attached.ok()) << attached.error().message();
  EXPECT_EQ(attached->session, 1u);
  EXPECT_EQ(attached->epoch, FakeOptions().epoch);
}

TEST_F(AttachTest, NothingLeaksOverManyRefusals) {
  FakeOptions options;
  options.on_attach = [](AttachAnswer& a) { a.session->magic = 0; };
  start_daemon(options);
  ASSERT_FALSE(attach().ok());
  const int before = ::dup(0);
  ::close(before);
  for (int i = 0; i < 50; ++i) ASSERT_FALSE(attach().ok());
  ASSERT_TRUE(FakeDaemon::eventually([&] {
    const int now = ::dup(0);
    ::close(now);
    return now <= before + 8;  // the daemon's own, of a connection it has not closed yet
  }));
}

TEST_F(AttachTest, NobodyThereIsSaidAtOnce) {
  const auto attached = attach();
  EXPECT_EQ(attached.code(), Code::kUnavailable);
  EXPECT_NE(std::string(attached.error().message()).find(socket_), std::string::npos);
}

TEST_F(AttachTest, ADaemonThatTakesConnectionsOnlyIsADeadline) {
  start_daemon();
  daemon_->set_stuck(true);
  const auto began = Clock::now();
  EXPECT_EQ(attach(std::chrono::milliseconds(50)).code(), Code::kDeadline);
  EXPECT_LT(Clock::now() - began, std::chrono::seconds(3));
}

}  // namespace
}  // namespace kvtier::testing
