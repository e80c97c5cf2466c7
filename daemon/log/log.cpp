// The log on spdlog's asynchronous queue; the only file that includes spdlog. See log.hpp.
// Threads: callers format and enqueue; one thread of the pool runs FdSink.
#include "daemon/log/log.hpp"

// The package offers a shared library too; compiled in, sanitizers see how its threads share
// memory.
#undef SPDLOG_COMPILED_LIB
#undef SPDLOG_SHARED_LIB

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/sink.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <optional>

#include "daemon/log/log_line.hpp"
#include "daemon/log/rate_limit.hpp"

namespace kvtier::daemon {
namespace {

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Writes whole lines to a descriptor that others may share, so it cannot be made non-blocking: it
// is polled, and a line shorter than PIPE_BUF then fits. stop() ends the patience with a slow
// reader.
class FdSink final : public spdlog::sinks::sink {
 public:
  FdSink(int fd, int wake, uint64_t stop_wait_ns)
      : fd_(fd), wake_(wake), stop_wait_ns_(stop_wait_ns) {}
  ~FdSink() override { close(wake_); }

  void log(const spdlog::details::log_msg& message) override {
    const char* data = message.payload.data();
    size_t left = message.payload.size();
    while (left > 0) {
      if (!wait_writable()) return lost();
      const ssize_t count = write(fd_, data, left);
      if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (count < 0) return lost();
      data += count;
      left -= static_cast<size_t>(count);
    }
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Any thread: from now on readers get stop_wait_ns, all lines together.
  void stop() {
    deadline_ns_.store(clock_ns(CLOCK_MONOTONIC) + stop_wait_ns_, std::memory_order_release);
    eventfd_write(wake_, 1);
  }
  uint64_t lines_lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void lost() { lost_.fetch_add(1, std::memory_order_relaxed); }

  bool wait_writable() {
    while (true) {
      const uint64_t deadline = deadline_ns_.load(std::memory_order_acquire);
      const bool stopping = deadline != UINT64_MAX;
      int timeout_ms = -1;
      if (stopping) {
        const uint64_t now = clock_ns(CLOCK_MONOTONIC);
        timeout_ms = now < deadline ? static_cast<int>((deadline - now) / 1'000'000 + 1) : 0;
      }
      // Once stopping, the wake descriptor stays readable and is left out.
      std::array<pollfd, 2> waits = {pollfd{fd_, POLLOUT, 0}, pollfd{wake_, POLLIN, 0}};
      const int ready = poll(waits.data(), stopping ? 1 : 2, timeout_ms);
      if (ready < 0 && errno != EINTR) return false;
      if (ready > 0 && (waits[0].revents & POLLOUT) != 0) return true;
      if (ready > 0 && (waits[0].revents & (POLLERR | POLLNVAL | POLLHUP)) != 0) return false;
      if (ready == 0 && stopping) return false;
    }
  }

  const int fd_;
  const int wake_;
  const uint64_t stop_wait_ns_;
  std::atomic<uint64_t> deadline_ns_{UINT64_MAX};
  std::atomic<uint64_t> lost_{0};
};

// The log's thread takes no signals (the daemon's main thread does), and a closed pipe is an error
// code there, not the end of the process.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

constexpr RateLimit::Rate kRate = {kLogBurstMax, kLogIntervalNs};

std::atomic<Log*> g_log{nullptr};

}  // namespace

struct Log::Parts {
  LogOptions options;
  LogFormat format = LogFormat::kLogfmt;
  std::atomic<LogLevel> level{LogLevel::kInfo};
  std::array<RateLimit, static_cast<size_t>(LogCode::kCount)> limits;
  EventRing events;
  uint64_t opened_ns = 0;
  std::atomic<uint64_t> suppressed{0};
  std::atomic<uint64_t> overruns_reported{0};
  std::shared_ptr<FdSink> sink;
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;

  void enqueue(const LogRecord& record) {
    const std::string line = render_line(format, record);
    logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

  void write(LogRecord record, fmt::string_view text, fmt::format_args arguments,
             std::optional<LogCode> code = {}) {
    std::array<char, kLogMessageBytesMax> buffer;
    size_t size = 0;
    try {
      const auto end = fmt::vformat_to_n(buffer.data(), buffer.size(), text, arguments);
      size = std::min(end.size, buffer.size());
    } catch (const std::exception&) {  // a bad format; the compiler checks them, so say it plainly
      size = std::min(text.size(), buffer.size());
      std::copy_n(text.data(), size, buffer.data());
    }
    record.message = {buffer.data(), size};
    record.realtime_ns = options.realtime_ns();
    if (code) events.add(*code, record.realtime_ns, record.suppressed, record.message);
    enqueue(record);
  }

  void event(LogCode code, uint64_t suppressed_before, fmt::string_view text,
             fmt::format_args arguments) {
    const LogCodeRow& row = log_code_row(code);
    write({0, row.level, row.number, suppressed_before, {}}, text, arguments, code);
  }

  // Says how many lines were dropped, once there is room to say it.
  void report_overruns() {
    const uint64_t overruns = pool->overrun_counter();
    uint64_t reported = overruns_reported.load(std::memory_order_relaxed);
    if (overruns == reported || pool->queue_size() > options.queue_lines_max / 2) return;
    if (!overruns_reported.compare_exchange_strong(reported, overruns)) return;
    const uint64_t count = overruns - reported;
    event(LogCode::kLogOverrun, 0, "{} lines dropped", fmt::make_format_args(count));
  }
};

Log::Log(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Log>> Log::open(const LogOptions& options) {
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return Error::system(errno, "cannot make an eventfd for the log");
  auto parts = std::make_unique<Parts>();
  parts->options = options;
  parts->format = choose_log_format(options.format, options.fd);
  parts->level = options.level;
  if (!parts->options.monotonic_ns) {
    parts->options.monotonic_ns = [] { return clock_ns(CLOCK_MONOTONIC); };
  }
  if (!parts->options.realtime_ns) {
    parts->options.realtime_ns = [] { return clock_ns(CLOCK_REALTIME); };
  }
  parts->opened_ns = parts->options.realtime_ns();
  parts->sink = std::make_shared<FdSink>(options.fd, wake, options.stop_wait_ns);
  try {
    const SignalsBlocked blocked;
    parts->pool = std::make_shared<spdlog::details::thread_pool>(options.queue_lines_max, 1);
    parts->logger = std::make_shared<spdlog::async_logger>(
        "kvtierd", parts->sink, parts->pool, spdlog::async_overflow_policy::overrun_oldest);
  } catch (const std::exception& problem) {
    return Error::format(Code::kSystem, "cannot start the log's thread: %s", problem.what());
  }
  parts->logger->set_error_handler([](const std::string&) {});  // never to stderr by itself
  return std::unique_ptr<Log>(new Log(std::move(parts)));
}

Log::~Log() {
  for (size_t i = 0; i < parts_->limits.size(); ++i) {
    const uint64_t count = parts_->limits[i].take_suppressed();
    if (count == 0 || !wants(LogLevel::kInfo)) continue;
    const unsigned number = log_code_rows()[i].number;
    parts_->event(LogCode::kLogSuppressed, 0, "{} more of KV{} suppressed",
                  fmt::make_format_args(count, number));
  }
  parts_->sink->stop();
  parts_->logger.reset();
  parts_->pool.reset();  // drains the queue and joins
}

bool Log::wants(LogLevel level) const {
  return level >= parts_->level.load(std::memory_order_relaxed);
}

void Log::set_level(LogLevel level) {
  parts_->level.store(level, std::memory_order_relaxed);
}

void Log::event(LogCode code, fmt::string_view format, fmt::format_args arguments) {
  if (!wants(log_code_row(code).level)) return;
  RateLimit& limit = parts_->limits.at(static_cast<size_t>(code));
  const RateLimit::Verdict verdict = limit.admit(kRate, parts_->options.monotonic_ns());
  if (!verdict.admitted) {
    parts_->suppressed.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  parts_->event(code, verdict.suppressed, format, arguments);
  parts_->report_overruns();
}

void Log::debug(fmt::string_view format, fmt::format_args arguments) {
  if (wants(LogLevel::kDebug)) parts_->write({0, LogLevel::kDebug, 0, 0, {}}, format, arguments);
}

const EventRing& Log::events() const {
  return parts_->events;
}

uint64_t Log::opened_ns() const {
  return parts_->opened_ns;
}

uint64_t Log::lines_dropped() const {
  return parts_->pool->overrun_counter() + parts_->sink->lines_lost();
}

uint64_t Log::messages_suppressed() const {
  return parts_->suppressed.load(std::memory_order_relaxed);
}

Status start_log(const LogOptions& options) {
  stop_log();
  Result<std::unique_ptr<Log>> log = Log::open(options);
  if (!log.ok()) return log.error();
  g_log.store(std::move(log).value().release(), std::memory_order_release);
  return {};
}

void stop_log() {
  delete g_log.exchange(nullptr, std::memory_order_acq_rel);
}

Log* process_log() {
  return g_log.load(std::memory_order_acquire);
}

}  // namespace kvtier::daemon
