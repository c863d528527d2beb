// The function that XLA calls for a pass of a convolution, which Python hands to JAX.
//
// In:  nothing.   Out: an XLA_FFI_Handler*, for python/convpp/jax/lowering.py; null where this was built without XLA's
// headers (no_jax_handler.cpp instead of jax_handler.cpp: see CONVPP_JAX in CMakeLists.txt).
#pragma once

void* jax_handler();
