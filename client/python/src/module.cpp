// The module kvtier._kvtier.
#include "client/python/src/common.hpp"

PYBIND11_MODULE(_kvtier, module) {
  using kvtier::python::WrongUse;
  namespace py = pybind11;
  module.doc() = "The client library of kvtier. Use the package kvtier.";
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> error;
  error.call_once_and_store_result(
      [&] { return py::object(py::exception<WrongUse>(module, "Error", PyExc_ValueError)); });
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const WrongUse& wrong) {
      const py::object& type = error.get_stored();
      py::object value = type(wrong.what());
      value.attr("code") = kvtier::code_name(wrong.code);
      PyErr_SetObject(type.ptr(), value.ptr());
    }
  });
  kvtier::python::bind_session(module);
  kvtier::python::bind_match(module);
  kvtier::python::bind_space(module);
  kvtier::python::bind_mover(module);
  kvtier::python::bind_restore(module);
  kvtier::python::bind_codec(module);
}
