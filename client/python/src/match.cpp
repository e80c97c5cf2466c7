// kvtier.KeyChain, Match, Grant and Payload. GIL held: nothing here waits.
#include "client/python/src/match.hpp"

namespace kvtier::python {

const std::shared_ptr<Match>& PyMatch::get() const {
  if (match == nullptr) throw WrongUse(Code::kInvalidArgument, "the match was released");
  return match;
}

Grant PyGrant::take() {
  if (grant == nullptr || !grant->held()) {
    throw WrongUse(Code::kInvalidArgument, "the grant was committed or given back");
  }
  if (grant.use_count() > 1) {
    throw WrongUse(Code::kInvalidArgument, "views of the grant's memory are still in use");
  }
  Grant taken = std::move(*grant);
  grant.reset();
  return taken;
}

namespace {

Payload payload_of_match(const PyMatch& self, size_t i) {
  const std::shared_ptr<Match>& match = self.get();
  if (i >= match->chunks()) throw py::index_error("the match has fewer chunks");
  const std::span<const std::byte> bytes = match->payload(i);
  return {match, const_cast<std::byte*>(bytes.data()), bytes.size(), true};
}

Payload payload_of_grant(const PyGrant& self) {
  if (self.grant == nullptr || !self.grant->held()) {
    throw WrongUse(Code::kInvalidArgument, "the grant was committed or given back");
  }
  const std::span<std::byte> bytes = self.grant->payload();
  return {self.grant, bytes.data(), bytes.size(), false};
}

py::bytes key_bytes(const ChunkKey& key) {
  return {reinterpret_cast<const char*>(&key), sizeof key};
}

py::capsule dlpack(const Payload& self, const py::object&, const py::object& max_version,
                   const py::object&, const py::object&) {
  const bool versioned =
      !max_version.is_none() && max_version.cast<std::pair<int, int>>().first >= 1;
  return dlpack_capsule(self, versioned);
}

void bind_payload(py::module_& module) {
  py::class_<Payload>(module, "Payload", py::buffer_protocol())
      .def_buffer([](Payload& self) {
        return py::buffer_info(self.data, 1, "B", 1, {static_cast<py::ssize_t>(self.bytes)}, {1},
                               self.read_only);
      })
      .def("__len__", [](const Payload& self) { return self.bytes; })
      .def_readonly("read_only", &Payload::read_only)
      .def_property_readonly(
          "address", [](const Payload& self) { return reinterpret_cast<uintptr_t>(self.data); })
      .def("__dlpack_device__", [](const Payload&) { return py::make_tuple(1, 0); })
      .def("__dlpack__", &dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none());
}

}  // namespace

void bind_match(py::module_& module) {
  bind_payload(module);
  py::class_<PyChain, std::shared_ptr<PyChain>>(module, "KeyChain")
      .def("__len__", [](const PyChain& self) { return self.chain.size(); })
      .def("keys", [](const PyChain& self) {
        py::list keys;
        for (const ChunkKey& key : self.chain.keys()) keys.append(key_bytes(key));
        return keys;
      });
  py::class_<PyMatch, std::shared_ptr<PyMatch>>(module, "Match")
      .def_readonly("chunks", &PyMatch::chunks)
      .def_readonly("tokens", &PyMatch::tokens)
      .def_readonly("chunks_lower", &PyMatch::chunks_lower)
      .def_property_readonly("ended",
                             [](const PyMatch& self) { return miss_reason_name(self.ended); })
      .def("payload", &payload_of_match, py::arg("chunk"))
      .def("check", [](const PyMatch& self) { return status_value(self.get()->check()); })
      .def("release", [](PyMatch& self) { self.match.reset(); })
      .def("__enter__", [](const std::shared_ptr<PyMatch>& self) { return self; })
      .def("__exit__", [](PyMatch& self, const py::args&) { self.match.reset(); });
  py::class_<PyGrant, std::shared_ptr<PyGrant>>(module, "Grant")
      .def_property_readonly("held", [](const PyGrant& self) { return self.grant != nullptr; })
      .def_property_readonly(
          "chunk",
          [](const PyGrant& self) { return self.grant != nullptr ? self.grant->chunk() : 0; })
      .def("payload", &payload_of_grant)
      .def("abort", [](PyGrant& self) { self.take().abort(); });
  py::class_<PyReservation>(module, "Reservation")
      .def_property_readonly("outcome",
                             [](const PyReservation& self) {
                               return self.grant != nullptr ? "granted"
                                                            : store_outcome_name(self.outcome);
                             })
      .def_readonly("retry_after", &PyReservation::retry_after)
      .def_readonly("grant", &PyReservation::grant);
}

}  // namespace kvtier::python
