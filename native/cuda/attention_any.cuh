#pragma once
// Attention for every type, stride and alignment: what no tuned kernel takes.
//
// Mapping. A warp has a row: 32 keys at a time, one for each lane, then channels across the lanes. Keys are taken at
// multiples of 32, so a row's bits do not depend on where a prompt was cut.
#include "cuda/attention.cuh"

namespace mamba::cuda::attention {

inline constexpr int kAnyWarps = 4, kAnyRows = 16;  // rows of a unit

__device__ __forceinline__ float load_element(const void* from, DType type, int64_t i) {
  if (type != DType::u8) return load_any(from, type, i);
  const __half_raw raw = __nv_cvt_fp8_to_halfraw(static_cast<const __nv_fp8_storage_t*>(from)[i], __NV_E4M3);
  return __half2float(__half(raw));
}

template <bool kPaged>
__global__ __launch_bounds__(kAnyWarps * 32) void attention_any_kernel(const __grid_constant__ Job job) {
  __shared__ float queries[kAnyWarps][kMaxHeadDim];
  constexpr int kPieces = static_cast<int>(kMaxHeadDim) / 32;
  wait_for_inputs();
  let_next_start();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const auto head_dim = static_cast<int>(job.pages.head_dim);
  const float scale = job.context.scale * job.pages.k_scale * kLog2e;
  const int units = units_of(job, kAnyRows, kPaged);
  for (int index = static_cast<int>(blockIdx.x); index < units; index += static_cast<int>(gridDim.x)) {
    const Unit unit = unit_of(job, index, kAnyRows, kPaged);
    for (int row = warp; row < unit.rows; row += kAnyWarps) {
      float* q = queries[warp];
      __syncwarp();
      for (int i = lane; i < head_dim; i += 32) {
        q[i] = load_any(job.q, job.dtype, place_of_row(job, unit, row, job.q_stride) + i);
      }
      __syncwarp();
      const int position = position_of(job, unit, row);
      const int first = max(unit.begin, first_key_of(job, position)), last = min(unit.end - 1, position);
      float maximum = -INFINITY, total = 0, sums[kPieces] = {};
      for (int step = first / 32 * 32; step <= last; step += 32) {
        const int key = step + lane;
        const bool valid = key >= first && key <= last;
        float score = -INFINITY;
        int64_t v_place = -1;
        if (valid) {
          const int64_t k_place = place_of_token(job, unit, key, job.pages.k_page_stride);
          v_place = place_of_token(job, unit, key, job.pages.v_page_stride);
          score = 0;
          for (int i = 0; k_place >= 0 && i < head_dim; ++i) {
            score = fmaf(q[i], load_element(job.pages.k, job.pages.dtype, k_place + i), score);
          }
          score *= scale;
        }
        const float grown = warp_max(fmaxf(maximum, score));
        const float shrink = exp2f(maximum - grown), weight = valid ? exp2f(score - grown) : 0;
        total = total * shrink + warp_sum(weight);
        maximum = grown;
#pragma unroll
        for (int i = 0; i < kPieces; ++i) sums[i] *= shrink;
        for (int j = 0; j < 32; ++j) {
          const float of_key = __shfl_sync(~0u, weight, j);
          const int64_t place = __shfl_sync(~0u, v_place, j);
          if (place < 0) continue;
#pragma unroll
          for (int i = 0; i < kPieces; ++i) {
            if (lane + 32 * i < head_dim) {
              sums[i] = fmaf(of_key, load_element(job.pages.v, job.pages.dtype, place + lane + 32 * i), sums[i]);
            }
          }
        }
      }
      const float factor = total > 0 ? job.pages.v_scale / total : 0;
      const int64_t out = place_of_row(job, unit, row, job.out_stride);
      const int64_t partial = kPaged && unit.item >= 0 ? place_of_partial(job, unit, row) : 0;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        const int channel = lane + 32 * i;
        if (channel >= head_dim) continue;
        if (kPaged && unit.item >= 0) {
          job.partial_out[partial * head_dim + channel] = sums[i] * factor;
        } else {
          store_any(job.out, job.dtype, out + channel, sums[i] * factor);
        }
      }
      if (kPaged && unit.item >= 0 && lane == 0) {
        job.partial_lse[partial] = total > 0 ? maximum + log2f(total) : -INFINITY;
      }
    }
  }
}

}  // namespace mamba::cuda::attention
