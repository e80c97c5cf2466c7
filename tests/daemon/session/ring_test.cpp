// The rings: requests answered as documented, and a client that breaks every rule there is.
#include <fcntl.h>

#include <atomic>
#include <random>
#include <thread>

#include "kernels/checksum.hpp"
#include "tests/daemon/session/server_fixture.hpp"

namespace kvtier::daemon {
namespace {

using wire::Op;

constexpr auto kInvalid = static_cast<int32_t>(Code::kInvalidArgument);

wire::Submission submission(Op op) {
  wire::Submission request = {};
  request.op = static_cast<uint16_t>(op);
  return request;
}

class Ring : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    client_ = std::make_unique<RawClient>(attach("client"));
    space_ = client_->open_space("m", kPayload);
    ASSERT_NE(space_, 0u);
  }
  void TearDown() override {
    client_.reset();
    ServerTest::TearDown();
  }
  int32_t status_of(const wire::Submission& request) {
    const auto completion = client_->ask(request);
    return completion ? completion->status : -1;
  }
  void expect_ended(RawClient& client) {
    turns();
    EXPECT_EQ(session_of(client).state, SessionState::kKilled);
    EXPECT_NE(client.header().ended.load(), 0u);
    EXPECT_FALSE(client.receive().has_value()) << "its socket is closed";
    EXPECT_FALSE(client.timed_out());
  }

  std::unique_ptr<RawClient> client_;
  uint32_t space_ = 0;
};

TEST_F(Ring, EveryRequestIsAnsweredInOrder) {
  std::vector<uint64_t> asked;
  for (int i = 0; i < 200; ++i) asked.push_back(client_->submit(submission(Op::kNop)));
  for (const uint64_t user_data : asked) {
    const auto completion = client_->wait();
    ASSERT_TRUE(completion.has_value());
    EXPECT_EQ(completion->user_data, user_data);
    EXPECT_EQ(completion->status, 0);
  }
  EXPECT_EQ(client_->header().submission_head.load(), 200u);
}

TEST_F(Ring, AChunkStoredThroughTheRingIsPublished) {
  const wire::ReserveAnswer answer = reserve(*client_, space_, 7);
  ASSERT_EQ(answer.outcome, uint32_t(wire::ReserveOutcome::kGranted));
  std::byte* data = core_->host().data(
      core_->host().slot_at(session_of(*client_).tenant, wire::Place(answer.place)));
  std::memset(data + 4096, 0x5a, kPayload);
  EXPECT_EQ(client_->commit(answer.place, kernels::hash_only(data + 4096, kPayload)),
            wire::CommitOutcome::kStored);
  EXPECT_EQ(reserve(*client_, space_, 7).outcome, uint32_t(wire::ReserveOutcome::kPresent));
  EXPECT_EQ(client_->commit(answer.place), wire::CommitOutcome::kUnknownGrant);
}

TEST_F(Ring, IdsOfARequestArriveInTheHeader) {
  std::byte* area = client_->arguments();
  wire::ReserveArg arguments[2] = {};
  for (uint32_t i = 0; i < 2; ++i) {
    arguments[i].key = {100 + i, 1};
    arguments[i].payload_bytes = kPayload;
    arguments[i].tokens = 3;
    arguments[i].extra_ids = 1;
    arguments[i].ids_offset = 512 + 64 * i;
    const uint32_t tokens[4] = {10 * i + 1, 10 * i + 2, 10 * i + 3, 0};
    const uint64_t extra = 1000 + i;
    std::memcpy(area + 512 + 64 * i, tokens, sizeof tokens);
    std::memcpy(area + 512 + 64 * i + 16, &extra, sizeof extra);
  }
  std::memcpy(area, arguments, sizeof arguments);
  wire::Submission request = submission(Op::kReserve);
  request.space = space_;
  request.count = 2;
  request.args_bytes = 1024;
  wire::ReserveAnswer answers[2];
  for (int attempt = 0; attempt < 64; ++attempt) {
    std::memcpy(area, arguments, sizeof arguments);
    ASSERT_EQ(status_of(request), 0);
    std::memcpy(answers, area, sizeof answers);
    if (answers[0].outcome != uint32_t(wire::ReserveOutcome::kBusy)) break;
  }
  for (uint32_t i = 0; i < 2; ++i) {
    ASSERT_EQ(answers[i].outcome, uint32_t(wire::ReserveOutcome::kGranted));
    const std::byte* header = core_->host().data(
        core_->host().slot_at(session_of(*client_).tenant, wire::Place(answers[i].place)));
    uint32_t tokens[3];
    uint64_t extra = 0;
    std::memcpy(tokens, header + 256, sizeof tokens);
    std::memcpy(&extra, header + 256 + 16, sizeof extra);
    EXPECT_EQ(tokens[0], 10 * i + 1);
    EXPECT_EQ(tokens[2], 10 * i + 3);
    EXPECT_EQ(extra, 1000 + i);
  }
}

TEST_F(Ring, ATouchFlushAppliesWhatWasLoggedBefore) {
  const wire::ReserveAnswer answer = reserve(*client_, space_, 7);
  ASSERT_EQ(client_->commit(answer.place, 1), wire::CommitOutcome::kStored);
  auto* touches = reinterpret_cast<std::atomic<uint64_t>*>(client_->memory() +
                                                           client_->header().touches_offset);
  touches[0].store(answer.place, std::memory_order_relaxed);
  client_->header().touch_tail.store(1, std::memory_order_release);
  EXPECT_EQ(status_of(submission(Op::kTouchFlush)), 0);
  EXPECT_EQ(core_->counters().touches, 1u);
  EXPECT_EQ(client_->header().touch_head.load(), 1u);
}

// --- Requests that make no sense: answered, and the session goes on.

struct BadRequest {
  const char* name;
  std::function<void(wire::Submission*, wire::ReserveArg*)> spoil;  // a sound reserve of one chunk
};
class RefusedRequest : public Ring, public testing::WithParamInterface<BadRequest> {};

TEST_P(RefusedRequest, IsAnInvalidArgument) {
  wire::Submission request = submission(Op::kReserve);
  request.space = space_;
  request.count = 1;
  request.args_bytes = 256;
  wire::ReserveArg argument = {};
  argument.key = {1, 1};
  argument.payload_bytes = kPayload;
  argument.tokens = 16;
  argument.ids_offset = 128;
  GetParam().spoil(&request, &argument);
  const uint64_t area = client_->attached().session_bytes - client_->header().args_offset;
  if (request.args_offset + sizeof argument <= area) {
    std::memcpy(client_->arguments() + request.args_offset, &argument, sizeof argument);
  }
  EXPECT_EQ(status_of(request), kInvalid);
  EXPECT_EQ(status_of(submission(Op::kNop)), 0);
  EXPECT_GE(core_->counters().invalid_requests, 1u);
  EXPECT_EQ(core_->counters().protocol_errors, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Table, RefusedRequest,
    testing::Values(
        BadRequest{"UnknownOp", [](auto* r, auto*) { r->op = 999; }},
        BadRequest{"NoChunks", [](auto* r, auto*) { r->count = 0; }},
        BadRequest{"TooManyChunks", [](auto* r, auto*) { r->count = 65; }},
        BadRequest{"CountThatOverflows", [](auto* r, auto*) { r->count = UINT32_MAX; }},
        BadRequest{"OffsetNotAWord", [](auto* r, auto*) { r->args_offset = 4; }},
        BadRequest{"OffsetBehindTheArea", [](auto* r, auto*) { r->args_offset = 1u << 20; }},
        BadRequest{"OffsetThatOverflows", [](auto* r, auto*) { r->args_offset = UINT32_MAX - 7; }},
        BadRequest{"BytesBehindTheArea",
                   [](auto* r, auto*) {
                     r->args_offset = (1u << 20) - 256;
                     r->args_bytes = 512;
                   }},
        BadRequest{"BytesThatOverflow", [](auto* r, auto*) { r->args_bytes = UINT32_MAX; }},
        BadRequest{"FewerBytesThanChunks", [](auto* r, auto*) { r->args_bytes = 64; }},
        BadRequest{"IdsNotAWord", [](auto*, auto* a) { a->ids_offset = 132; }},
        BadRequest{"IdsBeforeTheArguments",
                   [](auto* r, auto* a) {
                     r->args_offset = 4096;
                     a->ids_offset = 0;
                   }},
        BadRequest{"IdsBehindTheArguments", [](auto*, auto* a) { a->ids_offset = 256; }},
        BadRequest{"IdsThatOverflow", [](auto*, auto* a) { a->ids_offset = UINT32_MAX - 7; }},
        BadRequest{"TooManyTokens", [](auto*, auto* a) { a->tokens = UINT32_MAX; }},
        BadRequest{"TooManyExtraIds", [](auto*, auto* a) { a->extra_ids = 65; }},
        BadRequest{"MoreTokensThanBytes", [](auto*, auto* a) { a->tokens = 64; }},
        BadRequest{"AHintOfNoKind",
                   [](auto* r, auto*) {
                     r->op = uint16_t(Op::kHint);
                     r->a = 0;
                     r->b = 0x7ff8000000000000;  // not a number
                   }},
        BadRequest{"ABadChunkOfNoKind",
                   [](auto* r, auto*) {
                     r->op = uint16_t(Op::kBadChunk);
                     r->b = 9;
                   }},
        BadRequest{"ALoadFromNoTier",
                   [](auto* r, auto*) {
                     r->op = uint16_t(Op::kReportLoad);
                     r->a = UINT64_MAX;
                   }}),
    [](const auto& row) { return std::string(row.param.name); });

TEST_F(Ring, ChunksThatShareIdsCannotAskForMoreWorkThanTheyBroughtBytes) {
  wire::ReserveArg argument = {};
  argument.payload_bytes = kPayload;
  argument.tokens = wire::kTokensPerChunkMax;
  argument.ids_offset = 8192;
  for (uint32_t i = 0; i < 64; ++i) {
    std::memcpy(client_->arguments() + i * sizeof argument, &argument, sizeof argument);
  }
  wire::Submission request = submission(Op::kReserve);
  request.space = space_;
  request.count = 64;
  request.args_bytes = 8192 + 4 * wire::kTokensPerChunkMax;
  EXPECT_EQ(status_of(request), kInvalid);
}

TEST_F(Ring, AReadOnlySessionGetsNoGrants) {
  RawClient reader = attach("reader", wire::kAttachReadOnly);
  wire::Submission request = submission(Op::kReserve);
  request.space = space_;
  request.count = 1;
  request.args_bytes = sizeof(wire::ReserveArg);
  EXPECT_EQ(reader.ask(request)->status, static_cast<int32_t>(Code::kPermission));
}

// --- Broken rings: the session ends, the others do not notice.

TEST_F(Ring, ATailThatJumpsEndsTheSession) {
  RawClient other = attach("other");
  client_->publish(client_->header().submission_entries + 1);
  expect_ended(*client_);
  EXPECT_EQ(core_->counters().protocol_errors, 1u);
  EXPECT_EQ(other.ask(submission(Op::kNop))->status, 0);
}

TEST_F(Ring, ATailThatGoesBackEndsTheSession) {
  client_->publish(UINT32_MAX);
  expect_ended(*client_);
}

TEST_F(Ring, ACompletionHeadAheadOfItsTailEndsTheSession) {
  client_->header().completion_head.store(5);
  client_->submit(submission(Op::kNop));
  expect_ended(*client_);
}

TEST_F(Ring, AClientThatConsumesNothingOnlyStallsItself) {
  Config config = small_config();
  config.session.completion_entries = 16;
  config.session.submission_entries = 64;
  client_.reset();
  start(config);
  RawClient rude = attach("rude");
  RawClient other = attach("other");
  for (int i = 0; i < 64; ++i) rude.submit(submission(Op::kNop));
  turns(20);
  EXPECT_EQ(rude.header().completion_tail.load(), 16u);
  EXPECT_EQ(other.ask(submission(Op::kNop))->status, 0);
  const uint64_t turns_before = core_->counters().turns;
  server_->turn(0);
  EXPECT_EQ(core_->counters().turns, turns_before + 1);
  // It consumes at last; the next tick looks again.
  int taken = 0;
  for (int i = 0; i < 64; ++i) {
    while (rude.take()) ++taken;
    clock_.advance_ns(Core::kTickNs);
    turns();
  }
  EXPECT_EQ(taken, 64);
  EXPECT_EQ(session_of(rude).state, SessionState::kAttached);
}

TEST_F(Ring, AClientThatMakesItsEventfdBlockingEndsItsSession) {
  const int fd = client_->completion_event().get();
  ASSERT_EQ(::fcntl(fd, F_SETFL, 0), 0);
  const uint64_t full = UINT64_MAX - 1;
  ASSERT_EQ(::write(fd, &full, sizeof full), ssize_t{sizeof full});
  client_->header().client_need_wake.store(1);
  client_->submit(submission(Op::kNop));
  expect_ended(*client_);
}

TEST_F(Ring, ABellThatBecomesBlockingInBetweenDoesNotStopTheDaemon) {
  Result<Fd> made = Doorbell::make_eventfd();
  ASSERT_TRUE(made.ok());
  Fd bell = std::move(made).value();
  const uint64_t full = UINT64_MAX - 1;
  ASSERT_EQ(::write(bell.get(), &full, sizeof full), ssize_t{sizeof full});
  std::atomic<bool> stop = false;
  std::thread attacker([&] {
    while (!stop.load()) {
      ::fcntl(bell.get(), F_SETFL, 0);
      ::fcntl(bell.get(), F_SETFL, O_NONBLOCK);
    }
  });
  Doorbell doorbell;
  int refused = 0;
  const auto until = std::chrono::steady_clock::now() + RawClient::kPatience;
  while (refused < 50 && std::chrono::steady_clock::now() < until) {
    refused += doorbell.ring(bell) ? 0 : 1;
  }
  stop.store(true);
  attacker.join();
  EXPECT_EQ(refused, 50) << "it was hardly seen blocking: the test shows nothing";
}

TEST_F(Ring, WhileBellsAreRungAWriteThatWaitsIsInterrupted) {
  Doorbell doorbell;
  Result<Fd> bell = Doorbell::make_eventfd();
  ASSERT_TRUE(bell.ok());
  ASSERT_TRUE(doorbell.ring(*bell));
  const uint64_t full = UINT64_MAX - 2;
  ASSERT_EQ(::write(bell->get(), &full, sizeof full), ssize_t{sizeof full});
  ASSERT_EQ(::fcntl(bell->get(), F_SETFL, 0), 0);
  const uint64_t one = 1;
  EXPECT_EQ(::write(bell->get(), &one, sizeof one), -1);
  EXPECT_EQ(errno, EINTR);
}

// --- Fairness.

TEST_F(Ring, OneSessionTakesNoMoreThanItsShareOfATurn) {
  RawClient other = attach("other");
  for (int i = 0; i < 256; ++i) client_->submit(submission(Op::kNop));
  other.submit(submission(Op::kNop));
  server_->turn(0);
  EXPECT_EQ(client_->header().completion_tail.load(), 64u);
  EXPECT_EQ(other.header().completion_tail.load(), 1u);
  turns(4);
  EXPECT_EQ(client_->header().completion_tail.load(), 256u);
}

// --- Rewriting and garbage.

TEST_F(Ring, ARequestRewrittenWhileItIsServedDoesNoHarm) {
  RawClient other = attach("other");
  auto* words = reinterpret_cast<std::atomic<uint64_t>*>(client_->submissions());
  const size_t count = client_->header().submission_entries * sizeof(wire::Submission) / 8;
  auto* area = reinterpret_cast<std::atomic<uint64_t>*>(client_->arguments());
  std::atomic<bool> stop = false;
  std::thread rewriter([&] {
    std::mt19937_64 random(1);
    while (!stop.load(std::memory_order_relaxed)) {
      // count and args_offset share a word, args_bytes is in the next: valid and not, in turn
      const uint64_t at = random() % count;
      words[at].store(random() % 3 == 0 ? random() : random() % 65, std::memory_order_relaxed);
      area[random() % 1024].store(random() % 2 == 0 ? random() : random() % 512,
                                  std::memory_order_relaxed);
    }
  });
  uint32_t tail = client_->header().submission_tail.load();
  for (int i = 0; i < 2'000; ++i) {
    client_->publish(tail += 8);
    server_->turn(0);
    while (const auto completion = client_->take()) {
      EXPECT_GE(completion->status, 0);
      EXPECT_LE(completion->status, static_cast<int32_t>(Code::kUnsupported));
      EXPECT_LE(completion->count, wire::kBatchChunksMax);
    }
  }
  stop.store(true);
  rewriter.join();
  EXPECT_EQ(session_of(*client_).state, SessionState::kAttached) << "no ring was broken";
  EXPECT_EQ(other.ask(submission(Op::kNop))->status, 0);
}

TEST_F(Ring, GarbageInAllOfTheSessionsMemoryHarmsNobodyElse) {
  const uint64_t seed = std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  RawClient other = attach("other");
  const uint32_t other_space = other.open_space("m", kPayload);
  const wire::ReserveAnswer kept = reserve(other, other_space, 5);
  ASSERT_EQ(other.commit(kept.place, 1), wire::CommitOutcome::kStored);
  for (int round = 0; round < 200; ++round) {
    RawClient wild = attach("wild");
    const uint32_t args_offset = static_cast<uint32_t>(wild.header().args_offset);
    for (int turn = 0; turn < 5; ++turn) {
      for (int i = 0; i < 4096; ++i) {
        const size_t begin = 512;  // behind the layout: the client's words and all arrays
        const uint64_t bytes = args_offset + 4096 - begin;
        auto* word =
            reinterpret_cast<uint64_t*>(wild.memory() + begin + random() % (bytes / 8) * 8);
        *word = random() % 4 == 0 ? random() : random() % 256;
      }
      wild.header().submission_tail.store(static_cast<uint32_t>(random() % 300));
      const uint64_t one = 1;
      (void)!::write(wild.submission_event().get(), &one, sizeof one);
      clock_.advance_ns(Core::kTickNs);
      turns();
    }
    ASSERT_EQ(other.ask(submission(Op::kNop))->status, 0);
    wire::GiveUpRequest give_up = {};
    give_up.session = wild.attached().session;
    give_up.epoch = 42;
    wild.close_socket();
    turns();
    ASSERT_EQ(other.call(wire::MessageType::kGiveUp, give_up)->type(),
              wire::MessageType::kGiveUpReply);
  }
  EXPECT_EQ(reserve(other, other_space, 5).outcome, uint32_t(wire::ReserveOutcome::kPresent));
}

}  // namespace
}  // namespace kvtier::daemon
