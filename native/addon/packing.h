#pragma once
#include <napi.h>

namespace mamba::addon {

// Adds what makes packed weights: of linear, and of grouped_linear.
void register_packing(Napi::Env env, Napi::Object exports);

}  // namespace mamba::addon
