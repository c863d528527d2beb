// The function that XLA calls for a pass of a convolution, which Python hands to JAX.
//
// In:  nothing.   Out: an XLA_FFI_Handler*, for python/convpp/jax/lowering.py; null where this was built without XLA's
// headers (none.cpp instead of handler.cpp: see CONVPP_JAX in CMakeLists.txt).
#pragma once

void* jax_handler();
