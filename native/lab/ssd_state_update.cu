// Ladder of ssd_state_update (one token per row through the recurrence, in place on the slots).
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/ssd_state_update.cu
//       -o ssd_state_update && ./ssd_state_update [--json FILE --commit SHA] [--check | --time]
//
// Idea. Each state element is read, used for S <- decay S + (dt x) B^T and y += S C, and written, once. Lanes lie along
// N, so a warp's accesses are whole lines; a lane's channels give it independent sums, which are then added over the
// lanes with one shuffle per channel kept.
//
// Bound. Bytes. H = 128, P = 64, N = 128: a row is 2^20 elements of state, read and written: 4.2 MB in bf16, 8.4 MB in
// float; x, B, C, dt and out add 1%. At 4.25 TB/s: bf16 B=8 8.0 us, B=64 63.7, B=256 254.9; float B=64 126.9, B=256
// 507.5.
//
// Measured, us on one H200, between two events around a graph of the launch alone, after a flush of the L2 by writes
// (after a flush that leaves it clean in brackets). An empty kernel takes 4.2 (4.0) of it. x in bf16.
//
// State in bf16                                       B=1         8             64          256
//   copy of the same bytes                            6.0 (5.4)   13.0 (11.7)   69.0 (64.0) 257.5 (253.8)
//   copy in place                                     5.9 (5.4)   13.0 (11.6)   68.4 (65.4) 257.0 (254.1)
//   general: a channel a warp, any strides            33.3 (30.3) 163.9 (145.3) 1158 (1129)
//   warp L16 R8 W4: 16 bytes a lane, 8 channels each  7.8 (7.3)   15.8 (13.7)   81.5 (77.9) 301.1 (297.9)
//   warp L16 R4 W2: 64 registers, twice the warps     7.4 (6.8)   15.0 (13.5)   74.0 (70.6) 275.1 (271.5)
//   warp L16 R2 W4: more warps, but B and C again     7.5 (6.7)   15.2 (13.5)   77.7 (74.9) 290.7 (288.2)
//   warp L16 R4 W4, .cs: dirty lines leave too early  7.4 (6.7)   15.1 (13.6)   76.5 (71.0) 285.3 (275.4)
//   walk L16 R4 W4 K2: two tiles a warp, pipelined    7.9 (7.2)   15.2 (13.3)   74.5 (70.6) 278.1 (274.3)
//   bulk S1 M6: a head's 16 KB by the copy engine     7.6 (6.9)   14.8 (13.7)   74.7 (70.4) 277.5 (273.4)
//   bulk S3 M4: blocks stay, two tiles ahead          7.5 (6.7)   14.2 (12.8)   76.2 (71.4) 286.0 (280.4)
//   bulk S4 M3: three tiles ahead                     7.6 (6.9)   15.5 (13.5)   72.9 (68.7) 280.4 (276.1)
//
// State in float                                      B=1         8             64            256
//   copy of the same bytes                            7.1 (6.5)   21.5 (18.6)   130.7 (127.2) 506.2 (502.8)
//   general                                           13.4 (12.3) 49.7 (45.5)   338.8 (334.8)
//   warp L32 R4 W4: a row of N a warp                 8.1 (7.6)   22.9 (20.1)   140.5 (136.9) 543.8 (540.3)
//   warp L16 R4 W4: two rows a warp                   8.7 (7.5)   23.8 (22.0)   139.2 (137.8) 538.1 (534.9)
//   walk L16 R4 W4 K2: two tiles a warp, pipelined    8.6 (7.6)   22.5 (20.3)   138.0 (134.8) 531.3 (528.5)
//   bulk L32 R8 W4 S1 M8                              8.5 (7.7)   22.8 (19.7)   139.6 (135.7) 539.9 (536.2)
//
// What is left: the path between the two halves of the L2 is 83% busy with memory at 74% of its peak (a plain copy
// reaches 90% and 80%). Kernels held to 48 registers spill and lose 10% (an earlier run).
#include <cuda_runtime.h>

#include "lab/lab.cuh"
#include "cuda/vec.cuh"
#include "ops/ssd.h"

namespace mamba::cuda {

using StateUpdate = SsdStateUpdateParams;

template <class T>
__device__ __forceinline__ float load_dt(const StateUpdate& p, int64_t i) {
  return p.dt_dtype == DType::f32 ? __ldg(static_cast<const float*>(p.dt) + i)
                                  : as_float(static_cast<const T*>(p.dt)[i]);
}

__device__ __forceinline__ float time_step(const StateUpdate& p, float dt) {
  if (p.dt_softplus && dt <= kSoftplusThreshold) dt = log1pf(expf(dt));
  return fminf(p.dt_max, fmaxf(p.dt_min, dt));
}

// What belongs to one row and head, as loaded.
struct HeadStep {
  float dt, bias, a, d;

  template <class T>
  __device__ __forceinline__ static HeadStep load(const StateUpdate& p, int64_t row, int head) {
    return {load_dt<T>(p, row * p.dt_row_stride + head * p.dt_head_stride),
            p.dt_bias ? __ldg(p.dt_bias + head * p.dt_bias_head_stride) : 0.0f, __ldg(p.a + head * p.a_head_stride),
            p.d ? __ldg(p.d + head * p.d_head_stride) : 0.0f};
  }
};

template <class T>
__device__ __forceinline__ void write_out(const StateUpdate& p, int64_t row, int64_t channel, float y) {
  if (p.z) y *= silu(as_float(static_cast<const T*>(p.z)[row * p.z_stride + channel]));
  static_cast<T*>(p.out)[row * p.out_stride + channel] = rounded<T>(y);
}

// Any shape, any strides, tied or not: a warp owns one channel, its lanes stride along the state's last dimension.
template <class T, class S>
__global__ void __launch_bounds__(128) ssd_state_update_general_kernel(const __grid_constant__ StateUpdate p) {
  const int64_t row = blockIdx.y, channel = int64_t{blockIdx.x} * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (channel >= p.heads * p.head_dim) return;
  const int32_t slot = __ldg(p.slots + row);
  if (slot < 0 || slot >= p.slots_in_pool) {
    if (lane == 0) static_cast<T*>(p.out)[row * p.out_stride + channel] = rounded<T>(0);
    return;
  }
  const int64_t head = channel / p.head_dim, i = channel % p.head_dim, group = head / (p.heads / p.groups);
  float dt = load_dt<T>(p, row * p.dt_row_stride + head * p.dt_head_stride + i * p.dt_channel_stride);
  if (p.dt_bias) dt += __ldg(p.dt_bias + head * p.dt_bias_head_stride + i * p.dt_bias_channel_stride);
  dt = time_step(p, dt);
  const float x = as_float(static_cast<const T*>(p.x)[row * p.x_stride + channel]);
  const T* b = static_cast<const T*>(p.b) + row * p.b_stride + group * p.state_size;
  const T* c = static_cast<const T*>(p.c) + row * p.c_stride + group * p.state_size;
  const float* a = p.a + head * p.a_head_stride + i * p.a_channel_stride;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + channel * p.state_size;
  float sum = 0;
  for (int64_t n = lane; n < p.state_size; n += 32) {
    const float s = fmaf(x * dt, as_float(b[n]), expf(dt * __ldg(a + n * p.a_state_stride)) * as_float(state[n]));
    state[n] = rounded<S>(s);
    sum = fmaf(s, as_float(c[n]), sum);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (lane > 0) return;
  if (p.d) sum = fmaf(__ldg(p.d + head * p.d_head_stride + i * p.d_channel_stride), x, sum);
  write_out<T>(p, row, channel, sum);
}

// How a warp holds its part of a head's state [P, N]: `Lanes` lanes side by side along N, 16 bytes each and `kPieces`
// times; `Rows` channels one after another in each lane. Every access of the warp covers whole 128-byte lines.
template <class T, class S, int N, int Lanes, int Rows>
struct Tile {
  static constexpr int kVec = 16 / sizeof(S);
  static constexpr int kPieces = N / (kVec * Lanes);
  static constexpr int kRows = Rows * 32 / Lanes;  // of the warp
  static_assert(kPieces * kVec * Lanes == N && Rows <= Lanes);

  Vec<T, Rows> x;
  Vec<T, kVec> b[kPieces], c[kPieces];
  HeadStep head;
  Vec<S, kVec> s[Rows][kPieces];

  // x, B, C and the head's scalars; first_row is the warp's first channel of the head.
  __device__ __forceinline__ void load_operands(const StateUpdate& p, int64_t row, int h, int first_row, int lane) {
    head = HeadStep::load<T>(p, row, h);
    const int channel = h * static_cast<int>(p.head_dim) + first_row + lane / Lanes * Rows;
    x = load<Rows>(static_cast<const T*>(p.x) + row * p.x_stride + channel);
    const int group = h / static_cast<int>(p.heads / p.groups);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int n = group * N + (i * Lanes + lane % Lanes) * kVec;
      b[i] = load<kVec>(static_cast<const T*>(p.b) + row * p.b_stride + n);
      c[i] = load<kVec>(static_cast<const T*>(p.c) + row * p.c_stride + n);
    }
  }

  // Element offset of (r, piece) from the warp's first row.
  __device__ __forceinline__ static int offset(int lane, int r, int piece) {
    return (lane / Lanes * Rows + r) * N + (piece * Lanes + lane % Lanes) * kVec;
  }

  float dt, decay, bs[kPieces][kVec], cs[kPieces][kVec];

  __device__ __forceinline__ void prepare(const StateUpdate& p) {
    dt = time_step(p, head.dt + head.bias), decay = expf(dt * head.a);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) unpack(b[i], bs[i]), unpack(c[i], cs[i]);
  }

  // Updates s and returns y of channel first_row + lane / (32 / kRows); lanes that share a channel get the same sum.
  __device__ __forceinline__ float advance(Vec<S, kVec> (&s)[Rows][kPieces], const Vec<T, Rows>& x, int lane) const {
    float xs[Rows], y[Rows];
    unpack(x, xs);
    const float d = lane % Lanes == 0 ? head.d : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float weighted = dt * xs[r];
      y[r] = d * xs[r];
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        float f[kVec];
        unpack(s[r][i], f);
#pragma unroll
        for (int k = 0; k < kVec; ++k) {
          f[k] = fmaf(weighted, bs[i][k], decay * f[k]);
          y[r] = fmaf(f[k], cs[i][k], y[r]);
        }
        s[r][i] = pack<S, kVec>(f);
      }
    }
    // Sums over Lanes lanes. While a lane has several channels, each exchange halves them: one shuffle per channel
    // kept.
    int count = Rows;
#pragma unroll
    for (int distance = Lanes / 2; distance > 0; distance /= 2) {
      if (count > 1) {
        const bool upper = lane & distance;
#pragma unroll
        for (int r = 0; r < count / 2; ++r) {
          const float sent = upper ? y[r] : y[r + count / 2], kept = upper ? y[r + count / 2] : y[r];
          y[r] = kept + __shfl_xor_sync(~0u, sent, distance);
        }
        count /= 2;
      } else {
        y[0] += __shfl_xor_sync(~0u, y[0], distance);
      }
    }
    return y[0];
  }

  __device__ __forceinline__ float step(const StateUpdate& p, int lane) {
    prepare(p);
    return advance(s, x, lane);
  }
};

template <class T, int Rows>
__device__ __forceinline__ void write_rows(const StateUpdate& p, int64_t row, int h, int first_row, int lane, float y,
                                           bool padding) {
  constexpr int kShare = 32 / Rows;
  if (lane % kShare) return;
  const int64_t channel = int64_t{h} * p.head_dim + first_row + lane / kShare;
  if (padding) {
    static_cast<T*>(p.out)[row * p.out_stride + channel] = rounded<T>(0);
  } else {
    write_out<T>(p, row, channel, y);
  }
}

// Tied, through registers: a warp owns kRows channels of one head of one row; all of its reads are in flight together.
template <class T, class S, int N, int Lanes, int Rows, int Warps, Use U, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    ssd_state_update_warp_kernel(const __grid_constant__ StateUpdate p, int tiles_per_head) {
  using Part = Tile<T, S, N, Lanes, Rows>;
  const int lane = threadIdx.x % 32, unit = blockIdx.x * Warps + threadIdx.x / 32;
  const int h = unit / tiles_per_head, first_row = unit % tiles_per_head * Part::kRows;
  const int64_t row = blockIdx.y;
  if (h >= p.heads) return;
  const int32_t slot = __ldg(p.slots + row);
  Part part;
  part.load_operands(p, row, h, first_row, lane);
  if (slot < 0 || slot >= p.slots_in_pool) {
    write_rows<T, Part::kRows>(p, row, h, first_row, lane, 0, true);
    return;
  }
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride +
             (int64_t{h} * static_cast<int>(p.head_dim) + first_row) * N;
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int i = 0; i < Part::kPieces; ++i) {
      part.s[r][i] = load<Part::kVec, U>(state + Part::offset(lane, r, i));
    }
  }
  const float y = part.step(p, lane);
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int i = 0; i < Part::kPieces; ++i) store<Part::kVec, U>(state + Part::offset(lane, r, i), part.s[r][i]);
  }
  write_rows<T, Part::kRows>(p, row, h, first_row, lane, y, false);
}

// The same for Walk tiles of the head in turn: the next tile's reads are in flight while this one is computed, and B, C
// and the head's decay are made once.
template <class T, class S, int N, int Lanes, int Rows, int Warps, int Walk, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    ssd_state_update_walk_kernel(const __grid_constant__ StateUpdate p, int walks_per_head) {
  using Part = Tile<T, S, N, Lanes, Rows>;
  const int lane = threadIdx.x % 32, unit = blockIdx.x * Warps + threadIdx.x / 32;
  const int h = unit / walks_per_head, first_row = unit % walks_per_head * (Part::kRows * Walk);
  const int64_t row = blockIdx.y;
  if (h >= p.heads) return;
  const int32_t slot = __ldg(p.slots + row);
  if (slot < 0 || slot >= p.slots_in_pool) {
    for (int k = 0; k < Walk; ++k) write_rows<T, Part::kRows>(p, row, h, first_row + k * Part::kRows, lane, 0, true);
    return;
  }
  Vec<S, Part::kVec> s[2][Rows][Part::kPieces];
  Vec<T, Rows> x[2];
  const int64_t channel = int64_t{h} * static_cast<int>(p.head_dim) + first_row;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + channel * N;
  const T* xs = static_cast<const T*>(p.x) + row * p.x_stride + channel + lane / Lanes * Rows;
  const auto fetch = [&](int k) {
    x[k % 2] = load<Rows>(xs + k * Part::kRows);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Part::kPieces; ++i) {
        s[k % 2][r][i] = load<Part::kVec>(state + k * (Part::kRows * N) + Part::offset(lane, r, i));
      }
    }
  };
  fetch(0);
  Part part;
  part.load_operands(p, row, h, first_row, lane);
  part.prepare(p);
#pragma unroll
  for (int k = 0; k < Walk; ++k) {
    if (k + 1 < Walk) fetch(k + 1);
    const float y = part.advance(s[k % 2], x[k % 2], lane);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Part::kPieces; ++i) {
        store<Part::kVec>(state + k * (Part::kRows * N) + Part::offset(lane, r, i), s[k % 2][r][i]);
      }
    }
    write_rows<T, Part::kRows>(p, row, h, first_row + k * Part::kRows, lane, y, false);
  }
}

// Tied, through shared memory: blocks walk over tiles of state; the copy engine brings the next Stages - 1 tiles while
// one is updated in place, and takes it away.
template <class T, class S, int N, int Lanes, int Rows, int Warps, int Stages, int Blocks>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    ssd_state_update_bulk_kernel(const __grid_constant__ StateUpdate p, int tiles_per_head, uint32_t items) {
  using Part = Tile<T, S, N, Lanes, Rows>;
  constexpr int kRows = Part::kRows * Warps;
  constexpr uint32_t kBytes = kRows * N * sizeof(S);
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ uint64_t full[Stages];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t per_row = static_cast<uint32_t>(p.heads) * tiles_per_head;
  const auto stage = [&](uint32_t k) { return reinterpret_cast<S*>(memory + k % Stages * kBytes); };
  const auto item_of = [&](uint32_t k) { return blockIdx.x + k * gridDim.x; };
  const auto slot_of = [&](uint32_t item) {
    const int32_t slot = __ldg(p.slots + item / per_row);
    return slot < p.slots_in_pool ? slot : -1;
  };
  const auto state_of = [&](uint32_t item, int32_t slot) {
    return static_cast<S*>(p.state) + slot * p.state_slot_stride + int64_t{item % per_row} * (kRows * N);
  };
  const auto fetch = [&](uint32_t k, int32_t slot) {
    if (slot >= 0) {
      arrive_and_expect(&full[k % Stages], kBytes);
      bulk_load(stage(k), state_of(item_of(k), slot), kBytes, &full[k % Stages]);
    } else {
      arrive(&full[k % Stages]);
    }
  };
  constexpr uint32_t kAhead = Stages > 1 ? Stages - 1 : 1;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Stages; ++i) init_barrier(&full[i], 1);
    publish_barriers();
    int32_t slots[kAhead];
    for (uint32_t k = 0; k < kAhead; ++k) slots[k] = item_of(k) < items ? slot_of(item_of(k)) : -1;
    for (uint32_t k = 0; k < kAhead; ++k) {
      if (item_of(k) < items) fetch(k, slots[k]);
    }
  }
  Part part;
  uint32_t item = item_of(0);
  const auto load_operands = [&](uint32_t i) {
    const int unit = static_cast<int>(i % per_row);
    part.load_operands(p, i / per_row, unit / tiles_per_head, unit % tiles_per_head * kRows + warp * Part::kRows, lane);
  };
  int32_t slot = slot_of(item);
  load_operands(item);
  __syncthreads();
  for (uint32_t k = 0; item < items; ++k) {
    const int unit = static_cast<int>(item % per_row), h = unit / tiles_per_head;
    const int first_row = unit % tiles_per_head * kRows + warp * Part::kRows;
    const int64_t row = item / per_row;
    const int32_t this_slot = slot;
    const uint32_t next = item_of(k + 1), later = item_of(k + kAhead);
    const bool fetches = Stages > 1 && threadIdx.x == 0 && later < items;
    const int32_t later_slot = fetches ? slot_of(later) : -1;
    wait_barrier(&full[k % Stages], k / Stages & 1);
    S* state = stage(k) + warp * Part::kRows * N;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Part::kPieces; ++i) part.s[r][i] = load<Part::kVec>(state + Part::offset(lane, r, i));
    }
    const float y = part.step(p, lane);
    if (next < items) {
      slot = slot_of(next);
      load_operands(next);
    }
    if (this_slot >= 0) {
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
#pragma unroll
        for (int i = 0; i < Part::kPieces; ++i) store<Part::kVec>(state + Part::offset(lane, r, i), part.s[r][i]);
      }
    }
    fence_shared_writes();
    __syncthreads();
    if (threadIdx.x == 0) {
      if (this_slot >= 0) bulk_store(state_of(item, this_slot), stage(k), kBytes);
      commit_stores();
      if (fetches) {
        wait_stores_read<1>();
        fetch(k + kAhead, later_slot);
      }
    }
    write_rows<T, Part::kRows>(p, row, h, first_row, lane, y, this_slot < 0);
    item = next;
  }
  if (threadIdx.x == 0) wait_stores_read<0>();
}

template <class T, class S>
void launch_general(const StateUpdate& p, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((p.heads * p.head_dim + 3) / 4), static_cast<unsigned>(p.rows));
  ssd_state_update_general_kernel<T, S><<<grid, 128, 0, stream>>>(p);
}

template <class T, class S, int N, int Lanes, int Rows, int Warps, Use U = Use::usual, int Blocks = 0>
void launch_warp(const StateUpdate& p, cudaStream_t stream) {
  constexpr int kRows = Tile<T, S, N, Lanes, Rows>::kRows;
  const int64_t tiles = p.head_dim / kRows, units = p.heads * tiles;
  const dim3 grid(static_cast<unsigned>((units + Warps - 1) / Warps), static_cast<unsigned>(p.rows));
  ssd_state_update_warp_kernel<T, S, N, Lanes, Rows, Warps, U, Blocks>
      <<<grid, Warps * 32, 0, stream>>>(p, static_cast<int>(tiles));
}

template <class T, class S, int N, int Lanes, int Rows, int Warps, int Walk, int Blocks = 0>
void launch_walk(const StateUpdate& p, cudaStream_t stream) {
  const int64_t walks = p.head_dim / (Tile<T, S, N, Lanes, Rows>::kRows * Walk), units = p.heads * walks;
  const dim3 grid(static_cast<unsigned>((units + Warps - 1) / Warps), static_cast<unsigned>(p.rows));
  ssd_state_update_walk_kernel<T, S, N, Lanes, Rows, Warps, Walk, Blocks>
      <<<grid, Warps * 32, 0, stream>>>(p, static_cast<int>(walks));
}

template <class T, class S, int N, int Lanes, int Rows, int Warps, int Stages, int Blocks>
void launch_bulk(const StateUpdate& p, cudaStream_t stream) {
  constexpr int kRows = Tile<T, S, N, Lanes, Rows>::kRows * Warps;
  constexpr int kShared = Stages * kRows * N * static_cast<int>(sizeof(S));
  const auto kernel = ssd_state_update_bulk_kernel<T, S, N, Lanes, Rows, Warps, Stages, Blocks>;
  static const int blocks = [&] {
    int per_sm = 0;
    LAB_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared));
    LAB_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, kernel, Warps * 32, kShared));
    return per_sm * 132;
  }();
  const int64_t tiles = p.head_dim / kRows, items = p.rows * p.heads * tiles;
  const unsigned grid = static_cast<unsigned>(Stages == 1 ? items : std::min<int64_t>(items, blocks));
  kernel<<<grid, Warps * 32, kShared, stream>>>(p, static_cast<int>(tiles), static_cast<uint32_t>(items));
}

template <class F>
void dispatch_types(const StateUpdate& p, F f) {
  const auto with_type = [](DType t, auto g) {
    t == DType::f32 ? g(float()) : t == DType::bf16 ? g(bf16()) : g(f16());
  };
  with_type(p.dtype, [&](auto t) { with_type(p.state_dtype, [&](auto s) { f(t, s); }); });
}

// Whether the tuned path may read 16 bytes at a time and split a head into tiles of 16 channels.
inline bool tuned(const StateUpdate& p) {
  const auto fits = [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; };
  return p.tied() && (p.state_size == 64 || p.state_size == 128 || p.state_size == 256) && p.head_dim % 16 == 0 &&
         p.x_stride % 8 == 0 && p.b_stride % 8 == 0 && p.c_stride % 8 == 0 && p.state_slot_stride % 8 == 0 &&
         fits(p.x) && fits(p.b) && fits(p.c) && fits(p.state);
}

void ssd_state_update(const StateUpdate& p, cudaStream_t stream) {
  if (p.rows == 0) return;
  dispatch_types(p, [&](auto t, auto s) {
    using T = decltype(t);
    using S = decltype(s);
    if (!tuned(p)) return launch_general<T, S>(p, stream);
    constexpr bool kWide = sizeof(S) == 4;
    constexpr int kLanes = kWide ? 16 : 8;
    if (p.state_size == 64) return launch_warp<T, S, 64, kLanes, 4, 4>(p, stream);
    if (p.state_size == 256) return launch_warp<T, S, 256, 32, 4, 4>(p, stream);
    const int64_t heads = p.rows * p.heads;
    if constexpr (kWide) {
      if (heads > 256) return launch_walk<T, S, 128, 16, 4, 4, 2>(p, stream);
    } else if (p.head_dim == 64) {
      if (heads > 256 && heads <= 2048) return launch_bulk<T, S, 128, 16, 8, 4, 3, 4>(p, stream);
      if (heads > 2048 && heads <= 12288) return launch_bulk<T, S, 128, 16, 8, 4, 4, 3>(p, stream);
    }
    launch_warp<T, S, 128, kWide ? 32 : 16, 4, 4>(p, stream);
  });
}

}  // namespace mamba::cuda

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::Host;

struct Version {
  const char* name;
  DType state;  // of the versions for one type only
  std::function<void(const StateUpdate&, cudaStream_t)> launch;
  bool any = false;  // any shape and type; else tuned() with N = 128, P = 64 and x in bf16
};

#define WARP(S, LANES, ROWS, WARPS)                                                                       \
  {                                                                                                       \
    "warp L" #LANES " R" #ROWS " W" #WARPS, std::is_same_v<S, float> ? DType::f32 : DType::bf16,          \
        [](const StateUpdate& p, cudaStream_t s) { launch_warp<bf16, S, 128, LANES, ROWS, WARPS>(p, s); } \
  }
#define WARP_USE(S, LANES, ROWS, WARPS, USE, BLOCKS)                                                                   \
  {                                                                                                                    \
    "warp L" #LANES " R" #ROWS " W" #WARPS " " #USE " M" #BLOCKS, std::is_same_v<S, float> ? DType::f32 : DType::bf16, \
        [](const StateUpdate& p, cudaStream_t s) {                                                                     \
          launch_warp<bf16, S, 128, LANES, ROWS, WARPS, Use::USE, BLOCKS>(p, s);                                       \
        }                                                                                                              \
  }
#define WALK(S, LANES, ROWS, WARPS, WALK, BLOCKS)                                                       \
  {                                                                                                     \
    "walk L" #LANES " R" #ROWS " W" #WARPS " K" #WALK " M" #BLOCKS,                                     \
        std::is_same_v<S, float> ? DType::f32 : DType::bf16, [](const StateUpdate& p, cudaStream_t s) { \
          launch_walk<bf16, S, 128, LANES, ROWS, WARPS, WALK, BLOCKS>(p, s);                            \
        }                                                                                               \
  }
#define BULK(S, LANES, ROWS, WARPS, STAGES, BLOCKS)                                                     \
  {                                                                                                     \
    "bulk L" #LANES " R" #ROWS " W" #WARPS " S" #STAGES " M" #BLOCKS,                                   \
        std::is_same_v<S, float> ? DType::f32 : DType::bf16, [](const StateUpdate& p, cudaStream_t s) { \
          launch_bulk<bf16, S, 128, LANES, ROWS, WARPS, STAGES, BLOCKS>(p, s);                          \
        }                                                                                               \
  }

const std::vector<Version> kVersions = {
    {"dispatch", DType::f32, [](const StateUpdate& p, cudaStream_t s) { ssd_state_update(p, s); }, true},
    {"general", DType::f32,
     [](const StateUpdate& p, cudaStream_t s) {
       dispatch_types(p, [&](auto t, auto state) { launch_general<decltype(t), decltype(state)>(p, s); });
     },
     true},
    WARP(bf16, 16, 2, 4),
    WARP(bf16, 16, 4, 2),
    WARP(bf16, 16, 4, 4),
    WARP(bf16, 16, 8, 4),
    WARP_USE(bf16, 16, 4, 4, once, 0),
    WARP_USE(bf16, 16, 4, 4, no_l1, 0),
    WALK(bf16, 16, 4, 4, 2, 0),
    WALK(bf16, 16, 4, 4, 4, 0),
    BULK(bf16, 16, 8, 4, 1, 6),
    BULK(bf16, 16, 8, 4, 3, 4),
    BULK(bf16, 16, 8, 4, 4, 3),
    WARP(float, 16, 4, 4),
    WARP(float, 16, 8, 4),
    WARP(float, 32, 4, 4),
    WARP(float, 32, 8, 4),
    WARP_USE(float, 16, 4, 4, once, 0),
    WALK(float, 32, 4, 4, 2, 0),
    WALK(float, 32, 4, 4, 4, 8),
    WALK(float, 16, 4, 4, 2, 0),
    WALK(float, 16, 4, 2, 2, 0),
    WALK(float, 16, 4, 4, 4, 0),
    BULK(float, 32, 8, 4, 1, 8),
    BULK(float, 32, 8, 4, 3, 4),
    BULK(float, 32, 8, 4, 4, 3),
};

struct Case {
  int64_t rows, heads, head_dim, groups, state_size;
  DType dtype, dt, state;
  bool z = false, d = true, bias = true, softplus = true, untied = false;
  int64_t extra = 0;  // what rows of x, B, C, z and out are apart beyond their length
  int64_t pool = 0;   // slots; 0 = a few more than rows
  bool clamp = false, padding = true;
};

bool fits(const Version& v, const StateUpdate& p) {
  return v.any ||
         (tuned(p) && p.state_size == 128 && p.head_dim == 64 && p.dtype == DType::bf16 && p.state_dtype == v.state);
}

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
};

// The state stays on the device, except for the slots in use and two neighbours of each, so pools may be large.
void check(const Case& k, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + k.rows * 31 + k.heads + k.head_dim)};
  const int64_t pool = k.pool ? k.pool : 2 * k.rows + 3, channels = k.heads * k.head_dim;
  const int64_t slot_size = channels * k.state_size, slot_stride = slot_size + (k.pool ? 0 : k.extra);
  const int64_t x_stride = channels + k.extra, b_stride = k.groups * k.state_size + k.extra;
  const int64_t dts = k.untied ? channels : k.heads, as = k.untied ? slot_size : k.heads;
  Host x(k.dtype, k.rows * x_stride), z(k.dtype, k.rows * x_stride), b(k.dtype, k.rows * b_stride),
      c(k.dtype, k.rows * b_stride), dt(k.dt, k.rows * dts), a(DType::f32, as), d(DType::f32, dts),
      bias(DType::f32, dts);
  x.fill_normal(random), z.fill_normal(random), b.fill_normal(random), c.fill_normal(random), d.fill_normal(random);
  dt.fill_uniform(random, k.softplus ? -4 : 0.01, k.softplus ? 3 : 0.5);
  if (k.softplus) dt.set(0, 25);
  a.fill_uniform(random, -4, -0.05), bias.fill_uniform(random, k.softplus ? -2 : 0, k.softplus ? 0.5 : 0.1);

  std::vector<int32_t> slots;
  while (static_cast<int64_t>(slots.size()) < k.rows) {
    const int64_t high = k.pool && slots.size() % 2 == 0 ? pool - pool / 20 : 0;
    const auto slot = static_cast<int32_t>(high + random.below(pool - high));
    if (std::find(slots.begin(), slots.end(), slot) == slots.end()) slots.push_back(slot);
  }
  for (size_t i = 1; k.padding && i < slots.size(); ++i) {
    if (random.below(4) == 0) slots[i] = -1;
  }
  std::vector<int32_t> watched;
  for (int64_t slot = 0; slot < pool; ++slot) {
    bool near = k.pool == 0;
    for (const int32_t used : slots) near = near || (used >= 0 && std::abs(slot - used) <= 1);
    if (near) watched.push_back(static_cast<int32_t>(slot));
  }
  const Buffer dx(x), dz(z), db(b), dc(c), ddt(dt), da(a), dd(d), dbias(bias), dslots(slots);
  const size_t element = size_of(k.state);
  Buffer state(static_cast<size_t>(pool * slot_stride) * element), out(x.bytes.size());
  const auto fill = [&] {
    const int64_t n = pool * slot_stride;
    if (k.state == DType::f32) lab::fill_random_kernel<<<1056, 256>>>(state.as<float>(), n, 5);
    if (k.state == DType::bf16) lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), n, 5);
    if (k.state == DType::f16) lab::fill_random_kernel<<<1056, 256>>>(state.as<__half>(), n, 5);
    LAB_CHECK(cudaDeviceSynchronize());
  };
  const auto read_slot = [&](int64_t slot) {
    Host host(k.state, slot_stride);
    LAB_CHECK(cudaMemcpy(host.bytes.data(), state.as<uint8_t>() + static_cast<size_t>(slot * slot_stride) * element,
                         host.bytes.size(), cudaMemcpyDeviceToHost));
    return host;
  };
  fill();
  std::vector<Host> before;
  for (const int32_t slot : watched) before.push_back(read_slot(slot));

  StateUpdate p = {};
  p.rows = k.rows, p.heads = k.heads, p.head_dim = k.head_dim, p.groups = k.groups, p.state_size = k.state_size;
  p.slots_in_pool = pool;
  p.x = dx.data, p.dt = ddt.data, p.b = db.data, p.c = dc.data, p.z = k.z ? dz.data : nullptr;
  p.x_stride = p.z_stride = p.out_stride = x_stride, p.b_stride = p.c_stride = b_stride;
  p.dt_row_stride = dts, p.dt_head_stride = k.untied ? k.head_dim : 1, p.dt_channel_stride = k.untied;
  p.a = da.as<float>(), p.d = k.d ? dd.as<float>() : nullptr, p.dt_bias = k.bias ? dbias.as<float>() : nullptr;
  p.a_head_stride = k.untied ? k.head_dim * k.state_size : 1, p.a_channel_stride = k.untied ? k.state_size : 0;
  p.a_state_stride = k.untied;
  p.d_head_stride = p.dt_bias_head_stride = p.dt_head_stride;
  p.d_channel_stride = p.dt_bias_channel_stride = p.dt_channel_stride;
  p.state = state.data, p.state_slot_stride = slot_stride, p.slots = dslots.as<int32_t>(), p.out = out.data;
  p.dt_min = k.clamp ? 0.05f : 0.0f, p.dt_max = k.clamp ? 0.5f : INFINITY, p.dt_softplus = k.softplus;
  p.dtype = k.dtype, p.dt_dtype = k.dt, p.state_dtype = k.state;

  // The reference: what each watched slot and each output should be, and how far rounding may take them.
  std::vector<std::vector<double>> expected(watched.size()), slack(watched.size());
  std::vector<double> y(static_cast<size_t>(k.rows * channels)), y_slack(y.size());
  for (int64_t row = 0; row < k.rows; ++row) {
    const int32_t slot = slots[static_cast<size_t>(row)];
    if (slot < 0) continue;
    const size_t w = static_cast<size_t>(std::find(watched.begin(), watched.end(), slot) - watched.begin());
    expected[w].resize(static_cast<size_t>(slot_size)), slack[w].resize(static_cast<size_t>(slot_size));
    for (int64_t i = 0; i < channels; ++i) {
      const int64_t h = i / k.head_dim, g = h / (k.heads / k.groups), at = k.untied ? i : h;
      double step = dt.get(row * dts + at) + (k.bias ? bias.get(at) : 0);
      if (k.softplus) step = step > 20 ? step : std::log1p(std::exp(step));
      step = std::min<double>(p.dt_max, std::max<double>(p.dt_min, step));
      const double xi = x.get(row * x_stride + i), dx_term = k.d ? d.get(at) * xi : 0;
      double sum = dx_term, magnitude = std::abs(dx_term);
      for (int64_t n = 0; n < k.state_size; ++n) {
        const double decay = std::exp(step * a.get(k.untied ? i * k.state_size + n : h));
        const double kept = decay * before[w].get(i * k.state_size + n);
        const double added = step * xi * b.get(row * b_stride + g * k.state_size + n);
        const double cn = c.get(row * b_stride + g * k.state_size + n);
        expected[w][static_cast<size_t>(i * k.state_size + n)] = kept + added;
        slack[w][static_cast<size_t>(i * k.state_size + n)] = 2e-6 * (std::abs(kept) + std::abs(added)) + 1e-7;
        sum += (kept + added) * cn, magnitude += (std::abs(kept) + std::abs(added)) * std::abs(cn);
      }
      double gate = 1;
      if (k.z) {
        gate = z.get(row * x_stride + i);
        gate = gate / (1 + std::exp(-gate));
      }
      y[static_cast<size_t>(row * channels + i)] = sum * gate;
      y_slack[static_cast<size_t>(row * channels + i)] = 2e-6 * magnitude * std::abs(gate) + 1e-7;
    }
  }
  bool first = true;
  for (const Version& version : kVersions) {
    if (!fits(version, p)) continue;
    if (!first) fill();
    first = false;
    out.poison();
    version.launch(p, nullptr);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(k.dtype);
    lab::Errors out_errors, state_errors, untouched;
    for (int64_t row = 0; row < k.rows; ++row) {
      for (int64_t i = 0; i < channels; ++i) {
        const size_t at = static_cast<size_t>(row * channels + i);
        const double allowed = slots[static_cast<size_t>(row)] < 0 ? 1e-300 : y_slack[at];
        out_errors.add(got.get(row * x_stride + i), y[at], allowed, lab::rounding(k.dtype));
      }
    }
    for (size_t w = 0; w < watched.size(); ++w) {
      const Host after = read_slot(watched[w]);
      for (int64_t i = 0; i < slot_stride; ++i) {
        if (expected[w].empty() || i >= slot_size) {
          untouched.add(after.get(i), before[w].get(i), 1e-300, 0);
        } else {
          state_errors.add(after.get(i), expected[w][static_cast<size_t>(i)], slack[w][static_cast<size_t>(i)],
                           lab::rounding(k.state));
        }
      }
    }
    ++verdict.checks;
    verdict.worst = std::max({verdict.worst, out_errors.worst, state_errors.worst});
    if (out_errors.bad + state_errors.bad + untouched.bad == 0) continue;
    ++verdict.failed;
    std::printf(
        "FAILED %s: rows %ld H %ld P %ld G %ld N %ld %s/%s/%s: %ld of out (rel %.2e), %ld of state (%.2e), "
        "%ld of what must stay\n",
        version.name, static_cast<long>(k.rows), static_cast<long>(k.heads), static_cast<long>(k.head_dim),
        static_cast<long>(k.groups), static_cast<long>(k.state_size), name_of(k.dtype), name_of(k.dt), name_of(k.state),
        static_cast<long>(out_errors.bad), out_errors.relative(), static_cast<long>(state_errors.bad),
        state_errors.relative(), static_cast<long>(untouched.bad));
  }
}

bool check_all(bool quick) {
  Verdict verdict;
  const DType types[] = {DType::f32, DType::bf16, DType::f16};
  for (const DType t : types) {
    for (const DType s : types) {
      check({5, 4, 64, 2, 128, t, DType::f32, s}, verdict);
      check({4, 2, 80, 1, 64, t, t, s, true, true, false, true, false, 16}, verdict);
      check({4, 2, 32, 1, 256, t, t, s, false, false, true, false}, verdict);
      Case untied = {4, 2, 24, 1, 16, t, t, s, true};
      untied.untied = true, untied.extra = 3;
      check(untied, verdict);
    }
  }
  Case clamped = {5, 24, 64, 1, 128, DType::bf16, DType::bf16, DType::bf16};
  clamped.clamp = true;
  check(clamped, verdict);
  clamped.state = DType::f32;
  check(clamped, verdict);
  for (const DType s : {DType::bf16, DType::f32}) {
    const DType t = DType::bf16;
    check({4, 80, 64, 1, 128, t, t, s}, verdict);
    check({3, 24, 64, 1, 128, t, t, s, true, true, true, true, false, 8}, verdict);
    check({3, 6, 80, 2, 128, t, t, s}, verdict);
    check({3, 4, 32, 1, 64, t, t, s}, verdict);
    check({3, 4, 64, 1, 96, t, t, s}, verdict);
    check({3, 4, 64, 1, 128, t, t, s, false, true, true, true, false, 5}, verdict);
    check({5, 128, 64, 8, 128, t, t, s}, verdict);
    if (!quick) check({4, 128, 64, 8, 128, t, t, s, false, true, true, true, false, 0, 2200, false, false}, verdict);
  }
  // More tiles than blocks have stages: every barrier goes round.
  if (!quick) check({17, 128, 64, 8, 128, DType::bf16, DType::bf16, DType::bf16}, verdict);
  std::printf("state update: %ld checks, %ld failed, worst %.3f of the allowed distance\n",
              static_cast<long>(verdict.checks), static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

void time_all(const lab::Options& o, lab::Bench& bench, lab::Report& report) {
  constexpr int64_t kHeads = 128, kChannels = 64, kGroups = 8, kN = 128, kPool = 2200, kMost = 256;
  constexpr int64_t kSlot = kHeads * kChannels * kN;
  lab::Random random{3};
  const int64_t row = kHeads * kChannels + 2 * kGroups * kN;
  Host a(DType::f32, kHeads), d(DType::f32, kHeads), bias(DType::f32, kHeads), dt(DType::bf16, kMost * kHeads);
  a.fill_uniform(random, -4, -0.05), d.fill_normal(random), bias.fill_uniform(random, -3, 0), dt.fill_normal(random);
  std::vector<int32_t> slots(kPool);
  for (int64_t i = 0; i < kPool; ++i) slots[static_cast<size_t>(i)] = static_cast<int32_t>(i);
  for (int64_t i = kPool; i > 1; --i) {
    std::swap(slots[static_cast<size_t>(i - 1)], slots[static_cast<size_t>(random.below(i))]);
  }
  slots.resize(kMost);
  const Buffer xbc(kMost * row * 2), out(kMost * kHeads * kChannels * 2), da(a), dd(d), dbias(bias), ddt(dt),
      dslots(slots), state(static_cast<size_t>(kPool * kSlot) * 4);
  lab::fill_random_kernel<<<1056, 256>>>(xbc.as<__nv_bfloat16>(), kMost * row, 1);
  for (const DType type : {DType::bf16, DType::f32}) {
    if (type == DType::bf16) {
      lab::fill_random_kernel<<<1056, 256>>>(state.as<__nv_bfloat16>(), kPool * kSlot, 2);
    } else {
      lab::fill_random_kernel<<<1056, 256>>>(state.as<float>(), kPool * kSlot, 2);
    }
    LAB_CHECK(cudaDeviceSynchronize());
    for (const int64_t rows : {1, 8, 64, 256}) {
      StateUpdate p = {};
      p.rows = rows, p.heads = kHeads, p.head_dim = kChannels, p.groups = kGroups, p.state_size = kN;
      p.slots_in_pool = kPool;
      p.x = xbc.data, p.b = xbc.as<bf16>() + kHeads * kChannels,
      p.c = xbc.as<bf16>() + kHeads * kChannels + kGroups * kN;
      p.x_stride = p.b_stride = p.c_stride = row, p.dt = ddt.data, p.dt_row_stride = kHeads, p.dt_head_stride = 1;
      p.a = da.as<float>(), p.d = dd.as<float>(), p.dt_bias = dbias.as<float>();
      p.a_head_stride = p.d_head_stride = p.dt_bias_head_stride = 1;
      p.state = state.data, p.state_slot_stride = kSlot, p.slots = dslots.as<int32_t>();
      p.out = out.data, p.out_stride = kHeads * kChannels, p.dt_max = INFINITY, p.dt_softplus = true;
      p.dtype = p.dt_dtype = DType::bf16, p.state_dtype = type;
      const double bytes = static_cast<double>(rows) *
                               (2.0 * kSlot * size_of(type) + 2 * row + 2 * kHeads * kChannels + 2 * kHeads + 4) +
                           12 * kHeads;
      const std::string name = std::string(name_of(type)) + " B=" + std::to_string(rows);
      const lab::Times copy = o.time ? bench.copy(bytes) : lab::Times{};
      if (o.time) report.line("ssd_state_update", name, "in place copy", bench.in_place(bytes), bytes, copy);
      for (const Version& version : kVersions) {
        if (!fits(version, p)) continue;
        if (!o.time) {
          if (std::string(version.name).find(o.once) == std::string::npos) continue;
          if (!o.once_case.empty() && o.once_case != name) continue;
          version.launch(p, bench.stream());
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          continue;
        }
        if (std::string(version.name) == "general" && rows > 64) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) { version.launch(p, s); });
        report.line("ssd_state_update", name, version.name, us, bytes, copy);
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
  time_all(options, bench, report);
  return 0;
}
