// See spawn.hpp. The child is made with fork and exec; between them it does only what is allowed in
// a copy of a process with threads.
#include "tools/cli/spawn.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/socket_path.hpp"

extern char** environ;

namespace kvtier::tools {
namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char* kMarker = ".kvtier-spawn";
constexpr const char* kProgram = "kvtierd";
constexpr milliseconds kPoll{2};
// "/admin.sock" behind the folder must fit a socket address.
constexpr size_t kSocketFolderBytesMax = 90;

bool is_program(const std::string& path) {
  struct stat found;
  return stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) &&
         access(path.c_str(), X_OK) == 0;
}

std::string temporary_folder() {
  const char* base = secure_getenv("TMPDIR");
  std::string name =
      std::string(base != nullptr && *base == '/' ? base : "/tmp") + "/kvtier-XXXXXX";
  return mkdtemp(name.data()) == nullptr ? "" : name;
}

bool connects(const std::string& path, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const bool good = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return good;
}

std::string tail_of(const std::string& path, size_t lines) {
  std::ifstream file(path);
  std::vector<std::string> last;
  for (std::string line; std::getline(file, line);) {
    if (line.empty()) continue;
    if (last.size() == lines) last.erase(last.begin());
    last.push_back(line);
  }
  std::string text;
  for (const std::string& line : last) text += line + "\n";
  return text;
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// In the child: only calls that are safe there. Never returns.
[[noreturn]] void become_daemon(const char* program, char* const* arguments, char* const* variables,
                                int log_fd, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // the parent died before the line above
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // The terminal's Ctrl-C is for the parent, which stops its daemon in order.
  setpgid(0, 0);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null_fd, STDIN_FILENO);
  dup2(log_fd, STDOUT_FILENO);
  dup2(log_fd, STDERR_FILENO);
  execve(program, arguments, variables);
  constexpr char kFailed[] = "cannot execute kvtierd\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kFailed, sizeof kFailed - 1);
  _exit(127);
}

}  // namespace

Result<std::string> find_daemon_program() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::string beside = (self.parent_path() / kProgram).string();
    if (is_program(beside)) return beside;
  }
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + kProgram;
    if (!folder.empty() && folder.front() == '/' && is_program(candidate)) return candidate;
  }
  return Error::format(Code::kNotFound,
                       "there is no kvtierd beside %.120s and none on PATH: build or install it",
                       self.parent_path().c_str());
}

Result<std::unique_ptr<SpawnedDaemon>> SpawnedDaemon::start(const SpawnOptions& options) {
  std::unique_ptr<SpawnedDaemon> daemon(new SpawnedDaemon());
  daemon->stop_timeout_ = options.stop_timeout;
  if (Status ready = daemon->prepare_directory(options.directory); !ready) return ready.error();
  if (Status ready = daemon->prepare_sockets(); !ready) return ready.error();
  if (Status written = daemon->write_config(options); !written) return written.error();
  if (Status launched = daemon->launch(options); !launched) return launched.error();
  if (Status ready = daemon->wait_ready(options.start_timeout); !ready) return ready.error();
  return daemon;
}

SpawnedDaemon::~SpawnedDaemon() {
  stop();
  if (pidfd_ >= 0) close(pidfd_);
  std::error_code ignored;
  if (remove_socket_directory_) fs::remove_all(socket_directory_, ignored);
  if (remove_directory_) fs::remove_all(directory_, ignored);
  if (lock_fd_ >= 0) close(lock_fd_);
}

Status SpawnedDaemon::prepare_directory(const std::string& wanted) {
  if (wanted.empty()) {
    directory_ = temporary_folder();
    if (directory_.empty()) return Error::system(errno, "cannot make a temporary folder");
    remove_directory_ = true;
  } else {
    std::error_code error;
    directory_ = fs::absolute(wanted, error).lexically_normal().string();
    if (directory_.size() > 1 && directory_.back() == '/') directory_.pop_back();
    const std::string parent = fs::path(directory_).parent_path().string();
    fs::create_directories(parent, error);
    if (mkdir(directory_.c_str(), 0700) != 0 && errno != EEXIST) {
      return Error::system(errno, ("cannot make the folder " + directory_).c_str());
    }
    struct stat found;
    if (stat(directory_.c_str(), &found) != 0 || !S_ISDIR(found.st_mode)) {
      return Error::format(Code::kInvalidArgument, "%.180s is not a folder", directory_.c_str());
    }
    const bool ours = fs::exists(directory_ + "/" + kMarker, error);
    if (!ours && !fs::is_empty(directory_, error)) {
      return Error::format(Code::kInvalidArgument,
                           "%.150s is not empty and was not made by kvtier: name an empty folder",
                           directory_.c_str());
    }
  }
  const std::string marker = directory_ + "/" + kMarker;
  lock_fd_ = open(marker.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock_fd_ < 0) return Error::system(errno, ("cannot write " + marker).c_str());
  if (flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return Error::format(Code::kInvalidArgument, "%.150s is in use by another kvtier: name another",
                         directory_.c_str());
  }
  return {};
}

Status SpawnedDaemon::prepare_sockets() {
  socket_directory_ = directory_;
  if (directory_.size() > kSocketFolderBytesMax) {
    socket_directory_ = temporary_folder();
    if (socket_directory_.empty()) return Error::system(errno, "cannot make a temporary folder");
    remove_socket_directory_ = true;
  }
  socket_ = socket_directory_ + "/kvtier.sock";
  admin_socket_ = socket_directory_ + "/admin.sock";
  return {};
}

Status SpawnedDaemon::write_config(const SpawnOptions& options) {
  config_path_ = directory_ + "/kvtier.toml";
  log_path_ = directory_ + "/kvtierd.log";
  const std::string drop_ins = config_path_ + ".d";
  std::error_code error;
  fs::remove_all(drop_ins, error);
  if (mkdir(drop_ins.c_str(), 0700) != 0) {
    return Error::system(errno, ("cannot make the folder " + drop_ins).c_str());
  }
  std::ofstream(config_path_) << options.config_text;
  // What must be so wins over what was asked for.
  std::ofstream places(drop_ins + "/spawn.toml");
  places << "[daemon]\nsocket = '" << socket_ << "'\nadmin_socket = '" << admin_socket_
         << "'\nstate_directory = '" << directory_ << "/state'\n";
  places << "keep = '" << (options.keep ? "holder" : "off") << "'\n";
  places.close();
  if (!places) {
    return Error::format(Code::kSystem, "cannot write the configuration below %.150s",
                         directory_.c_str());
  }
  return {};
}

Status SpawnedDaemon::launch(const SpawnOptions& options) {
  std::string program = options.program;
  if (program.empty()) {
    auto found = find_daemon_program();
    if (!found) return found.error();
    program = *found;
  }
  const int log_fd =
      open(log_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (log_fd < 0) return Error::system(errno, ("cannot write " + log_path_).c_str());

  std::vector<std::string> words = {program, "--config", config_path_};
  std::vector<char*> arguments, variables;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<std::string> added = options.environment;
  for (std::string& variable : added) variables.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  variables.push_back(nullptr);

  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become_daemon(program.c_str(), arguments.data(), variables.data(), log_fd, parent);
  const int reason = errno;
  close(log_fd);
  if (pid_ < 0) return Error::system(reason, "cannot start another process");
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) {
    const Error error = Error::system(errno, "cannot watch the daemon (pidfd_open)");
    kill_now();
    return error;
  }
  return {};
}

Status SpawnedDaemon::wait_ready(milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  while (SteadyClock::now() < deadline) {
    if (!running()) return early_end();
    if (connects(socket_, SOCK_SEQPACKET)) {
      const auto health =
          ask_admin({.socket = admin_socket_, .target = "/healthz", .timeout = milliseconds(1000)});
      if (health.ok() && health->status == 200) return {};
    }
    wait_end(kPoll);
  }
  const std::string last = tail_of(log_path_, 1);
  kill_now();
  return Error::format(Code::kDeadline,
                       "kvtierd was not ready after %lld ms; it was ended. Last in %.90s: %.80s",
                       static_cast<long long>(timeout.count()), log_path_.c_str(), last.c_str());
}

Error SpawnedDaemon::early_end() {
  std::string last = tail_of(log_path_, 1);
  while (!last.empty() && last.back() == '\n') last.pop_back();
  const bool kept = !remove_directory_;
  return Error::format(Code::kUnavailable,
                       "kvtierd ended with status %d while starting: %.110s%s%.60s",
                       usage_.exit_status, last.empty() ? "it said nothing" : last.c_str(),
                       kept ? "; its log is " : "", kept ? log_path_.c_str() : "");
}

bool SpawnedDaemon::running() {
  reap(false);
  return !ended_;
}

void SpawnedDaemon::reap(bool block) {
  if (ended_ || pid_ < 0) return;
  int status = 0;
  rusage used{};
  pid_t got;
  do {
    got = wait4(pid_, &status, block ? 0 : WNOHANG, &used);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return;
  ended_ = true;
  if (got < 0) return;  // somebody else waited for it
  usage_.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  usage_.cpu_seconds = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  usage_.rss_bytes_max = static_cast<uint64_t>(used.ru_maxrss) * 1024;
}

bool SpawnedDaemon::wait_end(milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  while (running()) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - SteadyClock::now()).count();
    if (left <= 0) return false;
    pollfd end{pidfd_, POLLIN, 0};
    poll(&end, 1, static_cast<int>(left));
  }
  return true;
}

const SpawnUsage& SpawnedDaemon::stop() {
  if (pid_ < 0 || !running()) return usage_;
  kill(pid_, SIGTERM);
  kill(pid_, SIGCONT);  // a stopped daemon would not hear it
  if (!wait_end(stop_timeout_)) {
    usage_.killed = true;
    kill_now();
  }
  return usage_;
}

const SpawnUsage& SpawnedDaemon::kill_now() {
  if (pid_ < 0 || !running()) return usage_;
  kill(pid_, SIGKILL);
  reap(true);
  return usage_;
}

double SpawnedDaemon::cpu_seconds() const {
  clockid_t clock;
  timespec used{};
  if (ended_ || pid_ < 0 || clock_getcpuclockid(pid_, &clock) != 0 ||
      clock_gettime(clock, &used) != 0) {
    return 0;
  }
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

uint64_t SpawnedDaemon::rss_bytes() const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/statm");
  uint64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

std::string SpawnedDaemon::log_tail(size_t lines) const {
  return tail_of(log_path_, lines);
}

}  // namespace kvtier::tools
