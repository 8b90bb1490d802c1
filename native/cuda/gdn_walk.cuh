#pragma once
// gdn_chunk, the chain over chunks (gdn_parts.cuh): S, U and out of each.
//
// Idea. Rows of S [V, K] are independent, and with S and U^T as left operands every product's sums are the left operand
// of the next, so the chain stays in the registers of a warpgroup:
//   Y = S K^T;  X = V^T - Y diag(y);  U^T = X T^T;  S <- total S + (U^T diag(u)) K
//   Z = S Q^T;  out^T = Z diag(q) + U^T M^T
// K, Q, T and M come as they lie in memory; norms and decays (y, u, q) are factors of columns, applied to sums in
// float.
//
// Mapping. A block walks the chunks of one (segment, head), and goes on to its next item. Two warpgroups of 64 rows of
// S each share a ring of chunks in shared memory, which a warp of a third fills with bulk tensor copies. While one
// warpgroup rounds its sums, the other one multiplies. Products of out lie under the chain: Z under the rounding of U,
// and U^T M^T under the next chunk's rounding of S. Two more warps of the third store rows of out.
//
// Numbers. Products of 16-bit operands (S, X, U, T, M rounded), sums in float; S stays in float. Rows of a chunk past
// its last token belong to the next sequence: those of K, V and T are zeroed (0 x NaN), those of out are not stored.
//
// Bound. A chunk and head is 2 x 64 x 64 x (2 x 128 + 64 + 128 + 64) multiply-adds, 2048 cycles of the matrix unit
// (1280 without out), and reads 64 KB.
#include "cuda/gdn_walk_feed.cuh"

namespace mamba::cuda::gdn {

// A row of the pool's states, columns 2 t and + 1 of each 8.
template <class S>
__device__ __forceinline__ void load_slot(float (&s)[64], const S* from) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      const S* at = from + 8 * r * kDim + 8 * j;
      float2 v;
      if constexpr (sizeof(S) == 4) {
        v = *reinterpret_cast<const float2*>(at);
      } else {
        v = hopper::unpack<S>(*reinterpret_cast<const uint32_t*>(at));
      }
      s[4 * j + 2 * r] = v.x, s[4 * j + 2 * r + 1] = v.y;
    }
  }
}
template <class S>
__device__ __forceinline__ void store_slot(const float (&s)[64], S* to) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      S* at = to + 8 * r * kDim + 8 * j;
      const float a = s[4 * j + 2 * r], b = s[4 * j + 2 * r + 1];
      if constexpr (sizeof(S) == 4) {
        *reinterpret_cast<float2*>(at) = {a, b};
      } else {
        *reinterpret_cast<uint32_t*>(at) = hopper::pack<S>(a, b);
      }
    }
  }
}
template <class Use>
__device__ __forceinline__ void with_slot(const GdnChunkParams& p, int64_t slot, int head, int row, int column,
                                          Use use) {
  const int64_t i = slot * p.state_slot_stride + (static_cast<int64_t>(head) * kDim + row) * kDim + column;
  if (p.state_dtype == DType::f32) {
    use(static_cast<float*>(p.state) + i);
  } else if (p.state_dtype == DType::bf16) {
    use(static_cast<__nv_bfloat16*>(p.state) + i);
  } else {
    use(static_cast<__half*>(p.state) + i);
  }
}

// A thread's two rows of P as combine_kernel's right operand: columns of P are rows of 128 bytes, and along them lie
// rows of P, in the order of its left operand: four tiles of 128 x 32.
__device__ __forceinline__ void store_turned(const float (&s)[64], uint8_t* to, int row) {
  asm volatile("" : "+r"(row));  // no place is known before the loop over chunks
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int k = row + 8 * r, at = k / 8 * 8 + k % 8 / 2 + k % 2 * 4, piece = at % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = static_cast<int>(threadIdx.x) % 4 * 2 + i;
      uint8_t* tile = to + at / 32 * 16384 + column * 128 + (piece ^ column) * 16 + at % 4 * 4;
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        *reinterpret_cast<uint32_t*>(tile + j * 1024) = hopper::round_tf32(s[4 * j + 2 * r + i]);
      }
    }
  }
}

// Warp w of a group has rows 16 w to 16 w + 15 of its 64, a thread rows g and g + 8 of those, columns 8 j + 2 t and
// + 1.
template <class T, GdnPass kPass>
__device__ __forceinline__ void advance(const GdnChunkParams& p, const GdnMaps& maps, Walk<kPass>& shared, int group) {
  using namespace hopper;
  constexpr bool kOut = kPass == GdnPass::out;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int row = 64 * group + 16 * warp + g;  // of S
  const bool never = p.tokens < 0;
  // Where 8 x 8 matrices of v and out lie, as their threads address them: token, then two pieces of 8 channels.
  const uint32_t place = (lane / 16 * 8 + lane % 8) * 128 + (((2 * warp + lane / 8 % 2) ^ lane) % 8) * 16;
  RingPlace ring;
  float s[64], y[32], z[32];
  uint32_t left[8][4];
#pragma unroll
  for (int i = 0; i < 64; ++i) s[i] = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) z[i] = 0;

  // Waits for the step that the ring is at; whether there is one.
  int4 head_of_step;  // token, tokens, head, flags
  const auto ready = [&] {
    barrier_wait(shared.full + ring.index, ring.phase);
    head_of_step = *reinterpret_cast<const int4*>(shared.step + ring.index);
    const int tokens = head_of_step.y;
    if (tokens != 0 && tokens < kTokens) {
      auto& stage = shared.stage[ring.index];
      for (int i = 8 * tokens + static_cast<int>(threadIdx.x) - 128; i < 8 * kTokens; i += 256) {
        for (uint8_t* tile : {stage.k[0], stage.k[1], stage.t, stage.v[0], stage.v[1]}) {
          reinterpret_cast<uint4*>(tile)[i] = uint4{};
        }
      }
      fence_async();
      asm volatile("bar.sync 1, 256;" ::: "memory");
    }
    return tokens != 0;
  };
  const auto begin_state = [&] {
    const int flags = head_of_step.w;
    if (!(flags & Step::first)) return;
    const Step& step = shared.step[ring.index];
    if (flags & Step::from_slot) {
      with_slot(p, step.slot, step.head, row, 2 * t, [&](const auto* from) { load_slot(s, from); });
    } else if (step.from) {
      load_kept(s, step.from, group, threadIdx.x % 128);
    } else {
#pragma unroll
      for (int i = 0; i < 64; ++i)
        s[i] = (flags & Step::identity) && row + i / 2 % 2 * 8 == i / 4 * 8 + 2 * t + i % 2 ? 1.0f : 0.0f;
    }
  };
  const auto end_state = [&](const Step& step, int flags) {
    if (!(flags & (Step::last + Step::kept))) return;
    if (flags & Step::kept) {
      with_slot(p, step.snapshot, step.head, row, 2 * t, [&](auto* to) { store_slot(s, to); });
      if (!(flags & Step::last)) return;
    }
    if constexpr (!kOut) {
      flags& Step::identity ? store_turned(s, step.to, row) : store_kept(s, step.to, group, threadIdx.x % 128);
    } else if (flags & Step::to_slot) {
      with_slot(p, step.slot, step.head, row, 2 * t, [&](auto* to) { store_slot(s, to); });
    }
  };
  const auto begin_y = [&] {
    pack_sums<T>(left, s);
    const uint64_t k = describe_along_sum(shared_address(shared.stage[ring.index].k));
    products_begin();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      multiply_along<T>(y, left[i], k + ((i / 4 * kTileBytes + i % 4 * 32) >> 4), i != 0);
    }
    products_commit();
  };
  // V^T and the factors of Y; Y ends, and then nothing is under way: ptxas gives up on products that are where a loop
  // goes back.
  uint32_t x[4][4];
  float2 of_y[8];
  const auto end_y = [&] {
    const auto& stage = shared.stage[ring.index];
    const Gates& gates = shared.gates[ring.index];
    const float total = gates.total;
#pragma unroll
    for (int k = 0; k < 4; ++k) load_transposed(x[k], shared_address(stage.v[group]) + place + k * 2048);
#pragma unroll
    for (int j = 0; j < 8; ++j) of_y[j] = *reinterpret_cast<const float2*>(gates.y + 8 * j + 2 * t);
#pragma unroll
    for (int i = 0; i < 64; ++i) s[i] *= total;
    products_wait<0>();
    pin(y);
  };

  uint32_t out_phase = 0;
  bool more = ready();
  if (more) begin_state();
  begin_y();
  end_y();
  while (more) {
    const int index = ring.index;
    auto& stage = shared.stage[index];
    const Gates& gates = shared.gates[index];
    const Step& step = shared.step[index];
    const int4 of_step = head_of_step;
    const bool with_v = kOut || !(of_step.w & Step::identity);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        uint32_t& pair = x[j / 2][j % 2 * 2 + r];
        if (!with_v) pair = 0;
        const float2 v = hopper::unpack<T>(pair);
        pair = pack_operands<T>(fmaf(-of_y[j].x, y[4 * j + 2 * r], v.x), fmaf(-of_y[j].y, y[4 * j + 2 * r + 1], v.y));
      }
    }
    {
      const uint64_t of_t = describe_along_sum(shared_address(stage.t));
      products_begin();
#pragma unroll
      for (int k = 0; k < 4; ++k) multiply_along<T>(y, x[k], of_t + ((k * 32) >> 4), k != 0);
      products_commit();
    }
    if constexpr (kOut) {  // under the rounding of U
      const uint64_t q = describe_along_sum(shared_address(stage.q));
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        multiply_along<T>(z, left[i], q + ((i / 4 * kTileBytes + i % 4 * 32) >> 4), i != 0);
      }
      products_commit();
    }
    float2 of_u[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) of_u[j] = *reinterpret_cast<const float2*>(gates.u + 8 * j + 2 * t);
    products_wait<kOut ? 1 : 0>();
    pin(y);
    hold(x, never);
    float2 of_q[8];
    if constexpr (kOut) {
#pragma unroll
      for (int j = 0; j < 8; ++j) of_q[j] = *reinterpret_cast<const float2*>(gates.q + 8 * j + 2 * t);
    }
    uint32_t weighted[4][4], written[4][4];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        weighted[j / 2][j % 2 * 2 + r] =
            pack_operands<T>(y[4 * j + 2 * r] * of_u[j].x, y[4 * j + 2 * r + 1] * of_u[j].y);
      }
    }
    {
      const uint64_t k = describe_across_sum(shared_address(stage.k), kTileBytes);
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; ++i) multiply_add_across<T>(s, weighted[i], k + ((i * 2048) >> 4));
      products_commit();
    }
    if constexpr (kOut) {
      pack_sums<T>(written, y);
      products_wait<1>();
      pin(z);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) z[4 * j + i] *= i % 2 ? of_q[j].y : of_q[j].x;
      }
      const uint64_t m = describe_along_sum(shared_address(stage.m));
      products_begin();
#pragma unroll
      for (int i = 0; i < 4; ++i) multiply_along<T>(z, written[i], m + ((i * 32) >> 4), 1);
      products_commit();
    }
    hold(left, never);
    ring.advance(Walk<kPass>::kStages);
    more = ready();
    products_wait<kOut ? 1 : 0>();
    pin(s);
    hold(weighted, never);
    end_state(step, of_step.w);
    if (more) begin_state();
    begin_y();  // also, of whatever lies there, if there is no step: ptxas wants products on every path
    if constexpr (kOut) {
      products_wait<1>();
      pin(z);
      hold(written, never);
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.empty + index);
    if constexpr (kOut) {
      barrier_wait(shared.out_empty + group, out_phase ^ 1);
      out_phase ^= 1;
      const uint32_t tile = shared_address(shared.out[group]) + place;
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        const float* v = z + 4 * j;
        store_transposed(tile + j * 1024, hopper::pack<T>(v[0], v[1]), hopper::pack<T>(v[2], v[3]),
                         hopper::pack<T>(v[4], v[5]), hopper::pack<T>(v[6], v[7]));
      }
      if (threadIdx.x % 128 == 0) shared.out_of[group] = of_step;
      __syncwarp();
      if (lane == 0) barrier_arrive(shared.out_full + group);
    }
    end_y();
  }
  if constexpr (kOut) {
    barrier_wait(shared.out_empty + group, out_phase ^ 1);
    if (threadIdx.x % 128 == 0) shared.out_of[group].y = 0;
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.out_full + group);
  }
}

template <class T, GdnPass kPass>
__global__ void __launch_bounds__(kWalkThreads, 1)
    walk_kernel(const __grid_constant__ GdnChunkParams p, const __grid_constant__ GdnMaps maps,
                const __grid_constant__ Scratch scratch) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace hopper;
  extern __shared__ __align__(1024) uint8_t raw[];
  auto& shared = *reinterpret_cast<Walk<kPass>*>(raw);
  if (threadIdx.x == 0) {
    if (shared_address(raw) % 1024 != 0) __trap();
    for (int i = 0; i < Walk<kPass>::kStages; ++i) barrier_init(shared.full + i, 1), barrier_init(shared.empty + i, 8);
    if constexpr (kPass == GdnPass::out) {
      for (int i = 0; i < 2; ++i) barrier_init(shared.out_full + i, 4), barrier_init(shared.out_empty + i, 1);
    }
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 128), 0);  // ptxas sees that it is uniform
  if (group == 0) {
    registers_less<56>();
    if (threadIdx.x < 32) {
      feed<kPass>(p, maps, scratch, shared);
    } else if constexpr (kPass == GdnPass::out) {
      if (threadIdx.x < 96) store_out<T>(p, shared, threadIdx.x / 32 - 1);
    }
  } else {
    registers_more<224>();
    advance<T, kPass>(p, maps, shared, group - 1);
  }
#endif
}

}  // namespace mamba::cuda::gdn
