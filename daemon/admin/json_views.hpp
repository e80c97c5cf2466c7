// What the core shows, as JSON with stable snake_case names (docs/admin.md). Pure, any thread.
// Views name every field of a snapshot struct: one that is forgotten does not compile.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/core/control.hpp"
#include "daemon/core/snapshot.hpp"
#include "daemon/log/event_ring.hpp"

namespace kvtier::daemon {

using Json = nlohmann::ordered_json;

Json view_status(const CoreSnapshot& snapshot);  // everything
Json view_tier(const TierSnapshot& tier);
Json view_device(const TierDevice& device);
Json view_tenant(const TenantSnapshot& tenant);
Json view_space(const SpaceSnapshot& space);
Json view_session(const SessionSnapshot& session);
Json view_chunk(const ChunkSnapshot& chunk);
Json view_counters(const CoreCounters& counters);
Json view_plan(const LoggedPlan& logged);
Json view_curve(const CurveSnapshot& curve);
Json view_client_counters(const ClientCounters& counters);

// A line of /v1/events. `boot` is Log::opened_ns(), `lost` how many events before it are not to be
// had.
Json view_event(const LogEvent& event, uint64_t boot, uint64_t lost);

// {"tiers": [...]} and the like.
template <typename Item>
Json view_list(const std::vector<Item>& items, Json (*view)(const Item&)) {
  Json list = Json::array();
  for (const Item& item : items) list.push_back(view(item));
  return list;
}

// {"error": {"code": ..., "message": ...}}
Json view_error(std::string_view code, std::string_view message);

// Text that may hold bytes that are not UTF-8 (names come from clients) is made printable.
std::string dump_json(const Json& json);

}  // namespace kvtier::daemon
