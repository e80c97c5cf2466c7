// Workers: jobs run elsewhere, completions on the caller's thread, queues are bounded.
#include "daemon/workers/executor.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

namespace kvtier::daemon {
namespace {

TEST(ThreadExecutor, RunsJobsElsewhereAndCompletionsHere) {
  auto executor = make_thread_executor(2);
  ASSERT_TRUE(executor.ok());
  std::atomic<int> worked = 0;
  int done = 0;
  const std::thread::id here = std::this_thread::get_id();
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE((*executor)->submit({[&] {
                                       if (std::this_thread::get_id() != here) ++worked;
                                     },
                                     [&] {
                                       if (std::this_thread::get_id() == here) ++done;
                                     }}));
  }
  while ((*executor)->pending() > 0) {
    pollfd wait = {(*executor)->completion_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&wait, 1, 10000), 1);
    (*executor)->complete();
  }
  EXPECT_EQ(worked, 500);
  EXPECT_EQ(done, 500);
}

TEST(InlineExecutor, RefusesWhatExceedsItsQueue) {
  const auto executor = make_inline_executor();
  int ran = 0;
  for (size_t i = 0; i < kJobsMax; ++i) {
    ASSERT_TRUE(executor->submit({[] {}, [&] { ++ran; }}));
  }
  EXPECT_FALSE(executor->submit({[] {}, [] {}}));
  EXPECT_EQ(executor->complete(), kJobsMax);
  EXPECT_EQ(ran, static_cast<int>(kJobsMax));
}

}  // namespace
}  // namespace kvtier::daemon
