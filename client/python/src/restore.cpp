// Restore as a Python object: a thread of the caller's runs it without the GIL while another
// computes. It keeps what it needs; the memory of the targets is the caller's to keep.
#include <memory>

#include "client/python/src/match.hpp"
#include "client/python/src/session.hpp"

namespace kvtier::python {
namespace {

using Items = std::vector<std::pair<size_t, std::vector<std::pair<uintptr_t, size_t>>>>;

struct PyRestore {
  PySpace::Use space;
  std::shared_ptr<PyChain> chain;
  Restore restore;
};

std::shared_ptr<PyRestore> begin(const PySpace& self, std::shared_ptr<PyChain> chain,
                                 const Items& items, std::optional<double> timeout) {
  std::vector<std::vector<Fragment>> lists;
  std::vector<LoadTarget> targets;
  lists.reserve(items.size());
  for (const auto& [chunk, parts] : items) {
    lists.emplace_back();
    for (const auto& [address, bytes] : parts) {
      lists.back().push_back({reinterpret_cast<std::byte*>(address), bytes});
    }
    targets.push_back({chunk, lists.back()});
  }
  auto made = std::make_shared<PyRestore>(PyRestore{self.use(), std::move(chain), {}});
  auto begun = [&] {
    py::gil_scoped_release unlocked;
    const std::lock_guard turn(made->chain->turn);
    return made->space->restore(made->chain->chain, targets, deadline_of(timeout));
  }();
  if (!begun) raise(begun.error());
  made->restore = std::move(begun).value();
  return made;
}

// All that can be loaded before the head is met.
size_t run(PyRestore& self) {
  py::gil_scoped_release unlocked;
  size_t loaded = 0;
  while (self.restore.load_next()) ++loaded;
  return loaded;
}

bool met(PyRestore& self) {
  py::gil_scoped_release unlocked;
  return self.restore.met();
}

}  // namespace

void bind_restore(py::module_& module) {
  py::class_<RestoreResult>(module, "RestoreResult")
      .def_readonly("computed", &RestoreResult::computed)
      .def_readonly("loaded", &RestoreResult::loaded)
      .def_readonly("bytes", &RestoreResult::bytes)
      .def_property_readonly(
          "ended", [](const RestoreResult& self) { return miss_reason_name(self.ended); });
  py::class_<PyRestore, std::shared_ptr<PyRestore>>(module, "Restore")
      .def("run", &run)
      .def("take_head", [](PyRestore& self) { return self.restore.take_head(); })
      .def("met", &met)
      .def("cancel", [](PyRestore& self) { self.restore.cancel(); })
      .def_property_readonly("result", [](const PyRestore& self) { return self.restore.result(); });
  py::object space = module.attr("Space");
  space.attr("restore") =
      py::cpp_function(&begin, py::name("restore"), py::is_method(space), py::arg("chain"),
                       py::arg("targets"), py::arg_v("timeout", py::none()));
}

}  // namespace kvtier::python
