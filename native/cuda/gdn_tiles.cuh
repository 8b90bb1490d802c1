#pragma once
// The tokens of a row through the recurrence of ops/gdn.h, one after another, in place on the slots; key_dim and
// value_dim are 128.
//
// Idea. A row of S [V, K] needs two sums over K, S k' and S q', and one update. With u = beta (v - alpha S k') they are
// of the same S, the one before: S <- alpha S + u k'^T and out = alpha S q' + u (k' . q'). So a state element is read,
// used for both sums, and written, once.
//
// Mapping. Lanes lie along K, so a warp's accesses are whole lines; a lane's rows give it independent sums, which are
// halved at each exchange over the lanes until a lane has the two sums of one row; u goes back with a shuffle for each
// row. A warp walks over tiles of a head, with the next tile's reads in flight.
//
// Bound. Bytes: 2 x 16,384 elements of state for each row and head. About 9 instructions for 16 bytes of it.
#include "cuda/gdn_gates.cuh"
#include "cuda/launch.cuh"
#include "cuda/state_access.cuh"
#include "ops/gdn.h"

namespace mamba::cuda::gdn {

template <int Lanes>
__device__ __forceinline__ float sum_over_lanes(float v) {
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) v += __shfl_xor_sync(~0u, v, distance);
  return v;
}

// How a warp holds its part of a head's state: `Lanes` lanes side by side along K, 16 bytes each and kPieces times;
// `Rows` rows one after another in each lane. The layout depends on the state's type alone, so sums are taken in the
// same order in any batch.
template <class T, class S, int Lanes, int Rows>
struct Tile {
  static constexpr int kVec = 16 / sizeof(S), kPieces = kDim / (Lanes * kVec);
  static constexpr int kRows = Rows * 32 / Lanes;  // of the warp
  static_assert(Rows <= Lanes && kPieces * Lanes * kVec == kDim && kDim % kRows == 0);
  using State = Vec<S, kVec>[Rows][kPieces];
  using StateType = S;
  using Input = T;

  float bias, decay;  // of the head
  float k[kPieces][kVec], q[kPieces][kVec];
  float alpha, beta, kq;  // kq = k' . q'

  __device__ __forceinline__ static int column(int lane, int piece) { return (piece * Lanes + lane % Lanes) * kVec; }
  // The first of a lane's rows within the warp's; the one whose sums the lane ends up with.
  __device__ __forceinline__ static int row(int lane) { return lane / Lanes * Rows; }
  __device__ __forceinline__ static int own_row(int lane) { return lane / (32 / kRows); }

  __device__ __forceinline__ void load_weights(const GdnUpdateParams& p, int head) {
    bias = __ldg(p.dt_bias + head), decay = __ldg(p.decay + head);
  }

  __device__ __forceinline__ void prepare(const GdnUpdateParams& p, int64_t token, int head, int key_head, int lane) {
    prepare(p, static_cast<const T*>(p.k) + token * p.k_stride + key_head * kDim,
            static_cast<const T*>(p.q) + token * p.q_stride + key_head * kDim,
            load_gate<T>(p.a, p.gate_dtype, token * p.a_stride + head),
            load_gate<T>(p.b, p.gate_dtype, token * p.b_stride + head), lane);
  }

  __device__ __forceinline__ void prepare(const GdnUpdateParams& p, const T* from_k, const T* from_q, float a, float b,
                                          int lane) {
    Vec<T, kVec> k_words[kPieces], q_words[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      k_words[i] = load<kVec>(from_k + column(lane, i)), q_words[i] = load<kVec>(from_q + column(lane, i));
    }
    float kk = 0, qq = 0;
    kq = 0;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      unpack(k_words[i], k[i]), unpack(q_words[i], q[i]);
#pragma unroll
      for (int j = 0; j < kVec; ++j) {
        kk = fmaf(k[i][j], k[i][j], kk), qq = fmaf(q[i][j], q[i][j], qq), kq = fmaf(k[i][j], q[i][j], kq);
      }
    }
    kk = sum_over_lanes<Lanes>(kk), qq = sum_over_lanes<Lanes>(qq), kq = sum_over_lanes<Lanes>(kq);
    const float of_k = rsqrtf(kk + p.eps), of_q = rsqrtf(qq + p.eps) * p.scale;
    kq *= of_k * of_q;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
#pragma unroll
      for (int j = 0; j < kVec; ++j) k[i][j] *= of_k, q[i][j] *= of_q;
    }
    alpha = expf(decay * softplus(a + bias)), beta = beta_of(b);
  }

  template <Keep K>
  __device__ __forceinline__ static void load_state(State& s, const S* from, int lane, uint64_t policy) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        s[r][i] = load_state_word<K == Keep::all, kVec>(from + (row(lane) + r) * kDim + column(lane, i), policy);
      }
    }
  }
  template <Keep K>
  __device__ __forceinline__ static void store_state(const State& s, S* to, int lane, uint64_t policy) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        store_state_word<K != Keep::nothing>(to + (row(lane) + r) * kDim + column(lane, i), s[r][i], policy);
      }
    }
  }

  // Updates s; `v` and what comes back, out, are of own_row(lane).
  __device__ __forceinline__ float advance(State& s, float v, int lane) const {
    float sk[Rows], sq[Rows];
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      sk[r] = sq[r] = 0;
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        float f[kVec];
        unpack(s[r][i], f);
#pragma unroll
        for (int j = 0; j < kVec; ++j) sk[r] = fmaf(f[j], k[i][j], sk[r]), sq[r] = fmaf(f[j], q[i][j], sq[r]);
      }
    }
    int count = Rows;
#pragma unroll
    for (int distance = Lanes / 2; distance > 0; distance /= 2) {
      if (count > 1) {
        const bool upper = lane & distance;
        const auto halve = [&](float(&sums)[Rows]) {
#pragma unroll
          for (int r = 0; r < count / 2; ++r) {
            const float sent = upper ? sums[r] : sums[r + count / 2], kept = upper ? sums[r + count / 2] : sums[r];
            sums[r] = kept + __shfl_xor_sync(~0u, sent, distance);
          }
        };
        halve(sk), halve(sq);
        count /= 2;
      } else {
        sk[0] += __shfl_xor_sync(~0u, sk[0], distance), sq[0] += __shfl_xor_sync(~0u, sq[0], distance);
      }
    }
    const float u = beta * fmaf(-alpha, sk[0], v);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const float of_row = __shfl_sync(~0u, u, lane / Lanes * Lanes + r * (Lanes / Rows));
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        float f[kVec];
        unpack(s[r][i], f);
#pragma unroll
        for (int j = 0; j < kVec; ++j) f[j] = fmaf(of_row, k[i][j], alpha * f[j]);
        s[r][i] = pack<S, kVec>(f);
      }
    }
    return fmaf(alpha, sq[0], u * kq);
  }
};

// A settled state (Context::settled) is read while the kernel ahead still runs. kOne: one token in each row.
template <class Part, int Warps, int Walk, Keep K, bool kOne>
__global__ void __launch_bounds__(Warps * 32)
    tiles_kernel(const __grid_constant__ GdnUpdateParams p, int heads_per_key, bool settled) {
  using S = typename Part::StateType;
  using T = typename Part::Input;
  constexpr int kRows = Part::kRows, kBlocks = kDim / (kRows * Warps * Walk);  // of a head
  static_assert(kBlocks * kRows * Warps * Walk == kDim);
  const int lane = threadIdx.x % 32, heads = static_cast<int>(p.value_heads);
  const int head = static_cast<int>(blockIdx.x / kBlocks) % heads, key_head = head / heads_per_key;
  const int64_t batch_row = blockIdx.x / kBlocks / heads;
  const int first =
      (static_cast<int>(blockIdx.x % kBlocks) * Warps + static_cast<int>(threadIdx.x) / 32) * (kRows * Walk);
  const int tokens = kOne ? 1 : static_cast<int>(p.tokens_per_row);
  const int64_t token = batch_row * tokens;
  Part part;
  part.load_weights(p, head);
  let_next_start();
  if (!settled) wait_for_inputs();
  const int32_t slot = p.slots[batch_row];
  const bool used = slot >= 0 && slot < p.slots_in_pool;
  S* state = static_cast<S*>(p.state) + slot * p.state_slot_stride + (head * kDim + first) * kDim;
  const uint64_t policy = K == Keep::nothing ? 0 : keep_policy();
  typename Part::State s[2];
  if (used) Part::template load_state<K>(s[0], state, lane, policy);
  if (settled) wait_for_inputs();
  const int own = first + Part::own_row(lane);
  const bool writes = lane % (32 / kRows) == 0;
  T* out = static_cast<T*>(p.out) + head * kDim + own;
  const T* v = static_cast<const T*>(p.v) + head * kDim + own;
  if (!used) {
    for (int t = 0; t < tokens && writes; ++t) {
#pragma unroll
      for (int i = 0; i < Walk; ++i) out[(token + t) * p.out_stride + i * kRows] = rounded<T>(0);
    }
    return;
  }
  T values[2];
  if constexpr (kOne) {
    values[0] = v[token * p.v_stride];
    part.prepare(p, token, head, key_head, lane);
  }
#pragma unroll
  for (int i = 0; i < Walk; ++i) {
    if (i + 1 < Walk) {
      Part::template load_state<K>(s[(i + 1) % 2], state + (i + 1) * kRows * kDim, lane, policy);
      if constexpr (kOne) values[(i + 1) % 2] = v[token * p.v_stride + (i + 1) * kRows];
    }
    for (int t = 0; t < tokens; ++t) {
      const int64_t at = token + t;
      if constexpr (!kOne) {
        values[i % 2] = v[at * p.v_stride + i * kRows];
        part.prepare(p, at, head, key_head, lane);
      }
      const float y = part.advance(s[i % 2], as_float(values[i % 2]), lane);
      if (writes) out[at * p.out_stride + i * kRows] = rounded<T>(y);
    }
    Part::template store_state<K>(s[i % 2], state + i * kRows * kDim, lane, policy);
  }
}

}  // namespace mamba::cuda::gdn
