// What the files of the extension share: the one exception, values for what may fail at run time,
// and buffers of other objects as fragments. Everything here runs with the GIL held unless it says
// otherwise.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "kvtier/kvtier.hpp"

namespace kvtier::python {

namespace py = pybind11;

// kvtier.Error: wrong use only. What a running system does (no daemon, deadline, miss) is a value.
struct WrongUse : std::runtime_error {
  WrongUse(Code code_, const std::string& message) : std::runtime_error(message), code(code_) {}
  Code code;
};

// Ok, or why not: truthy when ok.
struct PyStatus {
  Code code = Code::kOk;
  std::string message;
};

inline bool is_wrong_use(Code code) {
  return code == Code::kInvalidArgument || code == Code::kForked;
}

[[noreturn]] inline void raise(const Error& error) {
  if (error.code() == Code::kOutOfMemory) throw std::bad_alloc();
  throw WrongUse(error.code(), std::string(code_name(error.code())) + ": " + error.message());
}

inline PyStatus status_value(const Status& status) {
  if (status.ok()) return {};
  if (is_wrong_use(status.code())) raise(status.error());
  return {status.code(), status.error().message()};
}

// Seconds from now; none or infinity: no deadline.
inline Clock::time_point deadline_of(std::optional<double> seconds) {
  constexpr double kForever = 1e9;
  if (!seconds || *seconds > kForever) return Clock::time_point::max();
  if (std::isnan(*seconds)) throw WrongUse(Code::kInvalidArgument, "a timeout is not a number");
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double>(std::max(*seconds, 0.0)));
}

// Fragments given as (address, bytes) or as objects with a buffer; keeps the buffers until
// destroyed, which needs the GIL.
class Fragments {
 public:
  Fragments(const py::iterable& items, bool writable);

  const std::vector<Fragment>& list() const { return list_; }
  std::vector<ConstFragment> readable() const;

 private:
  std::vector<Fragment> list_;
  std::vector<py::buffer_info> held_;
};

// Token ids from anything with a buffer of 4- or 8-byte integers, or any iterable of integers.
std::vector<uint32_t> token_ids(const py::object& tokens);

void bind_session(py::module_& module);
void bind_space(py::module_& module);
void bind_match(py::module_& module);
void bind_mover(py::module_& module);
void bind_restore(py::module_& module);
void bind_codec(py::module_& module);

}  // namespace kvtier::python
