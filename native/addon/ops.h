#pragma once
#include <napi.h>

namespace mamba::addon {

// Adds one function per row of ops.def, and `opRows`: the rows as text, by which src/native/load.ts tells that the
// addon was built from the same list.
void register_ops(Napi::Env env, Napi::Object exports);

}  // namespace mamba::addon
