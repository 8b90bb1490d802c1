#pragma once
// Products of 16-bit matrices with mma.sync, and tiles in shared memory that its operands are read from (ldmatrix).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace mamba::cuda {

// Tiles are rows of kRowBytes, a multiple of 128, with 16-byte piece i of row r at i ^ (r % 8): neither copies nor
// ldmatrix meet in a bank. Here is piece `piece` of row `row`.
template <int kRowBytes>
__device__ __forceinline__ uint32_t tile_at(uint32_t tile, int row, int piece) {
  return tile + row * kRowBytes + ((piece ^ (row % 8)) << 4);
}

// So many bytes further in its row; a multiple of what the place is aligned to.
__device__ __forceinline__ uint32_t further(uint32_t place, int bytes) {
  return (place ^ (bytes % 128)) + bytes / 128 * 128;
}

template <class T>
__device__ __forceinline__ void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#define MAMBA_MMA(TYPE)                                                      \
  asm("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                 \
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                       \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    MAMBA_MMA("bf16");
  } else {
    MAMBA_MMA("f16");
  }
#undef MAMBA_MMA
}

}  // namespace mamba::cuda
