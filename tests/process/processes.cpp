// See processes.hpp.
#include "tests/process/processes.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

namespace kvtier::process {
namespace {

struct Pipe {
  Fd read, write;
};
Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

bool eventually(const std::function<bool()>& holds, milliseconds patience) {
  const Stopwatch watch;
  while (!holds()) {
    if (watch.ms() > static_cast<double>(patience.count())) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

Process::~Process() {
  if (pid_ > 0) kill_and_wait();
}

void Process::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Process::stop() const {
  signal(SIGSTOP);
  int status = 0;
  ::waitpid(pid_, &status, WUNTRACED);
}

int Process::wait() {
  int status = 0;
  pid_t got = 0;
  eventually([&] { return (got = ::waitpid(pid_, &status, WNOHANG)) != 0; });
  if (got != pid_) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int Process::kill_and_wait() {
  signal(SIGKILL);
  return wait();
}

double Process::cpu_ms() const {
  // Nanoseconds on a processor, of all threads.
  double sum = 0;
  clockid_t clock;
  timespec time = {};
  if (::clock_getcpuclockid(pid_, &clock) == 0 && ::clock_gettime(clock, &time) == 0) {
    sum = static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
  }
  return sum;
}

void Child::Line::say(char word) const {
  (void)!::write(out_.get(), &word, 1);
}

char Child::Line::hear() const {
  pollfd fd = {in_.get(), POLLIN, 0};
  char word = '\0';
  if (::poll(&fd, 1, static_cast<int>(kPatience.count())) <= 0) return '\0';
  return ::read(in_.get(), &word, 1) == 1 ? word : '\0';
}

Child Child::run(const std::function<int(const Line&)>& function) {
  Pipe down = make_pipe();
  Pipe up = make_pipe();
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    down.write.reset();
    up.read.reset();
    const Line line(std::move(down.read), std::move(up.write));
    ::_exit(function(line));
  }
  return {Process(pid), Line(std::move(up.read), std::move(down.write))};
}

Daemon Daemon::start(const DaemonOptions& options) {
  Pipe log = make_pipe();
  std::vector<char*> arguments = {const_cast<char*>(options.program.c_str())};
  for (const std::string& text : options.arguments) {
    arguments.push_back(const_cast<char*>(text.c_str()));
  }
  arguments.push_back(nullptr);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return {Process(pid), std::move(log.read)};
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(log.write.get(), STDERR_FILENO);
  ::dup2(log.write.get(), STDOUT_FILENO);
  if (options.inherited_socket >= 0) {
    if (options.inherited_socket == 3) {
      ::fcntl(3, F_SETFD, 0);
    } else {
      ::dup2(options.inherited_socket, 3);
    }
    ::setenv("LISTEN_FDS", "1", 1);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  }
  for (const std::string& text : options.environment) ::putenv(::strdup(text.c_str()));
  if (options.open_files_max != 0) {
    const rlimit limit = {options.open_files_max, options.open_files_max};
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (options.uid != 0 && (::setgroups(0, nullptr) != 0 || ::setresgid(65534, 65534, 65534) != 0 ||
                           ::setresuid(options.uid, options.uid, options.uid) != 0)) {
    ::_exit(126);
  }
  ::execv(options.program.c_str(), arguments.data());
  ::_exit(127);
}

bool Daemon::read_more(milliseconds patience) {
  pollfd fd = {pipe_.get(), POLLIN, 0};
  if (::poll(&fd, 1, static_cast<int>(patience.count())) <= 0) return false;
  char text[4096];
  const ssize_t size = ::read(pipe_.get(), text, sizeof text);
  if (size <= 0) return false;
  log_.append(text, static_cast<size_t>(size));
  return true;
}

bool Daemon::said(const std::string& text) {
  const Stopwatch watch;
  while (log_.find(text) == std::string::npos) {
    if (watch.ms() > static_cast<double>(kPatience.count()) || !read_more(kPatience)) return false;
  }
  return true;
}

int Daemon::wait() {
  const int status = process_.wait();
  while (read_more(milliseconds(0))) {
  }
  return status;
}

}  // namespace kvtier::process
