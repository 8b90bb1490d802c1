#pragma once
#include <napi.h>

namespace mamba::addon {

// Adds devices, tensors, arenas, graphs, transfers and files.
void register_runtime(Napi::Env env, Napi::Object exports);

}  // namespace mamba::addon
