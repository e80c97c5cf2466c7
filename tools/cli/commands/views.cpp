// See views.hpp.
#include "tools/cli/commands/views.hpp"

#include <algorithm>

namespace kvtier::tools {
namespace {

constexpr Table::Align kRight = Table::Align::kRight;

std::string bytes_of(const Json& object, const char* name) {
  return show_bytes(number_of(object, name));
}

}  // namespace

Table tier_table(const Json& tiers) {
  Table table({{"TIER"},
               {"STATE"},
               {"CAPACITY", kRight},
               {"ALLOCATED", kRight},
               {"USED", kRight},
               {"", kRight},
               {"CHUNKS", kRight},
               {"EVICTED", kRight},
               {"POLICY"},
               {"NOTE"}});
  for (const Json& tier : tiers) {
    const std::string state = text_of(tier, "state");
    std::string note = text_of(tier, "reason");
    if (number_of(tier, "unlocked_bytes") > 0) {
      note += (note.empty() ? "" : "; ") + bytes_of(tier, "unlocked_bytes") + " not locked";
    }
    if (flag_of(tier, "huge_pages")) note += note.empty() ? "huge pages" : "; huge pages";
    const auto& limit = tier.contains("capacity_chunks") ? tier["capacity_chunks"] : Json();
    const std::string capacity = limit.is_number_unsigned()
                                     ? show_count(limit.get<uint64_t>()) + " chunks"
                                     : bytes_of(tier, "capacity_bytes");
    table.row({text_of(tier, "name"),
               {state, color_of_state(state)},
               capacity,
               bytes_of(tier, "allocated_bytes"),
               bytes_of(tier, "used_bytes"),
               show_percent(number_of(tier, "used_bytes"), number_of(tier, "capacity_bytes")),
               show_count(count_of(tier, "chunks")),
               show_count(count_of(tier, "evictions")),
               text_of(tier, "policy"),
               note});
  }
  return table;
}

Table session_table(const Json& sessions) {
  Table table({{"ID", kRight},
               {"NAME"},
               {"TENANT"},
               {"PID", kRight},
               {"UID", kRight},
               {"STATE"},
               {"AGE", kRight},
               {"LEASES", kRight},
               {"GRANTS", kRight},
               {"REQUESTS", kRight},
               {"LOADED", kRight},
               {"STORED", kRight}});
  for (const Json& session : sessions) {
    const std::string state = text_of(session, "state");
    const Json counters = session.value("counters", Json::object());
    table.row(
        {std::to_string(count_of(session, "id")),
         text_of(session, "name"),
         text_of(session, "tenant"),
         std::to_string(static_cast<int64_t>(number_of(session, "pid"))),
         std::to_string(count_of(session, "uid")),
         {state + (flag_of(session, "read_only") ? ", read only" : ""), color_of_state(state)},
         show_seconds(number_of(session, "age_seconds")),
         show_count(count_of(session, "leases")),
         show_count(count_of(session, "grants")),
         show_count(count_of(session, "requests")),
         bytes_of(counters, "load_bytes"),
         bytes_of(counters, "store_bytes")});
  }
  return table;
}

Table chunk_table(const Json& chunks) {
  Table table({{"KEY"},
               {"TENANT"},
               {"SPACE", kRight},
               {"TIER"},
               {"STATE"},
               {"POSITION", kRight},
               {"TOKENS", kRight},
               {"BYTES", kRight},
               {"LEASES", kRight},
               {"IDLE", kRight},
               {"NOTE"}});
  for (const Json& chunk : chunks) {
    const std::string state = text_of(chunk, "state");
    table.row({text_of(chunk, "key"),
               text_of(chunk, "tenant"),
               std::to_string(count_of(chunk, "space")),
               text_of(chunk, "tier"),
               {state, color_of_state(state)},
               show_count(count_of(chunk, "position")),
               show_count(count_of(chunk, "tokens")),
               bytes_of(chunk, "payload_bytes"),
               show_count(count_of(chunk, "leases")),
               show_seconds(number_of(chunk, "idle_seconds")),
               flag_of(chunk, "pinned") ? "pinned" : ""});
  }
  return table;
}

LookupSums lookup_sums(const Json& status) {
  LookupSums sums;
  for (const Json& tenant : list_of(status, "tenants")) {
    const Json counters = tenant.value("counters", Json::object());
    const auto add = [&counters](double& sum, const char* name) {
      sum += number_of(counters, name);
    };
    add(sums.lookups, "lookups");
    add(sums.asked, "chunks_asked");
    add(sums.host, "chunks_host");
    add(sums.device, "chunks_device");
    add(sums.nvme, "chunks_nvme");
    add(sums.remote, "chunks_remote");
    add(sums.tokens_asked, "tokens_asked");
    for (const char* name : {"tokens_host", "tokens_device", "tokens_nvme", "tokens_remote"}) {
      add(sums.tokens_found, name);
    }
    add(sums.load_bytes, "load_bytes");
    add(sums.store_bytes, "store_bytes");
    for (const char* name :
         {"load_failed_revoked", "load_failed_corrupt", "load_failed_deadline"}) {
      add(sums.loads_failed, name);
    }
  }
  return sums;
}

std::string lookup_line(const Json& status) {
  const LookupSums sums = lookup_sums(status);
  if (sums.asked <= 0) return "Look-ups  none yet";
  std::string line = "Look-ups  " + show_count(static_cast<uint64_t>(sums.asked)) +
                     " chunks asked for: " + show_percent(sums.host, sums.asked) + " host";
  const auto add = [&](double found, const char* tier) {
    if (found > 0) line += ", " + show_percent(found, sums.asked) + " " + tier;
  };
  add(sums.device, "device");
  add(sums.nvme, "nvme");
  add(sums.remote, "remote");
  line += ", " + show_percent(std::max(0.0, sums.asked - sums.found()), sums.asked) + " missed; " +
          show_bytes(sums.load_bytes) + " loaded, " + show_bytes(sums.store_bytes) + " stored";
  return line;
}

std::string session_line(const Json& status) {
  const Json& sessions = list_of(status, "sessions");
  uint64_t attached = 0, leases = 0, grants = 0;
  for (const Json& session : sessions) {
    attached += text_of(session, "state") == "attached" ? 1u : 0u;
    leases += count_of(session, "leases");
    grants += count_of(session, "grants");
  }
  std::string line = "Clients   " + show_count(attached) + " attached";
  if (sessions.size() > attached) {
    line += ", " + show_count(sessions.size() - attached) + " ending";
  }
  return line + ", " + show_count(list_of(status, "tenants").size()) + " tenants, " +
         show_count(list_of(status, "spaces").size()) + " spaces, " + show_count(leases) +
         " leases, " + show_count(grants) + " grants";
}

}  // namespace kvtier::tools
