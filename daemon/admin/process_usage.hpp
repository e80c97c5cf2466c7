// What this process uses, read from /proc/self. Any thread. A value that cannot be read is 0.
#pragma once

#include <cstdint>

namespace kvtier::daemon {

struct ProcessUsage {
  uint64_t rss_anonymous_bytes = 0;  // the daemon's own memory
  uint64_t rss_file_bytes = 0;       // program and libraries
  uint64_t rss_shared_bytes = 0;     // segments, indexes and session memory that it touched
  uint64_t locked_bytes = 0;
  double cpu_user_seconds = 0;
  double cpu_system_seconds = 0;
  double start_time_seconds = 0;  // since 1970
  uint64_t open_fds = 0;
  uint64_t open_fds_max = 0;
  uint64_t threads = 0;
};

ProcessUsage read_process_usage();

}  // namespace kvtier::daemon
