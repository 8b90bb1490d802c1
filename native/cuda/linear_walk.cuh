#pragma once
// Products of more than 64 rows of x with a large weight, out[m, n] (+)= x[m, k] W[n, k]^T, on Hopper's matrix unit:
// both 16-bit floats of one type, sums in float. And an MLP's gate, what it multiplies and silu in one launch.
//
// Idea. With some hundred rows the library leaves multiprocessors out in its last round of tiles: 1193 x 2560 outputs
// are 100 tiles of 128 x 256 for 132. Here the right operand's width is a multiple of 8, and either side may be the
// left one, so that most m and n have a tile whose rounds come out nearly full; k is not split. Blocks stay and walk
// over the tiles. A sum is one chain of products along k: a row has the bits of linear_rows.cuh's chains, whatever the
// tile.
//
// Mapping. Two warpgroups multiply, each 64 or twice 64 rows of the left operand with all of the right one; a thread
// copies. Blocks are pairs (clusters of two) with the same rows of one operand and neighbouring ones of the other: each
// copies half of the common rows to both, which takes a quarter to a third off what is read from the L2. Tiles along x
// are the fastest, so that those at work together read a part of the weight once from memory.
//
// Layout. A stage is 64 of k: rows of 128 bytes, swizzled, left operand first. What lies beyond a size is zero. With a
// gate the right operand's first half are rows of the gate, the other the same of what it multiplies, so that a thread
// has both of an output. Results go out from registers, in pieces of 16 bytes; what is added to, by the memory.
//
// Bound. The matrix unit; at 256 rows bytes take about as long. In chains on an H200, us, library and this: 256 x 10240
// x 2560 21.8, 20.8; 256 x 24576 x 4096 with its activation, which the library's lacks, 76.5, 72.6; 1193 x 2560 x 9216
// 107.0, 84.9; 1193 x 4096 x 12288 213, 177; 1193 x 5120 x 17408 384, 331. Where a round is full for the library too,
// it is as fast or faster: times choose (gemm_plans.h). More is in native/lab/README.md.
#include "cuda/activation.cuh"
#include "cuda/cluster.cuh"
#include "cuda/hopper_products.cuh"
#include "cuda/launch.cuh"
#include "cuda/linear_walk.h"
#include "ops/linear_activation.h"

namespace mamba::cuda::walk {

inline constexpr int kStageK = 64, kWarpgroups = 2, kThreads = (kWarpgroups + 1) * 128;
inline constexpr uint32_t kRowBytes = kStageK * 2;

// A tile is 64 kEach rows of the left operand for each warpgroup, and kWidth of the right one.
template <bool kWeightLeftOf, int kEachOf, int kWidthOf>
struct Tile {
  static constexpr bool kWeightLeft = kWeightLeftOf;
  static constexpr int kEach = kEachOf, kWidth = kWidthOf, kLeft = 64 * kEach * kWarpgroups;
  static constexpr int kRowsOfX = kWeightLeft ? kWidth : kLeft, kRowsOfWeight = kWeightLeft ? kLeft : kWidth;
  static constexpr uint32_t kLeftBytes = kLeft * kRowBytes, kStageBytes = (kLeft + kWidth) * kRowBytes;
  static constexpr int kStages = static_cast<int>((kHopperShared - 256) / kStageBytes);  // 256: barriers
  static constexpr size_t kShared = size_t{kStages} * kStageBytes + 2 * kStages * 8;
  static constexpr bool kGates = !kWeightLeft && kWidth <= 192;  // rows of the weight may be a gate's
};

struct Maps {
  CUtensorMap x, weight;
};

// The sizes that a launch is made with.
struct Cut {
  int x_tiles, weight_tiles;
  int x_units, units;  // pairs of tiles: along x, which is the fastest, and all
  bool shares_x;       // a pair's tiles are neighbours along the weight; otherwise along x
  int64_t width;       // of a gate and of what it multiplies
  float gate_scale;
};

// A block's tiles in a turn of its pair.
struct Unit {
  int x_tile, weight_tile;
  __device__ __forceinline__ Unit(const Cut& cut, int turn, int rank) {
    const int along_x = turn % cut.x_units, along_weight = turn / cut.x_units;
    x_tile = cut.shares_x ? along_x : 2 * along_x + rank;
    weight_tile = cut.shares_x ? 2 * along_weight + rank : along_weight;
  }
};
__device__ __forceinline__ int steps_of(int64_t k) { return static_cast<int>((k + kStageK - 1) / kStageK); }

// --- copies: one thread ---------------------------------------------------------------------------------------------
template <class Tile, bool kGated>
struct Copies {
  const Maps& maps;
  const Cut& cut;
  uint8_t* stages;
  uint64_t *full, *empty;
  int rank;
  hopper::RingPlace place = {0, 1};

  __device__ __forceinline__ void x(int stage, int step, int tile) const {
    constexpr int kRows = Tile::kRowsOfX;
    uint8_t* to =
        stages + static_cast<uint32_t>(stage) * Tile::kStageBytes + (Tile::kWeightLeft ? Tile::kLeftBytes : 0);
    if (cut.shares_x) {
      const int half = rank * (kRows / 2);
      hopper::copy_box_2d_to(3, to + half * kRowBytes, &maps.x, full + stage, step * kStageK, tile * kRows + half);
    } else {
      hopper::copy_box_2d(to, &maps.x, full + stage, step * kStageK, tile * kRows);
    }
  }

  __device__ __forceinline__ void weight(int stage, int step, int tile) const {
    constexpr int kRows = Tile::kRowsOfWeight, kHalf = kRows / 2;
    uint8_t* to =
        stages + static_cast<uint32_t>(stage) * Tile::kStageBytes + (Tile::kWeightLeft ? 0 : Tile::kLeftBytes);
    uint64_t* barrier = full + stage;
    const int k = step * kStageK, half = rank * kHalf;
    if constexpr (kGated) {
      const int gate = tile * kHalf, up = gate + static_cast<int>(cut.width);
      if (cut.shares_x) {
        hopper::copy_box_2d(to, &maps.weight, barrier, k, gate);
        hopper::copy_box_2d(to + kHalf * kRowBytes, &maps.weight, barrier, k, up);
      } else {
        hopper::copy_box_2d_to(3, to + half * kRowBytes, &maps.weight, barrier, k, rank == 0 ? gate : up);
      }
    } else if (cut.shares_x) {
      hopper::copy_box_2d(to, &maps.weight, barrier, k, tile * kRows);
    } else {
      hopper::copy_box_2d_to(3, to + half * kRowBytes, &maps.weight, barrier, k, tile * kRows + half);
    }
  }

  // The weight's first stages are asked for before the inputs are there; more would delay these, for the copies of a
  // multiprocessor come in order.
  __device__ __forceinline__ void run(int64_t k, int pair, int pairs) {
    constexpr int kAhead = 2;
    const int steps = steps_of(k), ahead = pair < cut.units ? min(kAhead, steps) : 0;
    for (int step = 0; step < ahead; ++step) {
      hopper::barrier_expect(full + step, Tile::kStageBytes);
      weight(step, step, Unit(cut, pair, rank).weight_tile);
    }
    wait_for_inputs();
    for (int turn = pair; turn < cut.units; turn += pairs) {
      const Unit unit(cut, turn, rank);
      for (int step = 0; step < steps; ++step, place.advance(Tile::kStages)) {
        const bool early = turn == pair && step < ahead;
        if (!early) {
          hopper::barrier_wait(empty + place.index, place.phase);
          hopper::barrier_expect(full + place.index, Tile::kStageBytes);
        }
        x(place.index, step, unit.x_tile);
        if (!early) weight(place.index, step, unit.weight_tile);
      }
    }
  }
};

// --- results --------------------------------------------------------------------------------------------------------
// Of 16 rows of the left operand a warp has rows lane / 4 and + 8, each thread pairs of neighbours along the right one:
// sums[4 j + 2 h + v] is row lane / 4 + 8 h, column 8 j + 2 (lane % 4) + v.

// The memory adds: nothing is waited for.
__device__ __forceinline__ void add(float* to, float4 v) {
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z),
               "f"(v.w)
               : "memory");
}
__device__ __forceinline__ void add(float* to, float v) {
  asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(to), "f"(v) : "memory");
}

// x on the left: neighbours are outputs. Two lanes exchange floats, four 16-bit ones, so that each has 16 bytes.
template <class T, class Out, int kEights, class Value>
__device__ __forceinline__ void write_rows(const LinearParams& p, int first_row, int first_n, int columns,
                                           const Value& value) {
  const int lane = threadIdx.x % 32, quad = lane % 4;
  const bool odd = lane & 1, high = lane & 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = first_row + 8 * h + lane / 4;
    const int end = row < p.m ? columns : 0;
    Out* out = static_cast<Out*>(p.out) + row * p.out_stride;
    if constexpr (sizeof(Out) == 4) {
#pragma unroll
      for (int j = 0; j < kEights; j += 2) {
        // Even lanes get half of this eight, odd ones of the next.
        const float2 even = {value(j, 2 * h), value(j, 2 * h + 1)},
                     next = {value(j + 1, 2 * h), value(j + 1, 2 * h + 1)};
        const float2 sent = odd ? even : next;
        const float2 other = {__shfl_xor_sync(~0u, sent.x, 1), __shfl_xor_sync(~0u, sent.y, 1)};
        const float4 four = odd ? float4{other.x, other.y, next.x, next.y} : float4{even.x, even.y, other.x, other.y};
        const int n = first_n + 8 * (j + odd) + quad / 2 * 4;
        if (n >= end) continue;
        if (p.accumulate) {
          add(out + n, four);
        } else {
          *reinterpret_cast<float4*>(out + n) = four;
        }
      }
    } else {
#pragma unroll
      for (int j = 0; j < kEights; j += 4) {
        uint32_t w[4] = {};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (j + i < kEights) w[i] = hopper::pack<T>(value(j + i, 2 * h), value(j + i, 2 * h + 1));
        }
        // Lane 2 a + b of the four gets eight 2 a + b.
        const uint32_t a = __shfl_xor_sync(~0u, odd ? w[0] : w[1], 1), b = __shfl_xor_sync(~0u, odd ? w[2] : w[3], 1);
        if (odd) {
          w[0] = a, w[2] = b;
        } else {
          w[1] = a, w[3] = b;
        }
        const uint32_t c = __shfl_xor_sync(~0u, high ? w[0] : w[2], 2), d = __shfl_xor_sync(~0u, high ? w[1] : w[3], 2);
        const uint4 eight = high ? uint4{c, d, w[2], w[3]} : uint4{w[0], w[1], c, d};
        const int n = first_n + 8 * (j + quad);
        if (n < end && (j + 4 <= kEights || j + quad < kEights)) *reinterpret_cast<uint4*>(out + n) = eight;
      }
    }
  }
}

// The weight on the left: neighbours are rows of x. value(j, v) of 16 outputs.
template <class T, class Out, int kEights, class Value>
__device__ __forceinline__ void write_columns(const LinearParams& p, int first_row, int first_n, int columns,
                                              const Value& value) {
  const int lane = threadIdx.x % 32;
  if (first_n >= columns) return;
  if constexpr (sizeof(Out) == 4) {
    Out* out = static_cast<Out*>(p.out) + (first_row + lane % 4 * 2) * p.out_stride + first_n + lane / 4;
    const int left = static_cast<int>(p.m) - first_row - lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < kEights; ++j, out += 8 * p.out_stride) {
#pragma unroll
      for (int v = 0; v < 4; ++v) {
        if (8 * j + v % 2 >= left) continue;
        Out* at = out + v % 2 * p.out_stride + v / 2 * 8;
        if (p.accumulate) {
          add(at, value(j, v));
        } else {
          *at = value(j, v);
        }
      }
    }
  } else {
    const auto turned = [&](int j, int v) { return hopper::transposed(hopper::pack<T>(value(j, v), value(j, v + 1))); };
    const bool odd = lane % 2 == 1;
    const int64_t eight_rows = 8 * p.out_stride;
    int left = static_cast<int>(p.m) - first_row - lane / 4;  // the lane's row is out's while it is above 0
    Out* out = static_cast<Out*>(p.out) + int64_t{first_row + lane / 4} * p.out_stride + first_n + lane % 4 / 2 * 4;
    out += odd ? 8 : 0;
#pragma unroll
    for (int j = 0; j < kEights; ++j, left -= 8, out += eight_rows) {
      const uint32_t low = turned(j, 0), high = turned(j, 2);
      const uint32_t other = __shfl_xor_sync(~0u, odd ? low : high, 1);
      if (left > 0) *reinterpret_cast<uint2*>(out) = odd ? uint2{other, high} : uint2{low, other};
    }
  }
}

// --- products -------------------------------------------------------------------------------------------------------
template <class Tile, class T, class Half, bool kGated>
__device__ __forceinline__ void multiply(const LinearParams& p, const Cut& cut, const uint8_t* stages, uint64_t* full,
                                         uint64_t* empty, int warpgroup, int rank, int pair, int pairs) {
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const uint32_t first_stage = shared_address(stages);
  hopper::RingPlace place;
  const auto release = [&](int stage) {
    if (lane < 2) hopper::barrier_arrive_at(empty + stage, lane);
  };
  const int steps = steps_of(p.k);
  for (int turn = pair; turn < cut.units; turn += pairs) {
    const Unit unit(cut, turn, rank);
    if (unit.x_tile >= cut.x_tiles || unit.weight_tile >= cut.weight_tiles) {  // stages pass by
      for (int step = 0; step < steps; ++step, place.advance(Tile::kStages)) {
        hopper::barrier_wait(full + place.index, place.phase);
        release(place.index);
      }
      continue;
    }
    float sums[Tile::kEach][Tile::kWidth / 2] = {};
    int before = 0;
    for (int step = 0; step < steps; ++step, place.advance(Tile::kStages)) {
      const uint32_t stage = first_stage + static_cast<uint32_t>(place.index) * Tile::kStageBytes;
      const uint64_t a = hopper::describe_along_sum(stage + warpgroup * 64 * Tile::kEach * kRowBytes),
                     b = hopper::describe_along_sum(stage + Tile::kLeftBytes);
      hopper::barrier_wait(full + place.index, place.phase);
      hopper::products_begin();
#pragma unroll
      for (int k = 0; k < kStageK / 16; ++k) {
#pragma unroll
        for (int e = 0; e < Tile::kEach; ++e) {
          hopper::multiply_add<T, Tile::kWidth>(sums[e], a + 2 * k + e * (64 * kRowBytes / 16), b + 2 * k);
        }
      }
      hopper::products_commit();
      if (step > 0) {
        hopper::products_wait<1>();
        release(before);
      }
      before = place.index;
    }
    hopper::products_wait<0>();
#pragma unroll
    for (int e = 0; e < Tile::kEach; ++e) hopper::pin(sums[e]);
    release(before);
#pragma unroll
    for (int e = 0; e < Tile::kEach; ++e) {
      constexpr int kEights = Tile::kWidth / (kGated ? 16 : 8);
      const auto value = [&](int j, int v) {
        const float* at = &sums[e][4 * j + v];
        if constexpr (kGated) return silu(at[0] * cut.gate_scale) * at[4 * kEights];
        return p.alpha * at[0];
      };
      const int first = (warpgroup * Tile::kEach + e) * 64 + warp * 16;  // of the left operand
      const int columns = static_cast<int>(kGated ? cut.width : p.n);
      if constexpr (Tile::kWeightLeft) {
        const int n = unit.weight_tile * Tile::kLeft + first, row = unit.x_tile * Tile::kWidth;
        if (p.out_dtype == DType::f32) write_columns<T, float, kEights>(p, row, n, columns, value);
        if (p.out_dtype != DType::f32) write_columns<T, Half, kEights>(p, row, n, columns, value);
      } else {
        const int n = unit.weight_tile * 8 * kEights, row = unit.x_tile * Tile::kLeft + first;
        if constexpr (!kGated) {
          if (p.out_dtype == DType::f32) write_rows<T, float, kEights>(p, row, n, columns, value);
        }
        if (p.out_dtype != DType::f32) write_rows<T, Half, kEights>(p, row, n, columns, value);
      }
    }
  }
}

// T: the matrix unit's name of the operands' type, Half the backend's.
template <class Tile, class T, class Half, bool kGated>
__global__ void __launch_bounds__(kThreads, 1)
    linear_walk_kernel(const __grid_constant__ LinearParams p, const __grid_constant__ Maps maps,
                       const __grid_constant__ Cut cut) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t walk_memory[];
  auto* full = reinterpret_cast<uint64_t*>(walk_memory + Tile::kStages * Tile::kStageBytes);
  uint64_t* empty = full + Tile::kStages;
  const int warpgroup = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
  const int rank = static_cast<int>(blockIdx.x) % 2, pair = blockIdx.x / 2, pairs = gridDim.x / 2;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Tile::kStages; ++i) {
      hopper::barrier_init(full + i, 1);
      hopper::barrier_init(empty + i, 2 * 4 * kWarpgroups);
    }
    hopper::barrier_init_fence();
    hopper::prefetch_map(&maps.weight);
    hopper::prefetch_map(&maps.x);
  }
  let_next_start();
  __syncthreads();
  meet_cluster();
  if (warpgroup == kWarpgroups) {
    hopper::registers_less<40>();
    if (threadIdx.x % 128 == 0) {
      Copies<Tile, kGated>{maps, cut, walk_memory, full, empty, rank}.run(p.k, pair, pairs);
    } else {
      wait_for_inputs();
    }
  } else {
    hopper::registers_more<232>();
    wait_for_inputs();
    multiply<Tile, T, Half, kGated>(p, cut, walk_memory, full, empty, warpgroup, rank, pair, pairs);
  }
  __syncwarp();
  meet_cluster();  // the other block still writes here
#endif
}

}  // namespace mamba::cuda::walk
