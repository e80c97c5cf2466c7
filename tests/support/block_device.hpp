// What only root has: loop devices and mounts of a test's own, gone with the object. One thread.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "daemon/memory/fd.hpp"

namespace kvtier::daemon {

// A file system with room for less, gone at the end.
class Mounted {
 public:
  Mounted(const std::string& path, const char* type, const char* source, const char* options)
      : path_(path) {
    std::filesystem::create_directories(path_);
    is_mounted_ = ::mount(source, path_.c_str(), type, 0, options) == 0;
  }
  ~Mounted() {
    if (is_mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool ok() const { return is_mounted_; }

 private:
  std::string path_;
  bool is_mounted_ = false;
};

// A block device over a file. Cut the file, and reads past the cut are real I/O errors.
class LoopDevice {
 public:
  LoopDevice(const std::string& file, uint64_t bytes) {
    const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return;
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return;
    path_ = "/dev/loop" + std::to_string(number);
    device_ = Fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
    const Fd backing(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!device_ || !backing || ::ftruncate(backing.get(), static_cast<off_t>(bytes)) != 0) return;
    is_set_ = ::ioctl(device_.get(), LOOP_SET_FD, backing.get()) == 0;
  }
  ~LoopDevice() {
    if (is_set_) ::ioctl(device_.get(), LOOP_CLR_FD, 0);
  }
  bool ok() const { return is_set_; }
  const std::string& path() const { return path_; }
  // "major:minor", as control groups name it.
  std::string number() const { return "7:" + path_.substr(std::string("/dev/loop").size()); }

 private:
  std::string path_;
  Fd device_;
  bool is_set_ = false;
};

}  // namespace kvtier::daemon
