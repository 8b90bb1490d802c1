#pragma once
// attention_varlen on Hopper's matrix unit, 16-bit pages of the queries' type.
//
// Idea. FlashAttention-3 (Shah et al.): one warp copies pages into a ring with the copy engine, two or three groups of
// four warps compute, 64 queries of one head each. A group multiplies q by the next tile's keys and its weights by this
// tile's values in one go, and takes the softmax of the former while the latter runs; the groups take turns at issuing
// products, so that one's softmax lies beside another's products. Blocks stay and take units (a tile of a head) back
// and forth over their number: tiles come with the longest context first, so that a block's units are about as long as
// any other's.
//
// Layout. A tile of keys is kChunks of 64 channels, each kKeys rows of 128 bytes, swizzled. Channels beyond
// head_dim, tokens beyond q and pages outside of the pool are zeros by the copy engine; tokens beyond the last key of
// a sequence are made zeros (of V only: their weights are zero, but what lies there may be NaN). Outputs go through the
// queries' place to whole words.
//
// Bound. 4 head_dim multiply-adds a query and key that it sees, half a tile more a query; an exponential for each pair.
#include <algorithm>

#include "cuda/attention_products.cuh"
#include "cuda/attention_walk_copy.cuh"
#include "cuda/mma.cuh"
#include "cuda/tensor_map.h"

namespace mamba::cuda::attention {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// Products and softmax: a group of four warps.
template <class T, class Shape>
struct WalkGroup {
  static constexpr int kD = Shape::kD, kKeys = Shape::kKeys;
  const Job& job;
  const WalkShared<Shape>& shared;
  const int group, thread, lane, warp;
  const float scale;  // of a score, for powers of two
  const bool never;   // false
  hopper::RingPlace k = {}, v = {}, q = {};
  float scores[kKeys / 2], sums[kD / 2], maximum[2], total[2], shrink[2];
  uint32_t weights[kKeys / 4];  // four of each 16 keys

  __device__ __forceinline__ uint32_t query_tile() const {
    return shared.q + (q.index * Shape::kGroups + group) * Shape::kQuery;
  }

  __device__ __forceinline__ void multiply_keys() {
    using namespace hopper;
    const uint64_t a = describe_along_sum(query_tile()), b = describe_along_sum(shared.k + k.index * Shape::kTile);
    products_begin();
#pragma unroll
    for (int c = 0; c < kD / 16; ++c) {
      const int chunk = c / 4, step = c % 4 * 2;  // units of 16 bytes
      multiply_along<T, kKeys>(scores, a + chunk * (64 * 128 / 16) + step, b + chunk * (kKeys * 128 / 16) + step,
                               c > 0);
    }
    products_commit();
  }
  __device__ __forceinline__ void multiply_values() {
    using namespace hopper;
    const uint64_t b = describe_across_sum(shared.v + v.index * Shape::kTile, kKeys * 128);
    products_begin();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) multiply_across<T, kD>(sums, weights + 4 * i, b + i * (2048 / 16));
    products_commit();
  }

  // Uses that never happen, behind a branch. Weights: until here the products read them (see hold in hopper.cuh).
  // Scores: ptxas (13.0) moves a wait for products up within its block of instructions, above the softmax that should
  // lie beside them, but not over a branch.
  template <int kCount, class R>
  __device__ __forceinline__ void hold_words(const R (&words)[kCount]) {
    if (__builtin_expect(never, 0)) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(shared.q + 4 * i), "r"(as_word(words[i])),
                     "r"(as_word(words[i + 1])), "r"(as_word(words[i + 2])), "r"(as_word(words[i + 3]))
                     : "memory");
      }
    }
  }
  static __device__ __forceinline__ uint32_t as_word(float x) { return __float_as_uint(x); }
  static __device__ __forceinline__ uint32_t as_word(uint32_t x) { return x; }

  __device__ __forceinline__ void release(uint64_t* empty) const {
    if (lane == 0) hopper::barrier_arrive(empty);
  }

  // Scores of keys that a query does not see become -inf. `first` and `last` are of the tile's first key and this
  // thread's first row.
  __device__ __forceinline__ void mask(const WalkUnit& unit, int tile) {
    const int key = tile * kKeys, position = unit.position + 64 * group + 16 * warp + lane / 4;
    const int window = static_cast<int>(job.context.window);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int last = position + 8 * r - key - lane % 4 * 2;
      const int first = window > 0 ? last - window + 1 : INT32_MIN;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (8 * j + i > last || 8 * j + i < first) scores[4 * j + 2 * r + i] = -INFINITY;
        }
      }
    }
  }

  // Scores to weights, in place; shrink is what the sums so far have to be multiplied by.
  __device__ __forceinline__ void softmax() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float grown = maximum[r], other = -INFINITY;
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
        grown = fmaxf(grown, scores[4 * j + 2 * r]);
        other = fmaxf(other, scores[4 * j + 2 * r + 1]);
      }
      grown = fmaxf(grown, other);
      grown = fmaxf(grown, __shfl_xor_sync(~0u, grown, 1));
      grown = fmaxf(grown, __shfl_xor_sync(~0u, grown, 2));
      const float base = grown == -INFINITY ? 0 : grown * scale;
      shrink[r] = fast_exp2(fmaf(maximum[r], scale, -base));
      maximum[r] = grown;
      float sum[2] = {};
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& score = scores[4 * j + 2 * r + i];
          score = fast_exp2(fmaf(score, scale, -base));
          sum[i] += score;
        }
      }
      total[r] = fmaf(total[r], shrink[r], sum[0] + sum[1]);
    }
  }
  __device__ __forceinline__ void pack_weights() {
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = 8 * i + j / 2 * 4 + j % 2 * 2;
        weights[4 * i + j] = hopper::pack<T>(scores[at], scores[at + 1]);
      }
    }
  }
  __device__ __forceinline__ void rescale() {
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) sums[i] *= shrink[i / 2 % 2];
  }

  // V of tokens beyond the last key.
  __device__ __forceinline__ void clear_tail(const WalkUnit& unit, int tile) {
    const int there = unit.kv_len - tile * kKeys;
    if (there >= kKeys) return;
    const uint32_t from = shared.v + v.index * Shape::kTile;
    const int pieces = (kKeys - there) * 8;
    for (int i = thread; i < pieces * Shape::kChunks; i += 128) {
      const uint32_t to = from + (i / pieces * kKeys + there) * 128 + i % pieces * 16;
      asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
    }
    hopper::fence_async();
    group_sync(group);
  }

  // The scores of a tile beside the sums of the one before it.
  template <bool kMasked>
  __device__ __forceinline__ void step(const WalkUnit& unit, int tile) {
    using namespace hopper;
    barrier_wait(shared.full_k + k.index, k.phase);
    turn_wait(group);
    multiply_keys();
    rescale();
    barrier_wait(shared.full_v + v.index, v.phase);
    multiply_values();
    turn_give((group + 1) % Shape::kGroups);
    products_wait<1>();
    pin(scores);
    release(shared.empty_k + k.index);
    k.advance(Shape::kStagesK);
    if (kMasked) mask(unit, tile);
    softmax();
    hold_words(scores);
    products_wait<0>();
    pin(sums);
    hold_words(weights);
    release(shared.empty_v + v.index);
    v.advance(Shape::kStagesV);
    pack_weights();
  }

  __device__ __forceinline__ void run_unit(const WalkUnit& unit) {
    using namespace hopper;
    const int last = unit.first_tile + unit.tiles - 1;
    // Tiles that all of the group's queries see whole.
    const int position = unit.position + 64 * group, window = static_cast<int>(job.context.window);
    const int first_whole = window > 0 ? (max(0, position + 64 - window) + kKeys - 1) / kKeys : 0;
    const int whole_end = (position + 1) / kKeys;
#pragma unroll
    for (int i = 0; i < kD / 2; ++i) sums[i] = 0;
    maximum[0] = maximum[1] = -INFINITY;
    total[0] = total[1] = 0;

    barrier_wait(shared.full_k + k.index, k.phase);
    turn_wait(group);
    multiply_keys();
    turn_give((group + 1) % Shape::kGroups);
    products_wait<0>();
    pin(scores);
    release(shared.empty_k + k.index);
    k.advance(Shape::kStagesK);
    if (unit.first_tile < first_whole || unit.first_tile >= whole_end) mask(unit, unit.first_tile);
    softmax();
    pack_weights();
    int tile = unit.first_tile + 1;
    for (; tile <= last && tile < first_whole; ++tile) step<true>(unit, tile);
    for (; tile <= last && tile < whole_end; ++tile) step<false>(unit, tile);
    for (; tile <= last; ++tile) step<true>(unit, tile);
    rescale();
    barrier_wait(shared.full_v + v.index, v.phase);
    clear_tail(unit, last);
    multiply_values();
    products_wait<0>();
    pin(sums);
    hold_words(weights);
    release(shared.empty_v + v.index);
    v.advance(Shape::kStagesV);
    write_out(unit);
  }

  // To the place of the queries, which all of the group have read, and from there in words of 16 bytes.
  __device__ __forceinline__ void write_out(const WalkUnit& unit) {
    using namespace hopper;
    float factor[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] += __shfl_xor_sync(~0u, total[r], 1);
      total[r] += __shfl_xor_sync(~0u, total[r], 2);
      factor[r] = total[r] > 0 ? job.pages.v_scale / total[r] : 0;
    }
    const uint32_t tile = query_tile();
    const uint32_t to = tile_at<128>(tile, 16 * warp + lane % 16, lane / 16);
#pragma unroll
    for (int i = 0; i < kD / 16; ++i) {
      const float* s = sums + 8 * i;
      store_matrices(further(to, i % 4 * 32) + i / 4 * (64 * 128), hopper::pack<T>(s[0] * factor[0], s[1] * factor[0]),
                     hopper::pack<T>(s[2] * factor[1], s[3] * factor[1]),
                     hopper::pack<T>(s[4] * factor[0], s[5] * factor[0]),
                     hopper::pack<T>(s[6] * factor[1], s[7] * factor[1]));
    }
    group_sync(group);
    constexpr int kPieces = kD / 8;
    T* out = static_cast<T*>(job.out) + (unit.token + 64 * group) * job.out_stride + unit.head * kD;
#pragma unroll 4
    for (int i = thread; i < 64 * kPieces; i += 128) {
      const int row = i / kPieces, piece = i % kPieces;
      if (64 * group + row >= unit.rows) break;
      uint4 word;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(word.x), "=r"(word.y), "=r"(word.z), "=r"(word.w)
                   : "r"(tile_at<128>(tile + piece / 8 * (64 * 128), row, piece % 8))
                   : "memory");
      *reinterpret_cast<uint4*>(out + row * job.out_stride + 8 * piece) = word;
    }
    fence_async();
  }

  __device__ __forceinline__ void run() {
    if (group == Shape::kGroups - 1) turn_give(0);
    for (;;) {
      hopper::barrier_wait(shared.full_q + q.index * Shape::kGroups + group, q.phase);
      const WalkUnit unit = shared.units[q.index];
      if (unit.tiles == 0) break;
      run_unit(unit);
      __syncwarp();
      release(shared.empty_q + q.index * Shape::kGroups + group);
      q.advance(Shape::kStagesQ);
    }
  }
};

#endif  // sm_90a

template <class T, class Shape>
__global__ __launch_bounds__(Shape::kThreads, 1) void attention_walk_kernel(const __grid_constant__ Job job,
                                                                            const __grid_constant__ WalkMaps maps,
                                                                            int box_rows, bool never) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ uint8_t memory[];
  const WalkShared<Shape> shared(memory);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    shared.init();
    hopper::prefetch_map(&maps.q);
    hopper::prefetch_map(&maps.k);
    hopper::prefetch_map(&maps.v);
  }
  __syncthreads();
  wait_for_inputs();
  let_next_start();
  if (thread < 128) {
    hopper::registers_less<Shape::kGroups == 3 ? 32 : 24>();
    if (thread < 32) {
      WalkCopy<Shape>{job, maps, shared, box_rows, thread, __ffs(static_cast<int>(job.pages.page_size)) - 1}.run();
    }
  } else {
    hopper::registers_more<Shape::kGroups == 3 ? 160 : 240>();
    const int group = thread / 128 - 1;
    WalkGroup<T, Shape> walk{job,
                             shared,
                             group,
                             thread % 128,
                             thread % 32,
                             thread % 128 / 32,
                             job.context.scale * job.pages.k_scale * kLog2e,
                             never};
    walk.run();
  }
#endif
}

// False if the driver refuses one of the maps. `tokens`: of q. Tiles have Shape::kRows tokens.
template <class T, class Shape>
bool launch_walk(const Job& job, int64_t tokens, Context& context) {
  const KvPages& pages = job.pages;
  int box_rows = static_cast<int>(pages.page_size);
  while (Shape::kKeys % box_rows != 0) box_rows /= 2;
  const auto q = encode_tensor_map<3>(job.q, job.dtype, {pages.head_dim, job.heads, tokens},
                                      {pages.head_dim, job.q_stride}, {64, 1, 64});
  const auto pool = [&](const void* base, int64_t page_stride) {
    return encode_tensor_map<4>(base, job.dtype, {pages.head_dim, pages.page_size, pages.kv_heads, pages.pages},
                                {pages.head_dim, pages.page_size * pages.head_dim, page_stride}, {64, box_rows, 1, 1});
  };
  const auto k = pool(pages.k, pages.k_page_stride), v = pool(pages.v, pages.v_page_stride);
  if (!q || !k || !v) return false;
  const auto blocks = std::min<int64_t>(context.multiprocessors, int64_t{job.tiles} * job.heads);
  launch(context, {.grid = blocks, .block = Shape::kThreads, .shared_bytes = Shape::kShared},
         attention_walk_kernel<T, Shape>, job, {*q, *k, *v}, box_rows, false);
  return true;
}

}  // namespace mamba::cuda::attention
