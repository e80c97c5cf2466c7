// How lines look in each format, how the format is chosen, and that text cannot forge a line.
#include "daemon/log/log_line.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "daemon/log/key_prefix.hpp"

namespace kvtier::daemon {
namespace {

constexpr LogRecord kRecord = {1'767'323'045'678'900'000, LogLevel::kWarning, 2004, 3,
                               "pid 7 \"x\" said\nno\x1b\\"};

TEST(LogLine, LooksAsDocumented) {
  EXPECT_EQ(render_line(LogFormat::kJournal, kRecord),
            "<4>KV2004: pid 7 \"x\" said\\nno\\x1b\\ (3 more suppressed)\n");
  EXPECT_EQ(render_line(LogFormat::kLogfmt, kRecord),
            "ts=2026-01-02T03:04:05.678Z level=warning code=KV2004 "
            "msg=\"pid 7 \\\"x\\\" said\\nno\\x1b\\\\\" suppressed=3\n");
  EXPECT_EQ(render_line(LogFormat::kText, kRecord),
            "2026-01-02 03:04:05.678 warning KV2004: pid 7 \"x\" said\\nno\\x1b\\ "
            "(3 more suppressed)\n");
}

TEST(LogLine, PrioritiesAreThoseOfSyslog) {
  const char* expected[] = {"<7>", "<6>", "<4>", "<3>"};
  for (int i = 0; i < 4; ++i) {
    const LogRecord record = {0, static_cast<LogLevel>(i), 0, 0, "m"};
    EXPECT_EQ(render_line(LogFormat::kJournal, record), std::string(expected[i]) + "m\n");
  }
}

TEST(LogLine, WithoutCodeOrSuppressionNothingIsSaidOfThem) {
  EXPECT_EQ(render_line(LogFormat::kLogfmt, {0, LogLevel::kDebug, 0, 0, "m"}),
            "ts=1970-01-01T00:00:00.000Z level=debug msg=\"m\"\n");
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe(ends_), 0); }
  ~Pipe() {
    close(ends_[0]);
    close(ends_[1]);
  }
  int writer() const { return ends_[1]; }

 private:
  int ends_[2] = {-1, -1};
};

TEST(LogLine, TheJournalIsKnownByDeviceAndInode) {
  const Pipe journal, other;
  struct stat found;
  ASSERT_EQ(fstat(journal.writer(), &found), 0);
  const std::string name = std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino);
  setenv("JOURNAL_STREAM", name.c_str(), 1);
  EXPECT_EQ(choose_log_format(LogFormat::kAuto, journal.writer()), LogFormat::kJournal);
  EXPECT_EQ(choose_log_format(LogFormat::kAuto, other.writer()), LogFormat::kLogfmt);
  EXPECT_EQ(choose_log_format(LogFormat::kText, journal.writer()), LogFormat::kText);
  unsetenv("JOURNAL_STREAM");
  EXPECT_EQ(choose_log_format(LogFormat::kAuto, journal.writer()), LogFormat::kLogfmt);
}

TEST(LogLine, OfAKeyEightDigitsAreShown) {
  EXPECT_EQ(KeyPrefix({.lo = 0xffffffffffffffff, .hi = 0x0123456789abcdef}).view(), "01234567");
  EXPECT_EQ(KeyPrefix({}).view(), "00000000");
}

}  // namespace
}  // namespace kvtier::daemon
