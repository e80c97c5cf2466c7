// A Payload as a DLPack tensor of bytes: the exchange structures of DLPack 1.0
// (dmlc.github.io/dlpack, C API) and of the versions before, which know no read-only tensors. The
// tensor keeps the memory leased and mapped.
#include "client/python/src/match.hpp"

namespace kvtier::python {
namespace {

constexpr int32_t kCpu = 1;
constexpr uint8_t kUnsigned = 1;
constexpr uint64_t kReadOnly = 1;

struct Tensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};
struct ManagedVersioned {
  uint32_t major, minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};
static_assert(sizeof(Tensor) == 48 && sizeof(Managed) == 64 && sizeof(ManagedVersioned) == 80);

template <typename T>
struct Held {
  T managed = {};
  std::shared_ptr<const void> owner;
  int64_t shape = 0, stride = 1;
};

template <typename T>
T* make(const Payload& payload) {
  auto held = std::make_unique<Held<T>>();
  held->owner = payload.owner;
  held->shape = static_cast<int64_t>(payload.bytes);
  T& managed = held->managed;
  managed.tensor = {payload.data, kCpu, 0, 1, kUnsigned, 8, 1, &held->shape, &held->stride, 0};
  managed.context = held.get();
  managed.deleter = [](T* self) { delete static_cast<Held<T>*>(self->context); };
  return &held.release()->managed;
}

// A consumer renames the capsule it took; one that nobody took is freed here.
template <typename T>
void destroy(PyObject* capsule) {
  const char* name = PyCapsule_GetName(capsule);
  if (name == nullptr || std::string(name).rfind("used_", 0) == 0) return;
  auto* managed = static_cast<T*>(PyCapsule_GetPointer(capsule, name));
  if (managed != nullptr) managed->deleter(managed);
}

}  // namespace

py::capsule dlpack_capsule(const Payload& payload, bool versioned) {
  PyObject* capsule;
  if (versioned) {
    ManagedVersioned* managed = make<ManagedVersioned>(payload);
    managed->major = 1;
    managed->minor = 0;
    managed->flags = payload.read_only ? kReadOnly : 0;
    capsule = PyCapsule_New(managed, "dltensor_versioned", &destroy<ManagedVersioned>);
  } else {
    capsule = PyCapsule_New(make<Managed>(payload), "dltensor", &destroy<Managed>);
  }
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::capsule>(capsule);
}

}  // namespace kvtier::python
