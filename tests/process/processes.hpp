// Real processes for tests: a kvtierd of one's own, and children of the test that are clients. All
// are killed and reaped when their object goes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "daemon/memory/fd.hpp"

namespace kvtier::process {

using daemon::Fd;
using std::chrono::milliseconds;

inline constexpr milliseconds kPatience{20'000};

// Milliseconds since it was made.
class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Calls `holds` again and again until it does; false when patience is over.
bool eventually(const std::function<bool()>& holds, milliseconds patience = kPatience);

// How a process ended: its exit status, or 128 + the signal.
class Process {
 public:
  Process() = default;
  explicit Process(pid_t pid) : pid_(pid) {}
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  Process& operator=(Process&&) = delete;
  ~Process();

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  void stop() const;  // SIGSTOP, and waits until it has stopped
  int wait();         // -1: patience is over
  int kill_and_wait();
  double cpu_ms() const;  // so far, all its threads

 private:
  pid_t pid_ = -1;
};

// A child of this process that runs a function. Both talk in single bytes.
class Child {
 public:
  class Line {
   public:
    Line(Fd in, Fd out) : in_(std::move(in)), out_(std::move(out)) {}
    void say(char word) const;
    char hear() const;  // '\0': the other side has gone, or patience is over

   private:
    Fd in_, out_;
  };
  // Its exit status is what the function returns.
  static Child run(const std::function<int(const Line&)>& function);

  const Line& line() const { return line_; }
  Process& process() { return process_; }

 private:
  Child(Process process, Line line) : process_(std::move(process)), line_(std::move(line)) {}
  Process process_;
  Line line_;
};

struct DaemonOptions {
  std::string program = KVTIER_PROGRAM_DIR "/kvtierd";
  std::vector<std::string> arguments = {};
  std::vector<std::string> environment = {};  // "NAME=value", added
  uint64_t open_files_max = 0;                // 0: as it is
  uint32_t uid = 0;                           // 0: as it is
  int inherited_socket = -1;                  // as a service manager hands it over
};

// A kvtierd whose standard error is read here.
class Daemon {
 public:
  static Daemon start(const DaemonOptions& options);

  Process& process() { return process_; }
  // Reads the log until the text stands in it; false when the daemon ended or patience is over.
  bool said(const std::string& text);
  const std::string& log() const { return log_; }
  // Its exit status; reads the rest of the log.
  int wait();

 private:
  Daemon(Process process, Fd log) : process_(std::move(process)), pipe_(std::move(log)) {}
  bool read_more(milliseconds patience);

  Process process_;
  Fd pipe_;
  std::string log_;
};

}  // namespace kvtier::process
