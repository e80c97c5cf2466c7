#include "tests/faults/fault_daemon.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "daemon/keep/holder_keeper.hpp"
#include "tools/admin/admin_client.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

}  // namespace

FaultDaemon::FaultDaemon(const std::string& config, Keep keep) : keep_(keep) {
  const char* base = std::getenv("TMPDIR");
  directory_ = std::string(base == nullptr ? "/tmp" : base) + "/kvtier-faults-XXXXXX";
  if (::mkdtemp(directory_.data()) == nullptr) std::abort();
  configure(config);
}

void FaultDaemon::configure(const std::string& config) {
  config_ = replaced(config, "{DIR}", directory_);
}

FaultDaemon::~FaultDaemon() {
  daemon_.reset();
  // The holder would end by itself, a moment after its directory has gone.
  if (keep_ == Keep::kYes) {
    [[maybe_unused]] const Status ended = daemon::end_holder(daemon::holder_path(socket()));
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void FaultDaemon::start() {
  daemon_.reset();
  tools::SpawnOptions options;
  options.directory = directory_;
  options.config_text = config_;
  options.keep = keep_ == Keep::kYes;
  options.program = KVTIER_PROGRAM_DIR "/kvtierd";
  if (!kill_at_.empty()) {
    options.program = KVTIER_PROGRAM_DIR "/tests/kvtierd_kill_points";
    options.environment = {"KVTIER_KILL_AT=" + std::exchange(kill_at_, "")};
  }
  auto started = tools::SpawnedDaemon::start(options);
  if (!started.ok()) throw std::runtime_error(started.error().message());
  daemon_ = std::move(*started);
}

void FaultDaemon::die_at(const std::string& point, uint64_t passing) {
  kill_at_ = point + "#" + std::to_string(passing);
}

int FaultDaemon::kill() {
  return daemon_->kill_now().exit_status;
}

void FaultDaemon::stop() {
  EXPECT_EQ(daemon_->stop().exit_status, 0) << daemon_->log_tail(5);
}

void FaultDaemon::pause() {
  ::kill(daemon_->pid(), SIGSTOP);
}

void FaultDaemon::resume() {
  ::kill(daemon_->pid(), SIGCONT);
}

void FaultDaemon::admit_everybody() const {
  ::chmod(directory_.c_str(), 0755);
}

nlohmann::json FaultDaemon::ask(const std::string& target, const char* method) const {
  const auto reply =
      tools::ask_admin({.socket = directory_ + "/admin.sock", .method = method, .target = target});
  if (!reply.ok() || reply->status != 200) return nullptr;
  return nlohmann::json::parse(reply->body, nullptr, false);
}

void FaultDaemon::forget_salts() const {
  std::filesystem::remove_all(directory_ + "/state/salts");
}

std::string FaultDaemon::start_mode() const {
  const nlohmann::json all = status();
  return all.is_object() ? all.at("start_mode").get<std::string>() : "no answer";
}

uint64_t FaultDaemon::host(const char* field) const {
  const nlohmann::json tier = ask("/v1/tiers/host");
  return tier.is_object() ? tier.at(field).get<uint64_t>() : UINT64_MAX;
}

uint64_t FaultDaemon::counter(const char* name) const {
  const nlohmann::json all = status();
  return all.is_object() ? all.at("counters").at(name).get<uint64_t>() : UINT64_MAX;
}

uint64_t FaultDaemon::client_counter(const char* name) {
  uint64_t sum = 0;
  const nlohmann::json all = status();
  if (!all.is_object()) return UINT64_MAX;
  for (const nlohmann::json& tenant : all.at("tenants")) {
    sum += tenant.at("counters").at(name).get<uint64_t>();
  }
  return sum;
}

uint64_t FaultDaemon::sessions() const {
  const nlohmann::json all = status();
  return all.is_object() ? all.at("sessions").size() : UINT64_MAX;
}

std::string FaultDaemon::metrics() const {
  const auto reply = tools::ask_admin({.socket = directory_ + "/admin.sock", .target = "/metrics"});
  return reply.ok() ? reply->body : "";
}

double FaultDaemon::metric(const std::string& sample) const {
  std::istringstream text(metrics());
  for (std::string line; std::getline(text, line);) {
    if (line.compare(0, sample.size() + 1, sample + " ") == 0) {
      return std::strtod(line.c_str() + sample.size(), nullptr);
    }
  }
  ADD_FAILURE() << "there is no metric " << sample;
  return -1;
}

bool FaultDaemon::logged(const char* code) const {
  return eventually(milliseconds(2000),
                    [&] { return daemon_->log_tail(200).find(code) != std::string::npos; });
}

bool eventually(milliseconds patience, const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

std::string small_pool(const char* capacity, const char* host) {
  return std::string("[host]\nhuge_pages = 'never'\nlock = 'never'\nsegment_bytes_min = '1MiB'\n") +
         "capacity = '" + capacity + "'\n" + host + "\n";
}

std::string two_tenants() {
  return "[[tenant]]\nname = 'a'\nsocket = '{DIR}/a.sock'\nmode = '0666'\n"
         "[[tenant]]\nname = 'b'\nsocket = '{DIR}/b.sock'\nmode = '0666'\n";
}

}  // namespace kvtier::faults
