#pragma once
#include <napi.h>

namespace mamba::addon {

// Adds one function per row of ops.def, and `signatures`: op name -> argument types.
void register_ops(Napi::Env env, Napi::Object exports);

}  // namespace mamba::addon
