// See process_usage.hpp.
#include "daemon/admin/process_usage.hpp"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace kvtier::daemon {
namespace {

void read_status(ProcessUsage& usage) {
  std::ifstream file("/proc/self/status");
  std::string line;
  const auto take = [&line](const char* name, uint64_t unit, uint64_t& target) {
    const size_t length = std::strlen(name);
    if (line.compare(0, length, name) == 0) {
      target = std::strtoull(line.c_str() + length, nullptr, 10) * unit;
    }
  };
  while (std::getline(file, line)) {
    take("RssAnon:", 1024, usage.rss_anonymous_bytes);
    take("RssFile:", 1024, usage.rss_file_bytes);
    take("RssShmem:", 1024, usage.rss_shared_bytes);
    take("VmLck:", 1024, usage.locked_bytes);
    take("Threads:", 1, usage.threads);
  }
}

uint64_t count_fds() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(folder);
  return count > 0 ? count - 1 : 0;  // the one that reads the folder
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// Field 22 of stat: ticks from the machine's start; boot time = now - clock since boot.
double read_start_time() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  double ticks = 0;
  fields >> ticks;
  timespec now{}, boot{};
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const auto since = [](const timespec& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  return since(now) - since(boot) + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace

ProcessUsage read_process_usage() {
  static const double start_time = read_start_time();
  ProcessUsage usage;
  read_status(usage);
  usage.open_fds = count_fds();
  usage.start_time_seconds = start_time;
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) == 0) {
    usage.cpu_user_seconds = seconds_of(used.ru_utime);
    usage.cpu_system_seconds = seconds_of(used.ru_stime);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) usage.open_fds_max = limit.rlim_cur;
  return usage;
}

}  // namespace kvtier::daemon
