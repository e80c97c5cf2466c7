// What the daemon was told to do: a plain value, made by load.hpp from TOML, read by everybody.
// Immutable once made; a reload makes a new one. Any thread. Never holds a TOML node or a file.
// Each field has one row in options.cpp, which sets its default, range and documentation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/log/log_level.hpp"

namespace kvtier::daemon {

// In fields whose row names the word "auto": the daemon chooses when it starts.
inline constexpr uint64_t kChosenAtStart = UINT64_MAX;
// In fields whose row names the word "unlimited": no limit by this option.
inline constexpr uint64_t kUnlimited = UINT64_MAX;

// Shares are parts per million, so that "12.5%" is exact.
inline constexpr uint64_t kShareWhole = 1'000'000;

// kAuto tries and goes on without; kRequire ends the start with an error that names the remedy.
enum class Demand : uint8_t { kAuto, kNever, kRequire };
enum class Switch : uint8_t { kOff, kOn };
enum class VerifyMode : uint8_t { kAlways, kSampled, kNever };
enum class UnlistedUids : uint8_t { kServe, kRefuse };
// Who holds host memory while no daemon runs, see daemon/keep/.
enum class KeepMode : uint8_t { kAuto, kServiceManager, kHolder, kOff };
enum class WhenBehind : uint8_t { kAuto, kWait, kDrop };
// Codecs as one configures them (docs/kernels.md, "Codecs").
enum class Encode : uint8_t { kNone, kLossless, kFp8, kInt8, kInt4 };

struct TenantConfig {
  TenantConfig();  // every field as its row says

  std::string name;
  std::string socket;  // empty: this tenant is found by uid only
  uint64_t mode;
  std::string group;
  std::vector<uint32_t> uids;
  uint64_t host_share_ppm;
  uint64_t host_bytes_max;
  uint64_t sessions_max;
  uint64_t spaces_max;

  bool operator==(const TenantConfig&) const = default;
};

// What holds for the spaces of some models only.
struct SpaceConfig {
  SpaceConfig();  // every field as its row says

  std::string model;   // as the space names it; with '*' at its end, all that begin so
  Encode encode;       // of stores
  Encode nvme_encode;  // of what is written below

  bool operator==(const SpaceConfig&) const = default;
};

struct Config {
  Config();  // the embedded default configuration: every field as its row says

  struct Daemon {
    std::string socket;           // empty: chosen, see paths.hpp
    uint64_t socket_mode;         //
    std::string socket_group;     // empty: the group of the process
    std::string admin_socket;     // empty: admin.sock beside the socket
    std::string state_directory;  // empty: chosen, see paths.hpp
    std::string metrics_listen;   // empty: off; else a loopback "address:port"
    uint64_t workers;             // 0: auto
    uint64_t sessions_max;
    uint64_t spin_ns;
    uint64_t drain_timeout_ns;
    KeepMode keep;
    uint64_t keep_for_ns;
    bool operator==(const Daemon&) const = default;
  } daemon;

  struct Log {
    LogLevel level;
    LogFormat format;
    bool operator==(const Log&) const = default;
  } log;

  struct Host {
    uint64_t capacity_bytes;   // kChosenAtStart: see host_capacity_bytes()
    uint64_t capacity_chunks;  // kUnlimited: only bytes count; 0: the tier is off
    uint64_t segment_bytes_min;
    Demand huge_pages;
    Demand lock;
    std::string policy;
    uint64_t reclaim_batch;
    uint64_t lease_max_ns;
    uint64_t grant_stale_after_ns;
    Encode encode;  // of stores
    bool operator==(const Host&) const = default;
  } host;

  struct Nvme {
    uint64_t capacity_bytes;         // of each path; 0: the tier is off
    std::vector<std::string> paths;  // empty: nvme/ in the state directory
    Switch required;
    uint64_t segment_bytes;  // 0: derived
    uint64_t queue_depth;
    uint64_t io_timeout_ns;
    uint64_t slow_below;        // bytes a second; 0: never
    uint64_t write_budget;      // bytes a second, of each path
    uint64_t write_budget_day;  // bytes a day, of each path
    Switch prepare;
    Switch iopoll;
    Switch sqpoll;
    Demand registered_buffers;
    uint64_t scrub_rate;  // bytes a second; 0: only when asked
    WhenBehind when_behind;
    uint64_t demote_idle_after_ns;  // 0: never
    Encode encode;                  // of what is written
    bool operator==(const Nvme&) const = default;
  } nvme;

  struct Index {
    uint64_t chunks_max;  // 0: auto, from the host capacity
    Demand huge_pages;
    bool operator==(const Index&) const = default;
  } index;

  struct Session {
    uint64_t lease_cells;
    uint64_t submission_entries;
    uint64_t completion_entries;
    uint64_t touch_entries;
    uint64_t argument_bytes;
    uint64_t requests_per_turn;
    bool operator==(const Session&) const = default;
  } session;

  struct Verify {
    VerifyMode host;
    uint64_t background_rate;  // bytes a second
    bool operator==(const Verify&) const = default;
  } verify;

  // Every tenant that has no [[tenant]] entry of its own, and what an entry does not say.
  struct Tenants {
    UnlistedUids unlisted;
    uint64_t tenants_max;
    uint64_t host_share_ppm;
    uint64_t host_bytes_max;
    uint64_t sessions_max;
    uint64_t spaces_max;
    bool operator==(const Tenants&) const = default;
  } tenants;

  // What the planner assumes until it has measured.
  struct Planner {
    uint64_t host_bandwidth_initial;       // bytes a second
    uint64_t host_latency_initial_ns;      //
    uint64_t recompute_default_per_token;  // ns a token
    bool operator==(const Planner&) const = default;
  } planner;

  std::vector<TenantConfig> tenant;
  std::vector<SpaceConfig> space;

  // The entry of the first that fits the model, else what holds for all.
  SpaceConfig space_of(std::string_view model) const;

  bool operator==(const Config&) const = default;
};

// `ppm` parts per million of `bytes`, rounded down, without overflow.
constexpr uint64_t share_of(uint64_t bytes, uint64_t ppm) {
  return bytes / kShareWhole * ppm + bytes % kShareWhole * ppm / kShareWhole;
}

// The host tier's size in bytes: what was configured, or half of the available memory for "auto",
// in whole segments of the smallest size. 0 when the tier is off.
uint64_t host_capacity_bytes(const Config& config, uint64_t memory_available_bytes);

}  // namespace kvtier::daemon
