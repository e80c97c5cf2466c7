// The log as a whole: what is written, what is limited, and that a reader who does not read makes
// nobody wait. Time is injected; the only real waiting is the bounded one at the end of a stuck
// log.
#include "daemon/log/log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace kvtier::daemon {
namespace {

// Where a log writes and a test reads.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(ends_, O_CLOEXEC), 0); }
  ~Pipe() {
    close_writer();
    close(ends_[0]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int reader() const { return ends_[0]; }
  int writer() const { return ends_[1]; }
  void close_writer() {
    if (ends_[1] >= 0) close(ends_[1]);
    ends_[1] = -1;
  }
  void close_reader() {
    close(ends_[0]);
    ends_[0] = -1;
  }
  // Everything up to the end; the log must be closed.
  std::string read_all() {
    close_writer();
    std::string text;
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(ends_[0], buffer, sizeof buffer)) > 0) {
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }
  // Fills it, so that the next write would wait.
  void fill() {
    const int flags = fcntl(ends_[1], F_GETFL);
    fcntl(ends_[1], F_SETFL, flags | O_NONBLOCK);
    const std::string page(4096, '.');
    while (write(ends_[1], page.data(), page.size()) > 0) {
    }
    fcntl(ends_[1], F_SETFL, flags);
  }

 private:
  int ends_[2] = {-1, -1};
};

std::atomic<uint64_t> g_now{0};

LogOptions options_for(const Pipe& pipe) {
  g_now = 0;
  LogOptions options;
  options.fd = pipe.writer();
  options.format = LogFormat::kJournal;
  options.monotonic_ns = [] { return g_now.load(); };
  options.realtime_ns = [] { return uint64_t{0}; };
  return options;
}

std::unique_ptr<Log> open_log(const LogOptions& options) {
  Result<std::unique_ptr<Log>> log = Log::open(options);
  EXPECT_TRUE(log.ok());
  return std::move(log).value();
}

void say(Log& log, LogCode code, const char* text) {
  log.event(code, text, {});
}

size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Log, WritesEachMessageWithItsCodeAndLevel) {
  Pipe pipe;
  ASSERT_TRUE(start_log(options_for(pipe)).ok());
  log_event(LogCode::kReady, "serving on {} with {} workers", "/run/k.sock", 3);
  log_event(LogCode::kChunkCorrupt, "chunk {}", std::string("0123abcd"));
  log_debug("not shown {}", 1);
  process_log()->set_level(LogLevel::kDebug);
  log_debug("shown {}", 2);
  process_log()->set_level(LogLevel::kError);
  log_event(LogCode::kTierFull, "not shown");
  stop_log();
  EXPECT_EQ(pipe.read_all(),
            "<6>KV1001: serving on /run/k.sock with 3 workers\n<3>KV3001: chunk 0123abcd\n"
            "<7>shown 2\n");
}

TEST(Log, WithoutALogMessagesGoNowhere) {
  ASSERT_EQ(process_log(), nullptr);
  log_event(LogCode::kReady, "nobody hears {}", 1);
  log_debug("nor {}", 2);
  stop_log();
}

TEST(Log, ACodeIsLimitedAndSaysWhatItHeldBack) {
  Pipe pipe;
  auto log = open_log(options_for(pipe));
  for (uint64_t i = 0; i < kLogBurstMax + 7; ++i) say(*log, LogCode::kProtocolError, "garbage");
  say(*log, LogCode::kTierFull, "another code is not affected");
  EXPECT_EQ(log->messages_suppressed(), 7u);
  g_now += kLogIntervalNs;
  say(*log, LogCode::kProtocolError, "again");
  say(*log, LogCode::kProtocolError, "held back");
  log.reset();
  const std::string text = pipe.read_all();
  EXPECT_EQ(lines(text), kLogBurstMax + 3) << text;
  EXPECT_NE(text.find("KV3002: another code is not affected\n"), std::string::npos) << text;
  EXPECT_NE(text.find("KV2004: again (7 more suppressed)\n"), std::string::npos) << text;
  EXPECT_NE(text.find("<6>KV1011: 1 more of KV2004 suppressed\n"), std::string::npos) << text;
}

TEST(Log, LongMessagesAreCutBelowOnePipeWrite) {
  Pipe pipe;
  LogOptions options = options_for(pipe);
  options.format = LogFormat::kLogfmt;
  auto log = open_log(options);
  const std::string text(100'000, '\x01');
  log->event(LogCode::kReady, "{}", fmt::make_format_args(text));
  log.reset();
  const std::string line = pipe.read_all();
  EXPECT_EQ(lines(line), 1u);
  EXPECT_LT(line.size(), 4096u);
  EXPECT_GT(line.size(), kLogMessageBytesMax);
}

TEST(Log, AReaderWhoDoesNotReadDelaysNobody) {
  Pipe pipe;
  pipe.fill();
  LogOptions options = options_for(pipe);
  options.queue_lines_max = 64;
  options.stop_wait_ns = 1'000'000;
  options.level = LogLevel::kDebug;
  auto log = open_log(options);
  // The thread of the log holds one line and the queue 64; all others must be dropped, not waited
  // for. If this call ever waited, the test would hang.
  for (int i = 0; i < 5000; ++i) log->debug("line", {});
  EXPECT_GE(log->lines_dropped(), 5000u - 64u - 2u);
  EXPECT_LE(log->lines_dropped(), 5000u - 64u);
  log.reset();  // gives up on the reader after stop_wait_ns
  EXPECT_EQ(pipe.read_all().find("line"), std::string::npos);
}

TEST(Log, DroppedLinesAreReportedWhenTheReaderIsBack) {
  Pipe pipe;
  pipe.fill();
  LogOptions options = options_for(pipe);
  options.queue_lines_max = 8;
  options.stop_wait_ns = 10'000'000'000;
  auto log = open_log(options);
  log->set_level(LogLevel::kDebug);
  for (int i = 0; i < 100; ++i) log->debug("line", {});
  EXPECT_GE(log->lines_dropped(), 90u);
  std::atomic<bool> seen{false};
  std::string text;
  std::thread reader([&] {
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(pipe.reader(), buffer, sizeof buffer)) > 0) {
      text.append(buffer, static_cast<size_t>(count));
      if (text.find("KV1010") != std::string::npos) seen = true;
    }
  });
  while (!seen) {
    g_now += kLogIntervalNs;
    say(*log, LogCode::kReady, "tick");
    std::this_thread::yield();
  }
  log.reset();
  pipe.close_writer();
  reader.join();
  EXPECT_NE(text.find(" lines dropped\n"), std::string::npos);
}

TEST(Log, AClosedPipeEndsNothing) {
  Pipe pipe;
  pipe.close_reader();
  auto log = open_log(options_for(pipe));
  say(*log, LogCode::kReady, "nobody reads");
  log.reset();  // SIGPIPE would have ended this process
}

TEST(Log, LinesOfManyThreadsStayWhole) {
  Pipe pipe;
  LogOptions options = options_for(pipe);
  options.level = LogLevel::kDebug;
  options.queue_lines_max = 10'000;
  auto log = open_log(options);
  std::string text;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&log] {
      for (int i = 0; i < 200; ++i) log->debug("abcdefgh", {});
    });
  }
  for (std::thread& thread : threads) thread.join();
  log.reset();
  text = pipe.read_all();
  EXPECT_EQ(lines(text), 800u);
  for (size_t at = 0; at < text.size(); at += 12) EXPECT_EQ(text.substr(at, 12), "<7>abcdefgh\n");
}

TEST(LogCodes, AreDocumented) {
  const std::string path = std::string(KVTIER_SOURCE_DIR) + "/docs/messages.md";
  if (getenv("KVTIER_UPDATE") != nullptr) std::ofstream(path) << messages_document();
  std::ifstream file(path);
  const std::string found{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  EXPECT_EQ(found, messages_document()) << "docs/messages.md is out of date: run this test with "
                                           "KVTIER_UPDATE=1 in the environment";
}

TEST(LogCodes, EachRowSaysWhatAndWhatToDo) {
  for (const LogCodeRow& row : log_code_rows()) {
    EXPECT_TRUE(row.summary.ends_with('.')) << row.number;
    EXPECT_TRUE(row.remedy.ends_with('.')) << row.number;
    EXPECT_EQ(row.summary.find('|'), std::string_view::npos) << row.number;
    if (row.level < LogLevel::kWarning) continue;
    EXPECT_NE(row.remedy, "Nothing.") << row.number;
  }
}

// What must not get into a message is refused by the compiler.
static_assert(Loggable<int> && Loggable<double> && Loggable<bool> && Loggable<const char*>);
static_assert(Loggable<std::string> && Loggable<std::string_view&> && Loggable<const char (&)[4]>);
static_assert(!Loggable<std::vector<uint32_t>> && !Loggable<const uint32_t*> && !Loggable<void*>);

}  // namespace
}  // namespace kvtier::daemon
