// Clients that are killed, stopped or replaced by a child while they hold slots, and clients of
// another user that want more than they were given. Raw clients in processes of their own.
#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>

#include <csignal>
#include <cstdlib>

#include "tests/process/process_fixture.hpp"

namespace kvtier::process {
namespace {

using wire::MessageType;
using wire::ReserveOutcome;

constexpr double kReturnMs = 1'000;  // within which slots of a dead client are free

class ClientDeath : public ProcessTest {
 protected:
  void SetUp() override { start(); }

  // A process that attaches, reserves keys [first, first + count) and says so.
  Child hold_grants(
      uint64_t first, uint64_t count,
      const std::function<void(RawClient&)>& more = [](RawClient&) {}) {
    Child child = Child::run([&](const Child::Line& line) {
      RawClient client(RawClient::connect(socket()));
      if (!client.attach("holder").empty()) return 1;
      const uint32_t space = client.open_space("m", kPayload);
      for (uint64_t key = first; key < first + count; ++key) {
        if (!granted(client, space, key)) return 2;
      }
      more(client);
      line.say('h');
      line.hear();
      return 0;
    });
    EXPECT_EQ(child.line().hear(), 'h');
    return child;
  }
  void expect_free_within_a_second(uint64_t key) {
    RawClient client = attach();
    const uint32_t space = client.open_space("m", kPayload);
    const Stopwatch watch;
    EXPECT_TRUE(eventually([&] { return granted(client, space, key); }));
    EXPECT_LT(watch.ms(), kReturnMs);
  }
};

TEST_F(ClientDeath, GrantsOfAKilledClientReturnWithinASecond) {
  Child child = hold_grants(1, 20);
  RawClient other = attach();
  const uint32_t space = other.open_space("m", kPayload);
  EXPECT_EQ(reserve(other, space, 1).outcome, uint32_t(ReserveOutcome::kInProgress));
  child.process().signal(SIGKILL);
  expect_free_within_a_second(20);
}

TEST_F(ClientDeath, AChildThatKeepsTheSocketDoesNotKeepTheSession) {
  Child child = Child::run([&](const Child::Line& line) {
    RawClient client(RawClient::connect(socket()));
    if (!client.attach().empty()) return 1;
    const uint32_t space = client.open_space("m", kPayload);
    if (!granted(client, space, 1)) return 2;
    if (::fork() == 0) {
      // The heir: has the socket, the memory and the eventfds, and outlives its parent.
      line.say('h');
      line.hear();
      ::_exit(0);
    }
    for (;;) ::pause();
  });
  ASSERT_EQ(child.line().hear(), 'h');
  child.process().kill_and_wait();
  expect_free_within_a_second(1);
  child.line().say('e');
}

TEST_F(ClientDeath, AStoppedClientKeepsItsGrantAndHoldsNobodyUp) {
  Child child = hold_grants(1, 1, [](RawClient&) {});
  child.process().stop();
  RawClient other = attach();
  const uint32_t space = other.open_space("m", kPayload);
  for (uint64_t key = 2; key < 50; ++key) EXPECT_TRUE(granted(other, space, key));
  EXPECT_EQ(reserve(other, space, 1).outcome, uint32_t(ReserveOutcome::kInProgress));
  child.process().signal(SIGCONT);
  child.line().say('e');
  EXPECT_EQ(child.process().wait(), 0);
}

TEST_F(ClientDeath, AStoppedClientThatGoesOnCanCommit) {
  Child child = Child::run([&](const Child::Line& line) {
    RawClient client(RawClient::connect(socket()));
    if (!client.attach().empty()) return 1;
    const uint32_t space = client.open_space("m", kPayload);
    const wire::ReserveAnswer answer = reserve(client, space, 1);
    line.say('h');
    if (line.hear() != 'g') return 2;
    return client.commit(answer.place) == wire::CommitOutcome::kStored ? 0 : 3;
  });
  ASSERT_EQ(child.line().hear(), 'h');
  child.process().stop();
  child.line().say('g');
  child.process().signal(SIGCONT);
  EXPECT_EQ(child.process().wait(), 0);
}

TEST_F(ClientDeath, ManyThatComeAndAreKilledLeaveNothing) {
  RawClient other = attach();
  const uint32_t space = other.open_space("m", kPayload);
  for (uint64_t round = 0; round < 30; ++round) {
    Child child = hold_grants(100 + round, 3);
    child.process().signal(SIGKILL);
    EXPECT_EQ(other.ask({})->status, 0);
  }
  // All of the tier can be granted again.
  uint64_t key = 1'000;
  EXPECT_TRUE(eventually([&] {
    uint64_t count = 0;
    while (granted(other, space, key++)) ++count;
    return count >= 100;  // 8 MiB in slots of 64 KiB, less those of segments being made
  }));
}

TEST_F(ClientDeath, AClientThatPunchesHolesHarmsOnlyItsChunks) {
  RawClient client = attach();
  const uint32_t space = client.open_space("m", kPayload);
  const wire::Place place(reserve(client, space, 1).place);
  ASSERT_EQ(client.commit(place.word()), wire::CommitOutcome::kStored);
  const auto& published = *reinterpret_cast<const wire::PublishedHeader*>(client.published());
  const auto* segments = reinterpret_cast<const wire::SegmentDescriptor*>(
      client.published() + published.segments_offset);
  wire::GetSegmentRequest request = {};
  request.segment = place.segment();
  request.uid = segments[place.segment()].uid.load();
  const auto reply = client.call(MessageType::kGetSegment, request);
  ASSERT_EQ(reply->type(), MessageType::kGetSegmentReply);
  const uint64_t bytes = reply->as<wire::GetSegmentReply>().bytes;
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, reply->fds[0].get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  ASSERT_EQ(::madvise(at, bytes, MADV_REMOVE), 0);
  EXPECT_NE(::ftruncate(reply->fds[0].get(), 0), 0) << "sealed";
  for (uint64_t key = 2; key < 300; ++key) {
    const wire::ReserveAnswer answer = reserve(client, space, key);
    if (answer.place != 0) client.commit(answer.place, key);
  }
  ::munmap(at, bytes);
  EXPECT_EQ(attach().ask({})->status, 0) << "the daemon goes on";
}

// --- Another user.

class OtherUser : public ClientDeath {
 protected:
  void SetUp() override {
    if (::getuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    ASSERT_EQ(::chmod(std::filesystem::path(socket()).parent_path().c_str(), 0755), 0);
    start("daemon.socket_mode = \"0666\"");
  }
  // Runs as nobody; its exit status.
  int as_nobody(const std::function<int(RawClient&)>& function, uint32_t flags = 0) {
    Child child = Child::run([&](const Child::Line&) {
      if (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 ||
          ::setresuid(65534, 65534, 65534) != 0) {
        return 100;
      }
      RawClient client(RawClient::connect(socket()));
      if (!client.attach("nobody", flags).empty()) return 101;
      return function(client);
    });
    return child.process().wait();
  }
  // Opens a descriptor again; 0, or why not.
  static int reopen(const Fd& fd, int flags) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd.get());
    const Fd again(::open(path.c_str(), flags));
    return again ? 0 : errno;
  }
};

TEST_F(OtherUser, CannotOpenPublishedMemoryForWriting) {
  EXPECT_EQ(as_nobody([](RawClient& client) { return reopen(client.published_fd(), O_RDWR); }),
            EACCES);
  EXPECT_EQ(as_nobody([](RawClient& client) {
              void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                                client.published_fd().get(), 0);
              return at == MAP_FAILED ? errno : 0;
            }),
            EACCES);
  EXPECT_EQ(as_nobody([](RawClient& client) {
              return ::mprotect(const_cast<std::byte*>(client.published()), 4096,
                                PROT_READ | PROT_WRITE) == 0
                         ? 0
                         : errno;
            }),
            EACCES);
}

TEST_F(OtherUser, CannotOpenAReadOnlySegmentForWriting) {
  // A writer of the same uid makes the segment, a reader gets it read-only.
  EXPECT_EQ(as_nobody(
                [this](RawClient& reader) {
                  RawClient writer(RawClient::connect(socket()));
                  if (!writer.attach().empty()) return 1;
                  const uint32_t space = writer.open_space("m", kPayload);
                  const wire::Place place(reserve(writer, space, 1).place);
                  const auto& published =
                      *reinterpret_cast<const wire::PublishedHeader*>(reader.published());
                  const auto* segments = reinterpret_cast<const wire::SegmentDescriptor*>(
                      reader.published() + published.segments_offset);
                  wire::GetSegmentRequest request = {};
                  request.segment = place.segment();
                  request.uid = segments[place.segment()].uid.load();
                  const auto reply = reader.call(MessageType::kGetSegment, request);
                  if (!reply || reply->fds.size() != 1) return 2;
                  return reopen(reply->fds[0], O_RDWR);
                },
                wire::kAttachReadOnly),
            EACCES);
}

TEST_F(OtherUser, IsATenantOfItsOwnAndSeesNothingOfTheOthers) {
  RawClient root = attach();
  const uint32_t space = root.open_space("m", kPayload);
  const wire::ReserveAnswer answer = reserve(root, space, 1);
  ASSERT_EQ(root.commit(answer.place), wire::CommitOutcome::kStored);
  wire::AttachReply mine = root.attached();
  EXPECT_EQ(as_nobody([&](RawClient& client) {
              if (client.attached().tenant == mine.tenant) return 1;
              if (std::memcmp(client.attached().secret, mine.secret, sizeof mine.secret) == 0) {
                return 2;
              }
              const uint32_t own = client.open_space("m", kPayload);
              return granted(client, own, 1) ? 0 : 3;  // not "present"
            }),
            0);
}

TEST_F(OtherUser, CannotGiveUpSessionsOfOthers) {
  RawClient root = attach();
  const wire::AttachReply mine = root.attached();
  root.close_socket();
  EXPECT_EQ(as_nobody([&](RawClient& client) {
              wire::GiveUpRequest request = {};
              request.session = mine.session;
              request.epoch = mine.epoch;
              return client.call(MessageType::kGiveUp, request)->header().status;
            }),
            static_cast<int>(Code::kPermission));
}

}  // namespace
}  // namespace kvtier::process
