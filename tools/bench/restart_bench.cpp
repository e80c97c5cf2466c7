// `kvtier bench restart`: a daemon with many small chunks is killed with SIGKILL and started again
// over the same memory; measured is the time from the kill to the first look-up that hits, and how
// much is found again. Beside it stands the second that it may take. With --nvme most of the chunks
// lie below an eighth of them in host memory, and it is also measured until all are in the index.
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tools/admin/admin_client.hpp"
#include "tools/bench/bench_daemon.hpp"
#include "tools/bench/own_folder.hpp"
#include "tools/bench/prompts.hpp"
#include "tools/replay/host_sizing.hpp"

namespace kvtier::tools {
namespace {

constexpr size_t kPrompt = 256;
constexpr uint32_t kTokens = 256;
constexpr uint64_t kChunkBytes = 1024;  // slots of 8 KiB: a header's page and a payload's
constexpr double kSecondsAllowed = 1;
constexpr auto kPatience = std::chrono::seconds(60);
constexpr uint64_t kHostShare = 8;           // --nvme: one chunk in so many is in host memory
constexpr double kWholeSecondsAllowed = 10;  // --nvme: until the index is whole
constexpr const char* kRecovered = "KV3206";

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
  Status plan(uint64_t host_chunks);
  Status one_restart();
  Status wait_written() const;
  Status wait_whole(Clock::time_point began);
  Result<nlohmann::json> ask(const char* target) const;
  Result<uint64_t> counter(const char* name) const;
  Result<uint64_t> chunks_in(const char* tier) const;
  std::string reason() const;

  const BenchOptions& options_;
  std::string directory_, config_;
  std::unique_ptr<SpawnedDaemon> daemon_;
  std::unique_ptr<Session> session_;
  std::shared_ptr<Space> space_;
  uint64_t chunks_ = 0;
  std::unique_ptr<OwnFolder> slab_;
  std::vector<double> serving_, hitting_, found_, killing_, cpu_, whole_, found_below_;
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

Result<nlohmann::json> RestartBench::ask(const char* target) const {
  const auto reply = ask_admin({.socket = daemon_->admin_socket(), .target = target});
  if (!reply.ok()) return reply.error();
  auto json = nlohmann::json::parse(reply->body, nullptr, false);
  if (!json.is_object()) return Error(Code::kUnavailable, "the daemon's answer cannot be read");
  return json;
}

Result<uint64_t> RestartBench::counter(const char* name) const {
  const auto json = ask("/v1/status");
  if (!json.ok()) return json.error();
  return json->at("counters").at(name).get<uint64_t>();
}

Result<uint64_t> RestartBench::chunks_in(const char* tier) const {
  const auto json = ask((std::string("/v1/tiers/") + tier).c_str());
  if (!json.ok()) return json.error();
  return json->at("chunks").get<uint64_t>();
}

// Until nothing is on its way to the disk any more: what is killed then is a daemon at rest.
Status RestartBench::wait_written() const {
  const auto late = Clock::now() + kPatience;
  for (uint64_t before = UINT64_MAX;;) {
    const auto demoted = counter("demoted");
    if (!demoted.ok()) return demoted.error();
    if (*demoted == before) return {};
    if (Clock::now() > late) return Error(Code::kDeadline, "the chunks are not written in time");
    before = *demoted;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

// The daemon says when all that was below is in the index again.
Status RestartBench::wait_whole(Clock::time_point began) {
  for (;;) {
    const auto events = ask_admin({.socket = daemon_->admin_socket(), .target = "/v1/events"});
    if (!events.ok()) return events.error();
    if (events->body.find(kRecovered) != std::string::npos) return {};
    if (since(began) > 60) return Error(Code::kDeadline, "the index does not get whole");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// How the daemon says that it started.
std::string RestartBench::reason() const {
  const auto json = ask("/v1/status");
  return json.ok() ? json->at("start_reason").get<std::string>() : "";
}

Status RestartBench::one_restart() {
  Prompts prompts(*space_, kPrompt);
  const auto in_host = chunks_in("host");
  if (!in_host.ok()) return in_host.error();
  const auto below = options_.nvme ? chunks_in("nvme") : Result<uint64_t>(uint64_t{0});
  if (!below.ok()) return below.error();
  const auto began = Clock::now();
  daemon_->kill_now();
  killing_.push_back(since(began));
  if (Status started = start(); !started) return started;
  serving_.push_back(since(began));
  cpu_.push_back(daemon_->cpu_seconds());
  // With a tier below, what was stored last is in host memory.
  const auto chain = prompts.chain(options_.nvme ? chunks_ / kPrompt - 1 : chunks_ / kPrompt / 2);
  if (!chain) return chain.error();
  while (space_->lookup(*chain).chunks != kPrompt) {
    if (since(began) > 60) return Error(Code::kDeadline, "a stored prompt is not found again");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  hitting_.push_back(since(began));
  options_.note(reason());
  const auto adopted = counter("adopted");
  if (!adopted) return adopted.error();
  found_.push_back(static_cast<double>(*adopted) / static_cast<double>(*in_host));
  if (!options_.nvme) return {};
  if (Status whole = wait_whole(began); !whole) return whole;
  whole_.push_back(since(began));
  const auto recovered = counter("lower_recovered");
  if (!recovered) return recovered.error();
  found_below_.push_back(static_cast<double>(*recovered) / static_cast<double>(*below));
  const auto oldest = prompts.chain(0);
  if (!oldest) return oldest.error();
  if (space_->lookup(*oldest).chunks_by_tier[static_cast<size_t>(wire::Tier::kNvme)] != kPrompt) {
    return Error(Code::kDeadline, "a stored prompt is not found again below");
  }
  return {};
}

Status RestartBench::plan(uint64_t host_chunks) {
  const uint64_t slot = slot_bytes_of(kTokens, kChunkBytes);
  config_ = "[daemon]\nkeep_for = '1m'\n[host]\ncapacity = \"" +
            std::to_string(capacity_for_chunks(host_chunks, slot, kSegmentBytesMin)) +
            "B\"\n[index]\nhuge_pages = \"" + options_.huge_pages +
            "\"\nchunks_max = " + std::to_string(chunks_ + host_chunks + 1024) + "\n";
  if (!options_.nvme) return {};
  slab_ = std::make_unique<OwnFolder>(options_.folder);
  if (Status made = slab_->made(); !made) return made;
  const uint64_t bytes = wire::round_up(chunks_ * slot + chunks_ * slot / 8, wire::GiB);
  config_ += "[nvme]\nprepare = \"off\"\nwhen_behind = \"wait\"\npaths = [\"" + slab_->path() +
             "\"]\ncapacity = \"" + std::to_string(bytes) + "B\"\n";
  return {};
}

Result<BenchResult> RestartBench::run() {
  if (!options_.socket.empty()) {
    return Error(Code::kInvalidArgument, "restart kills the daemon: it starts one of its own");
  }
  BenchPool pool;
  pool.tokens_per_chunk = kTokens;
  pool.chunk_bytes = kChunkBytes;
  const uint64_t share = options_.nvme ? kHostShare : 1;
  const uint64_t host_chunks = chunks_that_fit(options_.entries / share, pool) / kPrompt * kPrompt;
  chunks_ = host_chunks * share;
  if (chunks_ == 0) return Error(Code::kOutOfMemory, "not even one prompt fits the memory");
  if (chunks_ + share * kPrompt < options_.entries) options_.note("memory is short: fewer chunks");
  if (Status planned = plan(host_chunks); !planned) return planned.error();
  directory_ = std::filesystem::temp_directory_path().string() + "/kvtier-restart-XXXXXX";
  if (mkdtemp(directory_.data()) == nullptr) return Error::system(errno, "making a folder");
  if (Status s = start(); !s) return s.error();
  options_.note("storing " + std::to_string(chunks_) + " chunks");
  if (Status s = fill(); !s) return s.error();
  if (options_.nvme) options_.note("waiting until they are written");
  if (Status s = options_.nvme ? wait_written() : Status(); !s) return s.error();
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
  if (options_.nvme) {
    const auto below = chunks_in("nvme");
    result.more["chunks_below"] = below.ok() ? *below : 0;
    result.more["seconds_to_whole_index"] = median(whole_);
    result.more["seconds_to_whole_index_max"] = quantile(whole_, 1);
    result.more["seconds_to_whole_index_allowed"] = kWholeSecondsAllowed;
    result.more["share_found_again_below"] = quantile(found_below_, 0);
  }
  return result;
}

}  // namespace

Result<BenchResult> bench_restart(const BenchOptions& options) {
  return RestartBench(options).run();
}

}  // namespace kvtier::tools
