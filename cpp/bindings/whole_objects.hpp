// Python classes whose objects are whole as soon as they are there.
//
// In:  a class of the core.   Out: a Python class that makes objects by its static method `_make`, or not at all.
// Next: module.cpp.
//
// pybind11 makes an object in two steps, and so does Python: `__new__`, `__init__`.  Between them, or if the second is
// left out (by copyreg, by a subclass, by hand), there is an object with nothing in it, and whatever uses it reads
// memory that is not there.  These classes have one step.  They cannot be derived from, and cannot be changed: an
// object that was told to be of another class (`a.__class__ = B`) would be read as one.
#pragma once

#include <pybind11/pybind11.h>

extern "C" {
inline PyObject* convpp_make(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
    PyObject* const make = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "_make");
    if (make == nullptr) {
        PyErr_Format(PyExc_TypeError, "cannot create '%.100s' objects", type->tp_name);
        return nullptr;
    }
    PyObject* const made = PyObject_Call(make, arguments, keywords);
    Py_DECREF(make);
    return made;
}

// Called with the same arguments on what is whole already.
inline int convpp_no_init(PyObject*, PyObject*, PyObject*) { return 0; }
}

template <class Class>
pybind11::class_<Class> whole_class(const pybind11::module_& module, const char* name) {
    return pybind11::class_<Class>(module, name, pybind11::is_final(),
                                   pybind11::custom_type_setup([](PyHeapTypeObject* type) {
                                       type->ht_type.tp_new = convpp_make;
                                       type->ht_type.tp_init = convpp_no_init;
                                   }));
}

// Nothing is added from here on.
template <class Class>
void seal(const pybind11::class_<Class>& whole) {
    reinterpret_cast<PyTypeObject*>(whole.ptr())->tp_flags |= Py_TPFLAGS_IMMUTABLETYPE;
}
