#pragma once
// Products of float tiles in scratch: "rows x panel += left[row][k] right[k][panel]", where a panel is 2 registers of
// columns and a row-major left is read by broadcasts. A tile of kRows x 2 reads 2 vectors and kRows broadcasts for its
// 2 kRows multiply-adds, and each of its sums is one chain over k.
#include "cpu/simd/vectors.inl"

namespace mamba::cpu::MAMBA_ISA {
namespace panels {

inline constexpr int kVectors = 2;
inline constexpr int kRows = F32::lanes == 16 || F32::lanes == 4 ? 8 : 4;  // sums are half of 32 registers
inline constexpr int kColumns = kVectors * F32::lanes;                     // of a panel
static_assert(kColumns <= 32 && kRows <= 8);

alignas(64) inline constexpr float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// tile += left[row][k] right[k][column] over k < depth.
inline __attribute__((always_inline)) void multiply_add(F32 (&tile)[kRows][kVectors], const float* left,
                                                        int64_t left_stride, const float* right, int64_t right_stride,
                                                        int64_t depth) {
  for (int64_t k = 0; k < depth; ++k) {
    F32 columns[kVectors];
    for (int v = 0; v < kVectors; ++v) columns[v] = load(right + k * right_stride + v * F32::lanes);
    for (int r = 0; r < kRows; ++r) {
      const F32 row = set(left[r * left_stride + k]);
      for (int v = 0; v < kVectors; ++v) tile[r][v] = fma(row, columns[v], tile[r][v]);
    }
  }
}

// dst[j][i] = src[i][j] for i < rows and j < columns, with zeros up to a whole register of i. With `ahead` the rows
// follow each other in memory and the next ones are prefetched in order: reading many rows side by side, which a
// transposition must do, is not foreseen by the processor.
template <bool ahead, class T>
void load_transposed(const T* src, int64_t src_stride, int64_t rows, int64_t columns, float* dst, int64_t dst_stride) {
  for (int64_t i = 0; i < rows; i += F32::lanes) {
    for_lanes(0, columns, [&](int64_t j, auto n) {
      F32 block[F32::lanes];
      for (int r = 0; r < F32::lanes; ++r) {
        block[r] = i + r < rows ? load_n(src + (i + r) * src_stride + j, n) : zero();
        if (ahead) __builtin_prefetch(src + (i + F32::lanes) * src_stride + (j + r) * F32::lanes);
      }
      transpose(block);
      for (int r = 0; r < n; ++r) store(dst + (j + r) * dst_stride + i, block[r]);
    });
  }
}

// dst[i][j] = src[j][i] for i < rows and j < columns.
template <class T>
void store_transposed(const float* src, int64_t src_stride, int64_t rows, int64_t columns, T* dst, int64_t dst_stride) {
  for (int64_t i = 0; i < rows; i += F32::lanes) {
    for_lanes(0, columns, [&](int64_t j, auto n) {
      F32 block[F32::lanes];
      for (int r = 0; r < F32::lanes; ++r) block[r] = r < n ? load(src + (j + r) * src_stride + i) : zero();
      transpose(block);
      for (int r = 0; r < F32::lanes && i + r < rows; ++r) store_n(dst + (i + r) * dst_stride + j, block[r], n);
    });
  }
}

}  // namespace panels
}  // namespace mamba::cpu::MAMBA_ISA
