// Executes a model step by step under a weak memory model: every location keeps the list of its
// stores, every thread a view (which store of each location it must at least see), and a load may
// take any store that is not older than the view. Release, acquire and fences pass views on, as in
// RC11 and C++20. README.md says which reorderings this gives and which it does not.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tests/model/program.hpp"

namespace kvtier::model {

// By location, the number of the oldest store that may still be read; then, by thread, how many
// of its plain reads are known to be over.
struct View {
  std::array<uint8_t, kLocationsMax + kThreadsMax> at{};

  void join(const View& other) {
    for (size_t i = 0; i < at.size(); ++i) at[i] = at[i] < other.at[i] ? other.at[i] : at[i];
  }
  uint8_t& location(int l) { return at[static_cast<size_t>(l)]; }
  uint8_t location(int l) const { return at[static_cast<size_t>(l)]; }
  uint8_t& reads(int t) { return at[static_cast<size_t>(kLocationsMax) + static_cast<size_t>(t)]; }
  uint8_t reads(int t) const {
    return at[static_cast<size_t>(kLocationsMax) + static_cast<size_t>(t)];
  }
};

struct Message {
  int16_t value = 0;
  View view;  // what an acquire load of it learns
};

struct ThreadState {
  uint16_t pc = 0;
  Registers registers{};
  View current;   // what loads must respect
  View acquired;  // what the next acquire fence adds
  View released;  // what a relaxed store passes on: `current` of the last release fence
};

struct State {
  std::array<uint8_t, kLocationsMax> counts{};
  std::array<std::array<Message, kMessagesMax>, kLocationsMax> messages;
  std::array<ThreadState, kThreadsMax> threads;
  View sequential;  // what seq_cst fences pass on
  // Number of the last plain read of a location by a thread, 0 for none.
  std::array<std::array<uint8_t, kThreadsMax>, kLocationsMax> reads{};
  std::array<int16_t, kGhostsMax> ghosts{};
  std::array<uint8_t, kThreadsMax> excused{};
};

class Machine {
 public:
  explicit Machine(const Model& model);

  // In the initial state no thread has taken its first step. A violation may be in it.
  std::string start(State& state, std::vector<std::string>* log = nullptr) const;
  // In how many ways the thread's next step can go; 0: it has ended or must wait.
  int choices(const State& state, int thread) const;
  bool ended(const State& state, int thread) const;
  // Takes one step, and with it all steps of the thread that no other thread can tell from their
  // being later. Returns what it violated, or nothing.
  std::string step(State& state, int thread, int choice,
                   std::vector<std::string>* log = nullptr) const;

  // Equal strings: states from which exactly the same can happen. Stores that nobody may read
  // any more are forgotten.
  void pack(const State& state, std::string& out) const;
  void unpack(const std::string& in, State& state) const;

 private:
  const Instruction& next(const State& state, int thread) const;
  bool quiet(const Instruction& instruction, const Registers& registers) const;
  std::string execute(State& state, int thread, int choice, std::vector<std::string>* log) const;
  std::string settle(State& state, int thread, std::vector<std::string>* log) const;
  void append(State& state, int thread, int location, int value, Order order, bool modifies) const;
  void read(State& state, int thread, int location, int number, Order order) const;
  void fence(State& state, int thread, Order order) const;
  std::string plain_read(State& state, int thread, int location, int choice, int to) const;
  std::string plain_write(State& state, int thread, int location, int value) const;
  void describe(const State& before, const State& after, int thread,
                std::vector<std::string>& log) const;
  void find_reachable();

  const Model& model_;
  int locations_;
  int threads_;
  // By thread and pc: locations that the thread may still touch, one bit each.
  std::vector<std::vector<uint32_t>> reachable_;
};

}  // namespace kvtier::model
