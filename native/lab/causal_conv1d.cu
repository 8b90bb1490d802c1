// Ladders of causal_conv1d_update (one token per row) and causal_conv1d_varlen (packed prompts): check and timing of
// the backend's kernels (native/cuda/conv1d.cuh, whose idea and mapping stand there) beside earlier ones.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/causal_conv1d.cu
//       native/cuda/conv1d.cu native/cuda/status.cpp -o causal_conv1d
//   ./causal_conv1d [--json FILE --commit SHA] [--check | --time]
//
// Bound. Bytes, see native/cuda/conv1d.cu. At 4.25 TB/s: update, dim 10240, B=256 9.9 us, 1024 39.5; varlen, 8192
// tokens 79.0, 3 x 2048 and 256 x 1 69.2.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes
// (after a flush that leaves it clean in brackets). An empty kernel takes 3.7 (3.6) of it; 4.0 (3.8) in the earlier run
// whose lines are marked with *.
//
// Update, bf16, dim 10240                         B=1        8          64         256         1024
//   copy of the same bytes                        4.6 (4.3)  5.1 (4.5)  7.3 (6.5)  15.3 (13.2) 44.0 (40.9)
// * V1 R1: a channel a thread                     5.7 (5.3)  6.0 (5.6)  10.1 (8.8) 22.2 (19.8) 70.2 (67.6)
//   V2 R1 t64: all the threads a row can use      5.4 (5.0)  5.8 (5.4)  8.7 (8.3)  18.4 (17.6) 57.2 (56.1)
// * V8 R1 t64: 16-byte accesses, fewer threads    5.7 (5.4)  6.1 (5.6)  8.2 (7.0)  17.2 (14.3) 50.7 (46.6)
//   V4 R3 t128: taps once for three rows          5.4 (5.2)  5.8 (5.4)  8.0 (7.2)  16.3 (13.7) 47.9 (44.4)
//   steps R1 t64: V4, taps ahead of the inputs    5.7 (5.5)  6.2 (5.7)  8.7 (7.5)  17.1 (16.9) 54.0 (53.9)
//   steps R3 t128                                 5.7 (5.4)  6.3 (5.8)  8.7 (7.6)  17.0 (14.6) 48.7 (44.8)
//   steps R4 t128                                 5.7 (5.5)  6.7 (6.2)  8.9 (7.7)  16.8 (14.5) 48.5 (45.2)
//   V2 R1 t64, taps in bf16: nothing gained       5.8 (5.5)  6.1 (5.8)
//   in a chain, taps ahead of the kernel before   1.6 (1.6)  2.0 (1.8)  4.4 (4.2)
//   in a chain, one after another                 2.2 (2.2)  2.7 (2.5)  4.9 (4.6)
// The early start saves 0.6 us in a chain, which a decode step is; taps ahead of the slots, for its sake, cost 0.3 us
// where a launch stands alone. Walking over several batches of rows with the next one in flight gains nothing (R2 x
// 4: 16.9, 49.6). With .cs on loads and stores (an earlier run) B=1024 took 52.9 against 49.9: dirty lines leave the L2
// too early.
//
// Varlen, bf16, dim 10240; V: blocks of 24        1x8192        64x128        3x2048+256x1  1x64        1x512
//   copy of the same bytes                        83.7 (80.0)   85.6 (82.0)   74.1 (70.2)   5.3 (4.6)   9.5 (8.5)
// * V1 B1: a channel a thread (blocks of 32)      203.4 (198.2) 208.2 (203.1) 179.0 (173.7) 19.4 (18.8) 22.1 (19.0)
// * V8 B4: 16-byte accesses, 128 registers        98.7 (93.3)   100.0 (96.2)  88.1 (83.9)   11.4 (11.1) 14.4 (12.5)
// * V4 B4: half the registers                     97.2 (93.1)   100.0 (96.5)  90.0 (86.0)   10.8 (10.2) 14.3 (12.3)
//   V4 B6 64x1: the best of both                  92.2 (88.4)   95.8 (92.1)   86.1 (82.3)   9.8 (9.3)   13.4 (12.1)
//   the same, blocks of 64                        103.5 (95.7)  102.6 (95.5)  87.1 (82.6)   13.5 (13.1) 16.6 (14.9)
//   bulk V4 32/8: in flight in shared memory      91.3 (88.3)   94.6 (91.7)   87.4 (84.3)   9.3 (9.1)   14.1 (13.0)
//   V4 B4 32x4 part 8: for few tokens             108.8 (104.7) 116.5 (113.3) 113.5 (109.5) 8.2 (7.6)   14.2 (12.5)
//   chunks B6 R4 t64 M8: equal shares             93.2 (89.2)   97.4 (93.3)   85.9 (81.7)   8.1 (7.6)   12.7 (11.8)
//   chunks B7 R4 t64 M8                           93.2 (88.9)   96.3 (92.5)   85.4 (81.4)   8.2 (7.7)   12.8 (12.2)
//   chunks B8 R4 t64 M8                           94.6 (90.4)   98.1 (94.1)   87.9 (83.0)   9.1 (8.6)   13.5 (12.7)
//   chunks B6 R2 t64 M10: spills                  96.8 (91.8)   101.3 (96.6)  87.9 (82.9)   9.3 (8.6)   13.2 (12.2)
// Chunks do not ask how the host cut the tokens, are the best for few tokens and within 2% of the best for many. Three
// steps paid before: exp2 and reciprocal without subnormals, then a body of B tokens without tests (V8 B4 at blocks of
// 32: 130, 107, 98). Chunks through a ring in shared memory, filled by the copy engine: 97.6 to 106 at 1x8192. What is
// left is the path between the two halves of the L2: 83 to 86% busy with memory at 73 to 75% of its peak (a plain copy
// reaches 90% and 80%); taps and the tokens before a block, which chunks hardly read, are not what holds it up.
#include <cuda_runtime.h>

#include <limits>

#include "cuda/conv1d.cuh"
#include "cuda/hopper.cuh"
#include "cuda/kernels.h"
#include "lab/context.cuh"
#include "lab/lab.cuh"

namespace mamba::cuda {

template <int V>
__device__ __forceinline__ void load_floats(const float* from, float (&to)[V]) {
  unpack(load_constant<V>(from), to);
}

template <int V>
__device__ __forceinline__ void load_bias(const float* bias, int64_t c, float (&to)[V]) {
  if (bias) return load_floats(bias + c, to);
#pragma unroll
  for (int i = 0; i < V; ++i) to[i] = 0;
}

// y = bias + sum of taps over W inputs, the oldest first, then the activation.
template <int W, int V>
__device__ __forceinline__ void convolve(const float (*window)[V], const float (&taps)[W][V], const float (&bias)[V],
                                         bool with_silu, float (&y)[V]) {
#pragma unroll
  for (int i = 0; i < V; ++i) {
    y[i] = bias[i];
#pragma unroll
    for (int j = 0; j < W; ++j) y[i] = fmaf(window[j][i], taps[j][i], y[i]);
  }
  if (with_silu) {
#pragma unroll
    for (int i = 0; i < V; ++i) y[i] = silu(y[i]);
  }
}

// Outputs of B tokens, whose inputs follow the W - 1 of `window`, which moves on.
template <int W, int B, class T, int V, class Load>
__device__ __forceinline__ void convolve_batch(float (&window)[W - 1][V], const float (&taps)[W][V],
                                               const float (&bias)[V], bool with_silu, T* out, int64_t out_stride,
                                               Load input) {
  float f[W - 1 + B][V], y[V];
#pragma unroll
  for (int j = 0; j < W - 1; ++j) {
#pragma unroll
    for (int k = 0; k < V; ++k) f[j][k] = window[j][k];
  }
#pragma unroll
  for (int i = 0; i < B; ++i) {
    unpack(input(i), f[W - 1 + i]);
    convolve<W>(f + i, taps, bias, with_silu, y);
    store<V>(out + i * out_stride, pack<T, V>(y));
  }
#pragma unroll
  for (int j = 0; j < W - 1; ++j) {
#pragma unroll
    for (int k = 0; k < V; ++k) window[j][k] = f[B + j][k];
  }
}

template <class To, class From, int V>
__device__ __forceinline__ Vec<To, V> converted(const Vec<From, V>& v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else {
    float f[V];
    unpack(v, f);
    return pack<To, V>(f);
  }
}

// One token per row. A thread owns V channels and walks `batches` batches of R rows with its taps in registers; all
// reads of a batch are in flight together, and the slots come first, because the window's addresses wait for them.
template <int W, class T, class S, int V, int R, Use U, class Tap = float>
__global__ void __launch_bounds__(256)
    causal_conv1d_update_kernel(const __grid_constant__ CausalConv1dUpdateParams p, int batches) {
  const int64_t c = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * V;
  if (c >= p.dim) return;
  float taps[W][V], bias[V];
  for (int batch = 0; batch < batches; ++batch) {
    const int64_t first = (int64_t{blockIdx.y} * batches + batch) * R;
    if (first >= p.rows) return;
    const int rows = static_cast<int>(p.rows - first < R ? p.rows - first : R);
    int32_t slots[R];
#pragma unroll
    for (int r = 0; r < R; ++r) slots[r] = r < rows ? __ldg(p.slots + first + r) : -1;
    Vec<T, V> x[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r < rows) x[r] = load<V, U>(static_cast<const T*>(p.x) + (first + r) * p.x_stride + c);
    }
    if (batch == 0) {
#pragma unroll
      for (int j = 0; j < W; ++j) {
        unpack(load_constant<V>(reinterpret_cast<const Tap*>(p.weight) + j * p.dim + c), taps[j]);
      }
      load_bias(p.bias, c, bias);
    }
    Vec<S, V> old[R][W - 1];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (slots[r] >= p.slots_in_pool) slots[r] = -1;
      if (slots[r] < 0) continue;
      const S* state = static_cast<const S*>(p.state) + slots[r] * p.state_slot_stride + c;
#pragma unroll
      for (int j = 0; j < W - 1; ++j) old[r][j] = load<V, U>(state + j * p.dim);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r >= rows) continue;
      T* out = static_cast<T*>(p.out) + (first + r) * p.out_stride + c;
      if (slots[r] < 0) {
        store<V, U>(out, zeros<T, V>());
        continue;
      }
      S* state = static_cast<S*>(p.state) + slots[r] * p.state_slot_stride + c;
#pragma unroll
      for (int j = 0; j < W - 2; ++j) store<V, U>(state + j * p.dim, old[r][j + 1]);
      store<V, U>(state + (W - 2) * p.dim, converted<S>(x[r]));
      float window[W][V], y[V];
#pragma unroll
      for (int j = 0; j < W - 1; ++j) unpack(old[r][j], window[j]);
      unpack(x[r], window[W - 1]);
      convolve<W>(window, taps, bias, p.silu, y);
      store<V, U>(out, pack<T, V>(y));
    }
  }
}

// The part of a block of tokens (blockIdx.y) that a thread works on.
struct Segment {
  int32_t sequence, slot;
  int64_t first, begin, length;  // the sequence's first token in the batch; the part's first in the sequence
  int count;                     // of tokens; none if the block is shorter

  __device__ __forceinline__ static Segment load(const CausalConv1dVarlenParams& p, int part, int index) {
    Segment s;
    s.sequence = __ldg(p.block_seq + blockIdx.y);
    const int64_t block = __ldg(p.block_offset + blockIdx.y) * p.block_size;
    s.first = __ldg(p.query_start_loc + s.sequence);
    s.length = __ldg(p.query_start_loc + s.sequence + 1) - s.first;
    s.slot = __ldg(p.slots + s.sequence);
    if (s.slot >= p.slots_in_pool) s.slot = -1;
    s.begin = block + int64_t{index} * part;
    int64_t end = s.begin + part < block + p.block_size ? s.begin + part : block + p.block_size;
    if (end > s.length) end = s.length;
    s.count = static_cast<int>(end - s.begin);
    return s;
  }
};

// The part that read the slot's window also writes it, so no other can come between. x is the part's first token.
template <int W, class T, class S, int V>
__device__ __forceinline__ void store_window(const CausalConv1dVarlenParams& p, const Segment& s, const T* x, S* state,
                                             const float (&window)[W - 1][V]) {
  if (s.begin > 0) return;
#pragma unroll
  for (int j = 0; j < W - 1; ++j) {
    store<V>(state + j * p.dim, s.count == s.length ? pack<S, V>(window[j])
                                                    : converted<S>(load<V>(x + (s.length - (W - 1) + j) * p.x_stride)));
  }
}

// A thread owns V channels and walks `part` tokens with taps and window in registers, B at a time, the next B already
// in flight. The warps of a block (threadIdx.y) take consecutive parts of the same channels, so that taps come from L1.
template <int W, class T, class S, int V, int B, Use U>
__global__ void __launch_bounds__(256)
    causal_conv1d_varlen_kernel(const __grid_constant__ CausalConv1dVarlenParams p, int part) {
  const int64_t c = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * V;
  if (c >= p.dim) return;
  const Segment s = Segment::load(p, part, static_cast<int>(blockIdx.z * blockDim.y + threadIdx.y));
  const int count = s.count;
  if (count <= 0) return;
  T* out = static_cast<T*>(p.out) + (s.first + s.begin) * p.out_stride + c;
  if (s.slot < 0) {
    for (int t = 0; t < count; ++t, out += p.out_stride) store<V>(out, zeros<T, V>());
    return;
  }
  const T* x = static_cast<const T*>(p.x) + (s.first + s.begin) * p.x_stride + c;
  S* state = static_cast<S*>(p.state) + s.slot * p.state_slot_stride + c;

  Vec<T, V> next[B];
#pragma unroll
  for (int i = 0; i < B; ++i) {
    if (i < count) next[i] = load<V, U>(x + i * p.x_stride);
  }
  float window[W - 1][V], taps[W][V], bias[V];
  if (s.begin > 0) {
#pragma unroll
    for (int j = 0; j < W - 1; ++j) unpack(load<V, U>(x + (j - (W - 1)) * p.x_stride), window[j]);
  } else if (__ldg(p.has_initial_state + s.sequence)) {
#pragma unroll
    for (int j = 0; j < W - 1; ++j) unpack(load<V>(state + j * p.dim), window[j]);
  } else {
#pragma unroll
    for (int j = 0; j < W - 1; ++j) unpack(zeros<T, V>(), window[j]);
  }
#pragma unroll
  for (int j = 0; j < W; ++j) load_floats(p.weight + j * p.dim + c, taps[j]);
  load_bias(p.bias, c, bias);

  int t = 0;
  for (; t + B <= count; t += B) {
    Vec<T, V> now[B];
#pragma unroll
    for (int i = 0; i < B; ++i) {
      now[i] = next[i];
      if (t + B + i < count) next[i] = load<V, U>(x + (t + B + i) * p.x_stride);
    }
    convolve_batch<W, B>(window, taps, bias, p.silu, out + t * p.out_stride, p.out_stride,
                         [&](int i) { return now[i]; });
  }
#pragma unroll
  for (int i = 0; i < B - 1; ++i) {
    if (t + i < count) {
      convolve_batch<W, 1>(window, taps, bias, p.silu, out + (t + i) * p.out_stride, p.out_stride,
                           [&](int) { return next[i]; });
    }
  }
  store_window<W, T, S, V>(p, s, x, state, window);
}

// The same with the part's tokens brought to shared memory by the copy engine, a row of Threads * V channels at a time:
// what is in flight takes no registers. All copies start at once; every Group tokens have their own barrier.
template <int W, class T, class S, int V, int Part, int Group, int Threads, int Blocks>
__global__ void __launch_bounds__(Threads, Blocks)
    causal_conv1d_varlen_bulk_kernel(const __grid_constant__ CausalConv1dVarlenParams p) {
  constexpr int kGroups = Part / Group, kTile = Threads * V;
  static_assert(kGroups * Group == Part && kGroups <= 32);
  extern __shared__ __align__(128) uint8_t memory[];
  T* rows = reinterpret_cast<T*>(memory);  // [W - 1 + Part, kTile]
  __shared__ uint64_t full[kGroups];
  const int64_t tile = int64_t{blockIdx.x} * kTile, c = tile + threadIdx.x * V;
  const Segment s = Segment::load(p, Part, static_cast<int>(blockIdx.z));
  const int count = s.count;
  if (count <= 0) return;
  T* out = static_cast<T*>(p.out) + (s.first + s.begin) * p.out_stride + c;
  if (s.slot < 0) {
    if (c >= p.dim) return;
    for (int t = 0; t < count; ++t, out += p.out_stride) store<V>(out, zeros<T, V>());
    return;
  }
  const T* x = static_cast<const T*>(p.x) + (s.first + s.begin) * p.x_stride + c;
  S* state = static_cast<S*>(p.state) + s.slot * p.state_slot_stride + c;
  const bool from_x = s.begin > 0;
  if (threadIdx.x < 32) {
    const uint32_t row_bytes = static_cast<uint32_t>(p.dim - tile < kTile ? p.dim - tile : kTile) * sizeof(T);
    if (threadIdx.x < kGroups) {
      const int left = count - static_cast<int>(threadIdx.x) * Group;
      const int tokens = (left < Group ? left : Group) + (threadIdx.x == 0 && from_x ? W - 1 : 0);
      hopper::barrier_init(&full[threadIdx.x], 1);
      hopper::barrier_init_fence();
      if (tokens > 0) hopper::barrier_expect(&full[threadIdx.x], tokens * row_bytes);
    }
    __syncwarp();
    const T* from = static_cast<const T*>(p.x) + (s.first + s.begin) * p.x_stride + tile;
    for (int t = static_cast<int>(threadIdx.x) - (from_x ? W - 1 : 0); t < count; t += 32) {
      hopper::copy_bytes(rows + (t + W - 1) * kTile, from + t * p.x_stride, row_bytes, &full[t < 0 ? 0 : t / Group]);
    }
  }
  __syncthreads();
  if (c >= p.dim) return;
  float window[W - 1][V], taps[W][V], bias[V];
#pragma unroll
  for (int j = 0; j < W; ++j) load_floats(p.weight + j * p.dim + c, taps[j]);
  load_bias(p.bias, c, bias);
  if (!from_x) {
    const bool initial = __ldg(p.has_initial_state + s.sequence);
#pragma unroll
    for (int j = 0; j < W - 1; ++j) {
      unpack(initial ? load<V>(state + j * p.dim) : zeros<S, V>(), window[j]);
    }
  }
  const T* here = rows + threadIdx.x * V;
  for (int g = 0; g * Group < count; ++g) {
    hopper::barrier_wait(&full[g], 0);
    if (g == 0 && from_x) {
#pragma unroll
      for (int j = 0; j < W - 1; ++j) unpack(load<V>(here + j * kTile), window[j]);
    }
    const int t = g * Group;
    const auto input = [&](int i) { return load<V>(here + (t + i + W - 1) * kTile); };
    if (t + Group <= count) {
      convolve_batch<W, Group>(window, taps, bias, p.silu, out + t * p.out_stride, p.out_stride, input);
      continue;
    }
    for (int i = 0; t + i < count; ++i) {
      convolve_batch<W, 1>(window, taps, bias, p.silu, out + (t + i) * p.out_stride, p.out_stride,
                           [&](int) { return input(i); });
    }
  }
  store_window<W, T, S, V>(p, s, x, state, window);
}

template <int W, class T, class S, int V, int R, Use U = Use::usual>
void launch_update(const CausalConv1dUpdateParams& p, int threads, int batches, cudaStream_t stream) {
  const int64_t tile = int64_t{threads} * V, rows = int64_t{R} * batches;
  const dim3 grid(static_cast<unsigned>((p.dim + tile - 1) / tile), static_cast<unsigned>((p.rows + rows - 1) / rows));
  causal_conv1d_update_kernel<W, T, S, V, R, U><<<grid, threads, 0, stream>>>(p, batches);
}

template <int W, class T, class S, int V, int B, Use U = Use::usual>
void launch_varlen(const CausalConv1dVarlenParams& p, int threads, int warps, int part, cudaStream_t stream) {
  const auto blocks = [](int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
  if (part > p.block_size) part = static_cast<int>(p.block_size);
  const dim3 grid(blocks(p.dim, threads * V), static_cast<unsigned>(p.blocks), blocks(p.block_size, part * warps));
  causal_conv1d_varlen_kernel<W, T, S, V, B, U><<<grid, dim3(threads, warps), 0, stream>>>(p, part);
}

template <int W, class T, class S, int V, int Part, int Group, int Threads, int Blocks>
void launch_varlen_bulk(const CausalConv1dVarlenParams& p, cudaStream_t stream) {
  constexpr int kTile = Threads * V, kShared = (Part + W - 1) * kTile * static_cast<int>(sizeof(T));
  const auto kernel = causal_conv1d_varlen_bulk_kernel<W, T, S, V, Part, Group, Threads, Blocks>;
  static const bool ready = [&] {
    LAB_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
    return true;
  }();
  (void)ready;
  const dim3 grid(static_cast<unsigned>((p.dim + kTile - 1) / kTile), static_cast<unsigned>(p.blocks),
                  static_cast<unsigned>((p.block_size + Part - 1) / Part));
  kernel<<<grid, Threads, kShared, stream>>>(p);
}

template <int R, int kThreads>
void launch_steps(const CausalConv1dUpdateParams& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((p.dim + 4 * kThreads - 1) / (4 * kThreads)),
                  static_cast<unsigned>((p.rows + R - 1) / R));
  conv::update_kernel<bf16, bf16, R, kThreads><<<grid, kThreads, 0, stream>>>(p, false);
}

template <int B, int R, int kThreads, int kBlocks>
void launch_chunks(const CausalConv1dVarlenParams& p, int waves, cudaStream_t stream) {
  const int64_t tiles = (p.dim + 4 * kThreads - 1) / (4 * kThreads);
  const int64_t cost = p.tokens + p.sequences * conv::kSequenceCost;
  const int64_t chunks = std::max<int64_t>(1, int64_t{waves} * kBlocks * 132 / tiles);
  const int64_t chunk = std::max<int64_t>(conv::kGrain, (cost + chunks - 1) / chunks);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>((cost + chunk - 1) / chunk));
  conv::varlen_kernel<bf16, bf16, B, R, kThreads, kBlocks><<<grid, kThreads, 0, stream>>>(p, chunk);
}

}  // namespace mamba::cuda

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::context_of;
using lab::Host;

template <class P>
struct Version {
  const char* name;
  std::function<void(const P&, cudaStream_t)> launch;
  bool any = false;    // any types, widths and strides; else bf16, width 4 and aligned
  bool whole = false;  // cuts the tokens itself, whatever the blocks
};

using Update = CausalConv1dUpdateParams;
using Varlen = CausalConv1dVarlenParams;

#define UPDATE(V, R, THREADS, BATCHES)                                                                      \
  {                                                                                                         \
    "V" #V " R" #R "x" #BATCHES " t" #THREADS,                                                              \
        [](const Update& p, cudaStream_t s) { launch_update<4, bf16, bf16, V, R>(p, THREADS, BATCHES, s); } \
  }
#define STEPS(R, THREADS)                                                                               \
  {                                                                                                     \
    "steps R" #R " t" #THREADS, [](const Update& p, cudaStream_t s) { launch_steps<R, THREADS>(p, s); } \
  }
#define VARLEN(V, B, THREADS, WARPS, PART)                                                                      \
  {                                                                                                             \
    "V" #V " B" #B " " #THREADS "x" #WARPS " part " #PART,                                                      \
        [](const Varlen& p, cudaStream_t s) { launch_varlen<4, bf16, bf16, V, B>(p, THREADS, WARPS, PART, s); } \
  }
#define BULK(V, PART, GROUP, THREADS, BLOCKS)                                                               \
  {                                                                                                         \
    "bulk V" #V " part " #PART "/" #GROUP " t" #THREADS " M" #BLOCKS, [](const Varlen& p, cudaStream_t s) { \
      launch_varlen_bulk<4, bf16, bf16, V, PART, GROUP, THREADS, BLOCKS>(p, s);                             \
    }                                                                                                       \
  }
#define CHUNKS(B, R, THREADS, BLOCKS, WAVES)                                                                    \
  {                                                                                                             \
    "chunks B" #B " R" #R " t" #THREADS " M" #BLOCKS " x" #WAVES,                                               \
        [](const Varlen& p, cudaStream_t s) { launch_chunks<B, R, THREADS, BLOCKS>(p, WAVES, s); }, false, true \
  }

const std::vector<Version<Update>> kUpdates = {
    {"dispatch",
     [](const Update& p, cudaStream_t s) {
       Context context = context_of(s);
       run_causal_conv1d_update(p, context);
     },
     true},
    UPDATE(1, 1, 128, 1),
    UPDATE(2, 1, 64, 1),
    UPDATE(8, 1, 64, 1),
    UPDATE(4, 3, 128, 1),
    STEPS(1, 64),
    STEPS(1, 128),
    STEPS(2, 128),
    STEPS(3, 128),
    STEPS(4, 128),
    STEPS(4, 64),
    STEPS(2, 256),
};

const std::vector<Version<Varlen>> kVarlens = {
    {"dispatch",
     [](const Varlen& p, cudaStream_t s) {
       Context context = context_of(s);
       run_causal_conv1d_varlen(p, context);
     },
     true, true},
    VARLEN(1, 1, 128, 1, 256),
    VARLEN(8, 4, 128, 1, 256),
    VARLEN(4, 4, 128, 1, 256),
    VARLEN(4, 6, 64, 1, 256),
    VARLEN(4, 4, 32, 4, 8),
    BULK(4, 32, 8, 128, 6),
    CHUNKS(6, 4, 64, 8, 1),
    CHUNKS(6, 4, 64, 8, 2),
    CHUNKS(8, 4, 64, 8, 1),
    CHUNKS(6, 2, 64, 10, 1),
    CHUNKS(7, 4, 64, 8, 1),
    CHUNKS(5, 4, 64, 8, 1),
    CHUNKS(6, 4, 32, 16, 1),
    CHUNKS(6, 4, 128, 4, 1),
};

struct Case {
  int64_t dim, width;
  DType x, state;
  bool silu, bias;
  int64_t extra = 0;                  // x_stride - dim
  std::vector<int64_t> lengths = {};  // varlen
  int64_t rows = 0;                   // update
  int64_t block_size = 64;
};

std::string name_of_case(const Case& k) {
  std::string text = std::string(name_of(k.x)) + "/" + name_of(k.state) + " dim " + std::to_string(k.dim) + " width " +
                     std::to_string(k.width) + (k.silu ? " silu" : "") + (k.bias ? " bias" : "");
  return text + (k.lengths.empty() ? " rows " + std::to_string(k.rows) : " block " + std::to_string(k.block_size));
}

// Slots of `count` sequences, no two the same; every fourth or so is padding when asked for (-1 or beyond the pool).
std::vector<int32_t> make_slots(lab::Random& random, int64_t count, int64_t pool, bool padding) {
  std::vector<int32_t> order(static_cast<size_t>(pool));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[static_cast<size_t>(random.below(i))]);
  order.resize(static_cast<size_t>(count));
  for (auto& slot : order) {
    if (padding && random.below(4) == 0) slot = random.below(2) ? -1 : static_cast<int32_t>(pool + random.below(3));
  }
  return order;
}

// Slots beyond the pool mean padding too.
void forget_far(std::vector<int32_t>& slots, int64_t pool) {
  for (auto& slot : slots) slot = slot < pool ? slot : -1;
}

constexpr int kChain = 20;

double silu_of(double x) { return x / (1 + std::exp(-x)); }

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
  void take(const char* what, const std::string& name, const char* version, const lab::Errors& out,
            const lab::Errors& state) {
    ++checks;
    worst = std::max({worst, out.worst, state.worst});
    if (out.bad + state.bad == 0) return;
    ++failed;
    std::printf("FAILED %s %s %s: %ld of out (rel %.2e), %ld of state\n", what, name.c_str(), version,
                static_cast<long>(out.bad), out.relative(), static_cast<long>(state.bad));
  }
};

void check_update(const Case& k, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + k.rows + k.dim)};
  const int64_t pool = 2 * k.rows + 3, stride = k.dim + k.extra, slot_stride = (k.width - 1) * k.dim + k.extra;
  Host x(k.x, k.rows * stride), weight(DType::f32, k.width * k.dim), bias(DType::f32, k.dim);
  Host state(k.state, pool * slot_stride);
  x.fill_normal(random), weight.fill_normal(random, 0.5), bias.fill_normal(random), state.fill_normal(random);
  auto slots = make_slots(random, k.rows, pool, true);
  const Buffer dx(x), dweight(weight), dbias(bias), dslots(slots);
  forget_far(slots, pool);
  Buffer dstate(state), dout(x.bytes.size());
  Update p = {k.rows,
              k.dim,
              k.width,
              pool,
              dx.data,
              stride,
              dstate.data,
              slot_stride,
              dweight.as<float>(),
              k.bias ? dbias.as<float>() : nullptr,
              dslots.as<int32_t>(),
              dout.data,
              stride,
              k.silu,
              k.x,
              k.state};
  const bool special =
      k.x == DType::bf16 && k.state == DType::bf16 && k.width == 4 && k.dim % 8 == 0 && k.extra % 8 == 0;
  for (const auto& version : kUpdates) {
    if (!version.any && !special) continue;
    for (const bool in_place : {false, true}) {
      if (in_place && !version.any) continue;
      dstate.upload(state);
      dout.poison();
      if (in_place) dout.upload(x);
      p.x = in_place ? dout.data : dx.data;
      version.launch(p, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host out = dout.download(k.x), after = dstate.download(k.state);
      lab::Errors out_errors, state_errors;
      std::vector<int64_t> row_of(static_cast<size_t>(pool), -1);
      for (int64_t r = 0; r < k.rows; ++r) {
        const int64_t slot = slots[static_cast<size_t>(r)];
        if (slot >= 0) row_of[static_cast<size_t>(slot)] = r;
        for (int64_t c = 0; c < k.dim; ++c) {
          double y = k.bias ? bias.get(c) : 0;
          for (int64_t j = 0; j < k.width; ++j) {
            const double input = j == k.width - 1 ? x.get(r * stride + c)
                                 : slot >= 0      ? state.get(slot * slot_stride + j * k.dim + c)
                                                  : 0;
            y += weight.get(j * k.dim + c) * input;
          }
          if (k.silu) y = silu_of(y);
          if (slot < 0) y = 0;
          out_errors.add(out.get(r * stride + c), y, slot < 0 ? 1e-300 : 3e-6, lab::rounding(k.x));
        }
      }
      for (int64_t slot = 0; slot < pool; ++slot) {
        const int64_t r = row_of[static_cast<size_t>(slot)];
        for (int64_t i = 0; i < slot_stride; ++i) {
          const bool window = r >= 0 && i < (k.width - 1) * k.dim;
          double expected = state.get(slot * slot_stride + i), relative = 1e-300;
          if (window && i >= (k.width - 2) * k.dim) {
            expected = x.get(r * stride + i - (k.width - 2) * k.dim);
            relative = k.x == k.state ? 1e-300 : lab::rounding(k.state);
          } else if (window) {
            expected = state.get(slot * slot_stride + i + k.dim);
          }
          state_errors.add(after.get(slot * slot_stride + i), expected, 1e-300 + (relative > 1e-299 ? 1e-7 : 0),
                           relative);
        }
      }
      verdict.take("update", name_of_case(k), version.name, out_errors, state_errors);
    }
  }
}

struct Blocks {
  std::vector<int32_t> start, sequence, offset;
  Blocks(const std::vector<int64_t>& lengths, int64_t block_size) {
    int64_t total = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      start.push_back(static_cast<int32_t>(total));
      for (int64_t b = 0; b * block_size < lengths[s]; ++b) {
        sequence.push_back(static_cast<int32_t>(s));
        offset.push_back(static_cast<int32_t>(b));
      }
      total += lengths[s];
    }
    start.push_back(static_cast<int32_t>(total));
  }
  int64_t tokens() const { return start.back(); }
};

void check_varlen(const Case& k, Verdict& verdict) {
  const int64_t sequences = static_cast<int64_t>(k.lengths.size());
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + sequences + k.dim + k.width)};
  const Blocks blocks(k.lengths, k.block_size);
  const int64_t pool = 2 * sequences + 3, stride = k.dim + k.extra, tokens = blocks.tokens();
  const int64_t slot_stride = (k.width - 1) * k.dim + k.extra;
  Host x(k.x, tokens * stride), weight(DType::f32, k.width * k.dim), bias(DType::f32, k.dim);
  Host state(k.state, pool * slot_stride);
  x.fill_normal(random), weight.fill_normal(random, 0.5), bias.fill_normal(random), state.fill_normal(random);
  auto slots = make_slots(random, sequences, pool, true);
  const Buffer dslots(slots);
  forget_far(slots, pool);
  std::vector<int32_t> initial;
  for (int64_t s = 0; s < sequences; ++s) initial.push_back(random.below(2) ? 1 : 0);
  // A slot that is not an initial state may hold anything.
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t slot = slots[static_cast<size_t>(s)];
    if (slot < 0 || initial[static_cast<size_t>(s)] || k.lengths[static_cast<size_t>(s)] == 0) continue;
    for (int64_t i = 0; i < (k.width - 1) * k.dim; ++i) state.set(slot * slot_stride + i, NAN);
  }
  const Buffer dx(x), dweight(weight), dbias(bias), dinitial(initial), dstart(blocks.start), dsequence(blocks.sequence),
      doffset(blocks.offset);
  Buffer dstate(state), dout(x.bytes.size());
  const Varlen p = {tokens,
                    sequences,
                    static_cast<int64_t>(blocks.sequence.size()),
                    k.dim,
                    k.width,
                    pool,
                    k.block_size,
                    dx.data,
                    stride,
                    dstate.data,
                    slot_stride,
                    dweight.as<float>(),
                    k.bias ? dbias.as<float>() : nullptr,
                    dstart.as<int32_t>(),
                    dslots.as<int32_t>(),
                    dinitial.as<int32_t>(),
                    dsequence.as<int32_t>(),
                    doffset.as<int32_t>(),
                    dout.data,
                    stride,
                    k.silu,
                    0,
                    nullptr,
                    nullptr,
                    k.x,
                    k.state};
  const bool special =
      k.x == DType::bf16 && k.state == DType::bf16 && k.width == 4 && k.dim % 8 == 0 && k.extra % 8 == 0;
  const auto input = [&](int64_t s, int64_t position, int64_t c) -> double {
    if (position >= 0) return x.get((blocks.start[static_cast<size_t>(s)] + position) * stride + c);
    if (!initial[static_cast<size_t>(s)]) return 0;
    return state.get(slots[static_cast<size_t>(s)] * slot_stride + (position + k.width - 1) * k.dim + c);
  };
  for (const auto& version : kVarlens) {
    if (!version.any && !special) continue;
    dstate.upload(state);
    dout.poison();
    version.launch(p, nullptr);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host out = dout.download(k.x), after = dstate.download(k.state);
    lab::Errors out_errors, state_errors;
    std::vector<int64_t> sequence_of(static_cast<size_t>(pool), -1);
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t length = k.lengths[static_cast<size_t>(s)];
      const bool padding = slots[static_cast<size_t>(s)] < 0;
      if (!padding && length) sequence_of[static_cast<size_t>(slots[static_cast<size_t>(s)])] = s;
      for (int64_t t = 0; t < length; ++t) {
        for (int64_t c = 0; c < k.dim; ++c) {
          double y = k.bias ? bias.get(c) : 0;
          for (int64_t j = 0; j < k.width && !padding; ++j) {
            y += weight.get(j * k.dim + c) * input(s, t - (k.width - 1) + j, c);
          }
          if (k.silu) y = silu_of(y);
          if (padding) y = 0;
          out_errors.add(out.get((blocks.start[static_cast<size_t>(s)] + t) * stride + c), y, padding ? 1e-300 : 3e-6,
                         lab::rounding(k.x));
        }
      }
    }
    for (int64_t slot = 0; slot < pool; ++slot) {
      const int64_t s = sequence_of[static_cast<size_t>(slot)];
      for (int64_t i = 0; i < slot_stride; ++i) {
        double expected = state.get(slot * slot_stride + i), relative = 1e-300;
        if (s >= 0 && i < (k.width - 1) * k.dim) {
          const int64_t position = k.lengths[static_cast<size_t>(s)] - (k.width - 1) + i / k.dim;
          expected = input(s, position, i % k.dim);
          if (k.x != k.state && position >= 0) relative = lab::rounding(k.state);
        }
        const double value = after.get(slot * slot_stride + i);
        if (std::isnan(expected) && std::isnan(value)) continue;  // not touched
        state_errors.add(value, expected, 1e-300 + (relative > 1e-299 ? 1e-7 : 0), relative);
      }
    }
    verdict.take("varlen", name_of_case(k), version.name, out_errors, state_errors);
  }
}

// Slots more than 2^31 elements apart give the same bits as slots side by side.
void check_far(int64_t dim, Verdict& verdict) {
  constexpr int64_t kSlots = 3, kWidth = 4, kFar = (int64_t{1} << 30) + 64;
  lab::Random random{11};
  const std::vector<int64_t> lengths = {1, 9, 2};
  const Blocks blocks(lengths, 8);
  Host x(DType::bf16, blocks.tokens() * dim), weight(DType::f32, kWidth * dim), window(DType::bf16, 3 * dim);
  x.fill_normal(random), weight.fill_normal(random, 0.5), window.fill_normal(random);
  const Buffer dx(x), dweight(weight), slots(std::vector<int32_t>{2, 0, 1}), initial(std::vector<int32_t>{1, 1, 1}),
      start(blocks.start), sequence(blocks.sequence), offset(blocks.offset);
  Buffer state(static_cast<size_t>((kSlots - 1) * kFar + 3 * dim) * 2), out(x.bytes.size());
  for (const bool varlen : {false, true}) {
    std::vector<std::vector<uint8_t>> results[2];
    for (const bool far : {false, true}) {
      const int64_t stride = far ? kFar : 3 * dim;
      for (int64_t slot = 0; slot < kSlots; ++slot) {
        LAB_CHECK(cudaMemcpy(state.as<uint8_t>() + slot * stride * 2, window.bytes.data(), window.bytes.size(),
                             cudaMemcpyHostToDevice));
      }
      out.poison();
      Context context = context_of(nullptr);
      if (varlen) {
        Varlen p = {};
        p.tokens = blocks.tokens(), p.sequences = kSlots, p.blocks = static_cast<int64_t>(blocks.sequence.size());
        p.dim = dim, p.width = kWidth, p.slots_in_pool = kSlots, p.block_size = 8, p.x = dx.data, p.x_stride = dim;
        p.state = state.data, p.state_slot_stride = stride, p.weight = dweight.as<float>();
        p.query_start_loc = start.as<int32_t>(), p.slots = slots.as<int32_t>();
        p.has_initial_state = initial.as<int32_t>(), p.block_seq = sequence.as<int32_t>();
        p.block_offset = offset.as<int32_t>(), p.out = out.data, p.out_stride = dim, p.silu = true;
        p.x_dtype = p.state_dtype = DType::bf16;
        run_causal_conv1d_varlen(p, context);
      } else {
        const Update p = {kSlots,
                          dim,
                          kWidth,
                          kSlots,
                          dx.data,
                          dim,
                          state.data,
                          stride,
                          dweight.as<float>(),
                          nullptr,
                          slots.as<int32_t>(),
                          out.data,
                          dim,
                          true,
                          DType::bf16,
                          DType::bf16};
        run_causal_conv1d_update(p, context);
      }
      LAB_CHECK(cudaDeviceSynchronize());
      results[far].push_back(out.download(DType::bf16).bytes);
      for (int64_t slot = 0; slot < kSlots; ++slot) {
        std::vector<uint8_t> bytes(window.bytes.size());
        LAB_CHECK(
            cudaMemcpy(bytes.data(), state.as<uint8_t>() + slot * stride * 2, bytes.size(), cudaMemcpyDeviceToHost));
        results[far].push_back(bytes);
      }
    }
    ++verdict.checks;
    if (results[0] == results[1]) continue;
    ++verdict.failed;
    std::printf("FAILED %s with slots far apart, dim %ld\n", varlen ? "varlen" : "update", static_cast<long>(dim));
  }
}

bool check_all(bool quick) {
  Verdict verdict;
  const DType types[] = {DType::f32, DType::bf16, DType::f16};
  const std::vector<int64_t> lengths = {0, 1, 2, 3, 4, 5, 63, 64, 65, 0, 1, 2, 3, 4, 5, 7, 8, 9, 130, 1, 1, 2, 3, 200};
  for (const DType x : types) {
    for (const DType state : types) {
      check_update({264, 4, x, state, true, true, 0, {}, 13}, verdict);
      check_update({72, 3, x, state, false, false, 8, {}, 5}, verdict);
      check_update({37, 2, x, state, true, false, 3, {}, 5}, verdict);
      check_varlen({136, 4, x, state, true, true, 0, lengths, 0, 64}, verdict);
      check_varlen({72, 3, x, state, false, false, 8, lengths, 0, 16}, verdict);
      check_varlen({37, 2, x, state, true, false, 3, lengths, 0, 5}, verdict);
    }
  }
  check_update({10240, 4, DType::bf16, DType::bf16, true, true, 8256, {}, 9}, verdict);
  check_update({1792, 4, DType::bf16, DType::bf16, true, true, 0, {}, 70}, verdict);
  check_update({264, 4, DType::bf16, DType::bf16, true, true, 0, {}, 700}, verdict);
  for (const int64_t block : {3, 8, 32, 128}) {
    check_varlen({264, 4, DType::bf16, DType::bf16, true, true, 16, lengths, 0, block}, verdict);
  }
  check_varlen({10240, 4, DType::bf16, DType::bf16, true, true, 8256, {5, 64, 1}, 0, 32}, verdict);
  check_varlen({2060, 4, DType::bf16, DType::bf16, true, true, 4, {700, 1, 1, 1, 0, 1, 1, 40, 500}, 0, 24}, verdict);
  std::vector<int64_t> many(300), singles(2100, 1);
  for (int64_t i = 0; i < 300; ++i) many[static_cast<size_t>(i)] = i * 61 % 199;
  singles[1000] = 0, singles.back() = 0;
  check_varlen({8, 4, DType::bf16, DType::bf16, true, true, 0, many, 0, 24}, verdict);
  check_varlen({8, 4, DType::bf16, DType::bf16, true, true, 0, singles, 0, 24}, verdict);
  check_varlen({520, 4, DType::bf16, DType::bf16, true, true, 0, {6000}, 0, 24}, verdict);
  check_varlen({520, 4, DType::f32, DType::f32, true, true, 0, {3000, 1, 3000}, 0, 24}, verdict);
  if (!quick) check_far(64, verdict), check_far(63, verdict);
  std::printf("conv: %ld checks, %ld failed, worst %.3f of the allowed distance\n", static_cast<long>(verdict.checks),
              static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

bool selected(const lab::Options& o, const char* version) {
  return o.once.empty() || std::string(version).find(o.once) != std::string::npos;
}

void time_update(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kDim = 10240, kWidth = 4, kPool = 2048, kMost = 1024;
  lab::Random random{7};
  Host weight(DType::f32, kWidth * kDim), bias(DType::f32, kDim);
  weight.fill_normal(random, 0.5), bias.fill_normal(random);
  const auto slots = make_slots(random, kMost, kPool, false);
  const Buffer x(kMost * kDim * 2), state(kPool * (kWidth - 1) * kDim * 2), out(kMost * kDim * 2), dweight(weight),
      dbias(bias), dslots(slots);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kMost * kDim, 1);
  lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * (kWidth - 1) * kDim, 2);
  LAB_CHECK(cudaDeviceSynchronize());
  for (const int64_t rows : {1, 8, 64, 256, 1024}) {
    const Update p = {rows,
                      kDim,
                      kWidth,
                      kPool,
                      x.data,
                      kDim,
                      state.data,
                      (kWidth - 1) * kDim,
                      dweight.as<float>(),
                      dbias.as<float>(),
                      dslots.as<int32_t>(),
                      out.data,
                      kDim,
                      true,
                      DType::bf16,
                      DType::bf16};
    const double bytes = static_cast<double>(rows * (16 * kDim + 4)) + (kWidth + 1) * kDim * 4;
    const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
    if (o.time)
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), "in place copy", bench.in_place(bytes), bytes,
                  copy);
    for (const auto& version : kUpdates) {
      if (!selected(o, version.name)) continue;
      if (!o.time) {
        if (o.once_case.empty() || o.once_case == std::to_string(rows)) version.launch(p, bench.stream());
        LAB_CHECK(cudaStreamSynchronize(bench.stream()));
        continue;
      }
      const lab::Times us = bench.time([&](cudaStream_t s) { version.launch(p, s); });
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), version.name, us, bytes, copy);
    }
    if (!o.time || rows > 64) continue;
    // Launches one after another, as in a model, each on slots of its own: the time of each.
    for (const bool early : {false, true}) {
      lab::Times us = bench.time([&](cudaStream_t s) {
        Context context = context_of(s);
        for (int i = 0; i < kChain; ++i) {
          Update q = p;
          q.slots += rows * i % (kMost - rows + 1);
          context.early = early && i > 0;
          run_causal_conv1d_update(q, context);
        }
      });
      us.event /= kChain, us.clean /= kChain;
      report.line("causal_conv1d_update", "B=" + std::to_string(rows), early ? "each of 20 early" : "each of 20 serial",
                  us, bytes, copy);
    }
    if (rows > 8) continue;
    // What taps in 16 bits would save (the bits of the float taps, so only the time means something).
    const lab::Times us = bench.time([&](cudaStream_t s) {
      const dim3 grid(kDim / (64 * 2), static_cast<unsigned>(rows));
      causal_conv1d_update_kernel<4, bf16, bf16, 2, 1, Use::usual, bf16><<<grid, 64, 0, s>>>(p, 1);
    });
    report.line("causal_conv1d_update", "B=" + std::to_string(rows), "V2 R1x1 t64, taps in bf16", us, bytes, copy);
  }
}

void time_varlen(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kDim = 10240, kWidth = 4, kPool = 512, kMost = 8192;
  lab::Random random{9};
  Host weight(DType::f32, kWidth * kDim), bias(DType::f32, kDim);
  weight.fill_normal(random, 0.5), bias.fill_normal(random);
  const Buffer x(kMost * kDim * 2), state(kPool * (kWidth - 1) * kDim * 2), out(kMost * kDim * 2), dweight(weight),
      dbias(bias);
  lab::fill_random_kernel<<<1056, 256>>>(x.as<__nv_bfloat16>(), kMost * kDim, 1);
  lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * (kWidth - 1) * kDim, 2);
  LAB_CHECK(cudaDeviceSynchronize());
  struct Batch {
    const char* name;
    std::vector<int64_t> lengths;
  };
  std::vector<int64_t> mixed(3, 2048);
  mixed.insert(mixed.end(), 256, 1);
  const std::vector<Batch> batches = {{"1x8192", {8192}},
                                      {"8x1024", std::vector<int64_t>(8, 1024)},
                                      {"64x128", std::vector<int64_t>(64, 128)},
                                      {"mixed 3x2048+256x1", mixed},
                                      {"1x64", {64}},
                                      {"1x512", {512}}};
  for (const Batch& batch : batches) {
    const int64_t sequences = static_cast<int64_t>(batch.lengths.size());
    const Buffer slots(make_slots(random, sequences, kPool, false)),
        initial(std::vector<int32_t>(static_cast<size_t>(sequences), 1));
    int64_t tokens = 0;
    for (const int64_t length : batch.lengths) tokens += length;
    const double bytes = static_cast<double>(tokens * 4 * kDim + sequences * (kWidth - 1) * kDim * 4) +
                         static_cast<double>((kWidth + 1) * kDim * 4);
    const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
    for (const int64_t block_size : {24, 32, 64}) {
      const Blocks blocks(batch.lengths, block_size);
      const Buffer start(blocks.start), sequence(blocks.sequence), offset(blocks.offset);
      const Varlen p = {tokens,
                        sequences,
                        static_cast<int64_t>(blocks.sequence.size()),
                        kDim,
                        kWidth,
                        kPool,
                        block_size,
                        x.data,
                        kDim,
                        state.data,
                        (kWidth - 1) * kDim,
                        dweight.as<float>(),
                        dbias.as<float>(),
                        start.as<int32_t>(),
                        slots.as<int32_t>(),
                        initial.as<int32_t>(),
                        sequence.as<int32_t>(),
                        offset.as<int32_t>(),
                        out.data,
                        kDim,
                        true,
                        0,
                        nullptr,
                        nullptr,
                        DType::bf16,
                        DType::bf16};
      for (const auto& version : kVarlens) {
        if (!selected(o, version.name) || (version.whole && block_size != 24)) continue;
        if (!o.time) {
          if (!o.once_case.empty() && o.once_case != batch.name) continue;
          version.launch(p, bench.stream());
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          continue;
        }
        const lab::Times us = bench.time([&](cudaStream_t s) { version.launch(p, s); });
        report.line("causal_conv1d_varlen", batch.name,
                    version.name + (version.whole ? "" : " block " + std::to_string(block_size)), us, bytes, copy);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  if (options.check && !check_all(options.quick)) return 1;
  if (!options.time && options.once.empty()) return 0;
  lab::Bench bench;
  lab::Report report(options);
  if (options.time) report.line("empty", "", "", bench.empty(), 0, {});
  time_update(options, bench, report);
  time_varlen(options, bench, report);
  return 0;
}
