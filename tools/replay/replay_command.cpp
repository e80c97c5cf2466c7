// `kvtier replay`: a trace of requests through a daemon, with real bytes. Options, the order of
// things, exit statuses; what a replay means is docs/traces.md. One thread here.
#include <sys/stat.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <ostream>

#include "tools/cli/command.hpp"
#include "tools/cli/socket_path.hpp"
#include "tools/replay/interrupt.hpp"
#include "tools/replay/replay_report.hpp"
#include "tools/trace/conversation.hpp"

namespace kvtier::tools {
namespace {

constexpr uint32_t kClientsMax = 64;

constexpr std::array kExamples = {
    CommandExample{
        "kvtier replay conversation.jsonl --spawn /var/tmp/kv --host-chunks 18279 --verify",
        "A daemon of its own that holds 18,279 chunks; every byte of every hit compared"},
    CommandExample{"kvtier replay --generate conversation --spawn /var/tmp/kv --clients 2",
                   "Without a trace at hand: a generated workload, two clients"},
    CommandExample{"kvtier replay agents.jsonl.zst --requests 1000 --json",
                   "Against the daemon that runs, as JSON"},
};

// A message and what to do about it, with the exit status.
struct Refusal {
  ExitStatus status = kExitOk;
  std::string message;
  std::string help;
};

Refusal check_options(const ReplayOptions& options, const CommandContext& context) {
  const auto usage = [](std::string message, std::string help) {
    return Refusal{kExitUsage, std::move(message), std::move(help)};
  };
  if (options.file.empty() == options.generate.empty()) {
    return usage(options.file.empty() ? "no trace was given" : "a FILE and --generate were given",
                 "name a trace FILE, or --generate conversation");
  }
  const bool nvme = options.nvme_bytes.value_or(0) != 0 || options.nvme_chunks.value_or(0) != 0;
  if (nvme && options.spawn.empty()) {
    return usage("the nvme tier of a running daemon is as it is configured",
                 "leave --nvme-bytes and --nvme-chunks out, or add --spawn DIR");
  }
  if (nvme && options.nvme_bytes && options.nvme_chunks) {
    return usage("--nvme-bytes and --nvme-chunks were both given", "one of them sets the capacity");
  }
  if (options.host_bytes && options.host_chunks) {
    return usage("--host-bytes and --host-chunks were both given", "one of them sets the capacity");
  }
  if (!options.spawn.empty() && context.socket_given) {
    return usage("--spawn and --socket were both given",
                 "--spawn starts a daemon of its own, --socket names one that runs");
  }
  if (options.bytes_per_token == 0) {
    return usage("--bytes-per-token is 0", "a chunk has at least a byte");
  }
  if (options.bytes_per_token > wire::kChunkBytesMax / options.block_tokens) {
    return usage("a chunk would be larger than 128 MiB", "lower --bytes-per-token");
  }
  return {};
}

Result<std::unique_ptr<TraceSource>> open_source(const ReplayOptions& options) {
  if (options.generate.empty()) {
    TraceFileOptions file;
    file.block_tokens_default = options.block_tokens;
    return open_trace(options.file, file);
  }
  ConversationOptions conversation;
  conversation.block_tokens = options.block_tokens;
  if (options.requests.value_or(0) > 0) conversation.requests = *options.requests;
  return generate_conversation(conversation);
}

// A file that gives the same bytes a second time.
bool can_be_read_twice(const ReplayOptions& options) {
  struct stat facts = {};
  return options.file.empty() ||
         (stat(options.file.c_str(), &facts) == 0 && S_ISREG(facts.st_mode));
}

// Reads the trace ahead, up to what will be replayed: sizes of a spawned daemon and the best that
// any cache could do. Nothing known is no error.
Result<TraceSummary> read_ahead(const ReplayOptions& options,
                                const std::atomic<bool>& interrupted) {
  TraceStatistics statistics;
  if (!can_be_read_twice(options)) return TraceSummary();
  auto source = open_source(options);
  if (!source) return source.error();
  TraceRequest request;
  for (uint64_t number = 0; !interrupted && number < options.requests.value_or(UINT64_MAX);
       ++number) {
    const auto more = (*source)->next(request);
    if (!more) return more.error();
    if (!*more) break;
    if (!statistics.add(request)) return TraceSummary();
  }
  return statistics.summary();
}

Refusal check_trace(const TraceSummary& summary, const ReplayOptions& options) {
  if (summary.block_tokens_max > wire::kTokensPerChunkMax) {
    return {kExitUsage,
            "a block of " + std::to_string(summary.block_tokens_max) + " tokens is no chunk",
            "a chunk has at most 16384 tokens"};
  }
  if (options.bytes_per_token > wire::kChunkBytesMax / std::max(summary.block_tokens_max, 1u)) {
    return {kExitUsage, "a chunk would be larger than 128 MiB", "lower --bytes-per-token"};
  }
  return {};
}

// Replays of one file share what is stored; of different files they do not.
std::string space_name(const ReplayOptions& options) {
  constexpr size_t kPathBytesMax = 200;
  if (options.file.empty()) return "replay of generated " + options.generate;
  char resolved[PATH_MAX];
  const char* found = realpath(options.file.c_str(), resolved);
  std::string path = found == nullptr ? options.file : found;
  if (path.size() > kPathBytesMax) path.erase(0, path.size() - kPathBytesMax);
  return "replay of " + path;
}

ExitStatus status_of(const Error& error, bool spawned) {
  if (error.code() == Code::kInvalidArgument) return kExitUsage;
  return spawned ? kExitFailed : kExitUnreachable;
}

class Replaying {
 public:
  Replaying(const ReplayOptions& options, CommandContext& context)
      : options_(options), context_(context) {}
  int run();

 private:
  Result<ReplayDaemon> get_daemon() {
    return options_.spawn.empty() ? use_running_daemon(options_, context_.socket, summary_)
                                  : spawn_for_replay(options_, summary_);
  }
  int fail(const Refusal& refusal) const {
    return context_.fail(refusal.status, refusal.message, refusal.help);
  }
  int replay_on(const ReplayDaemon& daemon, TraceSource& source);
  int report(const ReplayDaemon& daemon, const TraceSource& source, const ReplayOutcome& outcome);
  void show(const ReplayProgress& progress, const TraceSource& source);
  void end_progress();

  const ReplayOptions& options_;
  CommandContext& context_;
  InterruptFlag interrupt_;
  TraceSummary summary_;
  bool line_shown_ = false;
};

int Replaying::run() {
  if (const Refusal refusal = check_options(options_, context_); refusal.status != kExitOk) {
    return fail(refusal);
  }
  auto source = open_source(options_);
  if (!source) return context_.fail(kExitUsage, source.error().message());
  const auto summary = read_ahead(options_, interrupt_.flag());
  if (!summary) return context_.fail(kExitFailed, summary.error().message());
  summary_ = *summary;
  if (const Refusal refusal = check_trace(summary_, options_); refusal.status != kExitOk) {
    return fail(refusal);
  }
  auto daemon = get_daemon();
  if (!daemon) {
    const ExitStatus status = status_of(daemon.error(), !options_.spawn.empty());
    return context_.fail(status, daemon.error().message(),
                         status == kExitUnreachable
                             ? "start kvtierd, name its --socket, or let --spawn DIR start one"
                             : "");
  }
  const int status = replay_on(*daemon, **source);
  if (daemon->spawned == nullptr) return status;
  const SpawnUsage& usage = daemon->spawned->stop();
  if (usage.exit_status == 0) return status;
  return context_.fail(
      status == kExitOk ? kExitFailed : static_cast<ExitStatus>(status),
      "kvtierd did not stop in good order (status " + std::to_string(usage.exit_status) + ")",
      "its log: " + daemon->spawned->log_path());
}

int Replaying::replay_on(const ReplayDaemon& daemon, TraceSource& source) {
  ReplayPlan plan;
  plan.client.socket = daemon.socket;
  plan.client.model = space_name(options_);
  plan.client.bytes_per_token = options_.bytes_per_token;
  plan.client.chunks_max = daemon.request_chunks_max;
  plan.client.verify = options_.verify;
  plan.client.drop = options_.drop;
  plan.clients = options_.clients;
  plan.requests_max = options_.requests;
  plan.paced = options_.paced;
  ShowProgress progress;
  if (context_.err_is_terminal) {
    progress = [&](const ReplayProgress& now) { show(now, source); };
  }
  const auto outcome = replay(source, plan, interrupt_.flag(), progress);
  end_progress();
  if (!outcome) {
    return context_.fail(status_of(outcome.error(), daemon.spawned != nullptr),
                         outcome.error().message());
  }
  return report(daemon, source, *outcome);
}

void Replaying::show(const ReplayProgress& progress, const TraceSource& source) {
  const uint64_t all = summary_.requests;
  const double share = all > 0 ? static_cast<double>(progress.requests) / static_cast<double>(all)
                               : source.progress();
  context_.err << "\r\033[K" << progress_line(progress, share, context_.columns) << std::flush;
  line_shown_ = true;
}

void Replaying::end_progress() {
  if (line_shown_) context_.err << "\r\033[K" << std::flush;
}

int Replaying::report(const ReplayDaemon& daemon, const TraceSource& source,
                      const ReplayOutcome& outcome) {
  const ReplayReport report{options_,          daemon, outcome, summary_, source.description(),
                            source.generated()};
  if (context_.json) {
    context_.out << replay_json(report) << "\n";
  } else {
    print_replay(report, context_.out, context_.color);
  }
  if (outcome.ended_by) return context_.fail(kExitFailed, outcome.ended_by->message());
  const bool good =
      outcome.totals.wrong_bytes == 0 && outcome.totals.failed_calls == 0 && !outcome.interrupted;
  return good ? kExitOk : kExitFailed;
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<ReplayOptions>();
  options.value("FILE", wanted->file, "Trace (docs/traces.md), plain or zstd").file();
  options.value("--generate", wanted->generate, "Without a FILE: a generated workload")
      .choices({"conversation"});
  options.value("--requests", wanted->requests, "Stop after so many requests");
  options.size("--bytes-per-token", wanted->bytes_per_token, "Payload of a token");
  options.value("--block-tokens", wanted->block_tokens, "Tokens of a block where a line is silent")
      .range(1, wire::kTokensPerChunkMax);
  options.size("--host-bytes", wanted->host_bytes, "Host memory of the spawned daemon");
  options.value("--host-chunks", wanted->host_chunks, "Exactly so many chunks stay findable");
  options.size("--nvme-bytes", wanted->nvme_bytes, "NVMe of the spawned daemon, in its folder");
  options.value("--nvme-chunks", wanted->nvme_chunks, "The same, with room for so many chunks");
  options.value("--policy", wanted->policy, "Eviction policy")
      .choices({"default", "lru", "arc", "reuse", "s3-fifo", "gdsf"});
  options
      .value("--spawn", wanted->spawn, "Start a daemon with its files in this folder, and stop it")
      .not_empty()
      .folder();
  options.value("--clients", wanted->clients, "Clients, each with a session; 1 is exact")
      .range(1, kClientsMax);
  options.flag("--verify", wanted->verify, "Compare every byte of every hit");
  options.flag("--drop", wanted->drop, "Never wait for room: drop the chunk, as an engine would");
  options.value("--paced", wanted->paced, "At the recorded times, so many times faster")
      .range(1e-6, 1e9);
  return [wanted](CommandContext& context) { return Replaying(*wanted, context).run(); };
}

constexpr Command kCommand{
    .group = "",
    .name = "replay",
    .summary = "Replay a trace of requests with real bytes, and show what was found",
    .description =
        "Every block of a request is a chunk. Each request looks up its longest resident prefix,\n"
        "loads it, stores what is missing and touches what it found, tail to head. Exit status 1\n"
        "if a byte was wrong or a call failed.",
    .examples = kExamples,
    .setup = setup,
};

}  // namespace

const Command& replay_command() {
  return kCommand;
}

}  // namespace kvtier::tools
