// The table of paths; see routes.hpp. The admin thread.
#include "daemon/admin/routes.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <optional>
#include <thread>

#include "daemon/admin/json_views.hpp"
#include "daemon/admin/target.hpp"
#include "daemon/config/load.hpp"
#include "daemon/config/show.hpp"
#include "daemon/log/log.hpp"

namespace kvtier::daemon {
namespace {

constexpr uint64_t kChunksListedMax = 10'000;
constexpr uint64_t kChunksListedDefault = 100;
constexpr double kPinSecondsMax = 30.0 * 24 * 3600;
constexpr double kPinSecondsDefault = 3600;
constexpr size_t kPlanSelectMax = 256;
constexpr std::chrono::seconds kSettleTime{3};  // less than a client's patience
constexpr std::chrono::milliseconds kSettlePause{1};

using Captures = std::vector<std::string>;
struct Call {
  const Captures& captures;  // what stood for each *
  const std::map<std::string, std::string>& query;
  RouteState& state;
};
using Handler = AdminAnswer (*)(const Call&);

AdminAnswer ok(const Json& json) {
  return {.status = 200, .body = dump_json(json)};
}

unsigned http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kPermission:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kUnsupported:
      return 501;
    case Code::kUnavailable:
    case Code::kDeadline:
    case Code::kFull:
      return 503;
    default:
      return 500;
  }
}

AdminAnswer failed(const Error& error) {
  if (error.code() == Code::kDeadline) {
    return error_answer(503, "deadline",
                        "the daemon's core did not answer in time: it is busy or stuck; see its "
                        "log, and kvtier_core_turn_max_seconds in the metrics once it answers");
  }
  return error_answer(http_status(error.code()), code_name(error.code()), error.message());
}

AdminAnswer bad_query(const std::string& name, const std::string& value, const char* wanted) {
  return error_answer(400, "invalid_argument", name + " is '" + value + "'; it must be " + wanted);
}

// The rest of a handler, given the snapshot.
template <typename Then>
AdminAnswer with_snapshot(const Call& call, Then then) {
  auto snapshot = call.state.core.ask([](Control& control) { return control.snapshot(); });
  if (!snapshot) return failed(snapshot.error());
  return then(*snapshot);
}

AdminAnswer get_status(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) { return ok(view_status(core)); });
}
AdminAnswer get_tiers(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) {
    return ok({{"tiers", view_list(core.tiers, view_tier)}});
  });
}
AdminAnswer get_tier(const Call& call) {
  return with_snapshot(call, [&call](const CoreSnapshot& core) {
    std::string names;
    for (const TierSnapshot& tier : core.tiers) {
      if (tier.name == call.captures[0]) return ok(view_tier(tier));
      names += (names.empty() ? "" : ", ") + tier.name;
    }
    return error_answer(404, "not_found",
                        "there is no tier '" + call.captures[0] + "'; there are: " + names);
  });
}
AdminAnswer get_tenants(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) {
    return ok({{"tenants", view_list(core.tenants, view_tenant)}});
  });
}
AdminAnswer get_spaces(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) {
    return ok({{"spaces", view_list(core.spaces, view_space)}});
  });
}
AdminAnswer get_sessions(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) {
    return ok({{"sessions", view_list(core.sessions, view_session)}});
  });
}

AdminAnswer get_chunks(const Call& call) {
  uint64_t count = kChunksListedDefault;
  if (const auto given = call.query.find("count"); given != call.query.end()) {
    const std::string& text = given->second;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || count == 0 ||
        count > kChunksListedMax) {
      return bad_query("count", text, "a number from 1 to 10000");
    }
  }
  auto chunks = call.state.core.ask([count](Control& core) { return core.list_chunks(count); });
  if (!chunks) return failed(chunks.error());
  return ok({{"chunks", view_list(*chunks, view_chunk)}});
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::optional<AdminAnswer> check_key(const std::string& key) {
  const bool good = key.size() >= 8 && key.size() <= 32 &&
                    key.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
  if (good) return {};
  return bad_query("the key", key.substr(0, 40), "32 hex digits, or at least the first 8 of them");
}

AdminAnswer get_plans(const Call& call) {
  std::string select = "last";
  uint64_t count = 1;
  if (const auto given = call.query.find("select"); given != call.query.end()) {
    select = given->second;
    if (select.empty() || select.size() > kPlanSelectMax) {
      return bad_query("select", select.substr(0, 40),
                       "last, a plan's number, a request's name or a chunk's key");
    }
  }
  if (const auto given = call.query.find("count"); given != call.query.end()) {
    const std::string& text = given->second;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || count == 0 ||
        count > PlanLog::kPlansMax) {
      return bad_query("count", text, "a number from 1 to 512");
    }
  }
  auto plans =
      call.state.core.ask([select, count](Control& core) { return core.explain(select, count); });
  if (!plans) return failed(plans.error());
  if (plans->empty()) {
    return error_answer(404, "not_found",
                        "none of the latest plans is '" + select + "' (512 are remembered)");
  }
  return ok({{"plans", view_list(*plans, view_plan)}});
}

AdminAnswer get_curves(const Call& call) {
  auto curves = call.state.core.ask([](Control& control) { return control.curves(); });
  if (!curves) return failed(curves.error());
  return ok({{"curves", view_list(*curves, view_curve)}});
}

AdminAnswer get_chunk(const Call& call) {
  const std::string key = lower(call.captures[0]);
  if (auto bad = check_key(key)) return *bad;
  auto chunks = call.state.core.ask([key](Control& core) { return core.show_chunk(key); });
  if (!chunks) return failed(chunks.error());
  std::erase_if(*chunks, [](const ChunkSnapshot& chunk) { return !chunk.found; });
  if (chunks->empty()) return error_answer(404, "not_found", "no tier holds the chunk " + key);
  return ok({{"chunks", view_list(*chunks, view_chunk)}});
}

AdminAnswer act(const Call& call, ChunkAction action, double pin_seconds) {
  const std::string key = lower(call.captures[0]);
  if (auto bad = check_key(key)) return *bad;
  auto done = call.state.core.ask([key, action, pin_seconds](Control& core) {
    return std::make_shared<Result<uint64_t>>(core.act_on_chunk(key, action, pin_seconds));
  });
  if (!done) return failed(done.error());
  if (!**done) return failed((*done)->error());
  return ok({{"chunks", (*done)->value()}});
}
AdminAnswer post_drop(const Call& call) {
  return act(call, ChunkAction::kDrop, 0);
}
AdminAnswer post_unpin(const Call& call) {
  return act(call, ChunkAction::kUnpin, 0);
}
AdminAnswer post_pin(const Call& call) {
  double seconds = kPinSecondsDefault;
  if (const auto given = call.query.find("seconds"); given != call.query.end()) {
    const std::string& text = given->second;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() ||
        !std::isfinite(seconds) || seconds <= 0 || seconds > kPinSecondsMax) {
      return bad_query("seconds", text, "a number above 0 and at most 2592000 (30 days)");
    }
  }
  return act(call, ChunkAction::kPin, seconds);
}

AdminAnswer post_kill(const Call& call) {
  const std::string& text = call.captures[0];
  uint32_t session = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), session);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size()) {
    return bad_query("the session", text, "a number, as in the list of sessions");
  }
  auto killed =
      call.state.core.ask([session](Control& core) { return core.kill_session(session); });
  if (!killed) return failed(killed.error());
  if (!*killed) return failed(killed->error());
  return ok({{"killed", session}});
}

AdminAnswer post_flush(const Call& call) {
  const auto given = call.query.find("tenant");
  const std::string tenant = given == call.query.end() ? "" : given->second;
  // A mistyped name must not turn into "all".
  if (given != call.query.end() && tenant.empty()) {
    return bad_query("tenant", tenant, "a tenant's name; leave it out for all tenants");
  }
  auto done = call.state.core.ask(
      [tenant](Control& core) { return std::make_shared<Result<uint64_t>>(core.flush(tenant)); });
  if (!done) return failed(done.error());
  if (!**done) return failed((*done)->error());
  // What was forgotten must not come back once the answer says so.
  const auto until = std::chrono::steady_clock::now() + kSettleTime;
  for (;;) {
    const auto settled = call.state.core.ask([](Control& core) { return core.flush_settled(); });
    if (!settled) return failed(settled.error());
    if (*settled) break;
    if (std::chrono::steady_clock::now() > until) {
      return failed(
          Error(Code::kDeadline,
                "the chunks are dropped, but not yet for good: those on nvme come back if "
                "the daemon is killed now; flush again"));
    }
    std::this_thread::sleep_for(kSettlePause);
  }
  return ok({{"chunks", (*done)->value()}});
}

AdminAnswer post_scrub(const Call& call) {
  constexpr uint64_t kRateMax = uint64_t{1} << 40;
  uint64_t rate = 0;
  const auto given = call.query.find("rate");
  const std::string text = given == call.query.end() ? "" : given->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (error != std::errc() || end != text.data() + text.size() || rate > kRateMax) {
    return bad_query("rate", text.substr(0, 40), "bytes a second; 0 ends the pass under way");
  }
  auto done = call.state.core.ask(
      [rate](Control& core) { return std::make_shared<Status>(core.scrub(rate)); });
  if (!done) return failed(done.error());
  if (!**done) return failed((*done)->error());
  return ok(Json::object());
}

AdminAnswer get_config(const Call& call) {
  auto text = call.state.core.ask([](Control& core) { return core.config_text(); });
  if (!text) return failed(text.error());
  const ConfigOutcome parsed = parse_config_text(*text, "the running configuration");
  Json options = Json::array();
  if (parsed.ok()) {
    for (const ConfigValue& value : list_config(parsed.config)) {
      options.push_back({{"name", value.name},
                         {"value", value.value},
                         {"is_default", value.is_default},
                         {"needs_restart", value.needs_restart}});
    }
  }
  return ok({{"toml", *text}, {"options", options}});
}

AdminAnswer post_reload(const Call& call) {
  auto done = call.state.core.ask([](Control& core) {
    return std::make_shared<Result<std::vector<std::string>>>(core.reload_config());
  });
  if (!done) return failed(done.error());
  if (!**done) return failed((*done)->error());
  return ok({{"changed", (*done)->value()}});
}

AdminAnswer get_metrics(const Call& call) {
  return with_snapshot(call, [&call](const CoreSnapshot& core) -> AdminAnswer {
    return {.status = 200,
            .content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = render_metrics(core, read_process_usage(), call.state.lookups)};
  });
}

// "BOOT-SEQUENCE", as in an event. Nothing if it is not one; sequence 0 if it is another daemon's.
std::optional<uint64_t> read_cursor(const std::string& text, uint64_t boot) {
  const size_t dash = text.find('-');
  uint64_t of = 0, sequence = 0;
  if (dash == std::string::npos || dash == 0) return {};
  const char* middle = text.data() + dash;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), middle, of, 16);
  const auto second = std::from_chars(middle + 1, end, sequence);
  const bool good = first.ec == std::errc() && first.ptr == middle && second.ec == std::errc() &&
                    second.ptr == end && end != middle + 1;
  if (!good) return {};
  return of == boot ? sequence : 0;
}

// Asks the log, not the core: events can be read while the core is stuck.
AdminAnswer get_events(const Call& call) {
  const Log* log = process_log();
  const uint64_t boot = log == nullptr ? 0 : log->opened_ns();
  uint64_t after = 0;
  if (const auto given = call.query.find("after"); given != call.query.end()) {
    const std::optional<uint64_t> cursor = read_cursor(given->second, boot);
    if (!cursor) return bad_query("after", given->second, "the cursor of an event");
    after = *cursor;
  }
  AdminAnswer answer{.status = 200, .content_type = "application/x-ndjson", .body = ""};
  if (log == nullptr) return answer;
  EventBatch batch = log->events().after(after, EventRing::kEventsMax);
  // Whoever asks without a cursor has missed nothing.
  uint64_t lost = after == 0 ? 0 : batch.lost;
  for (const LogEvent& event : batch.events) {
    answer.body += dump_json(view_event(event, boot, lost));
    lost = 0;
  }
  return answer;
}

// 200 while it serves clients, even if something is degraded; 503 when it stops or is stuck.
AdminAnswer get_health(const Call& call) {
  return with_snapshot(call, [](const CoreSnapshot& core) {
    AdminAnswer answer = ok({{"health", core.health}, {"problems", core.problems.size()}});
    if (core.health == "draining") answer.status = 503;
    return answer;
  });
}

struct Route {
  std::string_view method;
  std::string_view path;  // * stands for one segment
  Access access;
  bool on_port;
  Handler handler;
};
constexpr std::array kRoutes = {
    Route{"GET", "/healthz", Access::kRead, true, get_health},
    Route{"GET", "/metrics", Access::kRead, true, get_metrics},
    Route{"GET", "/v1/status", Access::kRead, false, get_status},
    Route{"GET", "/v1/tiers", Access::kRead, false, get_tiers},
    Route{"GET", "/v1/tiers/*", Access::kRead, false, get_tier},
    Route{"GET", "/v1/tenants", Access::kRead, false, get_tenants},
    Route{"GET", "/v1/spaces", Access::kRead, false, get_spaces},
    Route{"GET", "/v1/sessions", Access::kRead, false, get_sessions},
    Route{"POST", "/v1/sessions/*/kill", Access::kChange, false, post_kill},
    Route{"GET", "/v1/plans", Access::kRead, false, get_plans},
    Route{"GET", "/v1/curves", Access::kRead, false, get_curves},
    Route{"GET", "/v1/chunks", Access::kRead, false, get_chunks},
    Route{"GET", "/v1/chunks/*", Access::kRead, false, get_chunk},
    Route{"POST", "/v1/chunks/*/drop", Access::kChange, false, post_drop},
    Route{"POST", "/v1/chunks/*/pin", Access::kChange, false, post_pin},
    Route{"POST", "/v1/chunks/*/unpin", Access::kChange, false, post_unpin},
    Route{"POST", "/v1/flush", Access::kChange, false, post_flush},
    Route{"POST", "/v1/scrub", Access::kChange, false, post_scrub},
    Route{"GET", "/v1/events", Access::kRead, false, get_events},
    Route{"GET", "/v1/config", Access::kRead, false, get_config},
    Route{"POST", "/v1/reload", Access::kChange, false, post_reload},
};

// What stood for each * of the pattern, or nothing if the path is another one.
std::optional<Captures> match(std::string_view pattern, const std::vector<std::string>& segments) {
  Captures captures;
  size_t at = 0;
  while (!pattern.empty()) {
    pattern.remove_prefix(1);
    const std::string_view wanted = pattern.substr(0, pattern.find('/'));
    if (at == segments.size()) return {};
    if (wanted == "*") {
      captures.push_back(segments[at]);
    } else if (wanted != segments[at]) {
      return {};
    }
    pattern.remove_prefix(wanted.size());
    ++at;
  }
  if (at != segments.size()) return {};
  return captures;
}

AdminAnswer refused(const Route& route, Access access) {
  const std::string needed = route.access == Access::kChange
                                 ? "only root and the daemon's own user may change things"
                                 : "only root, the daemon's own user and members of the admin "
                                   "group (kvtier) may ask";
  const char* had = access == Access::kRead ? "; you may read" : "";
  return error_answer(403, "permission", needed + had);
}

}  // namespace

AdminAnswer error_answer(unsigned status, std::string_view code, std::string_view message) {
  return {.status = status, .body = dump_json(view_error(code, message))};
}

AdminAnswer answer_request(const AdminRequest& request, RouteState& state) {
  const std::optional<Target> target = parse_target(request.target);
  if (!target) return error_answer(400, "invalid_argument", "the path of the request is malformed");
  std::string allow;
  for (const Route& route : kRoutes) {
    if (request.on_port && !route.on_port) continue;
    const std::optional<Captures> captures = match(route.path, target->segments);
    if (!captures) continue;
    if (route.method != request.method) {
      allow += (allow.empty() ? "" : ", ") + std::string(route.method);
      continue;
    }
    if (request.access < route.access) return refused(route, request.access);
    return route.handler({*captures, target->query, state});
  }
  // Who may not even read learns nothing about which paths exist.
  if (request.access == Access::kNone) return refused(kRoutes[0], request.access);
  if (!allow.empty()) {
    AdminAnswer answer =
        error_answer(405, "invalid_argument", "this path takes " + allow + " only");
    answer.allow = allow;
    return answer;
  }
  return error_answer(404, "not_found",
                      "there is nothing at this path; docs/admin.md has the list");
}

}  // namespace kvtier::daemon
