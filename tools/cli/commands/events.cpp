// kvtier events: what the daemon logged of late, and with -f what it goes on to log.
#include <chrono>
#include <ostream>
#include <thread>

#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/output.hpp"
#include "tools/cli/socket_path.hpp"

namespace kvtier::tools {
namespace {

// How often a follower asks. Short enough for eyes, and 4 requests a second cost the daemon
// nothing.
constexpr std::chrono::milliseconds kAskEvery{250};

struct Wanted {
  bool follow = false;
  std::optional<uint64_t> count;
  std::string level = "info";
};

int rank_of(const std::string& level) {
  return level == "error" ? 2 : level == "warning" ? 1 : 0;
}

std::vector<Json> parse_lines(const std::string& body) {
  std::vector<Json> events;
  size_t at = 0;
  while (at < body.size()) {
    const size_t end = std::min(body.find('\n', at), body.size());
    Json event = Json::parse(body.begin() + static_cast<ptrdiff_t>(at),
                             body.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
    if (event.is_object()) events.push_back(std::move(event));
    at = end + 1;
  }
  return events;
}

Color color_of_level(const std::string& level) {
  return level == "error" ? Color::kRed : level == "warning" ? Color::kYellow : Color::kDim;
}

void print_event(const CommandContext& context, const Json& event) {
  if (context.json) {
    context.out << event.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
    return;
  }
  const std::string level = text_of(event, "level");
  context.out << text_of(event, "time") << "  "
              << paint(context.color, color_of_level(level), level)
              << std::string(level.size() < 9 ? 9 - level.size() : 1, ' ') << text_of(event, "code")
              << "  " << printable(text_of(event, "message"));
  if (const uint64_t more = count_of(event, "suppressed"); more != 0) {
    context.out << " (" << more << " more suppressed)";
  }
  context.out << "\n";
}

// Shows events and remembers where it stopped.
class Reader {
 public:
  Reader(const Wanted& wanted, CommandContext& context) : wanted_(wanted), context_(context) {}

  std::string target() const {
    return cursor_.empty() ? "/v1/events" : "/v1/events?after=" + cursor_;
  }

  // Of the first answer the last `count` of those wanted, later all.
  void take(const std::string& body) {
    std::vector<Json> shown;
    for (Json& event : parse_lines(body)) {
      cursor_ = text_of(event, "cursor");
      if (const uint64_t lost = count_of(event, "lost"); lost != 0) {
        context_.err << lost << " events were overwritten before they were read\n";
      }
      if (rank_of(text_of(event, "level")) >= rank_of(wanted_.level)) {
        shown.push_back(std::move(event));
      }
    }
    size_t begin = 0;
    if (wanted_.count && !wanted_.follow && shown.size() > *wanted_.count) {
      begin = shown.size() - *wanted_.count;
    }
    for (; begin < shown.size() && !done(); ++begin) {
      print_event(context_, shown[begin]);
      ++printed_;
    }
    context_.out.flush();
  }

  bool done() const { return wanted_.count && printed_ >= *wanted_.count; }

 private:
  const Wanted& wanted_;
  CommandContext& context_;
  std::string cursor_;
  uint64_t printed_ = 0;
};

int follow(const Wanted& wanted, CommandContext& context, Reader& reader) {
  bool away = false;
  while (context.out.good() && !reader.done()) {
    std::this_thread::sleep_for(kAskEvery);
    auto reply =
        ask_admin({.socket = admin_socket_beside(context.socket), .target = reader.target()});
    const bool answered = reply.ok() && reply->status == 200;
    if (!answered && !away) context.err << "kvtierd does not answer; waiting for it\n";
    away = !answered;
    if (answered) reader.take(reply->body);
  }
  return wanted.count && !reader.done() ? kExitFailed : kExitOk;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<Wanted>();
  options.flag("--follow,-f", wanted->follow, "Go on with what happens; through restarts, too");
  options.value("--count,-n", wanted->count, "The last N; with -f: end after N");
  options.value("--level", wanted->level, "This and worse").choices({"info", "warning", "error"});
  return [wanted](CommandContext& context) -> int {
    Reader reader(*wanted, context);
    const DaemonAnswer first = ask_daemon(context, "GET", reader.target());
    if (!first.ok()) return first.status;
    reader.take(first.body);
    return wanted->follow ? follow(*wanted, context, reader) : kExitOk;
  };
}

constexpr CommandExample kExamples[] = {
    {"kvtier events", "what the daemon remembers: its newest 1024 messages"},
    {"kvtier events -f --level warning", "what goes wrong, as it goes wrong"},
    {"kvtier events --json | jq -r 'select(.name == \"lease_revoked\") | .message'",
     "one JSON object a line; docs/messages.md has the codes"},
};

}  // namespace

const Command& events_command() {
  static const Command command{
      .group = "",
      .name = "events",
      .summary = "What the daemon logged of late, and with -f as it happens",
      .description =
          "The messages of the log with a code, as far as log.level lets them through. "
          "With --json one object\na line.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
