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

// The experts' rows make units of work, units_of(rows) for each expert, which are numbered in the order of experts.
// Each lane counts those of a run of experts, so that their offsets are on their way at once. Whole warps call it.
template <class UnitsOf>
struct Schedule {
  const GroupedLinearParams& p;
  UnitsOf units_of;
  int each;           // experts of a lane, at most 32
  int before, total;  // units before the lane's, and of all

  __device__ __forceinline__ Schedule(const GroupedLinearParams& params, UnitsOf of) : p(params), units_of(of) {
    const int experts = static_cast<int>(p.experts);
    each = (experts + 31) / 32;
    const int first = static_cast<int>(threadIdx.x) % 32 * each;
    int sum = 0;
#pragma unroll 4
    for (int i = 0; i < each; ++i) {
      if (first + i < experts) sum += units_of(rows_of(p, first + i).count);
    }
    const int upto = warp_sum_up_to(sum);
    before = upto - sum, total = __shfl_sync(~0u, upto, 31);
  }

  // The expert's rows, and which of its units has the number. False behind the last.
  __device__ __forceinline__ bool find(int number, Rows& rows, int& nth) const {
    if (number >= total) return false;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int owner = 31 - __clz(static_cast<int>(__ballot_sync(~0u, before <= number)));
    const int expert = owner * each + lane, first = __shfl_sync(~0u, before, owner);
    const Rows mine = lane < each && expert < p.experts ? rows_of(p, expert) : Rows{expert, 0, 0};
    const int units = units_of(mine.count), upto = first + warp_sum_up_to(units);
    const int who = __ffs(static_cast<int>(__ballot_sync(~0u, upto > number))) - 1;
    rows = {owner * each + who, __shfl_sync(~0u, mine.begin, who), __shfl_sync(~0u, mine.count, who)};
    nth = number - __shfl_sync(~0u, upto - units, who);
    return true;
  }
};

// Experts' rows are cut into tiles of at most `most` rows, in order; this is the index-th. False behind the last.
__device__ __forceinline__ bool find_tile(const GroupedLinearParams& p, int index, int most, Rows& tile) {
  const auto tiles_of = [most](int rows) { return (rows + most - 1) / most; };
  int nth;
  if (!Schedule(p, tiles_of).find(index, tile, nth)) return false;
  tile.begin += nth * most, tile.count = min(tile.count - nth * most, most);
  return true;
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
