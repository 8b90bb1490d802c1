#pragma once
// What the kernels of grouped_linear share: which rows of which expert a block has, and where its results go.
#include "cuda/activation.cuh"
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/grouped_linear.h"

namespace mamba::cuda::grouped {

// Rows [begin, begin + count) of out, all of one expert.
struct Rows {
  int expert, begin, count;
};

// The rows of an expert, within out whatever the offsets say.
__device__ __forceinline__ Rows rows_of(const GroupedLinearParams& p, int expert) {
  const int begin = max(p.offsets[expert], 0), end = min(p.offsets[expert + 1], static_cast<int>(p.rows));
  return {expert, begin, max(end - begin, 0)};
}

// Experts' rows are cut into tiles of at most `most` rows, in order; this is the index-th. Whole warps call it. False
// behind the last tile.
__device__ __forceinline__ bool find_tile(const GroupedLinearParams& p, int index, int most, Rows& tile) {
  const int lane = threadIdx.x % 32, experts = static_cast<int>(p.experts);
  for (int first = 0; first < experts; first += 32) {
    const Rows rows = first + lane < experts ? rows_of(p, first + lane) : Rows{0, 0, 0};
    const int tiles = (rows.count + most - 1) / most;
    int sum = tiles;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(~0u, sum, step);
      if (lane >= step) sum += other;
    }
    const unsigned past = __ballot_sync(~0u, sum > index);
    if (past) {
      const int owner = __ffs(past) - 1;
      const int nth = index - __shfl_sync(~0u, sum - tiles, owner);
      const int begin = __shfl_sync(~0u, rows.begin, owner), count = __shfl_sync(~0u, rows.count, owner);
      tile = {first + owner, begin + nth * most, min(count - nth * most, most)};
      return true;
    }
    index -= __shfl_sync(~0u, sum, 31);
  }
  return false;
}

// The most tiles that rows can be cut into.
inline int64_t most_tiles(const GroupedLinearParams& p, int64_t most) {
  const int64_t experts = p.experts < p.rows ? p.experts : p.rows;
  return p.rows / most + experts;
}

// The row of x of a row of out.
__device__ __forceinline__ int64_t row_of_x(const GroupedLinearParams& p, int row) {
  if (!p.row_token) return row;
  const int token = p.row_token[row];
  return token >= 0 && token < p.x_rows ? token : 0;
}

__device__ __forceinline__ const char* weight_of(const GroupedLinearParams& p, int expert, int64_t expert_bytes) {
  return static_cast<const char*>(p.weight) + expert * expert_bytes;
}

__device__ __forceinline__ float finished(Activation activation, float product) {
  float value;
  with_activation(activation, [&]<Activation kActivation> { value = activated<kActivation>(product); });
  return value;
}

__device__ __forceinline__ void write(const GroupedLinearParams& p, int64_t row, int64_t column, float value) {
  store_any(p.out, p.out_dtype, row * p.out_stride + column, value);
}

}  // namespace mamba::cuda::grouped
