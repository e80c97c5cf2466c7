// See daemon_link.hpp.
#include "tools/cli/daemon_link.hpp"

#include <ostream>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/socket_path.hpp"

namespace kvtier::tools {
namespace {

constexpr std::string_view kRights =
    "run it as root or as the daemon's user; members of the group kvtier may look but change "
    "nothing";

int unreachable(const CommandContext& context, const std::string& socket, const Error& error) {
  const std::string message = std::string("no answer from kvtierd: ") + error.message();
  switch (error.code()) {
    case Code::kPermission:
      return context.fail(kExitFailed,
                          std::string("kvtierd does not let you in: ") + error.message(), kRights);
    case Code::kUnavailable:
      return context.fail(kExitUnreachable, message,
                          "start it (run kvtierd), or name its socket with "
                          "--socket or $KVTIER_SOCKET; kvtier doctor looks closer");
    case Code::kDeadline:
      return context.fail(kExitUnreachable, message,
                          "it exists but does not answer at " + socket +
                              ": look at its log; restart it if it stays so");
    default:
      return context.fail(kExitFailed, message);
  }
}

int refused(const CommandContext& context, unsigned http, const Json& body) {
  std::string message = "kvtierd answered with HTTP status " + std::to_string(http);
  if (body.is_object() && body.contains("error")) {
    message = "kvtierd refused: " + text_of(body["error"], "message");
  }
  if (http == 403) return context.fail(kExitFailed, message, kRights);
  if (http == 503) {
    return context.fail(kExitUnreachable, message, "try again; kvtier doctor looks closer");
  }
  return context.fail(kExitFailed, message);
}

Json parse(const std::string& body) {
  Json json = Json::parse(body, nullptr, false);
  return json.is_discarded() ? Json() : json;
}

}  // namespace

DaemonAnswer ask_daemon(const CommandContext& context, std::string_view method,
                        const std::string& target) {
  const std::string socket = admin_socket_beside(context.socket);
  auto reply = ask_admin({.socket = socket, .method = method, .target = target});
  DaemonAnswer answer;
  if (!reply) {
    answer.status = unreachable(context, socket, reply.error());
    return answer;
  }
  answer.json = parse(reply->body);
  answer.body = std::move(reply->body);
  if (reply->status != 200) answer.status = refused(context, reply->status, answer.json);
  return answer;
}

std::optional<Json> ask_quietly(const CommandContext& context, const std::string& target,
                                std::chrono::milliseconds timeout) {
  const auto reply = ask_admin(
      {.socket = admin_socket_beside(context.socket), .target = target, .timeout = timeout});
  if (!reply || reply->status != 200) return {};
  Json json = parse(reply->body);
  if (json.is_null()) return {};
  return json;
}

void print_json(const CommandContext& context, const Json& json) {
  context.out << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}
uint64_t count_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}
double number_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}
bool flag_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
const Json& list_of(const Json& object, const char* name) {
  static const Json kNone = Json::array();
  const auto found = object.find(name);
  return found != object.end() && found->is_array() ? *found : kNone;
}

}  // namespace kvtier::tools
