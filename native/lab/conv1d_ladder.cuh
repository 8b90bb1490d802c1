#pragma once
// The ladder of causal_conv1d.cu: the kernels that lost to those of cuda/conv1d.cuh, their launches, and the list of
// all versions. V: channels of a thread; R: rows, B: tokens in flight.
#include <cuda_runtime.h>

#include <functional>
#include <vector>

#include "cuda/conv1d.cuh"
#include "cuda/hopper.cuh"
#include "cuda/kernels.h"
#include "lab/context.cuh"

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
template <int W, class T, class S, int V, int R, class Tap = float>
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
      if (r < rows) x[r] = load<V>(static_cast<const T*>(p.x) + (first + r) * p.x_stride + c);
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
      for (int j = 0; j < W - 1; ++j) old[r][j] = load<V>(state + j * p.dim);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r >= rows) continue;
      T* out = static_cast<T*>(p.out) + (first + r) * p.out_stride + c;
      if (slots[r] < 0) {
        store<V>(out, zeros<T, V>());
        continue;
      }
      S* state = static_cast<S*>(p.state) + slots[r] * p.state_slot_stride + c;
#pragma unroll
      for (int j = 0; j < W - 2; ++j) store<V>(state + j * p.dim, old[r][j + 1]);
      store<V>(state + (W - 2) * p.dim, converted<S>(x[r]));
      float window[W][V], y[V];
#pragma unroll
      for (int j = 0; j < W - 1; ++j) unpack(old[r][j], window[j]);
      unpack(x[r], window[W - 1]);
      convolve<W>(window, taps, bias, p.silu, y);
      store<V>(out, pack<T, V>(y));
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
template <int W, class T, class S, int V, int B>
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
    if (i < count) next[i] = load<V>(x + i * p.x_stride);
  }
  float window[W - 1][V], taps[W][V], bias[V];
  if (s.begin > 0) {
#pragma unroll
    for (int j = 0; j < W - 1; ++j) unpack(load<V>(x + (j - (W - 1)) * p.x_stride), window[j]);
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
      if (t + B + i < count) next[i] = load<V>(x + (t + B + i) * p.x_stride);
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

template <int W, class T, class S, int V, int R>
void launch_update(const CausalConv1dUpdateParams& p, int threads, int batches, cudaStream_t stream) {
  const int64_t tile = int64_t{threads} * V, rows = int64_t{R} * batches;
  const dim3 grid(static_cast<unsigned>((p.dim + tile - 1) / tile), static_cast<unsigned>((p.rows + rows - 1) / rows));
  causal_conv1d_update_kernel<W, T, S, V, R><<<grid, threads, 0, stream>>>(p, batches);
}

template <int W, class T, class S, int V, int B>
void launch_varlen(const CausalConv1dVarlenParams& p, int threads, int warps, int part, cudaStream_t stream) {
  const auto blocks = [](int64_t n, int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
  if (part > p.block_size) part = static_cast<int>(p.block_size);
  const dim3 grid(blocks(p.dim, threads * V), static_cast<unsigned>(p.blocks), blocks(p.block_size, part * warps));
  causal_conv1d_varlen_kernel<W, T, S, V, B><<<grid, dim3(threads, warps), 0, stream>>>(p, part);
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
using lab::context_of;

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

}  // namespace
