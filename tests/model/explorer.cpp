// Breadth-first search over all states.
#include "tests/model/explorer.hpp"

#include <algorithm>
#include <stdexcept>
#include <unordered_set>

#include "tests/model/view_machine.hpp"

namespace kvtier::model {
namespace {

constexpr uint64_t kStatesMax = 40'000'000;

// States are remembered by 128 bits of hash: among 10 million the chance of one collision is
// below 1e-24.
struct Fingerprint {
  uint64_t a;
  uint64_t b;
  bool operator==(const Fingerprint&) const = default;
};
struct FingerprintHash {
  size_t operator()(const Fingerprint& f) const { return f.a; }
};

uint64_t mix(uint64_t x) {
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
  x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
  return x ^ x >> 32;
}

Fingerprint fingerprint(const std::string& bytes) {
  Fingerprint f{0x9e3779b97f4a7c15ULL, 0xc2b2ae3d27d4eb4fULL};
  for (size_t at = 0; at < bytes.size(); at += 8) {
    uint64_t word = 0;
    for (size_t i = at; i < std::min(at + 8, bytes.size()); ++i) {
      word = word << 8 | static_cast<uint8_t>(bytes[i]);
    }
    f.a = mix(f.a ^ word);
    f.b = mix((f.b + word) ^ 0x165667b19e3779f9ULL) + (f.b << 7);
  }
  return f;
}

// How a state was reached: from which one, by which thread, by which of its choices.
struct Step {
  uint32_t from;
  uint8_t thread;
  uint8_t choice;
};

class Search {
 public:
  explicit Search(const Model& model) : model_(model), machine_(model) {}

  Exploration run() {
    State state;
    result_.violation = machine_.start(state);
    steps_.push_back({0, 0, 0});
    machine_.pack(state, packed_);
    seen_.insert(fingerprint(packed_));
    std::vector<std::pair<uint32_t, std::string>> now{{0, packed_}};
    std::vector<std::pair<uint32_t, std::string>> later;
    while (!now.empty() && result_.violation.empty()) {
      for (const auto& [number, bytes] : now) {
        if (expand(number, bytes, later)) break;
      }
      now.swap(later);
      later.clear();
      result_.depth += now.empty() ? 0u : 1u;
    }
    result_.states = seen_.size();
    return std::move(result_);
  }

 private:
  // True when it met a violation.
  bool expand(uint32_t number, const std::string& bytes,
              std::vector<std::pair<uint32_t, std::string>>& later) {
    machine_.unpack(bytes, source_);
    const int threads = static_cast<int>(model_.threads.size());
    bool moved = false;
    bool all_ended = true;
    for (int t = 0; t < threads; ++t) {
      all_ended = all_ended && machine_.ended(source_, t);
      const int choices = machine_.choices(source_, t);
      for (int choice = 0; choice < choices; ++choice) {
        moved = true;
        machine_.unpack(bytes, next_);  // faster than a copy: states are mostly empty
        ++result_.steps;
        const Step step{number, static_cast<uint8_t>(t), static_cast<uint8_t>(choice)};
        auto violation = machine_.step(next_, t, choice);
        if (!violation.empty()) {
          steps_.push_back(step);
          return fail(std::move(violation), static_cast<uint32_t>(steps_.size() - 1));
        }
        machine_.pack(next_, packed_);
        if (!seen_.insert(fingerprint(packed_)).second) continue;
        if (seen_.size() > kStatesMax) throw std::logic_error(model_.name + ": too many states");
        steps_.push_back(step);
        later.emplace_back(static_cast<uint32_t>(steps_.size() - 1), packed_);
      }
    }
    if (!moved && !all_ended && model_.must_finish) {
      return fail("nothing can move and a thread still waits", number);
    }
    return false;
  }

  bool fail(std::string violation, uint32_t at) {
    result_.violation = std::move(violation);
    std::vector<Step> path;
    for (; at != 0; at = steps_[at].from) path.push_back(steps_[at]);
    State state;
    machine_.start(state, &result_.trace);
    std::string bytes;
    for (auto step = path.rbegin(); step != path.rend(); ++step) {
      machine_.step(state, step->thread, step->choice, &result_.trace);
      machine_.pack(state, bytes);
      machine_.unpack(bytes, state);
    }
    return true;
  }

  const Model& model_;
  Machine machine_;
  Exploration result_;
  std::unordered_set<Fingerprint, FingerprintHash> seen_;
  std::vector<Step> steps_;
  std::string packed_;
  State source_;
  State next_;
};

}  // namespace

Exploration explore(const Model& model) {
  return Search(model).run();
}

}  // namespace kvtier::model
