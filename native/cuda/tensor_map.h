#pragma once
// Tensor maps for the copy engine, encoded on the host at each launch: 0.1 us of the driver. A map holds addresses, but
// encoding does not touch them.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <optional>

#include "core/dtype.h"
#include "cuda/status.h"

namespace mamba::cuda {

// Of 16-bit floats in boxes whose rows, 64 elements, are swizzled over 128 bytes; what lies beyond a size reads as
// zero. sizes and box from the innermost dimension on, strides of the others in elements. None if the driver refuses.
template <size_t kRank>
std::optional<CUtensorMap> encode_tensor_map(const void* base, DType dtype, const std::array<int64_t, kRank>& sizes,
                                             const std::array<int64_t, kRank - 1>& strides,
                                             const std::array<int, kRank>& box) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result),
          "cuTensorMapEncodeTiled");
    return reinterpret_cast<Encode>(function);
  }();
  cuuint64_t extents[kRank], pitches[kRank - 1];
  cuuint32_t boxes[kRank], steps[kRank];
  for (size_t i = 0; i < kRank; ++i) {
    extents[i] = static_cast<cuuint64_t>(sizes[i]), boxes[i] = static_cast<cuuint32_t>(box[i]), steps[i] = 1;
    if (i > 0) pitches[i - 1] = static_cast<cuuint64_t>(strides[i - 1]) * 2;
  }
  CUtensorMap map;
  const CUresult result =
      encode(&map, dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, kRank,
             const_cast<void*>(base), extents, pitches, boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) return {};
  return map;
}

}  // namespace mamba::cuda
