#pragma once
// One token per row through the recurrence of ops/ssd.h, in place on the slots.
//
// Idea. Each state element is read, used for S <- decay S + (dt x) B^T and y += S C, and written, once. Lanes lie along
// N, so a warp's accesses are whole lines; a lane's channels give it independent sums, which are then added over the
// lanes with one shuffle per channel kept.
#include <algorithm>

#include "cuda/launch.cuh"
#include "cuda/state_access.cuh"
#include "ops/ssd.h"

namespace mamba::cuda::state_update {

using Params = SsdStateUpdateParams;

template <class T>
__device__ __forceinline__ float load_dt(const Params& p, int64_t i) {
  return p.dt_dtype == DType::f32 ? static_cast<const float*>(p.dt)[i] : as_float(static_cast<const T*>(p.dt)[i]);
}

__device__ __forceinline__ float time_step(const Params& p, float dt) {
  if (p.dt_softplus && dt <= kSoftplusThreshold) dt = log1pf(expf(dt));
  dt = dt < p.dt_min ? p.dt_min : dt;  // a NaN stays one
  return dt > p.dt_max ? p.dt_max : dt;
}

// How a warp holds its part of a head's state [P, N]: `Lanes` lanes side by side along N, 16 bytes each and `Pieces`
// times; `Rows` channels one after another in each lane. The layout depends on the state's type and N alone, so sums
// are taken in the same order in any batch.
template <class T, class S, int Lanes, int Pieces, int Rows>
struct Tile {
  static constexpr int kVec = 16 / sizeof(S), kPieces = Pieces, kLanes = Lanes, kLaneRows = Rows;
  static constexpr int kRows = Rows * 32 / Lanes;  // of the warp
  static_assert(Rows <= Lanes);
  using State = Vec<S, kVec>[Rows][Pieces];
  using StateType = S;

  // x of the lane's channels, z of the one whose output the lane ends up with.
  struct Channels {
    Vec<T, Rows> x;
    T z;
  };

  // These belong to the head. The first three are weights.
  float bias, a, d, dt;
  Vec<T, kVec> b[Pieces], c[Pieces];

  // Which of the state's last dimension a lane holds; N is a multiple of kVec.
  __device__ __forceinline__ static int column(int lane, int piece) { return (piece * Lanes + lane % Lanes) * kVec; }
  // The first of a lane's channels within the warp's; the one whose output the lane ends up with.
  __device__ __forceinline__ static int channel(int lane) { return lane / Lanes * Rows; }
  __device__ __forceinline__ static int out_channel(int lane) { return lane / (32 / kRows); }
  // Lanes beyond the warp's `rows` channels or beyond N read what others do, which costs nothing, and do not write.
  __device__ __forceinline__ static int column_inside(int n, int lane, int piece) {
    return column(lane, piece) < n ? column(lane, piece) : 0;
  }
  __device__ __forceinline__ static int channel_inside(int rows, int channel) {
    return channel < rows ? channel : rows - 1;
  }

  __device__ __forceinline__ void load_weights(const Params& p, int h) {
    bias = p.dt_bias ? __ldg(p.dt_bias + h * p.dt_bias_head_stride) : 0.0f;
    a = __ldg(p.a + h * p.a_head_stride);
    d = p.d ? __ldg(p.d + h * p.d_head_stride) : 0.0f;
  }

  // dt, B and C.
  __device__ __forceinline__ void load_head(const Params& p, int64_t row, int h, int group, int n, int lane) {
    load_group(static_cast<const T*>(p.b) + row * p.b_stride + group * n,
               static_cast<const T*>(p.c) + row * p.c_stride + group * n, n, lane);
    dt = load_dt<T>(p, row * p.dt_row_stride + h * p.dt_head_stride);
  }

  __device__ __forceinline__ void load_group(const T* from_b, const T* from_c, int n, int lane) {
#pragma unroll
    for (int i = 0; i < Pieces; ++i) {
      b[i] = load<kVec>(from_b + column_inside(n, lane, i));
      c[i] = load<kVec>(from_c + column_inside(n, lane, i));
      if (column(lane, i) >= n) c[i] = zeros<T, kVec>();
    }
  }

  __device__ __forceinline__ static Vec<T, Rows> load_x(const T* x, int rows, int lane, bool whole_x) {
    if (whole_x) return load<Rows>(x + (channel(lane) < rows ? channel(lane) : 0));
    Vec<T, Rows> v;
#pragma unroll
    for (int r = 0; r < Rows; ++r) v.elements[r] = x[channel_inside(rows, channel(lane) + r)];
    return v;
  }

  // `at`: the warp's first channel among all; it has `rows` of its head. whole_x: a lane's x may be read as one word.
  __device__ __forceinline__ static Channels load_channels(const Params& p, int64_t row, int at, int rows, int lane,
                                                           bool whole_x) {
    Channels v;
    v.x = load_x(static_cast<const T*>(p.x) + row * p.x_stride + at, rows, lane, whole_x);
    if (p.z) v.z = static_cast<const T*>(p.z)[row * p.z_stride + at + channel_inside(rows, out_channel(lane))];
    return v;
  }

  // Offsets within a head's state are small enough for 32 bits.
  template <Keep K>
  __device__ __forceinline__ static void load_state(State& s, const S* from, int n, int rows, int lane,
                                                    uint64_t policy) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
        s[r][i] = load_state_word<K == Keep::all, kVec>(
            from + channel_inside(rows, channel(lane) + r) * n + column_inside(n, lane, i), policy);
      }
    }
  }

  template <Keep K>
  __device__ __forceinline__ static void store_state(const State& s, S* to, int n, int rows, int lane,
                                                     uint64_t policy) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
        if (channel(lane) + r < rows && column(lane, i) < n) {
          store_state_word<K != Keep::nothing>(to + (channel(lane) + r) * n + column(lane, i), s[r][i], policy);
        }
      }
    }
  }

  float step, decay, bs[Pieces][kVec], cs[Pieces][kVec];

  __device__ __forceinline__ void prepare(const Params& p) {
    step = time_step(p, dt + bias), decay = expf(step * a);
#pragma unroll
    for (int i = 0; i < Pieces; ++i) unpack(b[i], bs[i]), unpack(c[i], cs[i]);
  }

  // Updates s with x of the lane's channels and returns y of channel out_channel(lane); lanes that share a channel get
  // the same sum.
  __device__ __forceinline__ float advance(State& s, const float (&xs)[Rows], int lane) const {
    float y[Rows];
    const float skip = lane % Lanes == 0 ? d : 0.0f;
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float weighted = step * xs[r];
      y[r] = skip * xs[r];
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

  // Updates s as advance() does, without what it would put out.
  __device__ __forceinline__ void absorb(State& s, const float (&xs)[Rows]) const {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float weighted = step * xs[r];
#pragma unroll
      for (int i = 0; i < Pieces; ++i) {
        float f[kVec];
        unpack(s[r][i], f);
#pragma unroll
        for (int k = 0; k < kVec; ++k) f[k] = fmaf(weighted, bs[i][k], decay * f[k]);
        s[r][i] = pack<S, kVec>(f);
      }
    }
  }

  __device__ __forceinline__ static void write_out(const Params& p, int64_t row, int at, int rows, int lane, float z,
                                                   float y) {
    if (lane % (32 / kRows) || out_channel(lane) >= rows) return;
    if (p.z) y *= silu(z);
    static_cast<T*>(p.out)[row * p.out_stride + at + out_channel(lane)] = rounded<T>(y);
  }

  __device__ __forceinline__ static void write_zeros(const Params& p, int64_t row, int at, int rows, int lane) {
    if (lane < rows) static_cast<T*>(p.out)[row * p.out_stride + at + lane] = rounded<T>(0);
  }
};

inline bool aligned(const void* at, int64_t stride, DType type, int64_t elements) {
  const auto bytes = std::min<uint64_t>(16, static_cast<uint64_t>(elements) * size_of(type));
  return reinterpret_cast<uintptr_t>(at) % bytes == 0 && stride % elements == 0;
}

// Whether a lane may read 16 bytes of state, and as many elements of B and C, at a time.
inline bool tuned(const Params& p) {
  const int64_t lane = 16 / static_cast<int64_t>(size_of(p.state_dtype));
  return p.tied() && p.state_size % lane == 0 && p.state_size <= 256 && p.heads <= kMostBlocksYZ &&
         p.heads * p.head_dim < (int64_t{1} << 31) && aligned(p.state, p.state_slot_stride, p.state_dtype, lane) &&
         aligned(p.b, p.b_stride, p.dtype, lane) && aligned(p.c, p.c_stride, p.dtype, lane);
}

// f<Lanes, Pieces>() of the tiles for states of this size; it depends on nothing else.
template <class S, class F>
void with_layout(int64_t state_size, F f) {
  const int64_t words = state_size * static_cast<int64_t>(sizeof(S)) / 16;
  if (words <= 8) return f.template operator()<8, 1>();
  if (words <= 16) return f.template operator()<16, 1>();
  if constexpr (sizeof(S) == 2) {
    f.template operator()<32, 1>();
  } else {
    words <= 32 ? f.template operator()<16, 2>() : f.template operator()<32, 2>();
  }
}

// Tied. A warp walks over Walk tiles of a head (blockIdx.y) of a row (blockIdx.z); the next tile's reads are in flight
// while one is computed. A settled state (Context::settled) is read while the kernel ahead still runs.
template <class Part, int Warps, int Walk, Keep K>
__global__ void __launch_bounds__(Warps * 32)
    tiles_kernel(const __grid_constant__ Params p, int heads_per_group, bool whole_x, bool settled) {
  using S = typename Part::StateType;
  constexpr int kRows = Part::kRows;
  const int lane = threadIdx.x % 32, h = blockIdx.y, n = static_cast<int>(p.state_size);
  const int head_dim = static_cast<int>(p.head_dim);
  const int first = (blockIdx.x * Warps + threadIdx.x / 32) * (kRows * Walk), at = h * head_dim + first;
  const int64_t row = blockIdx.z;
  Part part;
  part.load_weights(p, h);
  let_next_start();
  if (!settled) wait_for_inputs();
  const auto rows_of = [&](int k) { return min(kRows, head_dim - first - k * kRows); };
  const int32_t slot = p.slots[row];
  const bool used = slot >= 0 && slot < p.slots_in_pool && rows_of(0) > 0;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + int64_t{at} * n;
  const uint64_t policy = K == Keep::nothing ? 0 : keep_policy();
  typename Part::State s[2];
  if (used) Part::template load_state<K>(s[0], state, n, rows_of(0), lane, policy);
  if (settled) wait_for_inputs();
  if (!used) {
    for (int k = 0; k < Walk; ++k) Part::write_zeros(p, row, at + k * kRows, rows_of(k), lane);
    return;
  }
  typename Part::Channels channels[2];
  channels[0] = Part::load_channels(p, row, at, rows_of(0), lane, whole_x);
  part.load_head(p, row, h, h / heads_per_group, n, lane);
#pragma unroll
  for (int k = 0; k < Walk; ++k) {
    const bool more = k + 1 < Walk && rows_of(k + 1) > 0;
    if (more) {
      Part::template load_state<K>(s[(k + 1) % 2], state + (k + 1) * kRows * n, n, rows_of(k + 1), lane, policy);
      channels[(k + 1) % 2] = Part::load_channels(p, row, at + (k + 1) * kRows, rows_of(k + 1), lane, whole_x);
    }
    if (k == 0) part.prepare(p);
    float xs[Part::kLaneRows];
    unpack(channels[k % 2].x, xs);
    const float y = part.advance(s[k % 2], xs, lane);
    Part::template store_state<K>(s[k % 2], state + k * kRows * n, n, rows_of(k), lane, policy);
    Part::write_out(p, row, at + k * kRows, rows_of(k), lane, as_float(channels[k % 2].z), y);
    if (!more) return;
  }
}

// --- any type, shape, strides, tied or not: a warp owns one channel, its lanes stride along N ------------------------

constexpr int kAnyWarps = 4;

template <class T, class S>
__global__ void __launch_bounds__(kAnyWarps * 32) any_kernel(const __grid_constant__ Params p) {
  const int64_t row = blockIdx.y, channel = int64_t{blockIdx.x} * kAnyWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  let_next_start();
  wait_for_inputs();
  if (channel >= p.heads * p.head_dim) return;
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
  sum = warp_sum(sum);
  if (lane > 0) return;
  if (p.d) sum = fmaf(__ldg(p.d + head * p.d_head_stride + i * p.d_channel_stride), x, sum);
  if (p.z) sum *= silu(as_float(static_cast<const T*>(p.z)[row * p.z_stride + channel]));
  *out = rounded<T>(sum);
}

}  // namespace mamba::cuda::state_update
