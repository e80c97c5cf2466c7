// Kills the daemon with SIGKILL at random moments of real work and starts it again over the same
// memory, thousands of times: store, evict, reload; every byte that comes back is compared with
// what its key says it must be, and the slots are counted. Prints a line every 100 cycles and ends
// with one line of JSON; exit status 1 if anything was wrong.
//
//   kill_loop [--cycles N] [--seed N] [--clients N] [--capacity-mib N] [--nvme
//   [EMPTY-DIRECTORY=]SIZE]
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <sstream>

#include "tests/faults/child.hpp"
#include "tests/faults/fault_client.hpp"
#include "tests/faults/fault_daemon.hpp"

namespace kvtier::faults {
namespace {

using std::chrono::milliseconds;

struct LoopOptions {
  uint64_t cycles = 200;
  uint64_t seed = 1;
  uint64_t clients = 2;
  uint64_t capacity_mib = 4;
  std::string nvme;  // TOML of the [nvme] table, empty: none
};

struct Sums {
  uint64_t cycles = 0, warm = 0, cold = 0, stored = 0, loaded = 0, wrong_bytes = 0, corrupt = 0,
           phantom_hits = 0, slot_leaks = 0, hung = 0, found_again = 0, demoted = 0, promoted = 0,
           recovered = 0;
  double ready_seconds_max = 0;

  bool good() const {
    return wrong_bytes == 0 && corrupt == 0 && phantom_hits == 0 && slot_leaks == 0 && hung == 0 &&
           cold <= 1;
  }
};

constexpr uint64_t kPromptsPerMib = 6;  // about twice what the pool holds
constexpr size_t kChunks = 6;

// What an engine says at its end, in this order.
struct EngineSums {
  uint64_t stored = 0, loaded = 0, wrong_bytes = 0, corrupt = 0, phantom_hits = 0;
};

// One engine, in a process of its own: works until told to end, and survives whatever happens to
// the daemon.
int work(Line& line, const std::string& socket, uint64_t prompts, uint64_t seed) {
  FaultClient client({.socket = socket, .call_deadline = milliseconds(300)});
  std::mt19937_64 random(seed);
  EngineSums sums;
  line.say("ready");
  while (line.hear(milliseconds(0)).empty()) {
    const uint64_t prompt = random() % prompts;
    // What has gone down is brought up again, or, now and then, left for somebody else.
    const KeyChain keys = client.chain(prompt, kChunks);
    if (random() % 4 != 0 && client.space().lookup(keys).chunks_by_tier[2] > 0) {
      (void)client.space().prefetch(keys, 0, kChunks, Clock::now() + milliseconds(100));
    }
    const ReadBack back = client.read(prompt, kChunks);
    sums.loaded += back.loaded;
    sums.wrong_bytes += back.wrong_bytes;
    if (random() % 8 == 0) {
      std::vector<Grant> grants = client.grants(prompt + prompts, 2);
      if (random() % 2 == 0) client.commit(prompt + prompts, grants);
    } else if (back.loaded < kChunks) {
      for (const StoreOutcome outcome : client.store(prompt, kChunks, milliseconds(300))) {
        sums.stored += outcome == StoreOutcome::kStored ? 1u : 0u;
      }
    }
    // A hit on what nobody ever stored.
    if (random() % 16 == 0) sums.phantom_hits += client.read(1'000'000 + prompt, kChunks).found;
    // A daemon that is away is asked again soon, not in a tight loop.
    if (!client.session().attached()) ::poll(nullptr, 0, 1);
  }
  sums.corrupt = client.session().stats().corrupt;
  std::ostringstream text;
  text << sums.stored << ' ' << sums.loaded << ' ' << sums.wrong_bytes << ' ' << sums.corrupt << ' '
       << sums.phantom_hits;
  line.say(text.str());
  return 0;
}

class Loop {
 public:
  explicit Loop(const LoopOptions& options)
      : options_(options),
        random_(options.seed),
        daemon_(small_pool((std::to_string(options.capacity_mib) + "MiB").c_str()) + options.nvme,
                Keep::kYes) {}

  int run() {
    const auto began = Clock::now();
    daemon_.start();
    for (uint64_t i = 0; i < options_.clients; ++i) {
      engines_.push_back(start_engine());
    }
    for (uint64_t cycle = 0; cycle < options_.cycles && sums_.good(); ++cycle) {
      one_cycle();
      if ((cycle + 1) % 100 == 0) say(began);
    }
    finish();
    report(began);
    return sums_.good() ? 0 : 1;
  }

 private:
  void one_cycle() {
    ::poll(nullptr, 0, static_cast<int>(random_() % 60));
    if (!options_.nvme.empty()) {
      sums_.demoted += daemon_.counter("demoted");
      sums_.promoted += daemon_.counter("promoted");
      sums_.recovered += daemon_.counter("lower_recovered");
    }
    daemon_.kill();
    const auto before = Clock::now();
    daemon_.start();
    const double ready = std::chrono::duration<double>(Clock::now() - before).count();
    sums_.ready_seconds_max = std::max(sums_.ready_seconds_max, ready);
    ++sums_.cycles;
    ++(daemon_.start_mode() == "cold" ? sums_.cold : sums_.warm);
    sums_.found_again += daemon_.counter("adopted");
    // Now and then one engine goes, in order or not, and another comes: its slots come back.
    if (random_() % 16 == 0) {
      if (random_() % 2 == 0) {
        collect(*engines_.front());
      } else {
        engines_.front()->kill_now();
      }
      engines_.front() = start_engine();
    }
  }

  std::unique_ptr<Child> start_engine() {
    const uint64_t prompts = options_.capacity_mib * kPromptsPerMib;
    auto engine = Child::start([socket = daemon_.socket(), prompts, seed = random_()](Line& line) {
      return work(line, socket, prompts, seed);
    });
    // From then on it has nothing of this process's open, above all not the daemon's directory.
    if (engine->line().hear() != "ready") ++sums_.hung;
    return engine;
  }

  void collect(Child& engine) {
    engine.line().say("end");
    std::istringstream text(engine.line().hear());
    EngineSums sums;
    if (!(text >> sums.stored >> sums.loaded >> sums.wrong_bytes >> sums.corrupt >>
          sums.phantom_hits) ||
        engine.wait() != 0) {
      ++sums_.hung;
    }
    sums_.stored += sums.stored;
    sums_.loaded += sums.loaded;
    sums_.wrong_bytes += sums.wrong_bytes;
    sums_.corrupt += sums.corrupt;
    sums_.phantom_hits += sums.phantom_hits;
  }

  void finish() {
    for (const std::unique_ptr<Child>& engine : engines_) collect(*engine);
    engines_.clear();
    // Everybody has gone: every slot is free or holds a chunk.
    const bool back = eventually(milliseconds(5000), [&] {
      return daemon_.sessions() == 0 && daemon_.host("granted_slots") == 0 &&
             daemon_.host("retired_slots") == 0;
    });
    if (!back) {
      sums_.slot_leaks =
          daemon_.host("granted_slots") + daemon_.host("retired_slots") + daemon_.sessions();
    }
    sums_.slot_leaks += daemon_.host("quarantined_slots");
    // And all of them can be used: the tier takes as many chunks as it has slots.
    FaultClient client({.socket = daemon_.socket(), .model = "last"});
    if (!client.wait_attached()) {
      ++sums_.hung;
      return;
    }
    const uint64_t slots = options_.capacity_mib * 1024 / 72;
    // Slots that a device was reading into when the daemon was killed are held for 40 time-outs.
    const auto until =
        Clock::now() + (options_.nvme.empty() ? milliseconds(2000) : milliseconds(20'000));
    for (uint64_t prompt = 0; prompt < slots / kChunks; ++prompt) {
      while (!stored_whole(client, prompt)) {
        if (Clock::now() > until) {
          ++sums_.slot_leaks;
          return;
        }
        ::poll(nullptr, 0, 100);
      }
    }
  }

  static bool stored_whole(FaultClient& client, uint64_t prompt) {
    const auto outcomes = client.store(prompt, kChunks, milliseconds(1000));
    return std::all_of(outcomes.begin(), outcomes.end(), [](StoreOutcome outcome) {
      return outcome == StoreOutcome::kStored || outcome == StoreOutcome::kPresent;
    });
  }

  void say(Clock::time_point began) const {
    std::printf(
        "%llu cycles in %.0f s: %llu warm, %llu chunks found again, ready in %.3f s at most\n",
        static_cast<unsigned long long>(sums_.cycles),
        std::chrono::duration<double>(Clock::now() - began).count(),
        static_cast<unsigned long long>(sums_.warm),
        static_cast<unsigned long long>(sums_.found_again), sums_.ready_seconds_max);
    std::fflush(stdout);
  }

  void report(Clock::time_point began) const {
    const nlohmann::json summary = {
        {"schema", 1},
        {"seed", options_.seed},
        {"cycles", sums_.cycles},
        {"warm", sums_.warm},
        {"cold", sums_.cold},
        {"stored", sums_.stored},
        {"loaded", sums_.loaded},
        {"adopted", sums_.found_again},
        {"demoted", sums_.demoted},
        {"promoted", sums_.promoted},
        {"recovered", sums_.recovered},
        {"wrong_bytes", sums_.wrong_bytes},
        {"corrupt", sums_.corrupt},
        {"phantom_hits", sums_.phantom_hits},
        {"slot_leaks", sums_.slot_leaks},
        {"hung", sums_.hung},
        {"ready_seconds_max", sums_.ready_seconds_max},
        {"seconds", std::chrono::duration<double>(Clock::now() - began).count()},
        {"good", sums_.good()},
    };
    std::printf("%s\n", summary.dump().c_str());
    if (!sums_.good()) {
      std::printf("again: kill_loop --cycles %llu --seed %llu --clients %llu --capacity-mib %llu\n",
                  static_cast<unsigned long long>(options_.cycles),
                  static_cast<unsigned long long>(options_.seed),
                  static_cast<unsigned long long>(options_.clients),
                  static_cast<unsigned long long>(options_.capacity_mib));
    }
  }

  LoopOptions options_;
  Sums sums_;
  std::mt19937_64 random_;
  FaultDaemon daemon_;
  std::vector<std::unique_ptr<Child>> engines_;
};

int usage(const char* found) {
  std::fprintf(stderr,
               "kill_loop: '%s'; there are --cycles N, --seed N, --clients N, --capacity-mib N, "
               "--nvme [EMPTY-DIRECTORY=]SIZE\n",
               found);
  return 2;
}

}  // namespace
}  // namespace kvtier::faults

int main(int argc, char** argv) {
  using namespace kvtier::faults;
  LoopOptions options;
  const std::map<std::string, uint64_t*> numbers = {{"--cycles", &options.cycles},
                                                    {"--seed", &options.seed},
                                                    {"--clients", &options.clients},
                                                    {"--capacity-mib", &options.capacity_mib}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) return usage(argv[i]);
    const std::string value = argv[i + 1];
    if (const auto number = numbers.find(name); number != numbers.end()) {
      *number->second = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--nvme") {
      const size_t at = value.find('=');
      options.nvme = "[nvme]\nio_timeout = '100ms'\n";
      if (at != std::string::npos) options.nvme += "paths = ['" + value.substr(0, at) + "']\n";
      options.nvme += "capacity = '" + value.substr(at == std::string::npos ? 0 : at + 1) + "'\n";
    } else {
      return usage(argv[i]);
    }
  }
  return Loop(options).run();
}
