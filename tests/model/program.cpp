// Builds programs: one function an instruction.
#include "tests/model/program.hpp"

#include <stdexcept>

namespace kvtier::model {

std::string_view order_name(Order order) {
  switch (order) {
    case Order::kNone:
      return "none";
    case Order::kRelaxed:
      return "relaxed";
    case Order::kAcquire:
      return "acquire";
    case Order::kRelease:
      return "release";
    case Order::kAcqRel:
      return "acq_rel";
    case Order::kSeqCst:
      return "seq_cst";
  }
  return "?";
}

Thread& Thread::add(Instruction instruction) {
  code_.push_back(std::move(instruction));
  return *this;
}

Thread& Thread::load(Register to, Expr location, Ordered order) {
  return add({.kind = Kind::kLoad, .order = order, .location = location, .to = to.index});
}

Thread& Thread::store(Expr location, Expr value, Ordered order) {
  return add({.kind = Kind::kStore, .order = order, .location = location, .value = value});
}

Thread& Thread::raise(Expr location, Expr value, Ordered order) {
  return add({.kind = Kind::kRaise, .order = order, .location = location, .value = value});
}

Thread& Thread::fence(Ordered order) {
  if (order.order == Order::kNone || order.order == Order::kRelaxed) return *this;
  return add({.kind = Kind::kFence, .order = order});
}

Thread& Thread::await(Register to, Expr location, Expr value, Ordered order) {
  return add(
      {.kind = Kind::kAwait, .order = order, .location = location, .value = value, .to = to.index});
}

Thread& Thread::plain_read(Register to, Expr location) {
  return add(
      {.kind = Kind::kPlainRead, .order = {Order::kRelaxed}, .location = location, .to = to.index});
}

Thread& Thread::plain_write(Expr location, Expr value) {
  return add({.kind = Kind::kPlainWrite,
              .order = {Order::kRelaxed},
              .location = location,
              .value = value});
}

Thread& Thread::signal(Expr location) {
  return add({.kind = Kind::kSignal, .order = {Order::kAcqRel}, .location = location});
}

Thread& Thread::sleep(Expr location) {
  return add({.kind = Kind::kSleep, .order = {Order::kAcqRel}, .location = location});
}

Thread& Thread::drain(Expr location) {
  return add({.kind = Kind::kDrain, .order = {Order::kAcqRel}, .location = location});
}

Thread& Thread::choose(Register to, int count) {
  return add({.kind = Kind::kChoose, .value = count, .to = to.index});
}

Thread& Thread::kill(int thread) {
  return add({.kind = Kind::kKill, .value = thread});
}

Thread& Thread::step(std::function<void(Local&)> function) {
  return add({.kind = Kind::kStep, .step = std::move(function)});
}

Thread& Thread::set(Register to, Expr value) {
  return step([to, value](Local& l) { l[to] = static_cast<int16_t>(value(l.r)); });
}

Thread& Thread::check(Expr condition, std::string violation) {
  return step([condition, violation](Local& l) {
    if (condition(l.r) == 0) l.violation = violation;
  });
}

Thread& Thread::jump_if(Expr condition, std::string label) {
  return add({.kind = Kind::kJump, .value = condition, .label = std::move(label)});
}

Thread& Thread::label(const std::string& name) {
  if (!labels_.emplace(name, static_cast<int>(code_.size())).second) {
    throw std::logic_error("label used twice: " + name);
  }
  return *this;
}

void Thread::finish() {
  labels_.emplace("end", static_cast<int>(code_.size()));
  for (auto& instruction : code_) {
    if (instruction.kind == Kind::kJump) instruction.target = labels_.at(instruction.label);
  }
}

int Model::location(std::string location_name, int initial) {
  if (locations.size() == kLocationsMax) throw std::logic_error("too many locations");
  locations.push_back({std::move(location_name), initial, false});
  return static_cast<int>(locations.size()) - 1;
}

int Model::shared(std::string location_name, int initial) {
  const int number = location(std::move(location_name), initial);
  locations.back().many_writers = true;
  return number;
}

Thread& Model::thread(std::string thread_name) {
  if (threads.size() == kThreadsMax) throw std::logic_error("too many threads");
  threads.reserve(kThreadsMax);
  return threads.emplace_back(std::move(thread_name));
}

void Model::finish() {
  for (auto& thread : threads) thread.finish();
}

}  // namespace kvtier::model
