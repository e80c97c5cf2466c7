// A client process of a test: a fork that runs one function and talks with its parent in short
// messages. Killed with the object, and by the kernel when the parent dies. One thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace kvtier::faults {

inline constexpr std::chrono::milliseconds kPatience{20'000};

// One end of the conversation.
class Line {
 public:
  explicit Line(int fd) : fd_(fd) {}
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void say(const std::string& text);
  // The next message; "" when the other side has ended or says nothing for so long.
  std::string hear(std::chrono::milliseconds patience = kPatience);

 private:
  int fd_;
};

struct ChildOptions {
  uint32_t uid = 0;  // not 0: the child becomes this user
};

class Child {
 public:
  // `body` runs in the child; its result, or a failed expectation there, is the exit status.
  static std::unique_ptr<Child> start(const std::function<int(Line&)>& body,
                                      const ChildOptions& options = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Line& line() { return line_; }
  pid_t pid() const { return pid_; }
  void send(int signal);
  // SIGSTOP, and returns when the kernel says that the process stands.
  void stop_and_wait();
  // As the shell shows it: 128 + signal; -1 if it had to be killed because patience was over.
  int wait(std::chrono::milliseconds patience = kPatience);
  int kill_now();

 private:
  Child(pid_t pid, int pidfd, int fd) : line_(fd), pid_(pid), pidfd_(pidfd) {}
  int reap();

  Line line_;
  pid_t pid_;
  int pidfd_;
  std::optional<int> status_;
};

// Becomes an unprivileged user for good. Only root can.
bool become_user(uint32_t uid);

}  // namespace kvtier::faults
