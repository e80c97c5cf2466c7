// mixed_load: four client processes of four tenants load, store, touch, prefetch and hint against
// one kvtierd, in pairs of times without kills and with kill -9 of a random client every second.
// Compares those who were not killed, looks for wrong bytes, failed calls and leaks, and prints a
// table and a JSON object. Exit 1 if anything is wrong, or a ratio above --ratio-max.
//
//   mixed_load [--seconds 60] [--pairs 10] [--capacity-mib 1024] [--seed N] [--ratio-max 1.3]
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/faults/footprint.hpp"
#include "tests/faults/mixed_client.hpp"
#include "tests/faults/mixed_report.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
constexpr uint32_t kFirstUid = 61001;  // of nobody

struct Options {
  double seconds = 60;  // with kills; as many without
  size_t pairs = 10;
  uint64_t capacity_mib = 1024;
  uint64_t seed = 0;
  double ratio_max = 0;  // 0: reported only
};

class MixedLoad {
 public:
  explicit MixedLoad(const Options& options);
  int run();

 private:
  std::string config() const;
  void start_client(size_t number);
  void stop_clients();
  void spend(Interval interval, milliseconds time);
  void warm_up();
  void pair(size_t number);
  bool settle(Footprint* print);

  Options options_;
  bool own_uids_;
  FaultDaemon daemon_;
  MixedRecord* record_;
  std::array<std::unique_ptr<Child>, kClients> clients_;
  std::vector<Interval> intervals_;
  std::mt19937_64 random_;
  uint64_t kills_ = 0;
  int bad_exits_ = 0;
};

MixedLoad::MixedLoad(const Options& options)
    : options_(options), own_uids_(::geteuid() == 0), daemon_(config()), random_(options.seed) {
  void* shared = ::mmap(nullptr, sizeof(MixedRecord), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) std::abort();
  record_ = static_cast<MixedRecord*>(shared);  // zeros are its beginning
}

// Each client is a tenant: by its uid where this program may change it, else by its socket.
std::string MixedLoad::config() const {
  std::string text = "[host]\ncapacity = '" + std::to_string(options_.capacity_mib) + "MiB'\n";
  if (own_uids_) return text + "[daemon]\nsocket_mode = '0666'\n";
  for (size_t i = 0; i < kClients; ++i) {
    const std::string name = "mixed" + std::to_string(i);
    text += "[[tenant]]\nname = '" + name + "'\nsocket = '{DIR}/" + name + ".sock'\n";
  }
  return text;
}

void MixedLoad::start_client(size_t number) {
  MixedClientOptions options;
  options.socket = own_uids_ ? daemon_.socket() : daemon_.socket("mixed" + std::to_string(number));
  options.number = number;
  options.seed = random_();
  options.share_bytes = options_.capacity_mib * wire::MiB / kClients;
  const uint32_t uid = own_uids_ ? kFirstUid + static_cast<uint32_t>(number) : 0;
  clients_[number] =
      Child::start([&](Line&) { return MixedClient(options, record_).run(); }, {.uid = uid});
}

void MixedLoad::stop_clients() {
  record_->stop.store(1);
  for (std::unique_ptr<Child>& client : clients_) {
    if (const int status = client->wait(); status != 0) {
      std::printf("a client ended with status %d\n", status);
      ++bad_exits_;
    }
    client.reset();
  }
  record_->stop.store(0);
}

// The load runs by itself; this divides the time, and kills where there is a victim.
void MixedLoad::spend(Interval interval, milliseconds time) {
  record_->interval.store(static_cast<uint32_t>(intervals_.size()));
  const double cpu = daemon_.process().cpu_seconds();
  if (interval.victim < kClients) {
    clients_[interval.victim]->kill_now();
    start_client(interval.victim);
  }
  ::poll(nullptr, 0, static_cast<int>(time.count()));
  interval.daemon_cpu_s = daemon_.process().cpu_seconds() - cpu;
  intervals_.push_back(interval);
}

// Until the tier is full, so that every store evicts.
void MixedLoad::warm_up() {
  for (size_t i = 0; i < kClients; ++i) start_client(i);
  for (int i = 0; i < 100; ++i) {
    spend({}, milliseconds(100));
    if (daemon_.host("allocated_bytes") > options_.capacity_mib * wire::MiB * 9 / 10 &&
        daemon_.host("evictions") > 200) {
      break;
    }
  }
  stop_clients();
}

void MixedLoad::pair(size_t number) {
  const double seconds = options_.seconds / static_cast<double>(options_.pairs);
  const auto count = static_cast<size_t>(std::max(seconds, 1.0));
  for (size_t i = 0; i < count; ++i) {
    spend({.pair = number, .counted = true}, milliseconds(1000));
  }
  for (size_t i = 0; i < count; ++i) {
    const size_t victim = random_() % kClients;
    ++kills_;
    spend({.pair = number, .counted = true, .kills = true, .victim = victim}, milliseconds(1000));
  }
  spend({.pair = number}, milliseconds(1000));  // the last one killed gets going
}

// What the daemon holds once it has noticed that everybody is gone.
bool MixedLoad::settle(Footprint* print) {
  return eventually(milliseconds(5000), [&] {
    *print = Footprint::of(daemon_);
    return print->nothing_held();
  });
}

int MixedLoad::run() {
  daemon_.start();
  daemon_.admit_everybody();
  std::printf("mixed_load: seed %llu, four tenants by %s, %llu MiB\n",
              static_cast<unsigned long long>(options_.seed), own_uids_ ? "uid" : "socket",
              static_cast<unsigned long long>(options_.capacity_mib));
  warm_up();
  Footprint before, after;
  bool good = settle(&before);
  for (size_t i = 0; i < kClients; ++i) start_client(i);
  spend({}, milliseconds(1000));
  for (size_t i = 0; i < options_.pairs; ++i) pair(i);
  stop_clients();
  good = settle(&after) && good;

  const MixedReport report = make_report(*record_, intervals_);
  const double capacity = static_cast<double>(options_.capacity_mib * wire::MiB);
  const auto expect = [&good](bool holds, const char* what) {
    if (!holds) std::printf("WRONG: %s\n", what);
    good = good && holds;
  };
  expect(before.nothing_held() && after.nothing_held(), "sessions or slots are still held");
  expect(after.fds_besides_segments() <= before.fds_besides_segments(), "descriptors leaked");
  expect(static_cast<double>(after.bytes) <= capacity, "segments exceed the capacity");
  expect(after.rss <= before.rss + 8e6, "the daemon's own memory grew");
  expect(report.wrong_bytes == 0, "wrong bytes");
  expect(report.corrupt == 0, "checksums that do not fit");
  expect(report.failed_calls == 0, "failed calls");
  expect(bad_exits_ == 0, "clients that did not end well");
  expect(report.requests > 0 && report.chunks_hit > 0, "no load");
  expect(options_.ratio_max == 0 || report.worst_ratio <= options_.ratio_max,
         "survivors were slowed down");

  std::fputs(table_of(report).c_str(), stdout);
  nlohmann::json json = json_of(report);
  json["seconds_with_kills"] = options_.seconds;
  json["pairs"] = options_.pairs;
  json["kills"] = kills_;
  json["seed"] = options_.seed;
  json["before"] = before.json();
  json["after"] = after.json();
  json["good"] = good;
  std::printf("%s\n", json.dump().c_str());
  daemon_.stop();
  return good && !::testing::Test::HasFailure() ? 0 : 1;
}

bool parse(int count, char** words, Options* options) {
  for (int i = 1; i < count; i += 2) {
    if (i + 1 == count) return false;
    const std::string name = words[i];
    const double value = std::strtod(words[i + 1], nullptr);
    if (name == "--seconds")
      options->seconds = value;
    else if (name == "--pairs")
      options->pairs = static_cast<size_t>(value);
    else if (name == "--capacity-mib")
      options->capacity_mib = static_cast<uint64_t>(value);
    else if (name == "--seed")
      options->seed = std::strtoull(words[i + 1], nullptr, 10);
    else if (name == "--ratio-max")
      options->ratio_max = value;
    else
      return false;
  }
  return options->pairs > 0 && options->seconds > 0;
}

}  // namespace
}  // namespace kvtier::faults

int main(int count, char** words) {
  kvtier::faults::Options options;
  options.seed = std::random_device{}();
  if (!kvtier::faults::parse(count, words, &options)) {
    std::fputs(
        "usage: mixed_load [--seconds S] [--pairs N] [--capacity-mib M] [--seed N] "
        "[--ratio-max R]\n",
        stderr);
    return 2;
  }
  return kvtier::faults::MixedLoad(options).run();
}
