// kvtier dump: a support bundle, a folder of text files that may be given away: what the daemon
// says about itself and what the machine is like. Never chunks, keys, token ids or salts: it asks
// only for what the admin interface shows without them, and reads no file of the daemon's state.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <ostream>
#include <sstream>

#include "kvtier/kvtier.hpp"
#include "tools/admin/admin_client.hpp"
#include "tools/cli/commands/commands.hpp"
#include "tools/cli/daemon_link.hpp"
#include "tools/cli/doctor/checks.hpp"
#include "tools/cli/socket_path.hpp"

namespace kvtier::tools {
namespace {

constexpr std::chrono::milliseconds kTimeout{5'000};
constexpr size_t kFileBytesMax = 1u << 20;  // of what is copied from /proc and /sys

constexpr const char* kReadMe =
    "A support bundle of kvtier, made by `kvtier dump`. Text files:\n\n"
    "  status.json    what kvtierd shows: tiers, tenants, spaces, sessions, counters\n"
    "  config.toml    its configuration with every option, as it runs\n"
    "  metrics.txt    its metrics in Prometheus' format\n"
    "  events.jsonl   the newest messages of its log, one object a line\n"
    "  doctor.json    kvtier doctor\n"
    "  version.txt    of this program and of the kernel\n"
    "  machine.txt    memory, processor, mounts, limits, and the daemon's own /proc entries\n\n"
    "It holds no payloads of chunks, token ids, keys or salts. It does name models, tenants,\n"
    "processes, users and paths of this machine: read it before it is given away.\n";

// What is asked of the daemon, and where it goes.
struct Question {
  const char* target;
  const char* file;
};
constexpr std::array kQuestions = {
    Question{"/v1/status", "status.json"},
    Question{"/v1/config", "config.toml"},
    Question{"/metrics", "metrics.txt"},
    Question{"/v1/events", "events.jsonl"},
};

constexpr std::array kMachineFiles = {
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/cgroups",
    "/proc/self/mountinfo",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/nr_hugepages",
    "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/pressure/io",
    "/proc/diskstats",
};
constexpr std::array kDaemonFiles = {"status", "limits", "cgroup", "smaps_rollup", "io", "sched"};

std::string read_some(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kFileBytesMax, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string default_folder() {
  char host[65] = "host", when[32];
  ::gethostname(host, sizeof host - 1);
  const time_t now = ::time(nullptr);
  tm parts{};
  ::gmtime_r(&now, &parts);
  std::strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &parts);
  return std::string("kvtier-dump-") + host + "-" + when;
}

// Files are the caller's alone; the first error ends it.
class Bundle {
 public:
  explicit Bundle(std::string folder) : folder_(std::move(folder)) {
    if (::mkdir(folder_.c_str(), 0700) != 0) note_error("cannot make the folder " + folder_);
  }

  void write(const std::string& name, const std::string& text) {
    if (!error_.empty()) return;
    const std::string path = folder_ + "/" + name;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    size_t done = 0;
    while (fd >= 0 && done < text.size()) {
      const ssize_t wrote = ::write(fd, text.data() + done, text.size() - done);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) break;
      done += static_cast<size_t>(wrote);
    }
    if (fd < 0 || done < text.size()) note_error("cannot write " + path);
    if (fd >= 0) ::close(fd);
    files_.push_back(name);
  }

  const std::string& folder() const { return folder_; }
  const std::string& error() const { return error_; }
  const std::vector<std::string>& files() const { return files_; }

 private:
  void note_error(const std::string& what) { error_ = what + ": " + std::strerror(errno); }

  std::string folder_;
  std::string error_;
  std::vector<std::string> files_;
};

// What the daemon answered, or a line that says why it did not.
std::string answer_of(const CommandContext& context, const Question& question, bool& missing) {
  auto reply = ask_admin({.socket = admin_socket_beside(context.socket),
                          .target = question.target,
                          .timeout = kTimeout});
  if (reply.ok() && reply->status == 200) {
    if (std::strcmp(question.target, "/v1/config") != 0) return reply->body;
    const Json json = Json::parse(reply->body, nullptr, false);
    return json.is_object() ? text_of(json, "toml") : reply->body;
  }
  missing = true;
  const std::string why = reply.ok()
                              ? "HTTP status " + std::to_string(reply->status) + ": " + reply->body
                              : std::string(reply.error().message());
  return std::string("# not to be had, ") + question.target + ": " + why + "\n";
}

std::string doctor_text(const Facts& facts) {
  Json checks = Json::array();
  for (const CheckRow& row : check_rows()) {
    const Finding finding = row.judge(facts);
    checks.push_back({{"name", row.name},
                      {"verdict", verdict_name(finding.verdict)},
                      {"found", finding.found},
                      {"remedy", finding.remedy}});
  }
  return Json{{"checks", checks}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string version_text() {
  utsname kernel = {};
  ::uname(&kernel);
  std::ostringstream text;
  text << "kvtier " << version() << ", protocol " << protocol_version_min() << " to "
       << protocol_version_max() << "\n"
       << kernel.sysname << " " << kernel.release << " " << kernel.version << " " << kernel.machine
       << "\n";
  return text.str();
}

std::string machine_text(const Facts& facts) {
  std::string text;
  const auto add = [&text](const std::string& path) {
    text += "== " + path + "\n" + read_some(path) + "\n";
  };
  for (const char* path : kMachineFiles) add(path);
  const std::string cpu = read_some("/proc/cpuinfo");
  text += "== /proc/cpuinfo, the first processor\n" + cpu.substr(0, cpu.find("\n\n")) + "\n\n";
  if (facts.daemon_pid > 0) {
    for (const char* name : kDaemonFiles) {
      add("/proc/" + std::to_string(facts.daemon_pid) + "/" + name);
    }
  }
  return text;
}

int dump(const std::string& wanted, CommandContext& context) {
  Bundle bundle(wanted.empty() ? default_folder() : wanted);
  bool missing = false;
  bundle.write("README.txt", kReadMe);
  for (const Question& question : kQuestions) {
    bundle.write(question.file, answer_of(context, question, missing));
  }
  const Facts facts = gather_facts(context);
  bundle.write("doctor.json", doctor_text(facts));
  bundle.write("version.txt", version_text());
  bundle.write("machine.txt", machine_text(facts));
  if (!bundle.error().empty()) {
    return context.fail(kExitFailed, bundle.error(), "name a folder that does not exist yet");
  }
  if (context.json) {
    print_json(context,
               {{"folder", bundle.folder()}, {"files", bundle.files()}, {"complete", !missing}});
  } else {
    context.out << bundle.folder() << ": " << bundle.files().size()
                << " text files; to give it away: tar czf " << bundle.folder() << ".tar.gz "
                << bundle.folder() << "\n";
  }
  if (missing && !context.json) {
    context.err << "kvtierd did not answer everything; the files say what is missing\n";
  }
  return missing ? kExitDegraded : kExitOk;
}

CommandRun setup(Options& options) {
  auto folder = std::make_shared<std::string>();
  options.value("FOLDER", *folder, "Made for it; else kvtier-dump-HOST-TIME here").folder();
  return [folder](CommandContext& context) { return dump(*folder, context); };
}

constexpr CommandExample kExamples[] = {
    {"kvtier dump", "in a folder here; exit status 4 when the daemon did not answer"},
    {"kvtier dump /tmp/for-support", ""},
};

}  // namespace

const Command& dump_command() {
  static const Command command{
      .group = "",
      .name = "dump",
      .summary = "A support bundle: configuration, status, events, metrics, machine",
      .description =
          "Text files that name models, tenants and processes. No payloads, token ids, "
          "keys or salts.",
      .examples = kExamples,
      .setup = setup};
  return command;
}

}  // namespace kvtier::tools
