#pragma once
// One token per row through the recurrence of ops/ssd.h, in place on the slots.
//
// Idea. Each state element is read, used for S <- decay S + (dt x) B^T and y += S C, and written, once. Lanes lie along
// N, so a warp's accesses are whole lines; a lane's channels give it independent sums, which are then added over the
// lanes with one shuffle per channel kept.
#include "cuda/launch.cuh"
#include "cuda/vec.cuh"
#include "ops/ssd.h"

namespace mamba::cuda::state_update {

using Params = SsdStateUpdateParams;

template <class T>
__device__ __forceinline__ float load_dt(const Params& p, int64_t i) {
  return p.dt_dtype == DType::f32 ? static_cast<const float*>(p.dt)[i] : as_float(static_cast<const T*>(p.dt)[i]);
}

__device__ __forceinline__ float time_step(const Params& p, float dt) {
  if (p.dt_softplus && dt <= kSoftplusThreshold) dt = log1pf(expf(dt));
  return fminf(p.dt_max, fmaxf(p.dt_min, dt));
}

// Which row a block is for: rows lie along y, and along z what y cannot hold.
__device__ __forceinline__ int64_t row_of_block() { return int64_t{blockIdx.z} * gridDim.y + blockIdx.y; }

// How a warp holds its part of a head's state [P, N]: `Lanes` lanes side by side along N, 16 bytes each and `Pieces`
// times; `Rows` channels one after another in each lane. The layout depends on the state's type and N alone, so sums are
// taken in the same order in any batch.
template <class T, class S, int Lanes, int Pieces, int Rows>
struct Tile {
  static constexpr int kVec = 16 / sizeof(S);
  static constexpr int kRows = Rows * 32 / Lanes;  // of the warp
  static_assert(Rows <= Lanes);

  // Of the head. The first three are weights.
  float bias, a, d, dt;
  T x[Rows], z;
  Vec<T, kVec> b[Pieces], c[Pieces];

  // Which of the state's last dimension a lane holds; N is a multiple of kVec.
  __device__ __forceinline__ static int column(int lane, int piece) { return (piece * Lanes + lane % Lanes) * kVec; }
  __device__ __forceinline__ static int column_inside(int n, int lane, int piece) {
    return column(lane, piece) < n ? column(lane, piece) : 0;
  }
  // The first of a lane's channels within the warp's; the one whose output the lane ends up with.
  __device__ __forceinline__ static int channel(int lane) { return lane / Lanes * Rows; }
  __device__ __forceinline__ static int out_channel(int lane) { return lane / (32 / kRows); }

  __device__ __forceinline__ static int channel_inside(int rows, int lane, int r) {
    return channel(lane) + r < rows ? channel(lane) + r : rows - 1;
  }

  __device__ __forceinline__ void load_weights(const Params& p, int h) {
    bias = p.dt_bias ? __ldg(p.dt_bias + h * p.dt_bias_head_stride) : 0.0f;
    a = __ldg(p.a + h * p.a_head_stride);
    d = p.d ? __ldg(p.d + h * p.d_head_stride) : 0.0f;
  }

  // dt, B and C.
  __device__ __forceinline__ void load_head(const Params& p, int64_t row, int h, int lane) {
    const int n = static_cast<int>(p.state_size), group = h / static_cast<int>(p.heads / p.groups);
    dt = load_dt<T>(p, row * p.dt_row_stride + h * p.dt_head_stride);
    const T* from_b = static_cast<const T*>(p.b) + row * p.b_stride + int64_t{group} * n;
    const T* from_c = static_cast<const T*>(p.c) + row * p.c_stride + int64_t{group} * n;
#pragma unroll
    for (int i = 0; i < Pieces; ++i) {
      b[i] = load<kVec>(from_b + column_inside(n, lane, i));
      c[i] = load<kVec>(from_c + column_inside(n, lane, i));
      if (column(lane, i) >= n) c[i] = zeros<T, kVec>();
    }
  }

  // x and z; `first` is the warp's first channel of the head, `rows` how many it has.
  __device__ __forceinline__ void load_channels(const Params& p, int64_t row, int h, int first, int rows, int lane) {
    const int64_t at = int64_t{h} * p.head_dim + first;
    const T* from_x = static_cast<const T*>(p.x) + row * p.x_stride + at;
#pragma unroll
    for (int r = 0; r < Rows; ++r) x[r] = from_x[channel_inside(rows, lane, r)];
    if (p.z && out_channel(lane) < rows) {
      z = static_cast<const T*>(p.z)[row * p.z_stride + at + out_channel(lane)];
    }
  }

  // Offsets within a head's state, small enough for 32 bits.
  __device__ __forceinline__ static int offset(int n, int lane, int r, int piece) {
    return (channel(lane) + r) * n + column(lane, piece);
  }

  // The warp's state, from where its first channel lies. Lanes beyond its `rows` channels or beyond N read what others
  // do, which costs nothing, and do not write.
  __device__ __forceinline__ static void load_state(Vec<S, kVec> (&s)[Rows][Pieces], const S* from, int n, int rows,
                                                    int lane) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
        s[r][i] = load<kVec>(from + channel_inside(rows, lane, r) * n + column_inside(n, lane, i));
      }
    }
  }

  __device__ __forceinline__ static void store_state(const Vec<S, kVec> (&s)[Rows][Pieces], S* to, int n, int rows,
                                                     int lane) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
        if (channel(lane) + r < rows && column(lane, i) < n) store<kVec>(to + offset(n, lane, r, i), s[r][i]);
      }
    }
  }

  float step, decay, bs[Pieces][kVec], cs[Pieces][kVec];

  __device__ __forceinline__ void prepare(const Params& p) {
    step = time_step(p, dt + bias), decay = expf(step * a);
#pragma unroll
    for (int i = 0; i < Pieces; ++i) unpack(b[i], bs[i]), unpack(c[i], cs[i]);
  }

  // Updates s and returns y of channel out_channel(lane); lanes that share a channel get the same sum.
  __device__ __forceinline__ float advance(Vec<S, kVec> (&s)[Rows][Pieces], int lane) const {
    float y[Rows];
    const float skip = lane % Lanes == 0 ? d : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float xr = as_float(x[r]), weighted = step * xr;
      y[r] = skip * xr;
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
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

  __device__ __forceinline__ void write_out(const Params& p, int64_t row, int h, int first, int rows, int lane, float y,
                                            bool padding) const {
    if (lane % (32 / kRows) || out_channel(lane) >= rows) return;
    if (p.z) y *= silu(as_float(z));
    if (padding) y = 0;
    static_cast<T*>(p.out)[row * p.out_stride + int64_t{h} * p.head_dim + first + out_channel(lane)] = rounded<T>(y);
  }
};

// Tied: a warp owns kRows channels of one head of one row; all of its reads are in flight together.
template <class T, class S, int Lanes, int Pieces, int Rows, int Warps>
__global__ void __launch_bounds__(Warps * 32)
    warp_kernel(const __grid_constant__ Params p, int tiles_per_head) {
  using Part = Tile<T, S, Lanes, Pieces, Rows>;
  const int lane = threadIdx.x % 32, unit = blockIdx.x * Warps + threadIdx.x / 32;
  const int h = unit / tiles_per_head, first = unit % tiles_per_head * Part::kRows;
  const int64_t row = row_of_block();
  const bool active = h < p.heads && row < p.rows;
  Part part;
  if (active) part.load_weights(p, h);
  let_next_start();
  wait_for_inputs();
  if (!active) return;
  const int n = static_cast<int>(p.state_size), left = static_cast<int>(p.head_dim) - first;
  const int rows = left < Part::kRows ? left : Part::kRows;
  const int32_t slot = p.slots[row];
  part.load_head(p, row, h, lane);
  part.load_channels(p, row, h, first, rows, lane);
  if (slot < 0 || slot >= p.slots_in_pool) return part.write_out(p, row, h, first, rows, lane, 0, true);
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + (int64_t{h} * p.head_dim + first) * n;
  Vec<S, Part::kVec> s[Rows][Pieces];
  part.load_state(s, state, n, rows, lane);
  part.prepare(p);
  const float y = part.advance(s, lane);
  part.store_state(s, state, n, rows, lane);
  part.write_out(p, row, h, first, rows, lane, y, false);
}

// --- any type, shape, strides, tied or not: a warp owns one channel, its lanes stride along N -------------------------

template <class T, class S>
__global__ void __launch_bounds__(128) any_kernel(const __grid_constant__ Params p) {
  const int64_t row = row_of_block(), channel = int64_t{blockIdx.x} * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  let_next_start();
  wait_for_inputs();
  if (channel >= p.heads * p.head_dim || row >= p.rows) return;
  const int32_t slot = p.slots[row];
  T* out = static_cast<T*>(p.out) + row * p.out_stride + channel;
  if (slot < 0 || slot >= p.slots_in_pool) {
    if (lane == 0) *out = rounded<T>(0);
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
#pragma unroll 4
  for (int64_t n = lane; n < p.state_size; n += 32) {
    const float s = fmaf(x * dt, as_float(b[n]), expf(dt * __ldg(a + n * p.a_state_stride)) * as_float(state[n]));
    state[n] = rounded<S>(s);
    sum = fmaf(s, as_float(c[n]), sum);
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  if (lane > 0) return;
  if (p.d) sum = fmaf(__ldg(p.d + head * p.d_head_stride + i * p.d_channel_stride), x, sum);
  if (p.z) sum *= silu(as_float(static_cast<const T*>(p.z)[row * p.z_stride + channel]));
  *out = rounded<T>(sum);
}

}  // namespace mamba::cuda::state_update
