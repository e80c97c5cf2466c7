// `kvtier bench`: one benchmark with its limit, as a few lines or as JSON. One thread.
#include <array>
#include <cstdio>
#include <ostream>

#include "kvtier/wire/types.hpp"
#include "tools/bench/bench.hpp"
#include "tools/cli/command.hpp"
#include "tools/cli/output.hpp"

namespace kvtier::tools {
namespace {

constexpr uint32_t kRepeatsMax = 1000;

struct Row {
  const char* name;
  Result<BenchResult> (*run)(const BenchOptions& options);
};
constexpr std::array kRows = {
    Row{"lookup", bench_lookup},       Row{"lease", bench_lease},
    Row{"load", bench_load},           Row{"store", bench_store},
    Row{"memory", bench_memory},       Row{"idle", bench_idle},
    Row{"nvme-read", bench_nvme_read}, Row{"nvme-write", bench_nvme_write},
    Row{"restart", bench_restart},     Row{"plan", bench_plan},
    Row{"prefix", bench_prefix},
};

constexpr std::array kExamples = {
    CommandExample{"kvtier bench load", "Copy out of the pool, beside plain copies"},
    CommandExample{"kvtier bench nvme-read --dir /mnt/nvme0", "Beside a bare io_uring loop"},
    CommandExample{"kvtier bench lookup --entries 100000 --json", "With less memory, as JSON"},
};

std::string show(const nlohmann::ordered_json& value) {
  if (!value.is_number_float()) return value.is_string() ? value.get<std::string>() : value.dump();
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value.get<double>());
  return text;
}

nlohmann::ordered_json json_of(const BenchResult& result, const std::string& what) {
  nlohmann::ordered_json json;
  json["bench"] = what;
  json["ours"] = result.ours;
  json["limit"] = result.limit;
  json["limit_name"] = result.limit_name;
  json["unit"] = result.unit;
  json["ratio"] = result.ratio();
  json["cpu_s_per_gb"] =
      result.cpu_s_per_gb ? nlohmann::ordered_json(*result.cpu_s_per_gb) : nlohmann::ordered_json();
  json["measured"] = result.explanation;
  json.update(result.more);
  return json;
}

void print(const BenchResult& result, const std::string& what, CommandContext& context) {
  context.out << paint(context.color, Color::kBold, what) << "  " << result.explanation << "\n";
  const nlohmann::ordered_json json = json_of(result, what);
  for (const auto& [name, value] : json.items()) {
    if (name == "bench" || name == "measured" || value.is_null()) continue;
    context.out << "  " << name << std::string(name.size() < 24 ? 24 - name.size() : 1, ' ')
                << show(value) << "\n";
  }
}

int run(const BenchOptions& wanted, CommandContext& context) {
  BenchOptions options = wanted;
  if (context.socket_given) options.socket = context.socket;
  options.note = [&context](const std::string& text) {
    if (!context.json) context.err << "  " << text << "\n";
  };
  if (options.chunk_bytes == 0 || options.chunk_bytes > wire::kChunkBytesMax) {
    return context.fail(kExitUsage, "--chunk-bytes takes 1 byte to 128 MiB");
  }
  for (const Row& row : kRows) {
    if (options.what != row.name) continue;
    const auto result = row.run(options);
    if (!result) {
      const Code code = result.error().code();
      const bool absent = code == Code::kUnavailable && context.socket_given;
      return context.fail(absent                           ? kExitUnreachable
                          : code == Code::kInvalidArgument ? kExitUsage
                                                           : kExitFailed,
                          result.error().message());
    }
    if (context.json) {
      context.out << json_of(*result, options.what).dump(2) << "\n";
    } else {
      print(*result, options.what, context);
    }
    return kExitOk;
  }
  return context.fail(kExitUsage, "there is no benchmark '" + printable(options.what) + "'");
}

CommandRun setup(Options& options) {
  auto wanted = std::make_shared<BenchOptions>();
  options.value("WHAT", wanted->what, "Which benchmark")
      .choices({"lookup", "lease", "load", "store", "memory", "idle", "nvme-read", "nvme-write",
                "restart", "plan", "prefix"})
      .required();
  options.size("--chunk-bytes", wanted->chunk_bytes, "load, store, nvme: payload of a chunk");
  options.value("--entries", wanted->entries, "lookup, memory, restart: resident chunks");
  options.size("--pool-bytes", wanted->pool_bytes, "load, store: working set");
  options.value("--repeats", wanted->repeats, "Medians are taken over so many")
      .range(1, kRepeatsMax);
  options.value("--seconds", wanted->seconds, "idle: how long; nvme: about so long a depth")
      .range(0.1, 3600);
  options.value("--depth", wanted->depth, "nvme: transfers at once, beside 1, 8 and 32")
      .range(1, 256);
  options.flag("--nvme", wanted->nvme,
               "memory, restart: with an NVMe tier that holds all chunks too");
  options.flag("--no-registered-buffers", wanted->unregistered_buffers,
               "nvme: as nvme.registered_buffers = \"never\"; the bare loop always goes without");
  options.size("--slab-bytes", wanted->slab_bytes,
               "nvme: chunks written; the slab is three times that");
  options
      .value("--dir", wanted->folder, "nvme, prefix, restart: where the slab is made, and removed")
      .not_empty()
      .folder();
  options.value("--huge-pages", wanted->huge_pages, "Of the index")
      .choices({"auto", "never", "require"});
  auto no_redis = std::make_shared<bool>(false);
  options.flag("--no-redis", *no_redis, "lookup: do not measure Redis beside");
  return [wanted, no_redis](CommandContext& context) {
    wanted->redis = !*no_redis;
    return run(*wanted, context);
  };
}

constexpr Command kCommand{
    .group = "",
    .name = "bench",
    .summary = "Measure look-up, lease, load, store, plan or disk beside what the machine can do",
    .description =
        "Starts a daemon of its own with what it needs, unless --socket names a running one.\n"
        "Prints ours, limit and ratio: higher is better. The limit is measured in turns with\n"
        "ours, in the same run; numbers are medians.",
    .examples = kExamples,
    .setup = setup,
};

}  // namespace

const Command& bench_command() {
  return kCommand;
}

}  // namespace kvtier::tools
