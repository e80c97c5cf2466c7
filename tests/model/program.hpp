// The small programs that the model checker runs: locations, threads, instructions with a memory
// order each. Pure data, built once and then only read. Says nothing about how they execute:
// that is view_machine.hpp.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kvtier::model {

inline constexpr int kThreadsMax = 5;
inline constexpr int kLocationsMax = 28;
inline constexpr int kMessagesMax = 10;  // stores to one location that somebody may still read
inline constexpr int kRegistersMax = 12;
inline constexpr int kGhostsMax = 8;

enum class Order : uint8_t { kNone, kRelaxed, kAcquire, kRelease, kAcqRel, kSeqCst };
constexpr bool acquires(Order order) {
  return order == Order::kAcquire || order == Order::kAcqRel || order == Order::kSeqCst;
}
constexpr bool releases(Order order) {
  return order == Order::kRelease || order == Order::kAcqRel || order == Order::kSeqCst;
}
std::string_view order_name(Order order);

// An order with the name that docs/protocol.md gives it; the name may be empty.
struct Ordered {
  Ordered(Order o, std::string n = "") : order(o), name(std::move(n)) {}  // NOLINT: both ways meant
  Order order;
  std::string name;
};

// One change of a protocol: a named order made weaker (a fence: kNone removes it), or, without an
// order, a named rule broken. A scenario asks at each place; used() tells whether anyone asked.
class Variant {
 public:
  Variant() = default;
  explicit Variant(std::string name) : name_(std::move(name)), broken_(true) {}
  Variant(std::string name, Order weaker) : name_(std::move(name)), weaker_(weaker) {}

  Ordered at(const std::string& name, Order full) {
    asked_.insert(name);
    if (name != name_ || broken_) return {full, name};
    used_ = true;
    return {weaker_, name};
  }
  bool breaks(const std::string& rule) {
    asked_.insert(rule);
    const bool hit = broken_ && rule == name_;
    used_ = used_ || hit;
    return hit;
  }
  bool used() const { return used_; }
  // Every order and rule that a scenario asked for.
  const std::set<std::string>& asked() const { return asked_; }

 private:
  std::string name_;
  bool broken_ = false;
  Order weaker_ = Order::kNone;
  bool used_ = false;
  std::set<std::string> asked_;
};

using Registers = std::array<int16_t, kRegistersMax>;
struct Register {
  int index;
};

// A number known when the program is built, a register, or a function of the registers.
class Expr {
 public:
  Expr(int value) : constant_(value) {}  // NOLINT: reads like the number it is
  Expr(Register reg)
      : function_([reg](const Registers& r) { return r[static_cast<size_t>(reg.index)]; }) {}
  template <typename Function>
  requires std::is_invocable_r_v<int, Function, const Registers&> Expr(Function function)
      : function_(std::move(function)) {}  // NOLINT: a lambda where it is used
  // One of a few locations; which of them is computed.
  static Expr pick(std::vector<int> choices, Expr index) {
    Expr expr(
        [choices, index](const Registers& r) { return choices.at(static_cast<size_t>(index(r))); });
    expr.choices_ = std::move(choices);
    return expr;
  }
  // Every value a location expression can have.
  std::vector<int> values() const { return function_ ? choices_ : std::vector<int>{constant_}; }
  int operator()(const Registers& r) const { return function_ ? function_(r) : constant_; }

 private:
  int constant_ = 0;
  std::function<int(const Registers&)> function_;
  std::vector<int> choices_;
};

// What a thread's own step may touch: its registers, and ghosts: words that exist only in the
// model, seen by all threads at once, for stating what must hold.
struct Local {
  Registers& r;
  std::array<int16_t, kGhostsMax>& ghosts;
  std::array<uint8_t, kThreadsMax>& excused;  // by thread: its plain reads may race (revoked)
  std::string violation;                      // set: the property is broken here

  int16_t& operator[](Register reg) { return r[static_cast<size_t>(reg.index)]; }
  int16_t& ghost(int number) { return ghosts[static_cast<size_t>(number)]; }
};

enum class Kind : uint8_t {
  kLoad,        // to = location
  kStore,       // location = value
  kRaise,       // location = max(location, value), one atomic step
  kFence,       //
  kAwait,       // to = location, once it can be `value` or more: waits until then
  kPlainRead,   // to = location, bytes: a read that races with a write is a violation
  kPlainWrite,  // location = value, bytes
  kSignal,      // eventfd write: the system call is a full barrier on its own word only
  kSleep,       // eventfd read: waits until it is not 0, makes it 0
  kDrain,       // eventfd read that does not wait
  kChoose,      // to = any of 0 .. value-1
  kKill,        // the thread `value` stops where it stands; what it did is visible to this one
  kStep,        // local function
  kJump,        // to `target` when the condition is not 0
};

struct Instruction {
  Kind kind{};
  Ordered order{Order::kNone};
  Expr location{0};
  Expr value{0};
  int to = 0;
  int target = 0;
  std::function<void(Local&)> step{};
  std::string label{};  // of the jump
};

class Thread {
 public:
  explicit Thread(std::string name) : name_(std::move(name)) {}

  Thread& load(Register to, Expr location, Ordered order);
  Thread& store(Expr location, Expr value, Ordered order);
  Thread& raise(Expr location, Expr value, Ordered order);
  Thread& fence(Ordered order);  // kNone: nothing
  Thread& await(Register to, Expr location, Expr value, Ordered order);
  Thread& plain_read(Register to, Expr location);
  Thread& plain_write(Expr location, Expr value);
  Thread& signal(Expr location);
  Thread& sleep(Expr location);
  Thread& drain(Expr location);
  Thread& choose(Register to, int count);
  Thread& kill(int thread);
  Thread& step(std::function<void(Local&)> function);
  Thread& set(Register to, Expr value);
  Thread& check(Expr condition, std::string violation);
  Thread& jump(std::string label) { return jump_if(1, std::move(label)); }
  Thread& jump_if(Expr condition, std::string label);
  Thread& label(const std::string& name);
  // Fills in the targets of all jumps; "end" is the end.
  void finish();

  const std::string& name() const { return name_; }
  const std::vector<Instruction>& code() const { return code_; }

 private:
  Thread& add(Instruction instruction);
  std::string name_;
  std::vector<Instruction> code_;
  std::map<std::string, int> labels_;
};

struct Location {
  std::string name;
  int initial = 0;
  // Several threads store to it, or it is changed by read-modify-write. Where only one thread
  // stores, stores need no interleaving of their own: others may read older values anyhow.
  bool many_writers = false;
};

// A scenario, ready to run.
struct Model {
  explicit Model(std::string model_name) : name(std::move(model_name)) {}
  std::string name;
  std::vector<Location> locations;
  std::vector<Thread> threads;
  bool must_finish = false;  // a state in which nothing can move and not all ended is a violation
  bool kills = false;        // a thread may be killed: every store is a step of its own
  bool reduced = true;       // false: every store is a step of its own, for checking the reduction

  int location(std::string location_name, int initial = 0);
  int shared(std::string location_name, int initial = 0);  // many writers
  Thread& thread(std::string thread_name);                 // reserve() keeps references valid
  void finish();
};

}  // namespace kvtier::model
