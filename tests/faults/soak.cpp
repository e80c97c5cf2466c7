// soak: two client processes of two tenants load, store, touch, prefetch and hint against one
// kvtierd with host memory and an nvme tier, both too small for what they ask for. What the daemon
// holds is sampled all the time; between an early and the last part of the run nothing may have
// grown by more than one percent. Prints samples as it goes and a JSON object at the end. Exit 1 if
// anything is wrong.
//
//   soak [--seconds 3600] [--seed N]
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_daemon.hpp"
#include "tests/faults/footprint.hpp"
#include "tests/faults/mixed_client.hpp"

namespace kvtier::faults {
namespace {

constexpr uint32_t kFirstUid = 61001;  // of nobody
constexpr size_t kSoakers = 2;
constexpr uint64_t kHostBytes = 256ull << 20;
constexpr double kFlatWithin = 0.01;
constexpr double kMemoryNoise = 1 << 20;  // of allocators, where one percent would be less
constexpr double kWarmUpNoise = 8 << 20;  // of a run too short to have warmed up in its first third
constexpr double kShortSeconds = 300;
constexpr double kFdNoise = 2;  // connections of administrators

// `early` is taken after a third of the run, when everything has been full for long.
struct Compared {
  const char* what;
  double early, late, slack;
  bool flat() const { return late <= early * (1 + kFlatWithin) + slack; }
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

template <typename Get>
Compared compare(const char* what, const std::vector<Footprint>& samples, double slack, Get get) {
  const size_t part = std::max<size_t>(samples.size() / 6, 1);
  std::vector<double> early, late;
  for (size_t i = 0; i < part; ++i) {
    early.push_back(get(samples[2 * part + i]));
    late.push_back(get(samples[samples.size() - part + i]));
  }
  return {what, median(early), median(late), slack};
}

MixedRecord* shared_record() {
  void* shared = ::mmap(nullptr, sizeof(MixedRecord), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared == MAP_FAILED) std::abort();
  return static_cast<MixedRecord*>(shared);  // zeros are its beginning
}

int soak(double seconds, uint64_t seed) {
  if (::geteuid() != 0) {
    std::printf("soak: its tenants are two uids, which only root can be\n");
    return 77;
  }
  FaultDaemon daemon(
      "[host]\ncapacity = '256MiB'\n[daemon]\nsocket_mode = '0666'\n"
      "[nvme]\ncapacity = '512MiB'\nprepare = 'off'\n");
  daemon.start();
  daemon.admit_everybody();
  MixedRecord* record = shared_record();
  std::mt19937_64 random(seed);
  std::vector<std::unique_ptr<Child>> clients;
  for (size_t i = 0; i < kSoakers; ++i) {
    MixedClientOptions options;
    options.socket = daemon.socket();
    options.number = i;
    options.seed = random();
    options.promotes = true;
    options.share_bytes = kHostBytes;  // of which it wants one and a half: three hosts' worth
    clients.push_back(
        Child::start([options, record](Line&) { return MixedClient(options, record).run(); },
                     {.uid = kFirstUid + static_cast<uint32_t>(i)}));
  }
  std::printf("soak: %.0f s, seed %llu\n", seconds, static_cast<unsigned long long>(seed));
  std::vector<Footprint> samples;
  const auto start = std::chrono::steady_clock::now();
  const int pause = static_cast<int>(std::clamp(seconds / 60, 0.25, 10.0) * 1000);
  for (;;) {
    ::poll(nullptr, 0, pause);
    samples.push_back(Footprint::of(daemon));
    const double passed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (samples.size() % 12 == 0) {
      std::printf("%6.0f s  %s\n", passed, samples.back().json().dump().c_str());
      std::fflush(stdout);
    }
    if (passed >= seconds && samples.size() >= 12) break;
  }
  record->stop.store(1);
  int bad_exits = 0;
  for (const auto& client : clients) bad_exits += client->wait() != 0;

  bool good = bad_exits == 0;
  nlohmann::json json = {{"seconds", seconds}, {"seed", seed}, {"samples", samples.size()}};
  const double noise = seconds < kShortSeconds ? kWarmUpNoise : kMemoryNoise;
  const Compared all[] = {
      compare("rss_anonymous", samples, noise, [](const Footprint& f) { return f.rss; }),
      compare("open_fds", samples, kFdNoise,
              [](const Footprint& f) { return f.fds_besides_segments(); }),
      compare("segment_bytes", samples, 0,
              [](const Footprint& f) { return static_cast<double>(f.bytes); }),
      compare("slots_held", samples, 16, [](const Footprint& f) {
        return static_cast<double>(f.granted + f.retired + f.quarantined);
      })};
  for (const Compared& one : all) {
    json[one.what] = {{"early", one.early}, {"late", one.late}, {"flat", one.flat()}};
    good = good && one.flat();
  }
  uint64_t wrong = 0, failed = 0, corrupt = 0, requests = 0, hits = 0;
  for (size_t i = 0; i < kSoakers; ++i) {
    const ClientRecord& client = record->clients[i];
    wrong += client.wrong_bytes, failed += client.failed_calls, corrupt += client.corrupt;
    requests += client.requests, hits += client.chunks_hit;
    if (client.first_failure[0] != '\0') std::printf("WRONG: %s\n", client.first_failure);
  }
  Footprint after;
  const bool let_go = eventually(std::chrono::milliseconds(5000), [&] {
    after = Footprint::of(daemon);
    return after.nothing_held();
  });
  json["demoted"] = daemon.counter("demoted");
  const uint64_t promoted = daemon.counter("promoted");
  json["promoted"] = promoted;
  json["requests"] = requests;
  json["chunks_hit"] = hits;
  json["wrong_bytes"] = wrong;
  json["failed_calls"] = failed;
  json["corrupt"] = corrupt;
  json["let_go"] = let_go;
  good = good && wrong == 0 && failed == 0 && corrupt == 0 && let_go && hits > 0 &&
         daemon.counter("demoted") > 0 && promoted > requests / 20;
  json["good"] = good;
  std::printf("%s\n", json.dump().c_str());
  daemon.stop();
  return good && !::testing::Test::HasFailure() ? 0 : 1;
}

}  // namespace
}  // namespace kvtier::faults

int main(int count, char** words) {
  double seconds = 3600;
  uint64_t seed = std::random_device{}();
  for (int i = 1; i < count; i += 2) {
    const bool has_value = i + 1 < count;
    if (has_value && std::strcmp(words[i], "--seconds") == 0) {
      seconds = std::strtod(words[i + 1], nullptr);
    } else if (has_value && std::strcmp(words[i], "--seed") == 0) {
      seed = std::strtoull(words[i + 1], nullptr, 10);
    } else {
      std::fputs("usage: soak [--seconds S] [--seed N]\n", stderr);
      return 2;
    }
  }
  return kvtier::faults::soak(seconds, seed);
}
