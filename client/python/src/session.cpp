// kvtier.Session, SpaceSpec, statistics and the module's functions. GIL released in every call that
// can wait.
#include "client/python/src/session.hpp"

#include "kvtier/kvtier.h"

namespace kvtier::python {
namespace {

Verify verify_of(const std::string& name) {
  if (name == "default") return Verify::kDefault;
  if (name == "never") return Verify::kNever;
  if (name == "sampled") return Verify::kSampled;
  if (name == "always") return Verify::kAlways;
  throw WrongUse(Code::kInvalidArgument,
                 "verify is '" + name + "'; use default, never, sampled or always");
}

std::chrono::nanoseconds nanoseconds(double seconds, const char* name) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) {
    throw WrongUse(Code::kInvalidArgument, std::string(name) + " is not in 0 .. 1e9 seconds");
  }
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

struct OpenArguments {
  std::string socket, name, verify;
  bool read_only;
  double call_deadline, retry_first, retry_last;
};

std::shared_ptr<PySession> open_session(const OpenArguments& arguments) {
  SessionOptions options;
  options.socket = arguments.socket;
  options.name = arguments.name;
  options.read_only = arguments.read_only;
  options.verify = verify_of(arguments.verify);
  options.call_deadline = nanoseconds(arguments.call_deadline, "call_deadline");
  options.retry_first = nanoseconds(arguments.retry_first, "retry_first");
  options.retry_last = nanoseconds(arguments.retry_last, "retry_last");
  auto session = Session::open(options);
  if (!session) raise(session.error());
  return std::make_shared<PySession>(shared_session(std::move(session).value()));
}

PyStatus wait_attached(const PySession& self, std::optional<double> timeout) {
  const std::shared_ptr<Session> session = self.get();
  const Clock::time_point deadline = deadline_of(timeout);
  const Status status = [&] {
    py::gil_scoped_release unlocked;
    return session->wait_attached(deadline);
  }();
  return status_value(status);
}

std::shared_ptr<PySpace> open_space(const std::shared_ptr<PySession>& self, const SpaceSpec& spec) {
  const std::shared_ptr<Session> session = self->get();
  auto space = [&] {
    py::gil_scoped_release unlocked;
    return session->open_space(spec);
  }();
  if (!space) raise(space.error());
  return std::make_shared<PySpace>(self, std::move(space).value());
}

py::dict stats(const PySession& self) {
  const SessionStats counted = self.get()->stats();
  py::dict misses;
  for (size_t i = 1; i < std::size(counted.misses); ++i) {
    const char* name = miss_reason_name(static_cast<MissReason>(i));
    if (i <= static_cast<size_t>(MissReason::kDeadline)) misses[name] = counted.misses[i];
  }
  py::dict all;
  all["attachments"] = counted.attachments;
  all["lookups"] = counted.lookups;
  all["chunks_asked"] = counted.chunks_asked;
  all["chunks_hit"] = counted.chunks_hit;
  all["tokens_asked"] = counted.tokens_asked;
  all["tokens_hit"] = counted.tokens_hit;
  all["loads"] = counted.loads;
  all["load_bytes"] = counted.load_bytes;
  all["loads_failed"] = counted.loads_failed;
  all["corrupt"] = counted.corrupt;
  all["stores"] = counted.stores;
  all["store_bytes"] = counted.store_bytes;
  all["stores_failed"] = counted.stores_failed;
  all["touches_dropped"] = counted.touches_dropped;
  all["misses"] = misses;
  return all;
}

uint64_t checksum(const py::buffer& data) {
  const py::buffer_info info = data.request();
  const auto bytes = static_cast<size_t>(info.size) * static_cast<size_t>(info.itemsize);
  py::gil_scoped_release unlocked;
  return kvtier_checksum(info.ptr, bytes);
}

wire::PayloadKind kind_of(const std::string& name) {
  if (name == "opaque") return wire::PayloadKind::kOpaque;
  if (name == "typed") return wire::PayloadKind::kTyped;
  throw WrongUse(Code::kInvalidArgument, "kind is '" + name + "'; use opaque or typed");
}

void bind_spec(py::module_& module) {
  py::class_<SpaceSpec>(module, "SpaceSpec")
      .def(py::init([](std::string model, uint32_t tokens_per_chunk, uint64_t chunk_bytes,
                       std::string dtype, std::string layout, std::string isa, uint32_t layers,
                       uint32_t kv_heads, uint32_t head_dim, uint32_t shard, uint32_t shards,
                       const std::string& kind) {
             SpaceSpec spec;
             spec.model = std::move(model);
             spec.dtype = std::move(dtype);
             spec.layout = std::move(layout);
             spec.isa = std::move(isa);
             spec.layers = layers;
             spec.kv_heads = kv_heads;
             spec.head_dim = head_dim;
             spec.tokens_per_chunk = tokens_per_chunk;
             spec.shard = shard;
             spec.shards = shards;
             spec.chunk_bytes = chunk_bytes;
             spec.kind = kind_of(kind);
             return spec;
           }),
           py::arg("model"), py::kw_only(), py::arg("tokens_per_chunk"), py::arg("chunk_bytes"),
           py::arg("dtype") = "bf16", py::arg("layout") = "", py::arg("isa") = "",
           py::arg("layers") = 0, py::arg("kv_heads") = 0, py::arg("head_dim") = 0,
           py::arg("shard") = 0, py::arg("shards") = 1, py::arg("kind") = "opaque")
      .def_readonly("model", &SpaceSpec::model)
      .def_readonly("dtype", &SpaceSpec::dtype)
      .def_readonly("layout", &SpaceSpec::layout)
      .def_readonly("isa", &SpaceSpec::isa)
      .def_readonly("layers", &SpaceSpec::layers)
      .def_readonly("kv_heads", &SpaceSpec::kv_heads)
      .def_readonly("head_dim", &SpaceSpec::head_dim)
      .def_readonly("tokens_per_chunk", &SpaceSpec::tokens_per_chunk)
      .def_readonly("shard", &SpaceSpec::shard)
      .def_readonly("shards", &SpaceSpec::shards)
      .def_readonly("chunk_bytes", &SpaceSpec::chunk_bytes);
}

}  // namespace

std::shared_ptr<Session> shared_session(std::unique_ptr<Session> session) {
  return {session.release(), [](Session* last) {
            if (PyGILState_Check() != 0) {
              py::gil_scoped_release unlocked;
              delete last;
            } else {
              delete last;
            }
          }};
}

void PySession::close() {
  session_.reset();
}

void bind_session(py::module_& module) {
  bind_spec(module);
  py::class_<PyStatus>(module, "Status")
      .def("__bool__", [](const PyStatus& self) { return self.code == Code::kOk; })
      .def_property_readonly("code", [](const PyStatus& self) { return code_name(self.code); })
      .def_readonly("message", &PyStatus::message)
      .def("__repr__", [](const PyStatus& self) {
        return std::string("<kvtier.Status ") + code_name(self.code) +
               (self.message.empty() ? "" : ": " + self.message) + ">";
      });
  py::class_<PySession, std::shared_ptr<PySession>>(module, "Session")
      .def(py::init([](std::string socket, std::string name, bool read_only, std::string verify,
                       double call_deadline, double retry_first, double retry_last) {
             return open_session({std::move(socket), std::move(name), std::move(verify), read_only,
                                  call_deadline, retry_first, retry_last});
           }),
           py::kw_only(), py::arg("socket") = "", py::arg("name") = "",
           py::arg("read_only") = false, py::arg("verify") = "default",
           py::arg("call_deadline") = 1.0, py::arg("retry_first") = 0.02,
           py::arg("retry_last") = 1.0)
      .def("wait_attached", &wait_attached, py::arg("timeout"))
      .def_property_readonly("attached", [](const PySession& s) { return s.get()->attached(); })
      .def_property_readonly("epoch", [](const PySession& s) { return s.get()->epoch(); })
      .def_property_readonly("id", [](const PySession& s) { return s.get()->id(); })
      .def_property_readonly("closed", &PySession::closed)
      .def("open_space", &open_space, py::arg("spec"))
      .def("stats", &stats)
      .def("close", &PySession::close)
      .def("__enter__", [](const std::shared_ptr<PySession>& self) { return self; })
      .def("__exit__", [](PySession& self, const py::args&) { self.close(); });
  module.def("checksum", &checksum, py::arg("data"));
  module.def("default_socket_path", &default_socket_path);
  module.attr("__version__") = version();
  module.attr("protocol_versions") = py::make_tuple(protocol_version_min(), protocol_version_max());
}

}  // namespace kvtier::python
