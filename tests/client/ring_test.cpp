// The client's end of the rings, against a hand-driven daemon's end.
#include "client/ring.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <cstring>
#include <thread>
#include <vector>

namespace kvtier::client {
namespace {

constexpr uint32_t kEntries = 8;

class RingTest : public ::testing::Test {
 protected:
  RingTest() : kick_(::eventfd(0, EFD_NONBLOCK)) {
    header_.submission_entries = kEntries;
    header_.completion_entries = kEntries;
    header_.args_bytes = arguments_.size();
    submit_fd_ = ::eventfd(0, EFD_NONBLOCK);
    complete_fd_ = ::eventfd(0, EFD_NONBLOCK);
    ring_ = std::make_unique<Ring>(Ring::Memory{.header = &header_,
                                                .submissions = submissions_.data(),
                                                .completions = completions_.data(),
                                                .arguments = arguments_.data(),
                                                .submission_eventfd = Fd(submit_fd_),
                                                .completion_eventfd = Fd(complete_fd_)},
                                   kick_.get());
  }

  // The daemon: the next submission, if there is one.
  bool next(wire::Submission* submission) {
    const uint32_t head = header_.submission_head.load();
    if (head == header_.submission_tail.load(std::memory_order_acquire)) return false;
    *submission = submissions_[head % kEntries];
    header_.submission_head.store(head + 1, std::memory_order_release);
    return true;
  }
  void answer(uint64_t user_data, int32_t status = 0, uint32_t count = 0) {
    const uint32_t tail = header_.completion_tail.load();
    completions_[tail % kEntries] = {user_data, status, count, 0, 0};
    header_.completion_tail.store(tail + 1, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (header_.client_need_wake.load(std::memory_order_relaxed) == 0) return;
    const uint64_t one = 1;
    ASSERT_EQ(::write(complete_fd_, &one, sizeof one), ssize_t{sizeof one});
  }
  Status call(Clock::time_point deadline) {
    auto ticket = ring_->prepare(0, deadline);
    if (!ticket) return ticket.error();
    ring_->submit(*ticket, {.op = wire::Op::kNop});
    return ring_->wait(&*ticket, deadline, [](const wire::Completion&) {});
  }

  wire::SessionHeader header_ = {};
  std::vector<wire::Submission> submissions_ = std::vector<wire::Submission>(kEntries);
  std::vector<wire::Completion> completions_ = std::vector<wire::Completion>(kEntries);
  alignas(64) std::array<std::byte, 16 * 1024> arguments_ = {};
  Fd kick_;
  int submit_fd_;
  int complete_fd_;
  std::unique_ptr<Ring> ring_;
};

TEST_F(RingTest, WakesADaemonThatSleepsAndOnlyThen) {
  uint64_t rung = 0;
  ASSERT_TRUE(ring_->post({.op = wire::Op::kNop}, nullptr, 0).ok());
  EXPECT_LT(::read(submit_fd_, &rung, sizeof rung), 0);
  header_.daemon_need_wake.store(1);
  ASSERT_TRUE(ring_->post({.op = wire::Op::kNop}, nullptr, 0).ok());
  EXPECT_EQ(::read(submit_fd_, &rung, sizeof rung), ssize_t{sizeof rung});
}

TEST_F(RingTest, NoWakeUpIsLostBetweenManyWaiters) {
  std::atomic<bool> stop{false};
  std::thread daemon([&] {
    wire::Submission submission;
    while (!stop.load()) {
      if (next(&submission)) {
        answer(submission.user_data);
      } else {
        std::this_thread::yield();
      }
    }
  });
  std::vector<std::thread> clients;
  std::atomic<int> failed{0};
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        if (!call(after(std::chrono::seconds(10)))) ++failed;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  stop.store(true);
  daemon.join();
  EXPECT_EQ(failed.load(), 0);
}

TEST_F(RingTest, MemoryOfAForgottenRequestIsNotReusedBeforeItsAnswer) {
  auto late = ring_->prepare(8 * 1024, after(std::chrono::milliseconds(1)));
  ASSERT_TRUE(late.ok());
  ring_->submit(*late, {.op = wire::Op::kNop});
  const ArgumentBlock block = late->block;
  EXPECT_EQ(ring_->wait(&*late, Clock::now(), [](const wire::Completion&) {}).code(),
            Code::kDeadline);
  EXPECT_TRUE(ring_->has_given_up());
  std::vector<Ring::Ticket> others;
  while (true) {
    auto other = ring_->prepare(2048, Clock::now());
    if (!other) break;
    EXPECT_TRUE(other->block.offset >= block.offset + block.bytes ||
                other->block.offset + other->block.bytes <= block.offset);
    others.push_back(*other);
  }
  EXPECT_EQ(others.size(), 4u);
  for (Ring::Ticket& other : others) ring_->forget(&other);
  wire::Submission submission;
  ASSERT_TRUE(next(&submission));
  answer(submission.user_data);
  ring_->take_answers();
  EXPECT_FALSE(ring_->has_given_up());
  EXPECT_TRUE(ring_->prepare(16 * 1024, Clock::now()).ok()) << "all of it came back";
}

TEST_F(RingTest, LateGrantsAreGivenBack) {
  auto late = ring_->prepare(1024, Clock::now());
  ASSERT_TRUE(late.ok());
  ring_->submit(*late, {.op = wire::Op::kReserve, .count = 2});
  EXPECT_EQ(ring_->wait(&*late, Clock::now(), [](const wire::Completion&) {}).code(),
            Code::kDeadline);
  wire::Submission submission;
  ASSERT_TRUE(next(&submission));
  const wire::ReserveAnswer answers[2] = {
      {4711, static_cast<uint32_t>(wire::ReserveOutcome::kGranted), 0},
      {0, static_cast<uint32_t>(wire::ReserveOutcome::kPresent), 0}};
  std::memcpy(arguments_.data() + submission.args_offset, answers, sizeof answers);
  answer(submission.user_data, 0, 2);
  ring_->take_answers();
  ASSERT_TRUE(next(&submission));
  EXPECT_EQ(submission.op, static_cast<uint16_t>(wire::Op::kAbort));
  ASSERT_EQ(submission.count, 1u);
  wire::CommitArg argument;
  std::memcpy(&argument, arguments_.data() + submission.args_offset, sizeof argument);
  EXPECT_EQ(argument.place, 4711u);
}

TEST_F(RingTest, AbortsWaitForRoom) {
  for (uint32_t i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(ring_->post({.op = wire::Op::kNop}, nullptr, 0).ok());
  }
  EXPECT_EQ(ring_->post({.op = wire::Op::kNop}, nullptr, 0).code(), Code::kFull);
  ring_->abort_grant(12);
  wire::Submission submission;
  for (uint32_t i = 0; i < kEntries; ++i) {
    ASSERT_TRUE(next(&submission));
    answer(submission.user_data);
  }
  EXPECT_FALSE(next(&submission));
  ring_->take_answers();
  ASSERT_TRUE(next(&submission));
  EXPECT_EQ(submission.op, static_cast<uint16_t>(wire::Op::kAbort));
}

TEST_F(RingTest, AnswersNobodyAskedForAreIgnored) {
  answer(12345);
  answer(0);
  answer(255);
  EXPECT_EQ(call(after(std::chrono::milliseconds(5))).code(), Code::kDeadline);
  EXPECT_EQ(ring_->bad_completions(), 3u);
  header_.completion_tail.store(header_.completion_tail.load() + 1000);
  EXPECT_EQ(call(after(std::chrono::milliseconds(5))).code(), Code::kDeadline);
}

TEST_F(RingTest, TheEndWakesEveryWaiter) {
  std::vector<std::thread> clients;
  std::atomic<int> unavailable{0};
  for (int t = 0; t < 4; ++t) {
    clients.emplace_back(
        [&] { unavailable += call(after(std::chrono::seconds(30))).code() == Code::kUnavailable; });
  }
  wire::Submission submission;
  for (int seen = 0; seen < 4;) seen += next(&submission);
  ring_->end();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(unavailable.load(), 4);
  EXPECT_EQ(call(after(std::chrono::seconds(1))).code(), Code::kUnavailable);
}

TEST_F(RingTest, ARefusalIsTheAnswersCode) {
  auto ticket = ring_->prepare(0, Clock::now());
  ring_->submit(*ticket, {.op = wire::Op::kPrefetch});
  wire::Submission submission;
  ASSERT_TRUE(next(&submission));
  answer(submission.user_data, static_cast<int32_t>(Code::kFull));
  EXPECT_EQ(
      ring_->wait(&*ticket, after(std::chrono::seconds(1)), [](const wire::Completion&) {}).code(),
      Code::kFull);
}

}  // namespace
}  // namespace kvtier::client
