// The way from the admin thread to the core thread: calls run, are given up, are refused.
#include "daemon/session/mailbox.hpp"

#include <poll.h>

#include <atomic>
#include <thread>

#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;

class MailboxTest : public ServerTest {};

TEST_F(MailboxTest, ACallRunsOnTheCoreThread) {
  std::thread::id ran_on;
  std::atomic<bool> over = false;
  std::thread caller([&] {
    const Status status = server_->mailbox().post_wait(
        [&](Control& control) {
          ran_on = std::this_thread::get_id();
          EXPECT_EQ(control.snapshot().epoch, 42u);
        },
        10'000 * kMillisecond);
    EXPECT_TRUE(status.ok()) << status.error().message();
    over.store(true);
  });
  while (!over.load()) server_->turn(kMillisecond);
  caller.join();
  EXPECT_EQ(ran_on, std::this_thread::get_id());
}

TEST_F(MailboxTest, ACallThatWasGivenUpIsNeverRun) {
  bool ran = false;
  const Status status = server_->mailbox().post_wait([&](Control&) { ran = true; }, kMillisecond);
  EXPECT_EQ(status.code(), Code::kDeadline);
  turns(10);
  EXPECT_FALSE(ran);
}

TEST_F(MailboxTest, ACallThatHasBegunIsWaitedFor) {
  auto made = CoreMailbox::create();
  ASSERT_TRUE(made.ok());
  CoreMailbox& mailbox = **made;
  std::atomic<bool> begun = false;
  std::atomic<bool> may_end = false;
  std::atomic<bool> ended = false;
  std::thread core([&] {
    pollfd fd = {mailbox.fd().get(), POLLIN, 0};
    ::poll(&fd, 1, 10'000);
    mailbox.run(*core_);
  });
  std::thread gate([&] {
    while (!begun.load()) std::this_thread::yield();
    may_end.store(true);
  });
  const Status status = mailbox.post_wait(
      [&](Control&) {
        begun.store(true);
        while (!may_end.load()) std::this_thread::yield();
        ended.store(true);
      },
      10'000 * kMillisecond);
  EXPECT_TRUE(status.ok());
  EXPECT_TRUE(ended.load());
  core.join();
  gate.join();
}

TEST_F(MailboxTest, AFullMailboxRefuses) {
  auto made = CoreMailbox::create();
  ASSERT_TRUE(made.ok());
  CoreMailbox& mailbox = **made;
  std::vector<std::thread> callers;
  std::atomic<size_t> refused = 0;
  std::atomic<size_t> stopped = 0;
  for (size_t i = 0; i < CoreMailbox::kCallsMax + 3; ++i) {
    callers.emplace_back([&] {
      const Status status = mailbox.post_wait([](Control&) {}, 30'000 * kMillisecond);
      refused += status.code() == Code::kFull ? 1u : 0u;
      stopped += status.code() == Code::kUnavailable ? 1u : 0u;
    });
  }
  while (refused.load() < 3) std::this_thread::yield();
  mailbox.close();
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(refused.load(), 3u);
  EXPECT_EQ(stopped.load(), CoreMailbox::kCallsMax);
  EXPECT_EQ(mailbox.post_wait([](Control&) {}, kMillisecond).code(), Code::kUnavailable);
}

TEST_F(MailboxTest, ADrainedServerAnswersNobody) {
  server_->stop();
  while (server_->turn(kMillisecond)) clock_.advance_ns(kMillisecond);
  EXPECT_EQ(server_->mailbox().post_wait([](Control&) {}, kMillisecond).code(), Code::kUnavailable);
}

}  // namespace
}  // namespace kvtier::daemon
