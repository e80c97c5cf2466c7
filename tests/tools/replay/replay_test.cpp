// Whole replays: the program kvtier with a daemon of its own, and against one of the test's.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kvtier/kvtier.hpp"
#include "tests/tools/trace/trace_test_support.hpp"
#include "tools/cli/command.hpp"
#include "tools/cli/spawn.hpp"
#include "tools/trace/block_content.hpp"
#include "tools/trace/conversation.hpp"
#include "tools/trace/reference_cache.hpp"
#include "tools/trace/trace_line.hpp"

namespace kvtier::tools {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr const char* kCli = KVTIER_PROGRAM_DIR "/kvtier";
constexpr uint64_t kBytesPerToken = 16;

struct Ran {
  int status = -1;
  std::string out;
  std::string err;
  Json json() const { return Json::parse(out, nullptr, false); }
};

class Replay : public ::testing::Test {
 protected:
  Replay() {
    char name[] = "/tmp/kvtier-replay-test-XXXXXX";
    folder_ = mkdtemp(name);
    trace_ = folder_ + "/trace.jsonl";
  }
  ~Replay() override { fs::remove_all(folder_); }

  // A generated conversation, small enough to run many times.
  void write_trace(uint64_t requests, uint32_t users) {
    ConversationOptions options;
    options.requests = requests;
    options.users = users;
    options.context_tokens_max = 20'000;
    auto source = generate_conversation(options);
    ASSERT_TRUE(source.ok()) << source.error().message();
    TraceRequest request;
    std::ofstream file(trace_);
    while (*(*source)->next(request)) {
      file << format_trace_line(request) << "\n";
      requests_.push_back(request);
    }
  }

  Ran run(const std::string& arguments) const {
    const std::string err_path = folder_ + "/err";
    const std::string line = std::string(kCli) + " " + arguments + " 2>" + err_path + " </dev/null";
    FILE* pipe = popen(line.c_str(), "r");
    Ran ran;
    char block[4096];
    while (const size_t got = fread(block, 1, sizeof block, pipe)) ran.out.append(block, got);
    ran.status = WEXITSTATUS(pclose(pipe));
    std::ifstream err(err_path);
    ran.err.assign(std::istreambuf_iterator<char>(err), {});
    return ran;
  }
  Ran replay(const std::string& arguments) const {
    return run("replay " + trace_ + " --json --bytes-per-token " + std::to_string(kBytesPerToken) +
               " " + arguments);
  }
  std::string spawn() const { return "--spawn " + folder_ + "/daemon "; }

  std::unique_ptr<SpawnedDaemon> start_daemon(const std::string& config) const {
    SpawnOptions options;
    options.program = KVTIER_PROGRAM_DIR "/kvtierd";
    options.config_text = config;
    auto daemon = SpawnedDaemon::start(options);
    EXPECT_TRUE(daemon.ok()) << daemon.error().message();
    return daemon.ok() ? *std::move(daemon) : nullptr;
  }

  uint64_t blocks_asked() const {
    uint64_t blocks = 0;
    for (const TraceRequest& request : requests_) blocks += request.hash_ids.size();
    return blocks;
  }

  std::string folder_, trace_;
  std::vector<TraceRequest> requests_;
};

TEST_F(Replay, OneClientHitsExactlyWhatLruHits) {
  write_trace(400, 20);
  size_t longest = 0;
  for (const TraceRequest& request : requests_) {
    longest = std::max(longest, request.hash_ids.size());
  }
  ASSERT_GT(longest, 30u);  // some capacities below are smaller than a request
  uint64_t hit_before = 0;
  for (const uint64_t capacity : {0ull, 1ull, 7ull, 30ull, 64ull, 300ull, 1000ull, 100'000ull}) {
    ReferenceLru lru(capacity);
    for (const TraceRequest& request : requests_) lru.serve(request.hash_ids);
    const Ran ran = replay(spawn() + "--verify --host-chunks " + std::to_string(capacity));
    ASSERT_EQ(ran.status, kExitOk) << capacity << ran.out << ran.err;
    const Json json = ran.json();
    EXPECT_EQ(json["requests"], requests_.size());
    EXPECT_EQ(json["blocks_asked"], lru.result().blocks_asked);
    EXPECT_EQ(json["blocks_hit"], lru.result().blocks_hit) << "capacity " << capacity;
    EXPECT_EQ(json["blocks_stored"], lru.result().blocks_inserted) << "capacity " << capacity;
    EXPECT_EQ(json["hits_by_tier"]["host"], json["blocks_hit"]);
    EXPECT_EQ(json["wrong_bytes"], 0);
    EXPECT_EQ(json["failed_calls"], 0);
    EXPECT_GE(json["blocks_hit"], hit_before);
    hit_before = json["blocks_hit"];
  }
  EXPECT_GT(hit_before, 1000u);
}

// The recorded conversations, block for block: what docs/benchmarks/replay.md says.
TEST_F(Replay, ARecordedTraceHitsExactlyWhatLruHits) {
  const std::string path = recorded_trace("conversation.jsonl");
  SKIP_WITHOUT_TRACE(path, "conversation.jsonl");
  constexpr uint64_t kRequests = 4000;
  std::string error;
  std::vector<TraceRequest> requests = read_all(path, &error);
  ASSERT_EQ(error, "");
  ASSERT_GT(requests.size(), kRequests);
  ReferenceLru lru(3000);
  for (size_t i = 0; i < kRequests; ++i) lru.serve(requests[i].hash_ids);
  const Ran ran = run("replay " + path + " --json --verify --bytes-per-token 16 --requests 4000 " +
                      spawn() + "--host-chunks 3000");
  ASSERT_EQ(ran.status, kExitOk) << ran.out << ran.err;
  const Json json = ran.json();
  EXPECT_EQ(json["requests"], kRequests);
  EXPECT_EQ(json["blocks_hit"], lru.result().blocks_hit);
  EXPECT_EQ(json["blocks_stored"], lru.result().blocks_inserted);
  EXPECT_EQ(json["wrong_bytes"], 0);
  EXPECT_EQ(json["failed_calls"], 0);
}

TEST_F(Replay, JsonHasEveryFieldOfTheContract) {
  write_trace(60, 5);
  const Ran ran = replay(spawn());
  ASSERT_EQ(ran.status, kExitOk) << ran.out << ran.err;
  const Json json = ran.json();
  for (const char* field :
       {"requests", "blocks_asked", "blocks_hit", "hit_rate", "hit_rate_tokens", "failed_calls",
        "bytes_loaded", "bytes_stored", "load_gbps", "store_gbps", "seconds"}) {
    EXPECT_TRUE(json[field].is_number()) << field;
  }
  EXPECT_TRUE(json["hits_by_tier"]["nvme"].is_number());
  EXPECT_TRUE(json["lookup_us"]["p50"].is_number());
  EXPECT_TRUE(json["lookup_us"]["p99"].is_number());
  EXPECT_TRUE(json["wrong_bytes"].is_null());
  const double rate = json["blocks_hit"].get<double>() / json["blocks_asked"].get<double>();
  EXPECT_DOUBLE_EQ(json["hit_rate"], rate);
  EXPECT_EQ(json["bytes_loaded"], json["blocks_hit"].get<uint64_t>() * 512 * kBytesPerToken);
  EXPECT_EQ(json["bytes_stored"], json["blocks_stored"].get<uint64_t>() * 512 * kBytesPerToken);
}

TEST_F(Replay, SeveralClientsGetNoWrongByte) {
  write_trace(400, 20);
  const Ran ran = replay(spawn() + "--verify --clients 4 --host-chunks 500");
  ASSERT_EQ(ran.status, kExitOk) << ran.out << ran.err;
  const Json json = ran.json();
  EXPECT_EQ(json["requests"], requests_.size());
  EXPECT_EQ(json["blocks_asked"], blocks_asked());
  EXPECT_EQ(json["wrong_bytes"], 0);
  EXPECT_GT(json["blocks_hit"], 0);
}

TEST_F(Replay, SmallHostMemoryIsLivedWith) {
  write_trace(200, 10);
  for (const char* options : {"--host-bytes 0", "--host-bytes 1MiB --clients 3",
                              "--host-bytes 40MiB --drop", "--host-bytes 64KiB"}) {
    const Ran ran = replay(spawn() + "--verify " + options);
    ASSERT_EQ(ran.status, kExitOk) << options << ran.out << ran.err;
    EXPECT_EQ(ran.json()["requests"], requests_.size());
  }
}

TEST_F(Replay, TextTellsWhatWasFound) {
  write_trace(60, 5);
  const Ran ran = run("replay " + trace_ + " --verify --bytes-per-token 16 " + spawn());
  EXPECT_EQ(ran.status, kExitOk) << ran.err;
  for (const char* words : {"hit rate", "loaded", "stored", "look-up", "recomputing", "H100"}) {
    EXPECT_THAT(ran.out, HasSubstr(words));
  }
  EXPECT_EQ(ran.err, "");  // no progress where nobody looks
}

TEST_F(Replay, GeneratedWorkloadSaysSo) {
  const Ran ran =
      run("replay --generate conversation --requests 50 --bytes-per-token 16 --json " + spawn());
  ASSERT_EQ(ran.status, kExitOk) << ran.err;
  EXPECT_EQ(ran.json()["generated"], true);
  EXPECT_EQ(ran.json()["requests"], 50);
}

TEST_F(Replay, RequestsStopEarly) {
  write_trace(60, 5);
  const Ran ran = replay(spawn() + "--requests 7");
  ASSERT_EQ(ran.status, kExitOk) << ran.err;
  EXPECT_EQ(ran.json()["requests"], 7);
}

TEST_F(Replay, PacedKeepsTheRecordedTimes) {
  std::ofstream(trace_)
      << R"({"timestamp":1000,"input_length":512,"output_length":1,"hash_ids":[1]})"
      << "\n"
      << R"({"timestamp":1600,"input_length":512,"output_length":1,"hash_ids":[1]})"
      << "\n";
  const Ran ran = replay(spawn() + "--paced 2");
  ASSERT_EQ(ran.status, kExitOk) << ran.err;
  EXPECT_GE(ran.json()["seconds"], 0.3);
  EXPECT_EQ(ran.json()["blocks_hit"], 1);
}

TEST_F(Replay, InterruptGivesWhatWasDoneUntilThen) {
  std::ofstream(trace_)
      << R"({"timestamp":0,"input_length":512,"output_length":1,"hash_ids":[1]})"
      << "\n"
      << R"({"timestamp":3600000,"input_length":512,"output_length":1,"hash_ids":[2]})"
      << "\n";
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execl(kCli, kCli, "replay", trace_.c_str(), "--json", "--paced", "1", "--spawn",
          (folder_ + "/daemon").c_str(), "--host-chunks", "10", static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  // Until the daemon has the first chunk.
  const std::string socket = folder_ + "/daemon/kvtier.sock";
  for (int i = 0; i < 1000; ++i) {
    if (run("space list --json --socket " + socket).out.find("\"chunks\": 1") !=
        std::string::npos) {
      break;
    }
  }
  kill(child, SIGINT);
  std::string out;
  char block[4096];
  for (ssize_t got = 0; (got = read(ends[0], block, sizeof block)) > 0;) {
    out.append(block, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kExitFailed);
  const Json json = Json::parse(out, nullptr, false);
  ASSERT_TRUE(json.is_object()) << out;
  EXPECT_EQ(json["interrupted"], true);
  EXPECT_EQ(json["requests"], 1);
}

TEST_F(Replay, AKilledDaemonIsJsonWhereJsonWasAskedFor) {
  std::ofstream(trace_)
      << R"({"timestamp":0,"input_length":512,"output_length":1,"hash_ids":[1]})"
      << "\n"
      << R"({"timestamp":3600000,"input_length":512,"output_length":1,"hash_ids":[2]})"
      << "\n";
  const std::string errors = folder_ + "/errors", results = folder_ + "/results";
  const std::string command =
      std::string(kCli) + " replay " + trace_ + " --json --paced 1 --spawn " + folder_ +
      "/daemon --host-chunks 10 2>" + errors + " >" + results + " & echo $!";
  FILE* shell = popen(command.c_str(), "r");
  int replaying = 0;
  ASSERT_EQ(fscanf(shell, "%d", &replaying), 1);
  const std::string socket = folder_ + "/daemon/kvtier.sock";
  pid_t daemon = 0;
  for (int i = 0; i < 1000 && daemon == 0; ++i) {
    const Json shown =
        Json::parse(run("session list --json --socket " + socket).out, nullptr, false);
    if (!shown.is_object() || !shown.contains("sessions") || shown["sessions"].empty()) continue;
    std::ifstream children("/proc/" + std::to_string(replaying) + "/task/" +
                           std::to_string(replaying) + "/children");
    children >> daemon;
  }
  ASSERT_GT(daemon, 0);
  ASSERT_EQ(kill(daemon, SIGKILL), 0);
  kill(replaying, SIGINT);  // it would wait for the second request
  pclose(shell);
  for (int i = 0; i < 1000 && kill(replaying, 0) == 0; ++i) usleep(10'000);
  std::ifstream said(errors);
  size_t lines = 0;
  for (std::string line; std::getline(said, line); ++lines) {
    EXPECT_TRUE(Json::accept(line)) << line;
  }
  EXPECT_GE(lines, 1u);
}

TEST_F(Replay, WrongUseIsRefusedWithStatus2) {
  write_trace(5, 1);
  const std::vector<std::string> lines = {
      "replay",
      "replay " + trace_ + " --generate conversation " + spawn(),
      "replay " + trace_ + " --nvme-bytes 1GiB",
      "replay " + trace_ + " --nvme-chunks 1 --nvme-bytes 1GiB " + spawn(),
      "replay " + trace_ + " --policy mru " + spawn(),
      "replay " + trace_ + " --clients 0 " + spawn(),
      "replay " + trace_ + " --paced 0 " + spawn(),
      "replay " + trace_ + " --host-chunks 5 --host-bytes 1GiB " + spawn(),
      "replay " + trace_ + " --host-bytes 1000 " + spawn(),
      "replay " + trace_ + " --bytes-per-token 1GiB " + spawn(),
      "replay " + trace_ + " --bytes-per-token 0 " + spawn(),
      "replay " + trace_ + " --socket /nonexistent " + spawn(),
      "replay /nonexistent/trace.jsonl " + spawn(),
      "replay " + trace_ + " --spawn " + fs::path(kCli).parent_path().string(),  // not empty
  };
  for (const std::string& line : lines) {
    const Ran ran = run(line);
    EXPECT_EQ(ran.status, kExitUsage) << line << "\n" << ran.out << ran.err;
    EXPECT_NE(ran.err, "") << line;
  }
  EXPECT_EQ(replay(spawn() + "--nvme-bytes 0 --nvme-chunks 0").status, kExitOk);
}

TEST_F(Replay, WithoutADaemonItSaysSo) {
  write_trace(5, 1);
  const Ran ran = replay("--socket " + folder_ + "/none.sock");
  EXPECT_EQ(ran.status, kExitUnreachable) << ran.err;
}

TEST_F(Replay, BrokenTraceIsNamedWithItsLine) {
  write_trace(3, 1);
  std::ofstream(trace_, std::ios::app) << "{\"timestamp\": 1}\n";
  const Ran ran = run("replay " + trace_ + " " + spawn());
  EXPECT_EQ(ran.status, kExitFailed);
  EXPECT_THAT(ran.err, HasSubstr(":4: "));
}

TEST_F(Replay, RunningDaemonKeepsItsCapacityAndItsChunks) {
  write_trace(50, 5);
  const auto daemon = start_daemon("[host]\ncapacity = \"64MiB\"\ncapacity_chunks = 2000\n");
  ASSERT_NE(daemon, nullptr);
  const std::string socket = "--socket " + daemon->socket();
  EXPECT_EQ(replay(socket + " --host-chunks 10").status, kExitUsage);
  EXPECT_EQ(replay(socket + " --host-bytes 1GiB").status, kExitUsage);
  EXPECT_EQ(replay(socket + " --host-bytes 64MiB --requests 1").status, kExitOk);
  const Ran first = replay(socket + " --host-chunks 2000");
  ASSERT_EQ(first.status, kExitOk) << first.err;
  const Ran second = replay(socket + " --verify");  // the same file: the same space
  ASSERT_EQ(second.status, kExitOk) << second.err;
  EXPECT_EQ(second.json()["blocks_hit"], blocks_asked());
  EXPECT_EQ(second.json()["wrong_bytes"], 0);
}

// Chunks of the trace's first request, in a session of the test's own, writable.
class CorruptedReplay : public Replay {
 protected:
  // Stores the trace, spoils a byte of one chunk, and replays it again.
  Ran spoil(const char* verify) {
    write_trace(20, 3);
    const auto daemon = start_daemon(
        std::string("[host]\ncapacity = \"64MiB\"\n[verify]\nhost = \"") + verify + "\"\n");
    const std::string socket = "--socket " + daemon->socket();
    EXPECT_EQ(replay(socket).status, kExitOk);

    SessionOptions options;
    options.socket = daemon->socket();
    auto session = Session::open(options);
    EXPECT_TRUE((*session)->wait_attached(Clock::now() + std::chrono::seconds(10)).ok());
    SpaceSpec spec;
    spec.model = "replay of " + fs::canonical(trace_).string();
    spec.dtype = "u8";
    spec.layout = "replay-1";
    spec.tokens_per_chunk = 512;
    spec.chunk_bytes = kBytesPerToken * 512;
    auto space = (*session)->open_space(spec);
    std::vector<uint32_t> tokens(512);
    fill_tokens(requests_[0].hash_ids[0], tokens);
    const auto chain = (*space)->derive({.tokens = tokens});
    const auto match = (*space)->match(*chain);
    EXPECT_EQ(match->chunks(), 1u);
    auto* byte = const_cast<std::byte*>(match->payload(0).data()) + 4711;
    *byte = ~*byte;
    return replay(socket + " --verify");
  }
};

TEST_F(CorruptedReplay, WrongBytesThatReachTheClientAreCounted) {
  const Ran ran = spoil("never");
  EXPECT_EQ(ran.status, kExitFailed);
  EXPECT_GE(ran.json()["wrong_bytes"], 1) << ran.out;
}

TEST_F(CorruptedReplay, WrongBytesThatTheClientStopsAreFailedLoads) {
  const Ran ran = spoil("always");
  EXPECT_EQ(ran.status, kExitFailed);
  EXPECT_EQ(ran.json()["wrong_bytes"], 0) << ran.out;
  EXPECT_EQ(ran.json()["failed_calls"], 1) << ran.out;
}

TEST_F(Replay, EmptyTraceIsAnError) {
  std::ofstream(trace_) << "";
  const Ran ran = replay(spawn());
  EXPECT_EQ(ran.status, kExitUsage) << ran.out;
  EXPECT_NE(ran.err, "");
}

}  // namespace
}  // namespace kvtier::tools
