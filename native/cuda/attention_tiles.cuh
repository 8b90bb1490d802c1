#pragma once
// Attention of 16-bit activations with mma.sync, for prompts and for single tokens, on any GPU from sm_80 on.
//
// Idea. FlashAttention: a block keeps its queries, walks the keys in tiles and rescales its sums when a maximum grows.
// Heads that share a KV head are rows of one block, so that pages are read once for all of them. Tiles of keys begin
// at multiples of kTileKeys, and no sum crosses rows: a row's bits depend on its position and keys only.
//
// Mapping. Four warps: kWarpRows of them along the rows, 16 each, the others along the keys of a tile (with few rows
// all four); those that share rows have sums of their own until the end. Units of work (Unit) are taken in turn.
//
// Layout. Tiles of rows of kRow bytes, 16-byte piece i of row r at i ^ (r % 8). Tokens beyond the last key, channels
// beyond head_dim and pages outside of the pool are zeros. Codes (e4m3) stay codes in shared memory and are widened in
// registers: a 32-bit word of K holds channels 4 t to 4 t + 3, so the channels of q are put in the order in which the
// words give them; a word of V holds two keys of two channels, and sums have their columns in that order.
//
// Bound. Bytes where there are few rows: 2 head_dim elements a key. A prompt: the products, 4 head_dim a query and key.
#include <type_traits>

#include "cuda/attention.cuh"
#include "cuda/hopper.cuh"
#include "cuda/mma.cuh"
#include "cuda/shared_memory.cuh"

namespace mamba::cuda::attention {

inline constexpr int kTilesThreads = 128, kTileKeys = 64;

template <bool kCodes, int kD, int kWarpRows>
struct TilesShape {
  static constexpr int kRows = 16 * kWarpRows;
  static constexpr int kQueryRow = 2 * kD;                              // bytes
  static constexpr int kRow = kCodes ? (kD < 128 ? 128 : kD) : 2 * kD;  // bytes of a token of K or V
  static constexpr int kTile = kTileKeys * kRow, kStage = 2 * kTile;    // K, then V
  static constexpr int kStages = kStage > 32768 ? 2 : kStage > 16384 ? 3 : 4;
  static constexpr int kGroups = 4 / kWarpRows;                         // warps that share rows
  static constexpr int kMergeRow = kD + 8;                              // floats; no bank meets another row's
  static constexpr int kMerge = kGroups * kRows * (kMergeRow + 2) * 4;  // in the place of the stages
  static constexpr int kQueries = kRows * kQueryRow;
  static constexpr int kShared = kQueries + (kStages * kStage > kMerge ? kStages * kStage : kMerge);
};

// Two codes as 16-bit floats: those in the even bytes of a word, or those in the odd ones. Exact: the bits at their
// places, with the difference of the exponents' biases made up for by a product.
template <class T>
__device__ __forceinline__ uint32_t widen_codes(uint32_t word, bool odd) {
  constexpr int kShift = std::is_same_v<T, __half> ? 1 : 4;
  const uint32_t at_top = odd ? word : word << 8;
  const uint32_t bits = (at_top & 0x80008000u) | ((at_top & 0x7f007f00u) >> kShift);
  uint32_t value;
  if constexpr (std::is_same_v<T, __half>) {
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(value) : "r"(bits), "r"(0x5c005c00u), "r"(0x80008000u));  // 2^8
  } else {
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(value) : "r"(bits), "r"(0x7b807b80u), "r"(0x80008000u));  // 2^120
  }
  return value;
}

template <class T, bool kCodes, int kD, int kWarpRows, bool kPaged>
class TilesBlock {
 public:
  using Shape = TilesShape<kCodes, kD, kWarpRows>;

  __device__ __forceinline__ TilesBlock(const Job& j, uint8_t* memory)
      : job(j),
        shared(memory),
        queries(shared_address(memory)),
        stages(queries + Shape::kQueries),
        head_dim(static_cast<int>(j.pages.head_dim)) {}

  __device__ __forceinline__ void run(const Unit& unit) {
    first_tile = unit.begin / kTileKeys;
    const int tiles = unit.end > unit.begin ? (unit.end - 1) / kTileKeys + 1 - first_tile : 0;
#pragma unroll
    for (int i = 0; i < Shape::kStages - 1; ++i) load_tile(unit, i, tiles);
    load_queries(unit);
    clear();
    for (int i = 0; i < tiles; ++i) {
      wait_for_groups<Shape::kStages - 2>();
      __syncthreads();  // tile i is there, and all are done with tile i - 1
      load_tile(unit, i + Shape::kStages - 1, tiles);
      attend(unit, i);
    }
    wait_for_copies();
    __syncthreads();
    write_out(unit);
    __syncthreads();
  }

 private:
  static constexpr int kKeys = kTileKeys / Shape::kGroups;  // of a warp and tile
  const Job& job;
  uint8_t* shared;
  const uint32_t queries, stages;
  const int head_dim;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int warp_row = warp % kWarpRows * 16, key_group = warp / kWarpRows;
  int first_tile;
  float sums[kD / 8][4], maximum[2], total[2];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kD / 8; ++i) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
    maximum[0] = maximum[1] = -INFINITY;
    total[0] = total[1] = 0;
  }

  // Asks for K and V of a tile, if there is one; a group of copies in any case.
  __device__ __forceinline__ void load_tile(const Unit& unit, int tile, int tiles) {
    constexpr int kElement = kCodes ? 1 : 2, kPieces = kD * kElement / 16;
    if (tile < tiles) {
      const int first = (first_tile + tile) * kTileKeys;
      const uint32_t stage = stages + tile % Shape::kStages * Shape::kStage;
      const auto* k = static_cast<const uint8_t*>(job.pages.k);
      const auto* v = static_cast<const uint8_t*>(job.pages.v);
#pragma unroll
      for (int i = 0; i < kTileKeys * kPieces / kTilesThreads; ++i) {
        const int index = threadIdx.x + i * kTilesThreads, row = index / kPieces, piece = index % kPieces;
        const int key = first + row, channel = piece * (16 / kElement);
        const int64_t k_place = key < unit.end ? place_of_token(job, unit, key, job.pages.k_page_stride) : -1;
        const bool there = k_place >= 0 && channel < head_dim;
        const int64_t v_place = job.pages.v_page_stride == job.pages.k_page_stride || !there
                                    ? k_place
                                    : place_of_token(job, unit, key, job.pages.v_page_stride);
        const uint32_t to = tile_at<Shape::kRow>(stage, row, piece);
        copy_async(to, k + (there ? (k_place + channel) * kElement : 0), there ? 16 : 0);
        copy_async(to + Shape::kTile, v + (there ? (v_place + channel) * kElement : 0), there ? 16 : 0);
      }
    }
    commit_copies();
  }

  // Pairs of channels of q; with codes those in the order of widen_codes.
  __device__ __forceinline__ void load_queries(const Unit& unit) {
    for (int i = threadIdx.x; i < Shape::kRows * kD / 2; i += kTilesThreads) {
      const int row = i / (kD / 2), pair = i % (kD / 2);
      uint32_t value = 0;
      if (row < unit.rows) {
        const auto* from = static_cast<const uint16_t*>(job.q) + place_of_row(job, unit, row, job.q_stride);
        if constexpr (kCodes) {
          // Pair j of 16 channels: 4 j and 4 j + 2 for j < 4, 4 (j - 4) + 1 and 4 (j - 4) + 3 for the others.
          const int channel = pair / 8 * 16 + pair % 4 * 4 + pair % 8 / 4;
          if (channel < head_dim) value = from[channel] | static_cast<uint32_t>(from[channel + 2]) << 16;
        } else {
          if (2 * pair < head_dim) value = *reinterpret_cast<const uint32_t*>(from + 2 * pair);
        }
      }
      const uint32_t to = tile_at<Shape::kQueryRow>(queries, row, pair / 4) + pair % 4 * 4;
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(value) : "memory");
    }
  }

  // scores = q k^T of the warp's rows and keys.
  __device__ __forceinline__ void multiply_keys(float (&scores)[kKeys / 8][4], uint32_t k_tile) {
    using namespace hopper;
    const int key = key_group * kKeys;
    const uint32_t q = tile_at<Shape::kQueryRow>(queries, warp_row + lane % 16, lane / 16);
    const uint32_t k = tile_at<Shape::kRow>(k_tile, key + lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int i = 0; i < kKeys / 8; ++i) scores[i][0] = scores[i][1] = scores[i][2] = scores[i][3] = 0;
#pragma unroll
    for (int c = 0; c < kD; c += 32) {
      if (c >= head_dim) break;
      uint32_t left[2][4];
      load_matrices(left[0], further(q, 2 * c));
      load_matrices(left[1], further(q, 2 * c + 32));
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        if constexpr (kCodes) {
          uint32_t codes[4];  // keys 0 to 7 and 16 channels, the next 16; keys 8 to 15
          load_matrices(codes, further(k, c) + 16 * Shape::kRow * i);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            multiply_add<T>(scores[2 * i + j / 2], left[j % 2], widen_codes<T>(codes[j], false),
                            widen_codes<T>(codes[j], true));
          }
        } else {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            uint32_t right[4];
            load_matrices(right, further(k, 2 * c + 32 * j) + 16 * Shape::kRow * i);
            multiply_add<T>(scores[2 * i], left[j], right[0], right[1]);
            multiply_add<T>(scores[2 * i + 1], left[j], right[2], right[3]);
          }
        }
      }
    }
  }

  // sums += weights v
  __device__ __forceinline__ void multiply_values(const uint32_t (&weights)[kKeys / 16][4], uint32_t v_tile) {
    using namespace hopper;
    const uint32_t v = tile_at<Shape::kRow>(v_tile, key_group * kKeys + lane % 16, lane / 16);
#pragma unroll
    for (int c = 0; c < kD; c += 32) {
      if (c >= head_dim) break;
#pragma unroll
      for (int i = 0; i < kKeys / 16; ++i) {
        if constexpr (kCodes) {
          uint32_t codes[4];  // 16 channels of keys 0 to 7, of 8 to 15; the next 16
          load_transposed(codes, further(v, c) + 16 * Shape::kRow * i);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int odd = j % 2, half = j / 2 * 2;
            multiply_add<T>(sums[c / 8 + j], weights[i], widen_codes<T>(codes[half], odd),
                            widen_codes<T>(codes[half + 1], odd));
          }
        } else {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            uint32_t right[4];
            load_transposed(right, further(v, 2 * c + 32 * j) + 16 * Shape::kRow * i);
            multiply_add<T>(sums[c / 8 + 2 * j], weights[i], right[0], right[1]);
            multiply_add<T>(sums[c / 8 + 2 * j + 1], weights[i], right[2], right[3]);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void attend(const Unit& unit, int tile) {
    const uint32_t stage = stages + tile % Shape::kStages * Shape::kStage;
    const int key = (first_tile + tile) * kTileKeys + key_group * kKeys;
    if (key >= unit.end || warp_row >= unit.rows) return;
    float scores[kKeys / 8][4];
    multiply_keys(scores, stage);
    const float scale = job.context.scale * job.pages.k_scale * kLog2e;
    uint32_t weights[kKeys / 16][4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int position = position_of(job, unit, warp_row + g + 8 * r);
      const int first = max(unit.begin, first_key_of(job, position)) - key;
      const int last = min(unit.end - 1, position) - key;
      float grown = maximum[r];
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int column = 8 * i + 2 * t + j;
          float& score = scores[i][2 * r + j];
          score = column >= first && column <= last ? score * scale : -INFINITY;
          grown = fmaxf(grown, score);
        }
      }
      grown = fmaxf(grown, __shfl_xor_sync(~0u, grown, 1));
      grown = fmaxf(grown, __shfl_xor_sync(~0u, grown, 2));
      const float base = grown == -INFINITY ? 0 : grown;  // no key yet
      const float shrink = fast_exp2(maximum[r] - base);
      maximum[r] = grown;
      total[r] *= shrink;
#pragma unroll
      for (int i = 0; i < kKeys / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& score = scores[i][2 * r + j];
          score = fast_exp2(score - base);
          total[r] += score;
        }
      }
#pragma unroll
      for (int i = 0; i < kD / 8; ++i) sums[i][2 * r] *= shrink, sums[i][2 * r + 1] *= shrink;
    }
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        weights[i][j] = hopper::pack<T>(scores[2 * i + j / 2][j % 2 * 2], scores[2 * i + j / 2][j % 2 * 2 + 1]);
      }
    }
    multiply_values(weights, stage + Shape::kTile);
  }

  // The sums of the warps that share rows are added up in shared memory, which also puts channels in order.
  __device__ __forceinline__ void write_out(const Unit& unit) {
    constexpr int kColumns = Shape::kMergeRow, kRows = Shape::kRows, kGroups = Shape::kGroups;
    auto* values = reinterpret_cast<float*>(shared + Shape::kQueries);  // [kGroups][kRows][kColumns]
    float* maxima = values + kGroups * kRows * kColumns;                // [kGroups][kRows]
    float* totals = maxima + kGroups * kRows;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      total[r] += __shfl_xor_sync(~0u, total[r], 1);
      total[r] += __shfl_xor_sync(~0u, total[r], 2);
      const int row = key_group * kRows + warp_row + g + 8 * r;
      if (t == 0) maxima[row] = maximum[r], totals[row] = total[r];
#pragma unroll
      for (int i = 0; i < kD / 8; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          // With codes tile i has the even or the odd ones of 16 channels.
          const int column = kCodes ? i / 2 * 16 + 4 * t + 2 * j + i % 2 : 8 * i + 2 * t + j;
          values[row * kColumns + column] = sums[i][2 * r + j];
        }
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < unit.rows * (head_dim / 2); i += kTilesThreads) {
      const int row = i / (head_dim / 2), channel = i % (head_dim / 2) * 2;
      float largest = maxima[row];
#pragma unroll
      for (int j = 1; j < kGroups; ++j) largest = fmaxf(largest, maxima[j * kRows + row]);
      float2 sum = {};
      float all = 0;
#pragma unroll
      for (int j = 0; j < kGroups; ++j) {
        const int of = j * kRows + row;
        const float weight = maxima[of] == -INFINITY ? 0 : fast_exp2(maxima[of] - largest);
        const float2 part = *reinterpret_cast<const float2*>(values + of * kColumns + channel);
        sum.x = fmaf(weight, part.x, sum.x), sum.y = fmaf(weight, part.y, sum.y);
        all = fmaf(weight, totals[of], all);
      }
      const float factor = all > 0 ? job.pages.v_scale / all : 0;
      if (kPaged && unit.item >= 0) {
        const int64_t to = place_of_partial(job, unit, row);
        *reinterpret_cast<float2*>(job.partial_out + to * head_dim + channel) = {sum.x * factor, sum.y * factor};
        if (channel == 0) job.partial_lse[to] = all > 0 ? largest + log2f(all) : -INFINITY;
      } else {
        const int64_t to = place_of_row(job, unit, row, job.out_stride) + channel;
        *reinterpret_cast<uint32_t*>(static_cast<uint16_t*>(job.out) + to) =
            hopper::pack<T>(sum.x * factor, sum.y * factor);
      }
    }
  }
};

template <class T, bool kCodes, int kD, int kWarpRows, bool kPaged>
__global__ __launch_bounds__(kTilesThreads) void attention_tiles_kernel(const __grid_constant__ Job job) {
  extern __shared__ __align__(128) uint8_t memory[];
  constexpr int kRows = TilesShape<kCodes, kD, kWarpRows>::kRows;
  wait_for_inputs();
  let_next_start();
  TilesBlock<T, kCodes, kD, kWarpRows, kPaged> block(job, memory);
  const int units = units_of(job, kRows, kPaged);
  for (int index = static_cast<int>(blockIdx.x); index < units; index += static_cast<int>(gridDim.x)) {
    const Unit unit = unit_of(job, index, kRows, kPaged);
    if (unit.rows > 0) block.run(unit);
  }
}

}  // namespace mamba::cuda::attention
