// Rules that concern more than one option. Pure; see checks.hpp.
#include "daemon/config/checks.hpp"

#include <algorithm>
#include <map>

#include "daemon/config/units.hpp"

namespace kvtier::daemon {
namespace {

using Conflicts = std::vector<Conflict>;

// As docs/format.md has it.
constexpr uint64_t kNvmePageBytes = 4096;
constexpr uint64_t kNvmePagesOfOneSegment = 3;  // two superblocks and a descriptor
constexpr uint64_t kNvmeSegmentBytesMin = uint64_t{1} << 20;

std::string tenant_option(size_t number, std::string_view option) {
  return "tenant[" + std::to_string(number) + "]." + std::string(option);
}

bool host_is_on(const Config& config) {
  return config.host.capacity_bytes != 0 && config.host.capacity_chunks != 0;
}

// Entries, and one for the first uid without an entry, since each needs a segment to store at all.
uint64_t tenants_to_fit(const Config& config) {
  return config.tenant.size() + (config.tenants.unlisted == UnlistedUids::kServe ? 1 : 0);
}

void check_capacity(const Config& config, uint64_t capacity, Conflicts& out) {
  const uint64_t segment = config.host.segment_bytes_min;
  const uint64_t tenants = tenants_to_fit(config);
  if (capacity / segment < tenants) {
    const std::string needed = format_size(tenants * segment);
    std::string who = std::to_string(config.tenant.size()) + " configured tenants";
    if (config.tenants.unlisted == UnlistedUids::kServe) who += " and 1 for users without an entry";
    out.push_back({{"host.capacity", "host.segment_bytes_min", "tenants.unlisted"},
                   ProblemCode::kConflict,
                   "the host tier is too small: " + who + ", each with at least one segment of " +
                       format_size(segment) + ", need " + std::to_string(tenants) + " x " +
                       format_size(segment) + " = " + needed + "; host.capacity is " +
                       format_size(capacity),
                   "at least \"" + needed + "\"",
                   "raise host.capacity to \"" + needed +
                       "\", lower host.segment_bytes_min, or set it to 0 to have no host tier"});
    return;  // the shares of too little are too small as well
  }
  const auto check_share = [&](uint64_t ppm, uint64_t bytes_max, std::vector<std::string> names,
                               const std::string& whose) {
    const uint64_t share = share_of(capacity, ppm);
    const uint64_t room = std::min(share, bytes_max);
    if (room == 0 || room >= segment) return;  // 0: a tenant that may not use the host tier
    const std::string sum = bytes_max < share ? "host_max = " + format_size(bytes_max)
                                              : format_share(ppm) + " of " + format_size(capacity) +
                                                    " = " + format_size(share);
    out.push_back({std::move(names), ProblemCode::kConflict,
                   whose + " can never hold a chunk: " + sum + " is less than one segment of " +
                       format_size(segment),
                   "at least " + format_size(segment),
                   "raise it, lower host.segment_bytes_min, or set it to 0 to keep the tenant out "
                   "of the host tier"});
  };
  for (size_t i = 0; i < config.tenant.size(); ++i) {
    const TenantConfig& tenant = config.tenant[i];
    check_share(tenant.host_share_ppm, tenant.host_bytes_max,
                {tenant_option(i, "host_share"), tenant_option(i, "host_max"),
                 "tenant[" + std::to_string(i) + "]"},
                "tenant '" + tenant.name + "'");
  }
  if (config.tenants.unlisted == UnlistedUids::kServe) {
    check_share(config.tenants.host_share_ppm, config.tenants.host_bytes_max,
                {"tenants.host_share", "tenants.host_max", "host.capacity"},
                "a user without an entry");
  }
}

// Each path holds its own slab: superblocks, and for every segment a descriptor and its bytes.
void check_nvme(const Config& config, Conflicts& out) {
  const Config::Nvme& nvme = config.nvme;
  if (nvme.capacity_bytes == 0) return;
  const bool chosen = nvme.segment_bytes == 0;
  const uint64_t segment = chosen ? kNvmeSegmentBytesMin : nvme.segment_bytes;
  const uint64_t needed = segment + kNvmePagesOfOneSegment * kNvmePageBytes;
  if (nvme.capacity_bytes >= needed) return;
  out.push_back({{chosen ? "nvme.capacity" : "nvme.segment_size", "nvme.capacity"},
                 ProblemCode::kConflict,
                 "a path of nvme does not hold one segment: nvme.capacity is " +
                     format_size(nvme.capacity_bytes) + ", " +
                     (chosen ? "the smallest segment" : "nvme.segment_size") + " " +
                     format_size(segment) + ", with what describes it " + format_size(needed),
                 "",
                 chosen ? "raise nvme.capacity to \"" + format_size(needed) +
                              "\" or more, or set it to 0 to have no nvme tier"
                        : "lower nvme.segment_size, or raise nvme.capacity to \"" +
                              format_size(needed) + "\" or more"});
}

void check_sessions(const Config& config, Conflicts& out) {
  const Config::Session& session = config.session;
  if (session.completion_entries < session.submission_entries) {
    out.push_back(
        {{"session.completion_entries", "session.submission_entries"},
         ProblemCode::kConflict,
         "session.completion_entries (" + std::to_string(session.completion_entries) +
             ") is less than session.submission_entries (" +
             std::to_string(session.submission_entries) +
             "): the answers to one full ring would not fit",
         "",
         "set completion_entries to at least " + std::to_string(session.submission_entries)});
  }
  const auto check_max = [&](uint64_t sessions_max, std::string name, const std::string& whose) {
    if (sessions_max <= config.daemon.sessions_max) return;
    out.push_back({{std::move(name), "daemon.sessions_max"},
                   ProblemCode::kConflict,
                   whose + " may have " + std::to_string(sessions_max) +
                       " sessions, the whole daemon only " +
                       std::to_string(config.daemon.sessions_max),
                   "",
                   "lower it to " + std::to_string(config.daemon.sessions_max) +
                       ", or raise daemon.sessions_max"});
  };
  check_max(config.tenants.sessions_max, "tenants.sessions_max", "a tenant");
  for (size_t i = 0; i < config.tenant.size(); ++i) {
    check_max(config.tenant[i].sessions_max, tenant_option(i, "sessions_max"),
              "tenant '" + config.tenant[i].name + "'");
  }
}

void check_index(const Config& config, Conflicts& out) {
  const uint64_t entries = config.index.chunks_max, chunks = config.host.capacity_chunks;
  if (entries == 0 || chunks == kUnlimited || chunks <= entries) return;
  out.push_back({{"index.chunks_max", "host.capacity_chunks"},
                 ProblemCode::kConflict,
                 "the index cannot name what the host tier holds: host.capacity_chunks = " +
                     std::to_string(chunks) + ", index.chunks_max = " + std::to_string(entries),
                 "at least " + std::to_string(chunks),
                 "raise index.chunks_max, or leave it out to have it follow the capacity"});
}

// Remembers who claimed a thing first.
class Claims {
 public:
  Claims(std::string_view what, Conflicts& out) : what_(what), out_(out) {}
  void claim(const std::string& thing, std::string option, const std::string& whose) {
    const auto [first, is_new] = first_.emplace(thing, whose);
    if (is_new) return;
    out_.push_back(
        {{std::move(option)},
         ProblemCode::kDuplicate,
         what_ + " '" + thing + "' is claimed twice: by " + first->second + " and by " + whose,
         "already taken",
         "give each its own"});
  }

 private:
  std::string what_;
  Conflicts& out_;
  std::map<std::string, std::string> first_;
};

void check_tenants(const Config& config, Conflicts& out) {
  Claims names("tenant name", out), sockets("socket", out), uids("uid", out);
  if (!config.daemon.socket.empty()) {
    sockets.claim(config.daemon.socket, "daemon.socket", "daemon.socket");
  }
  if (!config.daemon.admin_socket.empty()) {
    sockets.claim(config.daemon.admin_socket, "daemon.admin_socket", "daemon.admin_socket");
  }
  for (size_t i = 0; i < config.tenant.size(); ++i) {
    const TenantConfig& tenant = config.tenant[i];
    if (tenant.name.empty()) continue;  // reported where the entry was read
    const std::string whose = "tenant '" + tenant.name + "' (entry " + std::to_string(i + 1) + ")";
    names.claim(tenant.name, tenant_option(i, "name"), whose);
    if (!tenant.socket.empty()) sockets.claim(tenant.socket, tenant_option(i, "socket"), whose);
    for (const uint32_t uid : tenant.uids) {
      uids.claim(std::to_string(uid), tenant_option(i, "uids"), whose);
    }
    if (tenant.socket.empty() && tenant.uids.empty()) {
      out.push_back(
          {{"tenant[" + std::to_string(i) + "]", tenant_option(i, "uids"),
            tenant_option(i, "socket")},
           ProblemCode::kMissing,
           "nobody can belong to tenant '" + tenant.name + "': it has no uids and no socket",
           "",
           "add uids = [...], or socket = \"...\""});
    }
  }
  const uint64_t tenants = std::max<uint64_t>(tenants_to_fit(config), 1);
  if (tenants > config.tenants.tenants_max) {
    out.push_back({{"tenants.tenants_max", "tenant[0]"},
                   ProblemCode::kTooMany,
                   std::to_string(config.tenant.size()) +
                       " tenants are configured and users without an entry need room for one; "
                       "tenants.tenants_max is " +
                       std::to_string(config.tenants.tenants_max),
                   "at least " + std::to_string(tenants),
                   "raise tenants.tenants_max"});
  }
  if (config.tenants.unlisted == UnlistedUids::kRefuse && config.tenant.empty()) {
    out.push_back({{"tenants.unlisted"},
                   ProblemCode::kConflict,
                   "nobody could attach: users without an entry are refused and there is no entry",
                   "",
                   "add a [[tenant]], or set unlisted = \"serve\""});
  }
}

void check_spaces(const Config& config, Conflicts& out) {
  Claims models("model", out);
  for (size_t i = 0; i < config.space.size(); ++i) {
    const std::string& model = config.space[i].model;
    if (model.empty()) continue;  // reported where the entry was read
    models.claim(model, "space[" + std::to_string(i) + "].model",
                 "[[space]] entry " + std::to_string(i + 1));
  }
}

}  // namespace

std::vector<Conflict> check_config(const Config& config) {
  Conflicts out;
  check_tenants(config, out);
  check_sessions(config, out);
  check_index(config, out);
  check_nvme(config, out);
  check_spaces(config, out);
  if (host_is_on(config) && config.host.capacity_bytes != kChosenAtStart) {
    check_capacity(config, config.host.capacity_bytes, out);
  }
  return out;
}

Status check_host_capacity(const Config& config, uint64_t capacity_bytes) {
  if (!host_is_on(config)) return {};
  Conflicts out;
  check_capacity(config, capacity_bytes, out);
  if (out.empty()) return {};
  return Error(Code::kInvalidArgument, out.front().message.c_str());
}

uint64_t host_capacity_bytes(const Config& config, uint64_t memory_available_bytes) {
  if (!host_is_on(config)) return 0;
  if (config.host.capacity_bytes != kChosenAtStart) return config.host.capacity_bytes;
  const uint64_t half = memory_available_bytes / 2;
  return half - half % config.host.segment_bytes_min;
}

}  // namespace kvtier::daemon
