// What the simulated daemon stands on and what outlives it: disks and metadata with their faults,
// the keeper with the memory of a killed daemon, the configuration of this seed. One thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/core/core.hpp"
#include "daemon/io/simulated_disk.hpp"
#include "daemon/io/simulated_metadata.hpp"
#include "daemon/keep/fd_keeper.hpp"
#include "daemon/memory/clock.hpp"
#include "daemon/tiers/tier.hpp"
#include "tests/simulation/random.hpp"

namespace kvtier::simulation {

enum class Ending : uint8_t { kOrderly, kKill, kPowerCut };
const char* name_of(Ending ending);

// A keeper in this process.
class SimulatedKeeper final : public daemon::FdKeeper {
 public:
  const char* kind() const override { return "simulated"; }
  std::vector<daemon::KeptFd> take() override;
  Status keep(const std::string& name, const daemon::Fd& fd) override;
  void forget(const std::string& name) override { fds_.erase(name); }
  void tend() override {}
  std::string trouble() const override { return ""; }
  size_t kept() const override { return fds_.size(); }

  void clear() { fds_.clear(); }
  const std::map<std::string, daemon::Fd>& fds() const { return fds_; }

 private:
  std::map<std::string, daemon::Fd> fds_;
};

class Environment {
 public:
  Environment(Random& random, const daemon::VirtualClock& clock);

  // A daemon on what is there. Null: it did not start, error() says why.
  std::unique_ptr<daemon::Core> start(daemon::Executor& executor);
  const std::string& error() const { return error_; }

  Ending some_ending();
  // Ends a daemon. Killed, it leaves every byte of kept memory as it was at that moment.
  void stop(Ending ending, std::unique_ptr<daemon::Core> core);
  // Processes that ended while no daemon ran: what their pidfds would say.
  static void end_processes_unseen(daemon::Core& core, const std::function<bool(int pid)>& lives);

  bool restarts() const { return restarts_; }
  bool is_faulty() const { return faulty_; }
  bool is_recovering() const { return tier_ != nullptr && tier_->recovering(); }
  // What the metadata has on the medium, while no daemon runs: key and fingerprint, halves of them.
  std::set<std::pair<uint64_t, uint64_t>> recorded() const;
  // Chunks of kept host memory that were damaged while no daemon ran.
  uint64_t damaged_host() const { return damaged_host_; }
  void change_faults();
  // No fault from here on; what hangs goes on.
  void heal();

 private:
  struct Device {
    std::shared_ptr<daemon::SimulatedMedium> medium;
    daemon::SimulatedDisk* disk = nullptr;  // the tier's; null while no daemon runs
  };
  std::unique_ptr<daemon::Tier> make_tier();
  void damage_host();

  Random& random_;
  const daemon::VirtualClock& clock_;
  daemon::Config config_;
  SimulatedKeeper keeper_;
  std::vector<Device> devices_;
  std::shared_ptr<daemon::SimulatedRecords> records_;
  daemon::SimulatedMetadata* metadata_ = nullptr;
  const daemon::Tier* tier_ = nullptr;  // the running daemon's
  uint64_t epochs_ = 1;
  uint64_t damaged_host_ = 0;
  bool restarts_ = false;
  bool faulty_ = false;
  std::string error_;
};

}  // namespace kvtier::simulation
