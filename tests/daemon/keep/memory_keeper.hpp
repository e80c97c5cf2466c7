// A keeper within the test: holds duplicates, and can hand out copies of everything as it is at one
// moment, which is what a daemon killed at that moment leaves. One thread.
#pragma once

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "daemon/keep/fd_keeper.hpp"
#include "daemon/memory/memfd.hpp"

namespace kvtier::daemon {

class MemoryKeeper final : public FdKeeper {
 public:
  const char* kind() const override { return "memory"; }
  std::vector<KeptFd> take() override {
    std::vector<KeptFd> all;
    for (const auto& [name, fd] : fds_) all.push_back({name, duplicate(fd).value()});
    return all;
  }
  Status keep(const std::string& name, const Fd& fd) override {
    if (refuse_next > 0) {
      --refuse_next;
      return Error(Code::kFull, "the keeper is behind");
    }
    fds_[name] = duplicate(fd).value();
    return {};
  }
  void forget(const std::string& name) override { fds_.erase(name); }
  void tend() override {}
  std::string trouble() const override { return {}; }
  size_t kept() const override { return fds_.size(); }
  bool has(const std::string& name) const { return fds_.contains(name); }
  const Fd& fd(const std::string& name) const { return fds_.at(name); }

  // Another keeper with copies of all memory, and the same processes.
  std::unique_ptr<MemoryKeeper> copy() const {
    auto other = std::make_unique<MemoryKeeper>();
    for (const auto& [name, fd] : fds_) {
      struct stat found = {};
      ::fstat(fd.get(), &found);
      other->fds_[name] =
          S_ISREG(found.st_mode) ? copy_of(fd, found.st_size) : duplicate(fd).value();
    }
    return other;
  }

  int refuse_next = 0;

 private:
  static Fd copy_of(const Fd& fd, off_t bytes) {
    Fd copy(::memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    ::fchmod(copy.get(), 0600);
    if (::ftruncate(copy.get(), bytes) != 0) return {};
    std::vector<char> buffer(1 << 20);
    for (off_t at = ::lseek(fd.get(), 0, SEEK_DATA); at >= 0 && at < bytes;
         at = ::lseek(fd.get(), at, SEEK_DATA)) {
      const off_t end = ::lseek(fd.get(), at, SEEK_HOLE);
      while (at < end) {
        const auto piece = std::min<size_t>(buffer.size(), static_cast<size_t>(end - at));
        const ssize_t got = ::pread(fd.get(), buffer.data(), piece, at);
        if (got <= 0 || ::pwrite(copy.get(), buffer.data(), static_cast<size_t>(got), at) != got) {
          return {};
        }
        at += got;
      }
    }
    ::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return copy;
  }

  std::map<std::string, Fd> fds_;
};

}  // namespace kvtier::daemon
