#pragma once
// Tensor maps for the copy engine, encoded on the host at each launch: 0.1 us of the driver. A map holds addresses, but
// encoding does not touch them.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include "cuda/status.h"

namespace mamba::cuda {

inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<Encode>(function);
  }();
  return encode;
}

}  // namespace mamba::cuda
