// `kvtier bench restart`: a daemon with many small chunks is killed with SIGKILL and started again
// over the same memory; measured is the time from the kill to the first look-up that hits, and how
// much is found again. Beside it stands the second that it may take.
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tools/admin/admin_client.hpp"
#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/prompts.hpp"
#include "tools/replay/host_sizing.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPrompt = 256;
constexpr uint32_t kTokens = 256;
constexpr uint64_t kChunkBytes = 1024;  // slots of 8 KiB: a header's page and a payload's
constexpr double kSecondsAllowed = 1;
constexpr auto kPatience = std::chrono::seconds(60);

double since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

class RestartBench {
 public:
  explicit RestartBench(const BenchOptions& options) : options_(options) {}
  ~RestartBench() {
    session_.reset();
    daemon_.reset();
    // The holder ends when its socket is gone.
    std::error_code ignored;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
  }
  Result<BenchResult> run();

 private:
  Status start();
  Status fill();
  Status one_restart();
  Result<uint64_t> counter(const char* name) const;
  std::string reason() const;

  const BenchOptions& options_;
  std::string directory_, config_;
  std::unique_ptr<SpawnedDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  uint64_t chunks_ = 0;
  std::vector<double> serving_, hitting_, found_, killing_, cpu_;
};

Status RestartBench::start() {
  daemon_.reset();
  SpawnOptions spawn;
  spawn.directory = directory_;
  spawn.config_text = config_;
  spawn.keep = true;
  spawn.start_timeout = std::chrono::seconds(60);
  auto started = SpawnedDaemon::start(spawn);
  if (!started) return started.error();
  daemon_ = *std::move(started);
  return {};
}

Status RestartBench::fill() {
  SessionOptions session;
  session.socket = daemon_->socket();
  session.name = "bench";
  session.call_deadline = std::chrono::seconds(5);
  auto opened = Session::open(session);
  if (!opened) return opened.error();
  session_ = *std::move(opened);
  if (Status s = session_->wait_attached(Clock::now() + kPatience); !s) return s;
  BenchPool pool;
  pool.tokens_per_chunk = kTokens;
  pool.chunk_bytes = kChunkBytes;
  auto space = session_->open_space(bench_space(pool));
  if (!space) return space.error();
  space_ = *std::move(space);
  Prompts prompts(*space_, kPrompt);
  const std::vector<std::byte> payload(kChunkBytes, std::byte{1});
  for (uint64_t number = 0; number < chunks_ / kPrompt; ++number) {
    const auto chain = prompts.store(number, payload);
    if (!chain) return chain.error();
  }
  return {};
}

Result<uint64_t> RestartBench::counter(const char* name) const {
  const auto reply = ask_admin({.socket = daemon_->admin_socket(), .target = "/v1/status"});
  if (!reply.ok()) return reply.error();
  const auto json = nlohmann::json::parse(reply->body, nullptr, false);
  if (!json.is_object()) return Error(Code::kUnavailable, "the daemon's status cannot be read");
  return json.at("counters").at(name).get<uint64_t>();
}

// How the daemon says that it started.
std::string RestartBench::reason() const {
  const auto reply = ask_admin({.socket = daemon_->admin_socket(), .target = "/v1/status"});
  if (!reply.ok()) return "";
  const auto json = nlohmann::json::parse(reply->body, nullptr, false);
  return json.is_object() ? json.at("start_reason").get<std::string>() : "";
}

Status RestartBench::one_restart() {
  Prompts prompts(*space_, kPrompt);
  const auto began = Clock::now();
  daemon_->kill_now();
  killing_.push_back(since(began));
  if (Status started = start(); !started) return started;
  serving_.push_back(since(began));
  cpu_.push_back(daemon_->cpu_seconds());
  const auto chain = prompts.chain(chunks_ / kPrompt / 2);
  if (!chain) return chain.error();
  while (space_->lookup(*chain).chunks != kPrompt) {
    if (since(began) > 60) return Error(Code::kDeadline, "a stored prompt is not found again");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  hitting_.push_back(since(began));
  options_.note(reason());
  const auto adopted = counter("adopted");
  if (!adopted) return adopted.error();
  found_.push_back(static_cast<double>(*adopted) / static_cast<double>(chunks_));
  return {};
}

Result<BenchResult> RestartBench::run() {
  if (!options_.socket.empty()) {
    return Error(Code::kInvalidArgument, "restart kills the daemon: it starts one of its own");
  }
  BenchPool pool;
  pool.tokens_per_chunk = kTokens;
  pool.chunk_bytes = kChunkBytes;
  chunks_ = chunks_that_fit(options_.entries, pool) / kPrompt * kPrompt;
  if (chunks_ == 0) return Error(Code::kOutOfMemory, "not even one prompt fits the memory");
  if (chunks_ + kPrompt < options_.entries) options_.note("memory is short: fewer chunks");
  const uint64_t slot = slot_bytes_of(pool.tokens_per_chunk, pool.chunk_bytes);
  config_ = "[daemon]\nkeep_for = '1m'\n[host]\ncapacity = \"" +
            std::to_string(capacity_for_chunks(chunks_, slot, kSegmentBytesMin)) +
            "B\"\n[index]\nhuge_pages = \"" + options_.huge_pages +
            "\"\nchunks_max = " + std::to_string(chunks_ + 1024) + "\n";
  directory_ = std::filesystem::temp_directory_path().string() + "/kvtier-restart-XXXXXX";
  if (mkdtemp(directory_.data()) == nullptr) return Error::system(errno, "making a folder");
  if (Status s = start(); !s) return s.error();
  options_.note("storing " + std::to_string(chunks_) + " chunks");
  if (Status s = fill(); !s) return s.error();
  const uint32_t repeats = std::min(options_.repeats, 5u);
  options_.note("killing it " + std::to_string(repeats) + " times");
  for (uint32_t i = 0; i < repeats; ++i) {
    if (Status s = one_restart(); !s) return s.error();
  }
  BenchResult result;
  result.unit = "s";
  result.is_rate = false;
  result.ours = median(serving_);
  result.limit = kSecondsAllowed;
  result.limit_name = "allowed";
  result.explanation = "kill -9 to a daemon that serves, with the chunks of before";
  result.more["chunks"] = chunks_;
  result.more["seconds_max"] = quantile(serving_, 1);
  result.more["seconds_to_first_hit"] = median(hitting_);
  result.more["share_found_again"] = quantile(found_, 0);
  result.more["rss_bytes"] = daemon_->rss_bytes();
  result.more["seconds_killing"] = median(killing_);
  result.more["cpu_seconds_to_ready"] = median(cpu_);
  result.more["repeats"] = repeats;
  return result;
}

}  // namespace

Result<BenchResult> bench_restart(const BenchOptions& options) {
  return RestartBench(options).run();
}

}  // namespace kvtier::tools
