// The keepers against the other side of their sockets: what is sent, what is refused, and what
// comes back; and the manifest's rows.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "daemon/keep/hold_protocol.hpp"
#include "daemon/keep/holder.hpp"
#include "daemon/keep/holder_keeper.hpp"
#include "daemon/keep/ledger.hpp"
#include "daemon/keep/service_manager_keeper.hpp"

namespace kvtier::daemon {
namespace {

Fd any_memory() {
  return std::move(create_memfd({"test", 4096})->fd);
}

class Keeper : public testing::Test {
 protected:
  Keeper() {
    folder_ = testing::TempDir() + "kvtier-keep-XXXXXX";
    if (::mkdtemp(folder_.data()) == nullptr) std::abort();
  }
  ~Keeper() override { std::filesystem::remove_all(folder_); }

  Fd bound(const std::string& path, int type) {
    Fd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return socket;
  }

  std::string folder_;
};

TEST_F(Keeper, TellsTheServiceManagerAsItWantsIt) {
  const std::string path = folder_ + "/notify";
  const Fd manager = bound(path, SOCK_DGRAM);
  auto keeper = ServiceManagerKeeper::open({.socket = path, .fds_max = 2, .inherited = {}});
  ASSERT_TRUE(keeper.ok());
  const Fd memory = any_memory();
  const auto hear = [&] {
    char text[256] = {};
    const ssize_t bytes = ::recv(manager.get(), text, sizeof text - 1, MSG_DONTWAIT);
    return std::string(text, bytes < 0 ? 0 : static_cast<size_t>(bytes));
  };
  ASSERT_TRUE((*keeper)->keep("kvt.segment.7", memory).ok());
  EXPECT_EQ(hear(), "FDSTORE=1\nFDNAME=kvt.segment.7\nFDPOLL=0\n");
  ASSERT_TRUE((*keeper)->keep("kvt.segment.8", memory).ok());
  EXPECT_EQ((*keeper)->keep("kvt.segment.9", memory).code(), Code::kFull);
  hear();
  (*keeper)->forget("kvt.segment.7");
  EXPECT_EQ(hear(), "FDSTOREREMOVE=1\nFDNAME=kvt.segment.7\n");
  (*keeper)->forget("kvt.segment.7");
  EXPECT_EQ(hear(), "");
}

TEST_F(Keeper, ServiceManagerThatIsBehindRefusesAndNothingOvertakesARemoval) {
  const std::string path = folder_ + "/notify";
  const Fd manager = bound(path, SOCK_DGRAM);
  auto keeper = ServiceManagerKeeper::open({.socket = path, .fds_max = 4096, .inherited = {}});
  ASSERT_TRUE(keeper.ok());
  const Fd memory = any_memory();
  size_t kept = 0;
  while (kept < 4000 && (*keeper)->keep("kvt." + std::to_string(kept), memory).ok()) ++kept;
  ASSERT_GT(kept, 0u);
  ASSERT_LT(kept, 4000u) << "its queue has an end";
  (*keeper)->forget("kvt.0");
  EXPECT_EQ((*keeper)->keep("kvt.0", memory).code(), Code::kFull);
  std::string last;
  char text[256];
  for (ssize_t bytes = 0; (bytes = ::recv(manager.get(), text, sizeof text, MSG_DONTWAIT)) > 0;) {
    last.assign(text, static_cast<size_t>(bytes));
    (*keeper)->tend();
  }
  EXPECT_EQ(last, "FDSTOREREMOVE=1\nFDNAME=kvt.0\n");
  EXPECT_TRUE((*keeper)->keep("kvt.0", memory).ok());
}

TEST_F(Keeper, HolderGivesEverythingToTheNextAndEndsWhenTold) {
  const std::string path = folder_ + "/hold";
  Fd listener = bound(path, SOCK_SEQPACKET);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  std::thread holder([&] {
    run_holder({.listen_fd = listener.release(), .path = path, .keep_for_ns = 60'000'000'000});
  });
  {
    auto keeper = HolderKeeper::open({.path = path, .keep_for_ns = 0});
    ASSERT_TRUE(keeper.ok()) << keeper.error().message();
    EXPECT_TRUE((*keeper)->take().empty());
    ASSERT_TRUE((*keeper)->keep("kvt.a", any_memory()).ok());
    ASSERT_TRUE((*keeper)->keep("kvt.b", any_memory()).ok());
    (*keeper)->forget("kvt.a");
    EXPECT_EQ((*keeper)->kept(), 1u);
    EXPECT_EQ(end_holder(path).code(), Code::kPermission) << "this process is the daemon, and runs";
  }
  // The same process again: it is the one before, so it may.
  auto keeper = HolderKeeper::open({.path = path, .keep_for_ns = 0});
  ASSERT_TRUE(keeper.ok()) << keeper.error().message();
  const std::vector<KeptFd> taken = (*keeper)->take();
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].name, "kvt.b");
  EXPECT_EQ((*keeper)->trouble(), "");
  holder.detach();  // it ends with the test: to it, this process is a daemon that runs
}

TEST(Manifest, RowsComeBackAndDamageIsSeen) {
  auto made = Manifest::create(2, 9);
  ASSERT_TRUE(made.ok());
  TenantRow row = {};
  row.number = 3;
  std::snprintf(row.name, sizeof row.name, "somebody");
  EXPECT_EQ((*made)->tenants.add(row), 0u);
  EXPECT_EQ((*made)->tenants.add(row), 1u);
  (*made)->tenants.erase(0);
  auto again = Manifest::adopt(duplicate((*made)->fd()).value(), 2);
  ASSERT_TRUE(again.ok()) << again.error().message();
  EXPECT_EQ((*again)->tenants.used(), std::vector<uint32_t>{1});
  EXPECT_STREQ((*again)->tenants[1].name, "somebody");
  EXPECT_EQ((*again)->tenants.add(row), 0u) << "free rows are used again";
  EXPECT_EQ(Manifest::adopt(duplicate((*made)->fd()).value(), 1).code(), Code::kIncompatible);
  const char wrong = 'S';
  const auto at = static_cast<off_t>(4096 + sizeof(TenantRow) + offsetof(TenantRow, name));
  ASSERT_EQ(::pwrite((*made)->fd().get(), &wrong, 1, at), 1);
  EXPECT_EQ(Manifest::adopt(duplicate((*made)->fd()).value(), 2).code(), Code::kCorrupt);
  EXPECT_EQ(Manifest::adopt(any_memory(), 2).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace kvtier::daemon
