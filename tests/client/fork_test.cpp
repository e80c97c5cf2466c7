// A forked child gets kForked from everything, and the parent is not disturbed.
#include <sys/wait.h>
#include <unistd.h>

#include "tests/client/fixture.hpp"

namespace kvtier::testing {
namespace {

class ForkTest : public ClientTest {};

// Runs in a child, which reports the number of the first check that failed.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "the child died of signal " << WTERMSIG(status);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(ForkTest, EveryCallOfTheChildSaysForked) {
  start();
  const auto tokens = prompt(2);
  const KeyChain chain = derive(tokens);
  store(chain, 2);
  Match match = *space_->match(chain);
  const auto now = Clock::now();
  const size_t chunk = 0;
  EXPECT_EQ(in_child([&] {
              int check = 0;
              const auto forked = [&](Code code) {
                if (code != Code::kForked) ::_exit(check + 1);
                ++check;
              };
              forked(session_->wait_attached(now).code());
              forked(session_->open_space(spec()).code());
              forked(space_->derive({.tokens = tokens}).code());
              forked(space_->fold({}).code());
              forked(space_->match(chain).code());
              forked(space_->load(match, {}).code());
              forked(space_->reserve(chain, {&chunk, 1}, now).code());
              forked(space_->commit({}, {}, now).code());
              forked(space_->store(chain, {}, now).code());
              forked(space_->flush_touches(now).code());
              forked(space_->prefetch(chain, 0, 1, now).code());
              forked(space_->hint(chain, 0, 1, Hint::kPin, 1).code());
              forked(space_->report_prefill(1, 0, 1).code());
              forked(match.check().code());
              space_->touch(chain, 2);
              (void)space_->lookup(chain);
              (void)space_->plan(Lookup());
              (void)session_->stats();
              match.release();
              if (session_->attached() || !match.payload(0).empty()) return 100;
              return 0;
            }),
            0);
  EXPECT_TRUE(match.check().ok());
  EXPECT_EQ(daemon_->leases(), 2u);
}

TEST_F(ForkTest, TheChildsDestructorsDoNothingToTheParent) {
  start();
  const KeyChain chain = derive(prompt(2));
  store(chain, 1);
  Match match = *space_->match(chain);
  const size_t chunk = 1;
  auto reserved = *space_->reserve(chain, {&chunk, 1}, in(std::chrono::seconds(5)));
  ASSERT_TRUE(reserved[0].grant.held());
  EXPECT_EQ(in_child([&] {
              match = Match();
              reserved.clear();
              space_.reset();
              session_.reset();
              return 0;
            }),
            0);
  EXPECT_TRUE(match.check().ok());
  EXPECT_EQ(match.payload(0)[3], payload(0)[3]);
  EXPECT_EQ(daemon_->leases(), 1u);
  EXPECT_EQ(daemon_->grants(), 1u);
  EXPECT_EQ(daemon_->detaches(), 0u);
  ASSERT_TRUE(space_->flush_touches(in(std::chrono::seconds(5))).ok()) << "still served";
}

TEST_F(ForkTest, AChildMayOpenASessionOfItsOwn) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer starts no threads in the child of a program with threads";
#endif
  start();
  EXPECT_EQ(in_child([&] {
              auto own = Session::open(session_options());
              if (!own.ok()) return 1;
              // The daemon's thread lives in the parent, which goes on serving.
              if (!(*own)->wait_attached(in(std::chrono::seconds(10))).ok()) return 2;
              return 0;
            }),
            0);
  EXPECT_EQ(daemon_->attaches(), 2u);
}

}  // namespace
}  // namespace kvtier::testing
