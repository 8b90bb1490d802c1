#pragma once
// paged_attention on a GPU with the bulk copy engine (sm_90 on), 16-bit queries and pages of their type or e4m3.
//
// Idea. The pages' bytes are the bound, so memory must never wait: each warp takes units (the keys of an item for a KV
// head) by itself, from one to the next without a pause, and has a ring of tiles in shared memory that the copy engine
// fills. No warp waits for another one.
//
// Mapping. scores^T = K q^T and sums^T = V^T weights^T with mma.sync: keys and channels are the rows of a product, and
// the query heads of a KV head its eight columns, so that few heads waste little. The weights turn from a result into
// an operand by movmatrix. A warp's lane 0 asks for a tile as soon as the warp has read the one in its place. Where
// units are fewer than warps, a team of a block's warps has one: they take tiles in turn, and make the softmax of their
// parts in shared memory. So a long row needs few items, and each of many short ones one, with nothing to combine.
//
// Layout. A tile is kKeys of K, then of V, in chunks of 128 bytes a row, swizzled. Codes (e4m3) are widened in
// registers; their channels come in the order of the words (see attention_tiles.cuh). Tiles begin at multiples of
// kKeys: without teams a row's bits depend on its own length only.
//
// Channels beyond head_dim up to kD are zeros of the copy engine's. To leave them out took a branch for each 32, and
// few units were bound by the latency of one load of matrices after the other: 64 rows of 1,024 tokens, with 2 heads of
// 128 in one split each 58 us (without it 47, and 37 by teams of six warps).
//
// Bound. Bytes: 2 head_dim elements a key.
#include <algorithm>
#include <type_traits>

#include "cuda/attention.cuh"
#include "cuda/attention_tiles.cuh"
#include "cuda/hopper.cuh"
#include "cuda/mma.cuh"
#include "cuda/tensor_map.h"

namespace mamba::cuda::attention {

template <bool kIsCodes, int kHeadDim, int kTileOfKeys, int kBlockWarps, int kRing>
struct DecodeShape {
  static constexpr bool kCodes = kIsCodes;
  static constexpr int kD = kHeadDim, kKeys = kTileOfKeys, kWarps = kBlockWarps, kStages = kRing;  // kD: padded to 64
  static constexpr int kChunks = kD * (kCodes ? 1 : 2) / 128 > 0 ? kD*(kCodes ? 1 : 2) / 128 : 1;
  static constexpr int kMatrix = kChunks * kKeys * 128, kStage = 2 * kMatrix;  // bytes
  static constexpr size_t kShared = static_cast<size_t>(kWarps) * kStages * kStage + kWarps * kStages * 8 + 1024;
};

struct DecodeMaps {
  CUtensorMap k, v;  // (16-bit word of a token, offset in the page, head, page) in boxes of 64 x box_rows x 1 x 1
};

// A warp's walk over tiles of its units, one after the other.
template <class Shape>
struct DecodeWalk {
  const Job& job;
  const int units, team, step;  // team: warps of a unit; step: units of all warps
  const int first_tile;         // of a unit
  int index;
  Unit unit = {};
  int tile = 0, tiles = 0;

  __device__ __forceinline__ DecodeWalk(const Job& j, int warp, bool teams)
      : job(j),
        units(units_of(j, 8, true)),
        team(teams ? warps_of_unit(units) : 1),
        step(Shape::kWarps / team * static_cast<int>(gridDim.x)),
        first_tile(warp % team),
        // Neighbouring units go to different multiprocessors.
        index(static_cast<int>(blockIdx.x) + warp / team * static_cast<int>(gridDim.x) - step) {}

  // As many as leave a team one unit at most.
  static __device__ __forceinline__ int warps_of_unit(int units) {
#pragma unroll
    for (int team = Shape::kWarps; team > 1; --team) {
      if (Shape::kWarps % team == 0 && units <= Shape::kWarps / team * static_cast<int>(gridDim.x)) return team;
    }
    return 1;
  }
  __device__ __forceinline__ bool next_unit() {
    for (index += step; index < units; index += step) {
      unit = unit_of(job, index, 8, true);
      if (unit.rows == 0) continue;
      const int first = unit.begin / Shape::kKeys;
      tile = first + first_tile;
      tiles = unit.end > unit.begin ? (unit.end - 1) / Shape::kKeys + 1 : first;
      return true;
    }
    return false;
  }
  // Units without tiles are passed over.
  __device__ __forceinline__ bool next_tile() {
    if (index < units) tile += team;
    while (tile >= tiles) {
      if (!next_unit()) return false;
    }
    return true;
  }
};

template <class T, class Shape>
struct DecodeWarp {
  static constexpr int kD = Shape::kD, kKeys = Shape::kKeys;
  const Job& job;
  const DecodeMaps& maps;
  uint8_t* const memory;  // of the block: a ring for each warp
  const uint32_t ring;    // address of the warp's
  uint64_t* const full;
  const int lane, box_rows, shift, head_dim;
  hopper::RingPlace place = {};
  uint32_t queries[kD / 16][2];
  float sums[kD / 16][4], maximum[2], total[2];
  int first[2], last[2];  // keys of the lane's columns

  // By all lanes; they agree.
  __device__ __forceinline__ void copy_tile(const DecodeWalk<Shape>& at, int to) const {
    const int boxes = kKeys / box_rows, row = lane * box_rows, key = at.tile * kKeys + row;
    int page = -1;
    if (lane < boxes && key >> shift < job.context.max_pages) page = at.unit.block_table[key >> shift];
    if (lane == 0) hopper::barrier_expect(full + to, Shape::kStage);
    __syncwarp();
    if (lane < boxes) {
      const uint32_t k = ring + to * Shape::kStage + row * 128;
      const int offset = key & ((1 << shift) - 1);
#pragma unroll
      for (int c = 0; c < Shape::kChunks; ++c) {
        const uint32_t matrix = k + c * kKeys * 128;
        hopper::copy_box_4d(matrix, &maps.k, full + to, 64 * c, offset, at.unit.kv_head, page);
        hopper::copy_box_4d(matrix + Shape::kMatrix, &maps.v, full + to, 64 * c, offset, at.unit.kv_head, page);
      }
    }
    __syncwarp();
  }

  // Column g is a row of the unit.
  __device__ __forceinline__ void begin(const Unit& unit) {
    const int g = lane / 4, t = lane % 4;
    const auto* q =
        static_cast<const uint16_t*>(job.q) + (g < unit.rows ? place_of_row(job, unit, g, job.q_stride) : 0);
#pragma unroll
    for (int c = 0; c < kD / 16; ++c) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int channel = 16 * c + (Shape::kCodes ? 4 * t + i : 2 * t + 8 * i);
        uint32_t pair = 0;
        if (g < unit.rows && channel < head_dim) {
          pair = Shape::kCodes ? q[channel] | static_cast<uint32_t>(q[channel + 2]) << 16
                               : *reinterpret_cast<const uint32_t*>(q + channel);
        }
        queries[c][i] = pair;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[c][i] = 0;
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int position = position_of(job, unit, min(2 * t + j, unit.rows - 1));
      first[j] = max(unit.begin, first_key_of(job, position)), last[j] = min(unit.end - 1, position);
      maximum[j] = -INFINITY, total[j] = 0;
    }
  }

  // A row of a chunk: `piece` of 16 bytes from the token's first.
  static __device__ __forceinline__ uint32_t at(uint32_t matrix, int row, int piece) {
    return tile_at<128>(matrix + piece / 8 * (kKeys * 128), row, piece % 8);
  }

  // Left operands: sixteen keys and 32 channels, as they lie in a tile; 64 channels are on their way together.
  static constexpr int kGroup = 64;
  struct Channels {
    uint32_t words[Shape::kCodes ? 1 : 2][4];

    __device__ __forceinline__ void load_keys(const DecodeWarp& warp, uint32_t k, int first_row, int c) {
      const int row = first_row + warp.lane % 16, piece = warp.lane / 16;
      hopper::load_matrices(words[0], at(k, row, (Shape::kCodes ? c / 16 : c / 8) + piece));
      if constexpr (!Shape::kCodes) hopper::load_matrices(words[1], at(k, row, c / 8 + 2 + piece));
    }
    __device__ __forceinline__ void load_values(const DecodeWarp& warp, uint32_t v, int first_row, int c) {
      const int row = first_row + warp.lane / 16 * 8 + warp.lane % 8, piece = warp.lane / 8 % 2;
      hopper::load_transposed(words[0], at(v, row, (Shape::kCodes ? c / 16 : c / 8) + piece));
      if constexpr (!Shape::kCodes) hopper::load_transposed(words[1], at(v, row, c / 8 + 2 + piece));
    }
    // By the first or the second 16 channels. Words of codes: keys 0 to 7, 8 to 15, the next 16 channels of both; of
    // values 16 channels of keys 0 to 7, the next 16, and both of keys 8 to 15.
    template <bool kValues>
    __device__ __forceinline__ void multiply(float (&to)[4], int half, uint32_t low, uint32_t high) const {
      if constexpr (Shape::kCodes) {
        const uint32_t first = words[0][kValues ? half : 2 * half],
                       second = words[0][kValues ? half + 2 : 2 * half + 1];
        const uint32_t left[4] = {widen_codes<T>(first, false), widen_codes<T>(kValues ? first : second, kValues),
                                  widen_codes<T>(kValues ? second : first, !kValues), widen_codes<T>(second, true)};
        multiply_add<T>(to, left, low, high);
      } else {
        multiply_add<T>(to, words[half], low, high);
      }
    }
  };

  __device__ __forceinline__ void attend(const Unit& unit, int tile) {
    const uint32_t k = ring + place.index * Shape::kStage, v = k + Shape::kMatrix;
    const int first_key = tile * kKeys;
    float scores[kKeys / 16][4];
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[m][i] = 0;
    }
#pragma unroll
    for (int c = 0; c < kD; c += kGroup) {
      Channels left[kKeys / 16][kGroup / 32];
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
        for (int h = 0; h < kGroup / 32; ++h) left[m][h].load_keys(*this, k, 16 * m, c + 32 * h);
      }
#pragma unroll
      for (int i = 0; i < kGroup / 16; ++i) {
#pragma unroll
        for (int m = 0; m < kKeys / 16; ++m) {
          left[m][i / 2].template multiply<false>(scores[m], i % 2, queries[c / 16 + i][0], queries[c / 16 + i][1]);
        }
      }
    }

    // Columns 2 t and 2 t + 1; keys g and g + 8 of each 16.
    const int g = lane / 4;
    const float scale = job.context.scale * job.pages.k_scale * kLog2e;
    float shrink[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float grown = maximum[j];
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int key = first_key + 16 * m + g + 8 * r;
          float& score = scores[m][2 * r + j];
          score = key >= first[j] && key <= last[j] ? score * scale : -INFINITY;
          grown = fmaxf(grown, score);
        }
      }
#pragma unroll
      for (int i = 4; i < 32; i *= 2) grown = fmaxf(grown, __shfl_xor_sync(~0u, grown, i));
      const float base = grown == -INFINITY ? 0 : grown;  // no key yet
      shrink[j] = fast_exp2(maximum[j] - base);
      maximum[j] = grown;
      total[j] *= shrink[j];
#pragma unroll
      for (int m = 0; m < kKeys / 16; ++m) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float& score = scores[m][2 * r + j];
          score = fast_exp2(score - base);
          total[j] += score;
        }
      }
    }
#pragma unroll
    for (int c = 0; c < kD / 16; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[c][i] *= shrink[i % 2];
    }
#pragma unroll
    for (int m = 0; m < kKeys / 16; ++m) {
      const uint32_t low = hopper::transposed(hopper::pack<T>(scores[m][0], scores[m][1]));
      const uint32_t high = hopper::transposed(hopper::pack<T>(scores[m][2], scores[m][3]));
#pragma unroll
      for (int c = 0; c < kD; c += kGroup) {
        Channels left[kGroup / 32];
#pragma unroll
        for (int h = 0; h < kGroup / 32; ++h) left[h].load_values(*this, v, 16 * m, c + 32 * h);
#pragma unroll
        for (int i = 0; i < kGroup / 16; ++i) left[i / 2].template multiply<true>(sums[c / 16 + i], i % 2, low, high);
      }
    }
  }

  // V of keys after the unit's last: their weights are zeros, but what lies there may be NaN. K's scores are masked.
  __device__ __forceinline__ void clear_tail(const Unit& unit, int tile) const {
    const int there = unit.end - tile * kKeys;
    if (there >= kKeys) return;
    const uint32_t v = ring + place.index * Shape::kStage + Shape::kMatrix;
    const int pieces = (kKeys - there) * 8;
    for (int i = lane; i < pieces * Shape::kChunks; i += 32) {
      asm volatile(
          "st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(v + (i / pieces * kKeys + there) * 128 + i % pieces * 16),
          "r"(0)
          : "memory");
    }
    hopper::fence_async();
    __syncwarp();
  }

  __device__ __forceinline__ void write_out(const Unit& unit) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 4; i < 32; i *= 2) total[j] += __shfl_xor_sync(~0u, total[j], i);
      const int row = 2 * t + j;
      if (row >= unit.rows) continue;
      const float factor = total[j] > 0 ? job.pages.v_scale / total[j] : 0;
      const int64_t partial = unit.item >= 0 ? place_of_partial(job, unit, row) : 0;
      const int64_t out = place_of_row(job, unit, row, job.out_stride);
#pragma unroll
      for (int c = 0; c < kD / 16; ++c) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int channel = 16 * c + (Shape::kCodes ? 2 * g + r : g + 8 * r);
          if (channel >= head_dim) continue;
          const float value = sums[c][2 * r + j] * factor;
          if (unit.item >= 0) {
            job.partial_out[partial * head_dim + channel] = value;
          } else {
            static_cast<T*>(job.out)[out + channel] = T(value);
          }
        }
      }
      if (unit.item >= 0 && g == 0) {
        job.partial_lse[partial] = total[j] > 0 ? maximum[j] + log2f(total[j]) : -INFINITY;
      }
    }
  }

  // The same of the parts that a team's warps have of their unit. They lie in the rings: the team has no other unit.
  __device__ __forceinline__ void write_together(const Unit& unit, int team) const {
    constexpr int kRow = kD + 4, kOfWarp = Shape::kStages * Shape::kStage / 4;  // floats; rows begin in other banks
    static_assert(kOfWarp >= 8 * kRow + 16);
    const int g = lane / 4, t = lane % 4, warp = static_cast<int>(threadIdx.x) / 32, first = warp / team * team;
    // A warp has sums of 8 rows, their maxima, their totals.
    const float* const parts = reinterpret_cast<float*>(memory) + first * kOfWarp;
    float* const own = reinterpret_cast<float*>(memory) + warp * kOfWarp;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float of_row = total[j];
#pragma unroll
      for (int i = 4; i < 32; i *= 2) of_row += __shfl_xor_sync(~0u, of_row, i);
      const int row = 2 * t + j;
      if (g == 0) own[8 * kRow + row] = maximum[j], own[8 * kRow + 8 + row] = of_row;
#pragma unroll
      for (int c = 0; c < kD / 16; ++c) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          own[row * kRow + 16 * c + (Shape::kCodes ? 2 * g + r : g + 8 * r)] = sums[c][2 * r + j];
        }
      }
    }
    __syncwarp();
    asm volatile("bar.sync %0, %1;" ::"r"(1 + warp / team), "r"(32 * team) : "memory");
    for (int i = static_cast<int>(threadIdx.x) - 32 * first; i < unit.rows * kD; i += 32 * team) {
      const int row = i / kD, channel = i % kD;
      if (channel >= head_dim) continue;
      float largest = -INFINITY, sum = 0, all = 0;
      for (int w = 0; w < team; ++w) largest = fmaxf(largest, parts[w * kOfWarp + 8 * kRow + row]);
      const float base = largest == -INFINITY ? 0 : largest;  // no key
      for (int w = 0; w < team; ++w) {
        const float* part = parts + w * kOfWarp;
        const float weight = fast_exp2(part[8 * kRow + row] - base);
        sum = fmaf(weight, part[row * kRow + channel], sum);
        all = fmaf(weight, part[8 * kRow + 8 + row], all);
      }
      const float value = all > 0 ? sum * (job.pages.v_scale / all) : 0;
      if (unit.item >= 0) {
        const int64_t partial = place_of_partial(job, unit, row);
        job.partial_out[partial * head_dim + channel] = value;
        if (channel == 0) job.partial_lse[partial] = all > 0 ? largest + log2f(all) : -INFINITY;
      } else {
        static_cast<T*>(job.out)[place_of_row(job, unit, row, job.out_stride) + channel] = T(value);
      }
    }
  }

  // `ahead` is kStages tiles further than `now`, if there are so many. Of settled pages the first ones are asked for
  // before the inputs are there, as long as they are of keys before this step's.
  __device__ __forceinline__ void run(DecodeWalk<Shape> now, DecodeWalk<Shape> ahead, bool settled) {
    int asked = 0;
    bool waited = false;
    const auto wait = [&] {
      if (!waited) wait_for_inputs(), let_next_start();
      waited = true;
    };
    if (!settled) wait();
    for (; asked < Shape::kStages && ahead.next_tile(); ++asked) {
      if ((ahead.tile + 1) * kKeys > ahead.unit.first_position) wait();
      copy_tile(ahead, asked);
    }
    wait();
    const bool all = asked < Shape::kStages;
    bool more = !all;
    while (now.next_unit()) {
      begin(now.unit);
      for (; now.tile < now.tiles; now.tile += now.team) {
        hopper::barrier_wait(full + place.index, place.phase);
        clear_tail(now.unit, now.tile);
        attend(now.unit, now.tile);
        __syncwarp();
        if (more) more = ahead.next_tile();
        if (more) copy_tile(ahead, place.index);
        place.advance(Shape::kStages);
      }
      if (now.team == 1) {
        write_out(now.unit);
      } else {
        write_together(now.unit, now.team);
      }
    }
  }
};

template <class T, class Shape>
__global__ __launch_bounds__(Shape::kWarps * 32) void attention_decode_kernel(const __grid_constant__ Job job,
                                                                              const __grid_constant__ DecodeMaps maps,
                                                                              int box_rows, bool teams, bool settled) {
#if __CUDA_ARCH__ >= 900
  extern __shared__ uint8_t raw[];
  uint8_t* memory = raw + (1024 - shared_address(raw) % 1024) % 1024;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  auto* full =
      reinterpret_cast<uint64_t*>(memory + Shape::kWarps * Shape::kStages * Shape::kStage) + warp * Shape::kStages;
  if (lane == 0) {
    for (int i = 0; i < Shape::kStages; ++i) hopper::barrier_init(full + i, 1);
    hopper::barrier_init_fence();
    hopper::prefetch_map(&maps.k);
    hopper::prefetch_map(&maps.v);
  }
  __syncwarp();
  const DecodeWalk<Shape> walk(job, warp, teams);
  DecodeWarp<T, Shape> decode{job,
                              maps,
                              memory,
                              shared_address(memory) + warp * Shape::kStages * Shape::kStage,
                              full,
                              lane,
                              box_rows,
                              __ffs(static_cast<int>(job.pages.page_size)) - 1,
                              static_cast<int>(job.pages.head_dim)};
  decode.run(walk, walk, settled);
#endif
}

// Whether nothing but the rope_store_kv before, which stores this step's tokens, has written the pages since the last
// full stop: guesses of several tokens are passes of one graph.
inline bool settled(const KvPages& pages, const Context& context) {
  const auto once = [&](const Pool& pool) { return context.written_pools.times(pool.data, pool.bytes) <= 1; };
  return once(pages.k_pool()) && once(pages.v_pool());
}

// False if the driver refuses one of the maps.
template <class T, class Shape>
bool launch_decode(const Job& job, int64_t items, Context& context) {
  const KvPages& pages = job.pages;
  const int box_rows = static_cast<int>(std::min<int64_t>(pages.page_size, Shape::kKeys));
  const int64_t width = Shape::kCodes ? pages.head_dim / 2 : pages.head_dim;
  const auto pool = [&](const void* base, int64_t page_stride) {
    return encode_tensor_map<4>(base, job.dtype, {width, pages.page_size, pages.kv_heads, pages.pages},
                                {width, pages.page_size * width, Shape::kCodes ? page_stride / 2 : page_stride},
                                {64, box_rows, 1, 1});
  };
  const auto k = pool(pages.k, pages.k_page_stride), v = pool(pages.v, pages.v_page_stride);
  if (!k || !v) return false;
  const int64_t units = items * pages.kv_heads * ((job.query_len * job.group + 7) / 8);
  const auto resident = static_cast<int64_t>(kHopperShared / (Shape::kShared + 1024));
  const auto blocks = std::min<int64_t>(context.multiprocessors * std::max<int64_t>(1, resident), units);
  // A row's team depends on the others.
  const bool teams = !context.deterministic;
  launch(context, {.grid = blocks, .block = Shape::kWarps * 32, .shared_bytes = Shape::kShared},
         attention_decode_kernel<T, Shape>, job, {*k, *v}, box_rows, teams, settled(pages, context));
  return true;
}

}  // namespace mamba::cuda::attention
