// The weak memory model, and states as bytes.
#include "tests/model/view_machine.hpp"

#include <algorithm>
#include <stdexcept>

namespace kvtier::model {
namespace {

bool touches_memory(Kind kind) {
  return kind != Kind::kFence && kind != Kind::kChoose && kind != Kind::kKill &&
         kind != Kind::kStep && kind != Kind::kJump;
}

int newest(const State& state, int location) {
  return state.counts[static_cast<size_t>(location)] - 1;
}

const Message& message(const State& state, int location, int number) {
  return state.messages[static_cast<size_t>(location)][static_cast<size_t>(number)];
}

ThreadState& thread_of(State& state, int thread) {
  return state.threads[static_cast<size_t>(thread)];
}
const ThreadState& thread_of(const State& state, int thread) {
  return state.threads[static_cast<size_t>(thread)];
}

}  // namespace

Machine::Machine(const Model& model)
    : model_(model),
      locations_(static_cast<int>(model.locations.size())),
      threads_(static_cast<int>(model.threads.size())) {
  find_reachable();
}

void Machine::find_reachable() {
  for (const auto& thread : model_.threads) {
    const auto& code = thread.code();
    std::vector<uint32_t> masks(code.size() + 1, 0);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t pc = code.size(); pc-- > 0;) {
        uint32_t mask = masks[pc + 1];
        if (code[pc].kind == Kind::kJump) mask |= masks[static_cast<size_t>(code[pc].target)];
        if (touches_memory(code[pc].kind)) {
          for (int location : code[pc].location.values()) mask |= 1u << location;
        }
        changed = changed || mask != masks[pc];
        masks[pc] = mask;
      }
    }
    reachable_.push_back(std::move(masks));
  }
}

const Instruction& Machine::next(const State& state, int thread) const {
  return model_.threads[static_cast<size_t>(thread)].code()[thread_of(state, thread).pc];
}

bool Machine::ended(const State& state, int thread) const {
  const auto& code = model_.threads[static_cast<size_t>(thread)].code();
  return thread_of(state, thread).pc >= code.size();
}

// A step that changes nothing for others except that they may read one more store, or that is
// the thread's own: taking it at once loses no behaviour, because a load may take an older store.
bool Machine::quiet(const Instruction& instruction, const Registers& registers) const {
  switch (instruction.kind) {
    case Kind::kStep:
    case Kind::kJump:
      return true;
    case Kind::kFence:
      return instruction.order.order != Order::kSeqCst;
    case Kind::kStore:
      return !model_.kills && model_.reduced &&
             !model_.locations[static_cast<size_t>(instruction.location(registers))].many_writers;
    default:
      return false;
  }
}

std::string Machine::start(State& state, std::vector<std::string>* log) const {
  state = State{};
  for (size_t l = 0; l < model_.locations.size(); ++l) {
    state.counts[l] = 1;
    state.messages[l][0].value = static_cast<int16_t>(model_.locations[l].initial);
  }
  for (int t = 0; t < threads_; ++t) {
    if (auto violation = settle(state, t, log); !violation.empty()) return violation;
  }
  return {};
}

int Machine::choices(const State& state, int thread) const {
  if (ended(state, thread)) return 0;
  const auto& own = thread_of(state, thread);
  const auto& instruction = next(state, thread);
  if (instruction.kind == Kind::kChoose) return instruction.value(own.registers);
  if (!touches_memory(instruction.kind)) return 1;
  const int location = instruction.location(own.registers);
  const int oldest = own.current.location(location);
  switch (instruction.kind) {
    case Kind::kLoad:
      return newest(state, location) - oldest + 1;
    case Kind::kPlainRead:
      return state.excused[static_cast<size_t>(thread)] ? newest(state, location) - oldest + 1 : 1;
    case Kind::kSleep:
      return message(state, location, newest(state, location)).value != 0 ? 1 : 0;
    case Kind::kAwait: {
      int count = 0;
      for (int n = oldest; n <= newest(state, location); ++n) {
        count += message(state, location, n).value >= instruction.value(own.registers) ? 1 : 0;
      }
      return count;
    }
    default:
      return 1;
  }
}

std::string Machine::step(State& state, int thread, int choice,
                          std::vector<std::string>* log) const {
  auto violation = execute(state, thread, choice, log);
  if (violation.empty()) violation = settle(state, thread, log);
  return violation;
}

std::string Machine::settle(State& state, int thread, std::vector<std::string>* log) const {
  while (!ended(state, thread) && quiet(next(state, thread), thread_of(state, thread).registers)) {
    if (auto violation = execute(state, thread, 0, log); !violation.empty()) return violation;
  }
  return {};
}

void Machine::read(State& state, int thread, int location, int number, Order order) const {
  auto& own = thread_of(state, thread);
  const auto& read = message(state, location, number);
  own.current.location(location) = static_cast<uint8_t>(number);
  if (acquires(order)) own.current.join(read.view);
  own.acquired.join(read.view);
  own.acquired.join(own.current);
}

void Machine::append(State& state, int thread, int location, int value, Order order,
                     bool modifies) const {
  auto& own = thread_of(state, thread);
  auto& count = state.counts[static_cast<size_t>(location)];
  if (count == kMessagesMax) throw std::logic_error(model_.name + ": kMessagesMax is too small");
  auto& written = state.messages[static_cast<size_t>(location)][count];
  own.current.location(location) = count;
  own.acquired.location(location) = count;
  written.value = static_cast<int16_t>(value);
  written.view = releases(order) ? own.current : own.released;
  written.view.location(location) = count;
  // Only a read-modify-write continues the release sequence of the store before it (C++20).
  if (modifies) written.view.join(message(state, location, count - 1).view);
  ++count;
}

void Machine::fence(State& state, int thread, Order order) const {
  auto& own = thread_of(state, thread);
  if (acquires(order)) own.current = own.acquired;
  if (order == Order::kSeqCst) {
    own.current.join(state.sequential);
    state.sequential = own.current;
    own.acquired = own.current;
  }
  if (releases(order)) own.released = own.current;
}

std::string Machine::plain_read(State& state, int thread, int location, int choice, int to) const {
  auto& own = thread_of(state, thread);
  const bool excused = state.excused[static_cast<size_t>(thread)] != 0;
  const int oldest = own.current.location(location);
  if (!excused && oldest != newest(state, location)) {
    return "reads " + model_.locations[static_cast<size_t>(location)].name +
           " while another thread writes it";
  }
  read(state, thread, location, oldest + choice, Order::kRelaxed);
  own.registers[static_cast<size_t>(to)] = message(state, location, oldest + choice).value;
  if (excused) return {};
  auto& clock = own.current.reads(thread);
  ++clock;
  own.acquired.reads(thread) = clock;
  state.reads[static_cast<size_t>(location)][static_cast<size_t>(thread)] = clock;
  return {};
}

std::string Machine::plain_write(State& state, int thread, int location, int value) const {
  const auto& own = thread_of(state, thread);
  const auto& name = model_.locations[static_cast<size_t>(location)].name;
  if (own.current.location(location) != newest(state, location)) {
    return "writes " + name + " while another thread writes it";
  }
  for (int t = 0; t < threads_; ++t) {
    if (t == thread || state.excused[static_cast<size_t>(t)]) continue;
    const auto last = state.reads[static_cast<size_t>(location)][static_cast<size_t>(t)];
    if (own.current.reads(t) < last) {
      return "writes " + name + " while " + model_.threads[static_cast<size_t>(t)].name() +
             " may still be reading it";
    }
  }
  append(state, thread, location, value, Order::kRelaxed, false);
  return {};
}

std::string Machine::execute(State& state, int thread, int choice,
                             std::vector<std::string>* log) const {
  auto& own = thread_of(state, thread);
  const auto& instruction = next(state, thread);
  State before;
  if (log != nullptr) before = state;
  const int location = touches_memory(instruction.kind) ? instruction.location(own.registers) : 0;
  auto& to = own.registers[static_cast<size_t>(instruction.to)];
  const Order order = instruction.order.order;
  std::string violation;
  auto target = static_cast<uint16_t>(own.pc + 1);
  switch (instruction.kind) {
    case Kind::kLoad: {
      const int number = own.current.location(location) + choice;
      read(state, thread, location, number, order);
      to = message(state, location, number).value;
      break;
    }
    case Kind::kAwait: {
      int number = own.current.location(location);
      const int value = instruction.value(own.registers);
      for (int left = choice;; ++number) {
        if (message(state, location, number).value >= value && left-- == 0) break;
      }
      read(state, thread, location, number, order);
      to = message(state, location, number).value;
      break;
    }
    case Kind::kStore:
      append(state, thread, location, instruction.value(own.registers), order, false);
      break;
    case Kind::kRaise:
    case Kind::kSignal:
    case Kind::kSleep:
    case Kind::kDrain: {
      const int number = newest(state, location);
      const int old = message(state, location, number).value;
      read(state, thread, location, number, order);
      int value = instruction.kind == Kind::kSignal ? 1 : 0;
      if (instruction.kind == Kind::kRaise) {
        value = std::max<int>(old, instruction.value(own.registers));
      }
      if (value != old) append(state, thread, location, value, order, true);
      break;
    }
    case Kind::kFence:
      fence(state, thread, order);
      break;
    case Kind::kPlainRead:
      violation = plain_read(state, thread, location, choice, instruction.to);
      break;
    case Kind::kPlainWrite:
      violation = plain_write(state, thread, location, instruction.value(own.registers));
      break;
    case Kind::kChoose:
      to = static_cast<int16_t>(choice);
      break;
    case Kind::kKill: {
      const int victim = instruction.value(own.registers);
      auto& killed = thread_of(state, victim);
      killed.pc = static_cast<uint16_t>(model_.threads[static_cast<size_t>(victim)].code().size());
      own.current.join(killed.current);
      own.acquired.join(own.current);
      break;
    }
    case Kind::kStep: {
      Local local{own.registers, state.ghosts, state.excused, {}};
      instruction.step(local);
      violation = std::move(local.violation);
      break;
    }
    case Kind::kJump:
      if (instruction.value(own.registers) != 0) target = static_cast<uint16_t>(instruction.target);
      break;
  }
  if (log != nullptr) describe(before, state, thread, *log);
  own.pc = target;
  return violation;
}

void Machine::describe(const State& before, const State& after, int thread,
                       std::vector<std::string>& log) const {
  const auto& instruction = next(before, thread);
  if (instruction.kind == Kind::kJump || instruction.kind == Kind::kStep) return;
  const auto& registers = thread_of(before, thread).registers;
  std::string line = model_.threads[static_cast<size_t>(thread)].name() + ": ";
  std::string order = std::string(order_name(instruction.order.order));
  if (!instruction.order.name.empty()) order += ", " + instruction.order.name;
  std::string where;
  std::string seen;
  if (touches_memory(instruction.kind)) {
    const int location = instruction.location(registers);
    where = model_.locations[static_cast<size_t>(location)].name;
    const int number = thread_of(after, thread).current.location(location);
    const int last = newest(after, location);
    seen = " -> " + std::to_string(message(after, location, number).value);
    if (number < last) seen += " (older: " + std::to_string(last - number) + " newer)";
  }
  const std::string value = instruction.kind == Kind::kKill
                                ? std::string{}
                                : std::to_string(instruction.value(registers));
  switch (instruction.kind) {
    case Kind::kLoad:
    case Kind::kAwait:
      line += "load " + where + seen + " [" + order + "]";
      break;
    case Kind::kStore:
      line += "store " + where + " = " + value + " [" + order + "]";
      break;
    case Kind::kRaise:
      line += "raise " + where + seen + " [" + order + "]";
      break;
    case Kind::kFence:
      line += "fence [" + order + "]";
      break;
    case Kind::kPlainRead:
      line += "read bytes " + where + seen;
      break;
    case Kind::kPlainWrite:
      line += "write bytes " + where + " = " + value;
      break;
    case Kind::kSignal:
      line += "write " + where;
      break;
    case Kind::kSleep:
      line += "woken by " + where;
      break;
    case Kind::kDrain:
      line += "drain " + where;
      break;
    case Kind::kChoose:
      line +=
          "choose " +
          std::to_string(thread_of(after, thread).registers[static_cast<size_t>(instruction.to)]);
      break;
    case Kind::kKill:
      line += "kill " + model_.threads[static_cast<size_t>(instruction.value(registers))].name();
      break;
    default:
      return;
  }
  log.push_back(std::move(line));
}

void Machine::pack(const State& state, std::string& out) const {
  out.clear();
  std::array<uint8_t, kLocationsMax> base{};
  for (int l = 0; l < locations_; ++l) {
    int lowest = newest(state, l);
    for (int t = 0; t < threads_; ++t) {
      const auto& own = thread_of(state, t);
      if ((reachable_[static_cast<size_t>(t)][own.pc] >> l & 1u) == 0) continue;
      lowest = std::min<int>(lowest, own.current.location(l));
    }
    base[static_cast<size_t>(l)] = static_cast<uint8_t>(lowest);
  }
  const auto put = [&out](int byte) { out.push_back(static_cast<char>(byte)); };
  const auto put_view = [&](const View& view) {
    for (int l = 0; l < locations_; ++l) {
      put(std::max(0, view.location(l) - base[static_cast<size_t>(l)]));
    }
    for (int t = 0; t < threads_; ++t) put(view.reads(t));
  };
  for (int l = 0; l < locations_; ++l) {
    const int first = base[static_cast<size_t>(l)];
    put(newest(state, l) - first + 1);
    for (int n = first; n <= newest(state, l); ++n) {
      put(message(state, l, n).value & 0xff);
      put(message(state, l, n).value >> 8);
      put_view(message(state, l, n).view);
    }
    for (int t = 0; t < threads_; ++t) {
      put(state.reads[static_cast<size_t>(l)][static_cast<size_t>(t)]);
    }
  }
  for (int t = 0; t < threads_; ++t) {
    const auto& own = thread_of(state, t);
    put(own.pc);
    put(own.pc >> 8);
    put(state.excused[static_cast<size_t>(t)]);
    if (ended(state, t) && !model_.kills) continue;
    for (const int16_t r : own.registers) {
      put(r & 0xff);
      put(r >> 8);
    }
    put_view(own.current);
    put_view(own.acquired);
    put_view(own.released);
  }
  put_view(state.sequential);
  for (const int16_t ghost : state.ghosts) {
    put(ghost & 0xff);
    put(ghost >> 8);
  }
}

void Machine::unpack(const std::string& in, State& state) const {
  size_t at = 0;
  const auto get = [&] { return static_cast<uint8_t>(in[at++]); };
  const auto get_word = [&] {
    const int low = get();
    return static_cast<int16_t>(low | get() << 8);
  };
  const auto get_view = [&](View& view) {
    for (int l = 0; l < locations_; ++l) view.location(l) = get();
    for (int t = 0; t < threads_; ++t) view.reads(t) = get();
  };
  for (size_t l = 0; l < static_cast<size_t>(locations_); ++l) {
    state.counts[l] = get();
    for (size_t n = 0; n < state.counts[l]; ++n) {
      state.messages[l][n].value = get_word();
      get_view(state.messages[l][n].view);
    }
    for (size_t t = 0; t < static_cast<size_t>(threads_); ++t) state.reads[l][t] = get();
  }
  for (size_t t = 0; t < static_cast<size_t>(threads_); ++t) {
    auto& own = state.threads[t];
    own.pc = static_cast<uint16_t>(get_word());
    state.excused[t] = get();
    if (ended(state, static_cast<int>(t)) && !model_.kills) {
      own =
          ThreadState{.pc = own.pc, .registers = {}, .current = {}, .acquired = {}, .released = {}};
      continue;
    }
    for (auto& r : own.registers) r = get_word();
    get_view(own.current);
    get_view(own.acquired);
    get_view(own.released);
  }
  get_view(state.sequential);
  for (auto& ghost : state.ghosts) ghost = get_word();
}

}  // namespace kvtier::model
