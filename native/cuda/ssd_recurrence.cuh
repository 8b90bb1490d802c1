#pragma once
// The recurrence of ops/ssd.h itself, token by token in float on CUDA cores: any types, any strides, exact enough for
// float32. What the matrix forms do not take.
//
// Mapping. A block has some channels of one (sequence, head), kLanes threads for each two; a thread has kPer elements
// of the state of both in registers, n = 4 (lane + kLanes i) + 0..3. B, C, x and dt of kBlock tokens are staged in
// shared memory, as floats; four n of B or C are one word.
//
// Bound. 3 float instructions for each (token, channel, n), and a word of shared memory for 4 of them: at H=128 P=64
// N=128 0.86 ms of instructions per 8192 tokens on 132 multiprocessors, and as much of shared memory.
#include "cuda/ssd_steps.cuh"

namespace mamba::cuda::scan {

inline constexpr int kRecurrenceThreads = 256;

template <class T, int kLanes, int kPer, int kBlock>
__global__ __launch_bounds__(kRecurrenceThreads) void recurrence_kernel(const __grid_constant__ SsdChunkScanParams p) {
  constexpr int kStates = kLanes * kPer, kPairs = kRecurrenceThreads / kLanes, kChannels = 2 * kPairs;
  __shared__ __align__(16) float b[kBlock][kStates], c[kBlock][kStates];
  __shared__ float x[kBlock][kChannels], dt[kBlock], decay[kBlock];
  wait_for_inputs();
  let_next_start();
  const int tiles = static_cast<int>((p.head_dim + kChannels - 1) / kChannels);
  int64_t item = blockIdx.x;
  const int64_t first_channel = item % tiles * kChannels;
  item /= tiles;
  const int64_t head = item % p.heads, sequence = item / p.heads;
  const int begin = p.query_start_loc[sequence], end = p.query_start_loc[sequence + 1];
  if (begin == end) return;
  const int channels =
      static_cast<int>(p.head_dim - first_channel < kChannels ? p.head_dim - first_channel : kChannels);
  T* out = static_cast<T*>(p.out) + head * p.head_dim + first_channel;
  const int slot = p.slots[sequence];
  if (slot < 0 || slot >= p.slots_in_pool) {
    for (int64_t i = threadIdx.x; i < int64_t{end - begin} * channels; i += kRecurrenceThreads) {
      out[(begin + i / channels) * p.out_stride + i % channels] = T(0.0f);
    }
    return;
  }
  // The thread's channels are `local` and local + kPairs of the block's.
  const int local = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const auto n_of = [&](int i) { return 4 * (lane + kLanes * (i / 4)) + i % 4; };
  const int64_t in_slot = (head * p.head_dim + first_channel) * p.state_size;
  float state[2][kPer];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) state[r][i] = 0;
  }
  if (p.has_initial_state[sequence] != 0 && p.state_size > 0) {
    const int64_t states = slot * p.state_slot_stride + in_slot;
    with_state_type(p.state_dtype, p.state, [&](const auto* from) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int channel = local + kPairs * r;
#pragma unroll
        for (int i = 0; i < kPer; ++i) {
          const bool inside = channel < channels && n_of(i) < p.state_size;
          const float v = as_float(from[states + (inside ? channel * p.state_size + n_of(i) : 0)]);
          state[r][i] = inside ? v : 0.0f;
        }
      }
    });
  }
  const float a = p.a[head], bias = p.dt_bias ? p.dt_bias[head] : 0.0f, d = p.d ? p.d[head] : 0.0f;
  const int64_t in_group = head / (p.heads / p.groups) * p.state_size;
  const T* group_b = static_cast<const T*>(p.b) + in_group;
  const T* group_c = static_cast<const T*>(p.c) + in_group;
  const T* head_x = static_cast<const T*>(p.x) + head * p.head_dim + first_channel;
  const auto store = [&](int64_t to_slot) {
    const int64_t states = to_slot * p.state_slot_stride + in_slot;
    with_state_type(p.state_dtype, p.state, [&](auto* to) {
      using S = std::remove_pointer_t<decltype(to)>;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int channel = local + kPairs * r;
#pragma unroll
        for (int i = 0; i < kPer; ++i) {
          if (channel < channels && n_of(i) < p.state_size) {
            to[states + channel * p.state_size + n_of(i)] = S(state[r][i]);
          }
        }
      }
    });
  };
  int chunk = sequence == 0 ? 0 : p.last_chunk[sequence - 1] + 1, tokens = 0;
  for (int64_t l0 = begin; l0 < end; l0 += tokens) {
    const int64_t left = p.cu_chunk_seqlens[chunk + 1] - l0;
    tokens = static_cast<int>(left < kBlock ? left : kBlock);
    __syncthreads();
#pragma unroll 4
    for (int i = threadIdx.x; i < kBlock * kStates; i += kRecurrenceThreads) {
      const int l = i / kStates, n = i % kStates;
      const bool inside = l < tokens && n < p.state_size;
      b[l][n] = inside ? as_float(group_b[(l0 + l) * p.b_stride + n]) : 0.0f;
      c[l][n] = inside ? as_float(group_c[(l0 + l) * p.c_stride + n]) : 0.0f;
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < kBlock * kChannels; i += kRecurrenceThreads) {
      const int l = i / kChannels, j = i % kChannels;
      x[l][j] = l < tokens && j < channels ? as_float(head_x[(l0 + l) * p.x_stride + j]) : 0.0f;
    }
    if (threadIdx.x < tokens) {
      float step = load_dt<T>(p, l0 + threadIdx.x, static_cast<int>(head)) + bias;
      if (p.dt_softplus && step <= kSoftplusThreshold) step = log1pf(expf(step));
      step = step < p.dt_min ? p.dt_min : step;  // a NaN stays one
      step = step > p.dt_max ? p.dt_max : step;
      dt[threadIdx.x] = step;
      decay[threadIdx.x] = expf(step * a);
    }
    __syncthreads();
    for (int l = 0; l < tokens; ++l) {
      const float xs[2] = {x[l][local], x[l][local + kPairs]}, keep = decay[l];
      const float weight[2] = {dt[l] * xs[0], dt[l] * xs[1]};
      float y[2][2] = {};
#pragma unroll
      for (int i = 0; i < kPer; i += 4) {
        const float4 b4 = *reinterpret_cast<const float4*>(&b[l][4 * lane + kLanes * i]);
        const float4 c4 = *reinterpret_cast<const float4*>(&c[l][4 * lane + kLanes * i]);
        const float bs[4] = {b4.x, b4.y, b4.z, b4.w}, cs[4] = {c4.x, c4.y, c4.z, c4.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            float& s = state[r][i + j];
            s = fmaf(keep, s, weight[r] * bs[j]);
            y[r][j % 2] = fmaf(s, cs[j], y[r][j % 2]);
          }
        }
      }
      // Even lanes add up the first channel, odd ones the second.
      const float sums[2] = {y[0][0] + y[0][1], y[1][0] + y[1][1]};
      const bool second = lane % 2;
      float sum = (second ? sums[1] : sums[0]) + __shfl_xor_sync(~0u, second ? sums[0] : sums[1], 1);
#pragma unroll
      for (int i = 2; i < kLanes; i *= 2) sum += __shfl_xor_sync(~0u, sum, i);
      const int channel = local + kPairs * lane;
      if (lane < 2 && channel < channels) {
        out[(l0 + l) * p.out_stride + channel] = T(fmaf(d, second ? xs[1] : xs[0], sum));
      }
    }
    if (tokens < left) continue;
    if (p.chunk_slots && p.chunk_slots[chunk] >= 0 && p.chunk_slots[chunk] < p.slots_in_pool) {
      store(p.chunk_slots[chunk]);
    }
    ++chunk;
  }
  store(slot);
}

}  // namespace mamba::cuda::scan
