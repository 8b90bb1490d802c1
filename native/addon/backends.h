#pragma once
#include <memory>
#include <string>

#include "ops/backend.h"

namespace mamba::addon {

// kind: "cpu" or "cuda". `threads` is for the CPU; 0 takes one per core. The CUDA backend is a library beside the
// addon, loaded when it is first asked for; `index` is the GPU's number. Throws ErrorCode::NotBuilt where it is not
// there, NoDevice where it cannot run.
std::unique_ptr<Backend> open_backend(const std::string& kind, int threads, int index);

}  // namespace mamba::addon
