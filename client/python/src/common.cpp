// Buffers and token ids of Python objects. GIL held.
#include "client/python/src/common.hpp"

namespace kvtier::python {
namespace {

// C-contiguous, so that the bytes are one run.
bool contiguous(const py::buffer_info& info) {
  py::ssize_t expected = info.itemsize;
  for (size_t i = info.shape.size(); i-- > 0;) {
    if (info.shape[i] > 1 && info.strides[i] != expected) return false;
    expected *= info.shape[i];
  }
  return true;
}

uint32_t token_id(long long value) {
  if (value < 0 || value > UINT32_MAX) {
    throw WrongUse(Code::kInvalidArgument,
                   "token id " + std::to_string(value) + " is not in 0 .. 4294967295");
  }
  return static_cast<uint32_t>(value);
}

template <typename T>
std::vector<uint32_t> converted(const py::buffer_info& info) {
  const T* from = static_cast<const T*>(info.ptr);
  std::vector<uint32_t> ids(static_cast<size_t>(info.size));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = token_id(static_cast<long long>(from[i]));
  return ids;
}

}  // namespace

Fragments::Fragments(const py::iterable& items, bool writable) {
  for (const py::handle item : items) {
    if (py::isinstance<py::tuple>(item)) {
      const auto [address, bytes] = item.cast<std::pair<uintptr_t, size_t>>();
      list_.push_back({reinterpret_cast<std::byte*>(address), bytes});
      continue;
    }
    if (!PyObject_CheckBuffer(item.ptr())) {
      throw WrongUse(Code::kInvalidArgument,
                     "a fragment is (address, bytes) or an object with a buffer");
    }
    held_.push_back(py::reinterpret_borrow<py::buffer>(item).request(writable));
    const py::buffer_info& info = held_.back();
    if (!contiguous(info)) {
      throw WrongUse(Code::kInvalidArgument, "a fragment's buffer is not C-contiguous");
    }
    list_.push_back({static_cast<std::byte*>(info.ptr),
                     static_cast<size_t>(info.size) * static_cast<size_t>(info.itemsize)});
  }
}

std::vector<ConstFragment> Fragments::readable() const {
  std::vector<ConstFragment> list;
  list.reserve(list_.size());
  for (const Fragment& fragment : list_) list.push_back({fragment.data, fragment.bytes});
  return list;
}

std::vector<uint32_t> token_ids(const py::object& tokens) {
  if (PyObject_CheckBuffer(tokens.ptr())) {
    const py::buffer_info info = py::reinterpret_borrow<py::buffer>(tokens).request();
    if (info.ndim == 1 && contiguous(info)) {
      const std::string& format = info.format;
      const char kind = format.empty() ? '?' : format.back();
      if (info.itemsize == 4 && (kind == 'I' || kind == 'L')) return converted<uint32_t>(info);
      if (info.itemsize == 4 && (kind == 'i' || kind == 'l')) return converted<int32_t>(info);
      if (info.itemsize == 8 && (kind == 'q' || kind == 'l')) return converted<int64_t>(info);
    }
    throw WrongUse(Code::kInvalidArgument,
                   "token ids are a flat buffer of 32- or 64-bit integers, or a sequence");
  }
  std::vector<uint32_t> ids;
  if (PyList_Check(tokens.ptr())) {
    const py::ssize_t count = PyList_GET_SIZE(tokens.ptr());
    ids.reserve(static_cast<size_t>(count));
    for (py::ssize_t i = 0; i < count && i < PyList_GET_SIZE(tokens.ptr()); ++i) {
      const long long value = PyLong_AsLongLong(PyList_GET_ITEM(tokens.ptr(), i));
      if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
      ids.push_back(token_id(value));
    }
    return ids;
  }
  for (const py::handle item : py::iterable(tokens))
    ids.push_back(token_id(item.cast<long long>()));
  return ids;
}

}  // namespace kvtier::python
