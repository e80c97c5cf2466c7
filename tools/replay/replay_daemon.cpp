#include "tools/replay/replay_daemon.hpp"

#include <algorithm>
#include <bit>
#include <cinttypes>
#include <nlohmann/json.hpp>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/output.hpp"
#include "tools/cli/socket_path.hpp"
#include "tools/replay/host_sizing.hpp"

namespace kvtier::tools {
namespace {

using wire::GiB;
using wire::KiB;
using wire::MiB;

constexpr uint64_t kHostBytesDefault = 2 * GiB;
constexpr uint64_t kSegmentBytesLeast = 64 * KiB;  // what the configuration takes
constexpr uint64_t kIndexChunksMin = 1024;
constexpr uint64_t kCapacityChunksMax = uint64_t{1} << 30;
constexpr uint64_t kTouchEntries = 65536;
constexpr uint64_t kLeaseCellsMin = 4096;

// The sizes of slots that the trace needs; one when it was not read ahead.
struct Shapes {
  uint64_t slot_bytes_max;
  uint64_t kinds;
};
Shapes shapes_of(const ReplayOptions& options, const TraceSummary& summary) {
  const auto slot = [&](uint32_t tokens) {
    return slot_bytes_of(tokens, options.bytes_per_token * tokens);
  };
  if (summary.requests == 0) return {slot(options.block_tokens), 1};
  const bool same = summary.block_tokens_min == summary.block_tokens_max;
  return {std::max(slot(summary.block_tokens_min), slot(summary.block_tokens_max)), same ? 1u : 2u};
}

struct HostPlan {
  uint64_t capacity_bytes = 0;
  uint64_t segment_bytes_min = kSegmentBytesMin;
  uint64_t chunks_expected = 0;
};

Error too_large(uint64_t chunks, uint64_t slot_bytes, uint64_t needed, uint64_t available) {
  return Error::format(
      Code::kInvalidArgument,
      "%" PRIu64
      " chunks of %s need %s of host memory, %s are available: ask for fewer, or lower "
      "--bytes-per-token",
      chunks, show_bytes(static_cast<double>(slot_bytes)).c_str(),
      show_bytes(static_cast<double>(needed)).c_str(),
      show_bytes(static_cast<double>(available)).c_str());
}

Result<HostPlan> plan_chunks(uint64_t chunks, const TraceSummary& summary, const Shapes& shapes) {
  HostPlan plan;
  if (chunks > kCapacityChunksMax) {
    return Error::format(Code::kInvalidArgument, "--host-chunks takes at most %" PRIu64,
                         kCapacityChunksMax);
  }
  if (chunks == 0) return plan;
  // Memory for more than the trace has would never be touched.
  plan.chunks_expected =
      summary.blocks_unique == 0 ? chunks : std::min(chunks, summary.blocks_unique);
  plan.capacity_bytes =
      shapes.kinds *
      capacity_for_chunks(plan.chunks_expected, shapes.slot_bytes_max, plan.segment_bytes_min);
  const uint64_t available = memory_available_bytes();
  if (available != 0 && plan.capacity_bytes > available) {
    return too_large(plan.chunks_expected, shapes.slot_bytes_max, plan.capacity_bytes, available);
  }
  return plan;
}

Result<HostPlan> plan_bytes(const ReplayOptions& options, const Shapes& shapes) {
  HostPlan plan;
  const uint64_t available = memory_available_bytes();
  plan.capacity_bytes = options.host_bytes.value_or(
      available == 0 ? kHostBytesDefault : std::min(kHostBytesDefault, available / 4));
  if (plan.capacity_bytes == 0) return plan;
  if (plan.capacity_bytes < kSegmentBytesLeast) {
    return Error(Code::kInvalidArgument, "--host-bytes takes 0, or 64KiB and more");
  }
  if (available != 0 && plan.capacity_bytes > available) {
    return Error::format(Code::kInvalidArgument,
                         "--host-bytes is %s, only %s of memory are available",
                         show_bytes(static_cast<double>(plan.capacity_bytes)).c_str(),
                         show_bytes(static_cast<double>(available)).c_str());
  }
  plan.segment_bytes_min = std::min(kSegmentBytesMin, std::bit_floor(plan.capacity_bytes));
  plan.chunks_expected = plan.capacity_bytes / shapes.slot_bytes_max;
  return plan;
}

// Whole segments for so many chunks and the slots that wait to be written again.
uint64_t nvme_capacity(const ReplayOptions& options, const Shapes& shapes) {
  if (options.nvme_bytes) return wire::round_up(*options.nvme_bytes, wire::kPageBytes);
  const uint64_t chunks = options.nvme_chunks.value_or(0);
  if (chunks == 0) return 0;
  const uint64_t bytes = (chunks + kSpareSlots / 8) * shapes.slot_bytes_max * shapes.kinds;
  const uint64_t segment = std::max(std::bit_ceil(bytes / 64), MiB);
  return wire::round_up(bytes, segment) + segment + MiB;
}

Result<HostPlan> plan_host(const ReplayOptions& options, const TraceSummary& summary) {
  const Shapes shapes = shapes_of(options, summary);
  return options.host_chunks ? plan_chunks(*options.host_chunks, summary, shapes)
                             : plan_bytes(options, shapes);
}

std::string limit_text(const nlohmann::json& limit) {
  return limit.is_number_unsigned() ? std::to_string(limit.get<uint64_t>()) : "unlimited";
}

// The host tier as the running daemon describes it.
Result<nlohmann::json> ask_host_tier(const std::string& socket) {
  const auto reply = ask_admin({.socket = admin_socket_beside(socket), .target = "/v1/tiers/host"});
  if (!reply) return reply.error();
  nlohmann::json tier = nlohmann::json::parse(reply->body, nullptr, false);
  if (reply->status != 200 || !tier.is_object() || !tier.contains("capacity_bytes") ||
      !tier.contains("capacity_chunks") || !tier.contains("policy")) {
    return Error(Code::kCorrupt, "the daemon's answer about its host tier was not understood");
  }
  return tier;
}

Status compare(const char* option, const std::string& asked, const std::string& runs) {
  if (asked == runs) return {};
  return Error::format(Code::kInvalidArgument,
                       "%s is %s, the running daemon has %s: leave it out, or start a daemon with "
                       "--spawn DIR",
                       option, asked.c_str(), runs.c_str());
}

}  // namespace

Result<std::string> config_for_replay(const ReplayOptions& options, const TraceSummary& summary) {
  const auto plan = plan_host(options, summary);
  if (!plan) return plan.error();
  const Shapes shapes = shapes_of(options, summary);
  const uint64_t nvme = nvme_capacity(options, shapes);
  const uint64_t chunks_max =
      std::max(kIndexChunksMin, std::max(options.host_chunks.value_or(0), plan->chunks_expected)) +
      2 * kSpareSlots + nvme / shapes.slot_bytes_max;
  const uint64_t cells =
      std::min<uint64_t>(wire::kLeaseCellsMax,
                         std::max(kLeaseCellsMin, std::bit_ceil(summary.request_blocks_max + 1)));
  std::string text = "# Written by kvtier replay.\n[host]\n";
  text += "capacity = \"" + std::to_string(plan->capacity_bytes) + "B\"\n";
  text += "segment_bytes_min = \"" + std::to_string(plan->segment_bytes_min) + "B\"\n";
  if (options.host_chunks) {
    text += "capacity_chunks = " + std::to_string(*options.host_chunks) + "\n";
  }
  text += "policy = \"" + options.policy + "\"\n";
  if (nvme != 0) text += "\n[nvme]\ncapacity = \"" + std::to_string(nvme) + "B\"\n";
  text += "\n[index]\nchunks_max = " + std::to_string(chunks_max) + "\n";
  text += "\n[session]\nlease_cells = " + std::to_string(cells) + "\n";
  text += "touch_entries = " + std::to_string(kTouchEntries) + "\n";
  return text;
}

Result<ReplayDaemon> spawn_for_replay(const ReplayOptions& options, const TraceSummary& summary) {
  auto config = config_for_replay(options, summary);
  if (!config) return config.error();
  const auto plan = plan_host(options, summary);
  if (!plan) return plan.error();
  SpawnOptions spawn;
  spawn.directory = options.spawn;
  spawn.config_text = *config;
  auto started = SpawnedDaemon::start(spawn);
  if (!started) return started.error();
  ReplayDaemon daemon;
  daemon.spawned = *std::move(started);
  daemon.socket = daemon.spawned->socket();
  daemon.host_chunks = options.host_chunks;
  daemon.host_bytes = plan->capacity_bytes;
  daemon.nvme_bytes = nvme_capacity(options, shapes_of(options, summary));
  daemon.policy = options.policy;
  if (options.host_chunks) {
    daemon.request_chunks_max = *options.host_chunks;
  } else {
    daemon.request_chunks_max =
        plan->capacity_bytes == 0
            ? 0
            : chunks_in_capacity(plan->capacity_bytes, shapes_of(options, summary).slot_bytes_max,
                                 plan->segment_bytes_min);
  }
  return daemon;
}

Result<ReplayDaemon> use_running_daemon(const ReplayOptions& options, const std::string& socket,
                                        const TraceSummary& summary) {
  ReplayDaemon daemon;
  daemon.socket = socket;
  const auto tier = ask_host_tier(socket);
  if (!tier) return tier.error();
  if (options.host_chunks) {
    const Status same = compare("--host-chunks", std::to_string(*options.host_chunks),
                                limit_text((*tier)["capacity_chunks"]));
    if (!same) return same.error();
  }
  if (options.host_bytes) {
    const Status same = compare("--host-bytes", std::to_string(*options.host_bytes),
                                limit_text((*tier)["capacity_bytes"]));
    if (!same) return same.error();
  }
  daemon.policy = (*tier)["policy"].get<std::string>();
  if (const Status same = compare("--policy", options.policy, daemon.policy); !same) {
    return same.error();
  }
  daemon.host_bytes = (*tier)["capacity_bytes"].get<uint64_t>();
  if (daemon.host_bytes == 0) {
    daemon.request_chunks_max = 0;
  } else {
    daemon.request_chunks_max = chunks_in_capacity(
        daemon.host_bytes, shapes_of(options, summary).slot_bytes_max, kSegmentBytesMin);
  }
  if ((*tier)["capacity_chunks"].is_number_unsigned()) {
    daemon.host_chunks = (*tier)["capacity_chunks"].get<uint64_t>();
    daemon.request_chunks_max = std::min(daemon.request_chunks_max, *daemon.host_chunks);
  }
  return daemon;
}

}  // namespace kvtier::tools
