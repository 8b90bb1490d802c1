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
// warpgroup rounds its sums, the other one multiplies. Products of out lie under those of the chain: Z under X, and
// U^T M^T under the next chunk's Y.
//
// Numbers. Products of 16-bit operands (S, X, U, T, M rounded), sums in float; S stays in float. Rows of a chunk past
// its last token belong to the next sequence: those of K, V and T are zeroed (0 x NaN), those of out are not stored.
//
// Bound. A chunk and head is 2 x 64 x 64 x (2 x 128 + 64 + 128 + 64) multiply-adds, 2048 cycles of the matrix unit
// (1280 without out), and reads 64 KB.
#include "cuda/gdn_gates.cuh"
#include "cuda/gdn_parts.cuh"

namespace mamba::cuda::gdn {

inline constexpr int kWalkThreads = 384;

// One chunk of a walk, for the warpgroups. A segment's `first` brings its state, its `last` says where the state goes.
struct Step {
  int token, tokens, head, slot;  // tokens = 0: there are no more steps
  int snapshot;                   // a slot that gets the state after it too; none where it is outside the pool
  bool first, last, identity;     // identity: S is P, from S = I without V
  bool from_slot, to_slot;        // else from or to memory below, or from zeros if that is null
  const uint8_t* from;
  uint8_t* to;
};

template <GdnPass kPass>
struct Walk;
template <>
struct Walk<GdnPass::out> {
  static constexpr int kStages = 3;
  struct Stage {
    uint8_t k[2][kTileBytes], t[kTileBytes], v[2][kTileBytes], q[2][kTileBytes], m[kTileBytes];
  };
  Stage stage[kStages];
  uint8_t out[2][kTileBytes];
  Gates gates[kStages];
  Step step[kStages];
  uint64_t full[kStages], empty[kStages];
};
template <>
struct Walk<GdnPass::states> {
  static constexpr int kStages = 4;
  struct Stage {
    uint8_t k[2][kTileBytes], t[kTileBytes], v[2][kTileBytes];
  };
  Stage stage[kStages];
  Gates gates[kStages];
  Step step[kStages];
  uint64_t full[kStages], empty[kStages];
};

template <int kCount>
struct Ring {
  int index = 0;
  uint32_t phase = 0;
  __device__ void advance() {
    if (++index == kCount) index = 0, phase ^= 1;
  }
};

// The items of this block, one after another: a warp looks at 32 candidates at a time.
template <GdnPass kPass>
struct Items {
  static constexpr int kOfHead = kPass == GdnPass::states ? 2 : 1;  // S and P
  int base, of_entry, end, lane;
  uint32_t found = 0;
  Segment mine = {};

  __device__ Items(const GdnChunkParams& p, const Scratch& scratch)
      : base(static_cast<int>(blockIdx.x) - 32 * static_cast<int>(gridDim.x)),
        of_entry(static_cast<int>(p.value_heads) * kOfHead),
        end(scratch.entries * of_entry),
        lane(threadIdx.x % 32) {}

  // The item's number, -1 at the end.
  __device__ int next(const Scratch& scratch, Segment& segment) {
    while (found == 0) {
      base += 32 * static_cast<int>(gridDim.x);
      if (base >= end) return -1;
      const int item = base + lane * static_cast<int>(gridDim.x);
      mine.chunks = 0;
      if (item < end) mine = scratch.segments[item / of_entry];
      bool here = mine.chunks > 0;
      if constexpr (kPass == GdnPass::states) {  // the last one has no successor, the first one no need of P
        here = here && mine.index + 1 < mine.count && (item % 2 == 0 || mine.index > 0);
      }
      found = __ballot_sync(~0u, here);
    }
    const int from = __ffs(static_cast<int>(found)) - 1;
    found &= found - 1;
    const auto get = [from](int32_t v) { return __shfl_sync(~0u, v, from); };
    segment = {get(mine.chunk),
               get(mine.chunks),
               get(mine.slot),
               get(mine.initial),
               get(mine.index),
               get(mine.count),
               get(mine.sequence_chunks),
               0};
    return base + from * static_cast<int>(gridDim.x);
  }
};

template <GdnPass kPass>
__device__ __forceinline__ void feed(const GdnChunkParams& p, const GdnMaps& maps, const Scratch& scratch,
                                     Walk<kPass>& shared) {
  using namespace hopper;
  constexpr bool kOut = kPass == GdnPass::out;
  constexpr int kAhead = Walk<kPass>::kStages + 2;
  Ring<Walk<kPass>::kStages> ring;
  Items<kPass> items(p, scratch);
  const int heads_per_key = static_cast<int>(p.value_heads / p.key_heads), lane = threadIdx.x % 32;
  Segment segment;
  for (int item = items.next(scratch, segment); item >= 0; item = items.next(scratch, segment)) {
    const int head = item % items.of_entry / Items<kPass>::kOfHead, key_head = head / heads_per_key;
    const bool identity = !kOut && item % 2 != 0;
    if (lane != 0) continue;
    if (segment.index == 0 && segment.initial && !identity) {  // asked for steps before it is needed
      const int bytes = p.state_dtype == DType::f32 ? 4 : 2;
      const auto at = reinterpret_cast<uintptr_t>(p.state) +
                      (segment.slot * p.state_slot_stride + static_cast<int64_t>(head) * kDim * kDim) * bytes;
      prefetch_l2(reinterpret_cast<const void*>(at / 16 * 16), kDim * kDim * bytes);
    }
    Step step = {.head = head, .slot = segment.slot, .identity = identity};
    step.from_slot = segment.index == 0 && segment.initial;
    if (kOut) {
      step.from = segment.index == 0 ? nullptr : scratch.state(p, segment.chunk_of(segment.index - 1), head, 0);
      step.to_slot = segment.index + 1 == segment.count;
    } else {
      step.to = scratch.state(p, segment.chunk, head, identity);
    }
    const Gates* gates = scratch.gates + static_cast<int64_t>(segment.chunk) * p.value_heads + head;
    const int32_t* bounds = p.cu_chunk_seqlens + segment.chunk;
    int begin = bounds[0], end = bounds[1];
    for (int i = 0; i < segment.chunks; ++i, ring.advance(), gates += p.value_heads) {
      const int next_end = i + 1 < segment.chunks ? bounds[i + 2] : 0;  // used a chunk later
      auto& stage = shared.stage[ring.index];
      uint64_t* barrier = shared.full + ring.index;
      barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
      step.token = begin, step.tokens = min(kTokens, end - begin);
      step.first = i == 0, step.last = i + 1 == segment.chunks;
      step.snapshot = kOut && p.chunk_slots ? __ldg(p.chunk_slots + segment.chunk + i) : -1;
      shared.step[ring.index] = step;
      barrier_expect(barrier, (identity ? 3 : kOut ? 8 : 5) * kTileBytes + sizeof(Gates));
      for (int j = 0; j < 2; ++j) copy_box_3d(stage.k[j], &maps.k, barrier, 64 * j, key_head, begin);
      bulk_load(&shared.gates[ring.index], gates, sizeof(Gates), barrier);
      if constexpr (kOut) {
        for (int j = 0; j < 2; ++j) copy_box_3d(stage.q[j], &maps.q, barrier, 64 * j, key_head, begin);
      }
      if (!identity) {
        for (int j = 0; j < 2; ++j) copy_box_3d(stage.v[j], &maps.v, barrier, 64 * j, head, begin);
      }
      copy_box_3d(stage.t, &maps.out, barrier, 0, head, begin);
      if constexpr (kOut) copy_box_3d(stage.m, &maps.out, barrier, 64, head, begin);
      // What is copied some steps later; a key head's first value head asks for k and q.
      if (i + kAhead < segment.chunks) {
        const int token = begin + kAhead * kTokens;
        if (head % heads_per_key == 0) {
          for (int j = 0; j < 2; ++j) prefetch_box_3d(&maps.k, 64 * j, key_head, token);
          for (int j = 0; j < 2 && kOut; ++j) prefetch_box_3d(&maps.q, 64 * j, key_head, token);
        }
        for (int j = 0; j < 2 && !identity; ++j) prefetch_box_3d(&maps.v, 64 * j, head, token);
        prefetch_box_3d(&maps.out, 0, head, token);
        if (kOut) prefetch_box_3d(&maps.out, 64, head, token);
      }
      begin = end, end = next_end;
    }
  }
  if (lane != 0) return;
  barrier_wait(shared.empty + ring.index, ring.phase ^ 1);
  shared.step[ring.index].tokens = 0;
  barrier_arrive(shared.full + ring.index);
}

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

// P as right operands of combine_kernel: rounded to bf16, and what that leaves; two tiles of 128 rows x 64 each.
__device__ __forceinline__ void store_split(const float (&s)[64], uint8_t* to, int row, int t) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      const float a = s[4 * j + 2 * r], b = s[4 * j + 2 * r + 1];
      const uint32_t high = hopper::pack<__nv_bfloat16>(a, b);
      const float2 rounded = hopper::unpack<__nv_bfloat16>(high);
      uint8_t* at = to + j / 8 * 16384 + (row + 8 * r) * 128 + ((j ^ (row + 8 * r)) % 8) * 16 + 4 * t;
      *reinterpret_cast<uint32_t*>(at) = high;
      *reinterpret_cast<uint32_t*>(at + 32768) = hopper::pack<__nv_bfloat16>(a - rounded.x, b - rounded.y);
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
  Ring<Walk<kPass>::kStages> ring;
  float s[64], y[32], z[32];
  uint32_t left[8][4];
#pragma unroll
  for (int i = 0; i < 64; ++i) s[i] = 0;
#pragma unroll
  for (int i = 0; i < 32; ++i) z[i] = 0;

  // Waits for the step that the ring is at; whether there is one.
  const auto ready = [&] {
    barrier_wait(shared.full + ring.index, ring.phase);
    const int tokens = shared.step[ring.index].tokens;
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
    const Step& step = shared.step[ring.index];
    if (!step.first) return;
    if (step.from_slot && !step.identity) {
      with_slot(p, step.slot, step.head, row, 2 * t, [&](const auto* from) { load_slot(s, from); });
    } else if (step.from) {
      load_kept(s, step.from, group, threadIdx.x % 128);
    } else {
#pragma unroll
      for (int i = 0; i < 64; ++i)
        s[i] = step.identity && row + i / 2 % 2 * 8 == i / 4 * 8 + 2 * t + i % 2 ? 1.0f : 0.0f;
    }
  };
  const auto end_state = [&](const Step& step) {
    if (kOut && step.snapshot >= 0 && step.snapshot < p.slots_in_pool) {
      with_slot(p, step.snapshot, step.head, row, 2 * t, [&](auto* to) { store_slot(s, to); });
    }
    if (!step.last) return;
    if constexpr (!kOut) {
      step.identity ? store_split(s, step.to, row, t) : store_kept(s, step.to, group, threadIdx.x % 128);
    } else if (step.to_slot) {
      with_slot(p, step.slot, step.head, row, 2 * t, [&](auto* to) { store_slot(s, to); });
    }
  };
  const auto begin_y = [&] {
    pack_sums<T>(left, s);
    const uint64_t k = describe_along_sum(smem_address(shared.stage[ring.index].k));
    products_begin();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      multiply_along<T>(y, left[i], k + ((i / 4 * kTileBytes + i % 4 * 32) >> 4), i != 0);
    }
    products_commit();
  };
  // From Y under way to U^T in y and Z: nothing is under way then. (ptxas gives up on products that are, where a loop
  // goes back.) Also, of whatever lies there, if there is no step: it wants products on every path.
  const auto write = [&] {
    const auto& stage = shared.stage[ring.index];
    const Gates& gates = shared.gates[ring.index];
    if constexpr (kOut) {
      const uint64_t q = describe_along_sum(smem_address(stage.q));
      products_begin();
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        multiply_along<T>(z, left[i], q + ((i / 4 * kTileBytes + i % 4 * 32) >> 4), i != 0);
      }
      products_commit();
    }
    const float total = gates.total;
    uint32_t x[4][4];  // V^T, then X
#pragma unroll
    for (int k = 0; k < 4; ++k) load_transposed(x[k], smem_address(stage.v[group]) + place + k * 2048);
    if (!kOut && shared.step[ring.index].identity) {
#pragma unroll
      for (int i = 0; i < 16; ++i) x[i / 4][i % 4] = 0;
    }
#pragma unroll
    for (int i = 0; i < 64; ++i) s[i] *= total;
    products_wait<kOut ? 1 : 0>();
    pin(y);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 factor = *reinterpret_cast<const float2*>(gates.y + 8 * j + 2 * t);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        uint32_t& pair = x[j / 2][j % 2 * 2 + r];
        const float2 v = hopper::unpack<T>(pair);
        pair = pack_operands<T>(fmaf(-factor.x, y[4 * j + 2 * r], v.x), fmaf(-factor.y, y[4 * j + 2 * r + 1], v.y));
      }
    }
    const uint64_t of_t = describe_along_sum(smem_address(stage.t));
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_along<T>(y, x[k], of_t + ((k * 32) >> 4), k != 0);
    products_commit();
    products_wait<0>();
    pin(y), pin(z);
    hold(left, never), hold(x, never);
  };

  bool more = ready();
  if (more) begin_state();
  begin_y();
  write();
  while (more) {
    const int index = ring.index;
    auto& stage = shared.stage[index];
    const Gates& gates = shared.gates[index];
    const Step& step = shared.step[index];
    uint32_t weighted[4][4], written[4][4];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 of_u = *reinterpret_cast<const float2*>(gates.u + 8 * j + 2 * t);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float a = y[4 * j + 2 * r], b = y[4 * j + 2 * r + 1];
        weighted[j / 2][j % 2 * 2 + r] = pack_operands<T>(a * of_u.x, b * of_u.y);
        if constexpr (kOut) written[j / 2][j % 2 * 2 + r] = pack_operands<T>(a, b);
      }
      if constexpr (kOut) {
        const float2 of_q = *reinterpret_cast<const float2*>(gates.q + 8 * j + 2 * t);
#pragma unroll
        for (int i = 0; i < 4; ++i) z[4 * j + i] *= i % 2 ? of_q.y : of_q.x;
      }
    }
    const uint64_t k = describe_across_sum(smem_address(stage.k), kTileBytes);
    products_begin();
#pragma unroll
    for (int i = 0; i < 4; ++i) multiply_add_across<T>(s, weighted[i], k + ((i * 2048) >> 4));
    products_commit();
    if constexpr (kOut) {
      const uint64_t m = describe_along_sum(smem_address(stage.m));
#pragma unroll
      for (int i = 0; i < 4; ++i) multiply_along<T>(z, written[i], m + ((i * 32) >> 4), 1);
      products_commit();
    }
    ring.advance();
    more = ready();
    products_wait<kOut ? 1 : 0>();
    pin(s);
    hold(weighted, never);
    end_state(step);
    if (more) begin_state();
    begin_y();
    if constexpr (kOut) {
      products_wait<1>();
      pin(z);
      hold(written, never);
    }
    const int tokens = step.tokens, token = step.token, head = step.head;
    __syncwarp();
    if (lane == 0) barrier_arrive(shared.empty + index);
    if constexpr (kOut) {
      const uint32_t tile = smem_address(shared.out[group]);
      if (threadIdx.x % 128 == 0) copy_out_wait_read();
      asm volatile("bar.sync %0, 128;" ::"r"(2 + group) : "memory");
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        const float* v = z + 4 * j;
        store_transposed(tile + place + j * 1024, hopper::pack<T>(v[0], v[1]), hopper::pack<T>(v[2], v[3]),
                         hopper::pack<T>(v[4], v[5]), hopper::pack<T>(v[6], v[7]));
      }
      fence_async();
      asm volatile("bar.sync %0, 128;" ::"r"(2 + group) : "memory");
      if (tokens == kTokens) {
        if (threadIdx.x % 128 == 0) copy_box_out_3d(&maps.out, tile, 64 * group, head, token);
        copy_out_commit();
      } else {
        for (int i = threadIdx.x % 128; i < 8 * tokens; i += 128) {
          T* out =
              static_cast<T*>(p.out) + static_cast<int64_t>(token + i / 8) * p.out_stride + head * kDim + 64 * group;
          reinterpret_cast<uint4*>(out)[i % 8] = reinterpret_cast<const uint4*>(shared.out[group])[i ^ (i / 8 % 8)];
        }
      }
    }
    write();
  }
  if constexpr (kOut) copy_out_wait();
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
    if (smem_address(raw) % 1024 != 0) __trap();
    for (int i = 0; i < Walk<kPass>::kStages; ++i) barrier_init(shared.full + i, 1), barrier_init(shared.empty + i, 8);
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  const int group = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 128), 0);  // ptxas sees that it is uniform
  if (group == 0) {
    registers_less<72>();
    if (threadIdx.x < 32) feed<kPass>(p, maps, scratch, shared);
  } else {
    registers_more<216>();
    advance<T, kPass>(p, maps, shared, group - 1);
  }
#endif
}

}  // namespace mamba::cuda::gdn
