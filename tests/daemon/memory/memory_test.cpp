// Shared memory: seals, modes, read-only fds, holes, and faults that a guard ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "daemon/memory/guard.hpp"
#include "daemon/memory/memfd.hpp"
#include "kvtier/wire/types.hpp"

namespace kvtier::daemon {
namespace {

Memfd make(uint64_t bytes = 64 * wire::KiB) {
  auto memfd = create_memfd({"test", bytes});
  EXPECT_TRUE(memfd.ok()) << memfd.error().message();
  return std::move(memfd).value();
}

TEST(Memfd, CannotBeResizedNorUnsealedNorOpenedByOthers) {
  const Memfd memfd = make();
  EXPECT_EQ(::ftruncate(memfd.fd.get(), 0), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(memfd.fd.get(), 1 << 20), -1);
  EXPECT_EQ(::fcntl(memfd.fd.get(), F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW);
  struct stat status = {};
  ASSERT_EQ(::fstat(memfd.fd.get(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
}

TEST(Memfd, AReadOnlyFdCannotBeMappedWritable) {
  const Memfd memfd = make();
  auto fd = reopen_read_only(memfd.fd);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd->get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);
  void* readable = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd->get(), 0);
  ASSERT_NE(readable, MAP_FAILED);
  memfd.mapping.data()[5] = std::byte{9};
  EXPECT_EQ(static_cast<std::byte*>(readable)[5], std::byte{9});
  EXPECT_EQ(::mprotect(readable, 4096, PROT_READ | PROT_WRITE), -1);
  ::munmap(readable, 4096);
}

TEST(Memfd, AHoleReadsAsZerosInEveryMapping) {
  const Memfd memfd = make();
  std::memset(memfd.mapping.data(), 1, memfd.mapping.bytes());
  ASSERT_TRUE(punch_hole(memfd.fd, 4096, 4096).ok());
  EXPECT_EQ(memfd.mapping.data()[4096], std::byte{0});
  EXPECT_EQ(memfd.mapping.data()[0], std::byte{1});
}

TEST(Memfd, AnImpossibleSizeIsAnError) {
  EXPECT_FALSE(create_memfd({"test", uint64_t{1} << 62}).ok());
}

// A file mapped beyond its end faults as punched huge pages with an empty reserve do.
class FaultingFile : public testing::Test {
 protected:
  void SetUp() override {
    install_fault_guard();
    fd_ = Fd(::memfd_create("faulting", MFD_CLOEXEC));
    ASSERT_TRUE(fd_);
    ASSERT_EQ(::ftruncate(fd_.get(), 4096), 0);
    data_ = static_cast<std::byte*>(
        ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
    ASSERT_NE(data_, MAP_FAILED);
  }
  void TearDown() override { ::munmap(data_, 8192); }

  Fd fd_;
  std::byte* data_ = nullptr;
};

TEST_F(FaultingFile, AGuardEndsTheBodyAndSaysSo) {
  volatile int steps = 0;
  EXPECT_FALSE(guarded(data_, 8192, [&] {
    steps = 1;
    data_[5000] = std::byte{1};
    steps = 2;
  }));
  EXPECT_EQ(steps, 1);
  EXPECT_TRUE(guarded(data_, 8192, [&] { data_[5] = std::byte{1}; }));
  // And again: the signal is not left blocked.
  EXPECT_FALSE(guarded(data_, 8192, [&] { data_[6000] = std::byte{1}; }));
}

TEST_F(FaultingFile, AnOuterGuardTakesWhatTheInnerDoesNotCover) {
  int other = 0;
  EXPECT_FALSE(guarded(data_, 8192, [&] {
    const auto* bytes = reinterpret_cast<const std::byte*>(&other);
    (void)guarded(bytes, sizeof other, [&] { data_[5000] = std::byte{1}; });
  }));
}

using FaultingFileDeathTest = FaultingFile;

TEST_F(FaultingFileDeathTest, AFaultOutsideAGuardStillEndsTheProcess) {
  EXPECT_DEATH(data_[5000] = std::byte{1}, "");
}

}  // namespace
}  // namespace kvtier::daemon
