#pragma once
// grouped_linear on Hopper's matrix unit, 16-bit operands, sums in float: prefill, and decode of more than a few
// tokens.
//
// Idea. The product is transposed: 64 rows of the weight are the left operand, rows of x the right one, because the
// width of the right one is any multiple of 8: an expert's rows are cut into equal tiles and not padded to 128.
// Blocks stay and walk over all (expert, tile of rows, tile of the weight), in that order, so that those at work
// together share an expert's rows and weight in the L2. The copy engine brings the weight; rows of x are gathered by
// ordinary asynchronous copies, which the stage's barrier counts too.
//
// Mapping. kWarpgroups of warps multiply, each 64 rows of the weight, or twice 64, with all rows of x of the tile; one
// more copies. In a cluster of two the blocks have the same weight and neighbouring tiles of rows: each copies half of
// the weight to both, which takes a third off what is read from the L2.
//
// Layout. A stage is 64 of k: rows of 128 bytes, swizzled. The weight's rows come through a map of (k, 8 rows, 2,
// blocks, experts). With a gate those 2 are eight rows of the gate and the same of the up-projection, so that both lie
// in one thread: rows r and r + 8 of a warp's sixteen. What a map has no rows for reads as zero.
//
// Results. A thread has two rows of x for each column. The warpgroups' last stages, when all have read them, take the
// results, transposed as they are stored (stmatrix), from where whole rows of 128 to 256 bytes are written.
//
// Bound. Many rows: the matrix unit. Few rows: the weights' bytes. Measured on an H200, us, 128 experts of 2688 x 1856,
// 6 of each token, with a launch's 4: 64 tokens 294 (4.2 TB/s of weights; torch._grouped_mm 423), 512 tokens 324, 8192
// tokens 970 to 1008 (torch, whose rows need no gathering, 946 to 965). The ladder is in native/lab/README.md.
#include "cuda/cluster.cuh"
#include "cuda/grouped_linear.cuh"
#include "cuda/hopper_products.cuh"
#include "cuda/shared_memory.cuh"

namespace mamba::cuda::grouped {

inline constexpr int kStageK = 64;
inline constexpr uint32_t kStageRowBytes = kStageK * 2;

// kEach: products of 64 rows of the weight of a warpgroup. kBlocks: on a multiprocessor. kMostRows: of x in a tile.
// Widths: of its products, ascending, up to kMostRows.
template <int kWarpgroupsOf, int kEachOf, int kMostRowsOf, int kClusterOf, int kStagesOf, int kBlocksOf,
          int... kWidthsOf>
struct WalkShape {
  static constexpr int kWarpgroups = kWarpgroupsOf, kEach = kEachOf, kMostRows = kMostRowsOf, kCluster = kClusterOf,
                       kStages = kStagesOf, kBlocks = kBlocksOf;
  static constexpr int kThreads = (kWarpgroups + 1) * 128, kWeightRows = 64 * kEach * kWarpgroups;
  static constexpr uint32_t kWeightBytes = kWeightRows * kStageRowBytes, kRowsBytes = kMostRows * kStageRowBytes;
  static constexpr uint32_t kStageBytes = kWeightBytes + kRowsBytes;
  static constexpr size_t kShared = size_t{kStages} * kStageBytes + 2 * kStages * 8;

  // f.operator()<width>() for the narrowest width that has `rows` rows.
  template <class F>
  static __device__ __forceinline__ void with_width(int rows, F&& f) {
    (void)((rows <= kWidthsOf && (f.template operator()<kWidthsOf>(), true)) || ...);
  }
};

// What a block works on: rows [begin, begin + count) of out, and the nth tile of the expert's weight.
struct Unit {
  int expert, begin, count, nth;
};

// The units of a block (cluster). Whole warps call it.
template <class Shape>
struct Walk {
  static constexpr int kGroup = Shape::kMostRows * Shape::kCluster;
  struct UnitsOf {
    int weight_tiles;  // of an expert
    __device__ __forceinline__ int operator()(int rows) const { return (rows + kGroup - 1) / kGroup * weight_tiles; }
  };

  UnitsOf units_of;
  Schedule<UnitsOf> schedule;
  int rank;  // in the cluster

  __device__ __forceinline__ Walk(const GroupedLinearParams& p, int rank_in_cluster)
      : units_of{static_cast<int>((p.n + Shape::kWeightRows - 1) / Shape::kWeightRows)},
        schedule(p, units_of),
        rank(rank_in_cluster) {}

  __device__ __forceinline__ bool find(int number, Unit& unit) const {
    Rows rows;
    int nth;
    if (!schedule.find(number, rows, nth)) return false;
    const int tiles = (rows.count + kGroup - 1) / kGroup * Shape::kCluster;
    const int each = ((rows.count + tiles - 1) / tiles + 7) / 8 * 8;
    const int begin = (nth / units_of.weight_tiles * Shape::kCluster + rank) * each;
    unit = {rows.expert, rows.begin + begin, min(max(rows.count - begin, 0), each), nth % units_of.weight_tiles};
    return true;
  }
};

__device__ __forceinline__ void copy_box_5d(uint16_t blocks, uint32_t to, const CUtensorMap* map, uint32_t barrier,
                                            int k, int block, int expert) {
  if (blocks == 1) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %6, %6, %4, "
        "%5}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(k), "r"(block), "r"(expert), "r"(0)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
        "[%1, "
        "{%3, %6, %6, %4, %5}], [%2], %7;" ::"r"(to),
        "l"(map), "r"(barrier), "r"(k), "r"(block), "r"(expert), "r"(0), "h"(blocks)
        : "memory");
  }
}

// An arrival at the barrier once this thread's copies are there.
__device__ __forceinline__ void copies_arrive(uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// The shared memory of a block.
template <class Shape>
struct WalkMemory {
  uint8_t* stages;
  uint64_t *full, *empty;
  __device__ __forceinline__ explicit WalkMemory(uint8_t* memory)
      : stages(memory),
        full(reinterpret_cast<uint64_t*>(memory + Shape::kStages * Shape::kStageBytes)),
        empty(full + Shape::kStages) {}
};

// --- the warpgroup that copies --------------------------------------------------------------------------------------
template <class Shape>
__device__ __forceinline__ void copy_units(const GroupedLinearParams& p, const CUtensorMap& weight,
                                           const WalkMemory<Shape>& memory, int thread, int rank, int cluster,
                                           int clusters) {
  constexpr uint32_t kShare = Shape::kWeightBytes / Shape::kCluster;
  constexpr int kCopies = (Shape::kMostRows + 15) / 16;  // of a thread, of each stage
  const int steps = static_cast<int>((p.k + kStageK - 1) / kStageK);
  const int row = thread / 8, piece = thread % 8;
  const uint32_t place_in_rows = static_cast<uint32_t>(row) * kStageRowBytes + ((piece ^ (row % 8)) * 16);
  Walk<Shape> walk(p, rank);
  Unit unit;
  hopper::RingPlace place = {0, 1};
  for (int number = cluster; walk.find(number, unit); number += clusters) {
    const int padded = (unit.count + 7) / 8 * 8;
    uint32_t begins[kCopies];  // of the thread's rows, in 16 bytes; those past the last are that one again
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      if (i * 16 + row < padded) {
        begins[i] =
            static_cast<uint32_t>(row_of_x(p, unit.begin + min(i * 16 + row, unit.count - 1)) * (p.x_stride / 8));
      }
    }
    const char* from = static_cast<const char*>(p.x) + piece * 16;
    const int block = (unit.nth * Shape::kCluster + rank) * (Shape::kWeightRows / 16 / Shape::kCluster);
    for (int step = 0; step < steps; ++step, place.advance(Shape::kStages), from += kStageRowBytes) {
      uint64_t* full = memory.full + place.index;
      const uint32_t stage = shared_address(memory.stages) + place.index * Shape::kStageBytes;
      hopper::barrier_wait(memory.empty + place.index, place.phase);
      if (thread == 0) {
        hopper::barrier_expect(full, Shape::kWeightBytes);
        copy_box_5d((1 << Shape::kCluster) - 1, stage + rank * kShare, &weight, shared_address(full), step * kStageK,
                    block, unit.expert);
      }
      const uint32_t bytes = step * kStageK + piece * 8 < p.k ? 16 : 0,
                     to = stage + Shape::kWeightBytes + place_in_rows;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        if (i * 16 + row < padded) copy_async(to + i * 16 * kStageRowBytes, from + uint64_t{begins[i]} * 16, bytes);
      }
      copies_arrive(full);
    }
  }
}

// --- the warpgroups that multiply -----------------------------------------------------------------------------------
// A thread's v-th of the sums of 64 rows of the weight in the j-th eight rows of x: of the v % 2-th of two rows, in
// column lane / 4 of out, or 8 behind (v >= 2). With a gate that one is the up-projection's.
template <bool kGated, int kSums>
__device__ __forceinline__ float finished_sum(Activation activation, const float (&sums)[kSums], int j, int v) {
  const float x = sums[4 * j + v];
  if constexpr (kGated) return silu(x) * sums[4 * j + v + 2];
  const float positive = fmaxf(x, 0.0f);
  return activation == Activation::relu2 ? positive * positive : x;
}

template <bool kGated, int kN>
__device__ __forceinline__ void write_floats(const GroupedLinearParams& p, const float (&sums)[kN / 2],
                                             const Unit& unit, int first_column) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
    for (int v = 0; v < (kGated ? 2 : 4); ++v) {
      const int row = 8 * j + lane % 4 * 2 + v % 2;
      float* out = static_cast<float*>(p.out) + int64_t{unit.begin + row} * p.out_stride;
      if (row < unit.count) out[first_column + lane / 4 + v / 2 * 8] = finished_sum<kGated>(p.activation, sums, j, v);
    }
  }
}

// As rows of out in shared memory, kPitch bytes apart, of which `to` is the warp's first column. Rows up to the next 16
// (32 with a gate) are written.
template <class T, bool kGated, int kPitch, int kN>
__device__ __forceinline__ void stage_sums(Activation activation, const float (&sums)[kN / 2], uint32_t to) {
  const int lane = threadIdx.x % 32, matrix = lane / 8, row = lane % 8;
  const auto pair = [&](int j, int v) {
    if (j >= kN / 8) return uint32_t{0};
    return hopper::pack<T>(finished_sum<kGated>(activation, sums, j, v),
                           finished_sum<kGated>(activation, sums, j, v + 1));
  };
  if constexpr (kGated) {
#pragma unroll
    for (int j = 0; j < kN / 8; j += 4) {
      hopper::store_transposed(to + (8 * (j + matrix) + row) * kPitch, pair(j, 0), pair(j + 1, 0), pair(j + 2, 0),
                               pair(j + 3, 0));
    }
  } else {
#pragma unroll
    for (int j = 0; j < kN / 8; j += 2) {
      hopper::store_transposed(to + (8 * (j + matrix / 2) + row) * kPitch + matrix % 2 * 16, pair(j, 0), pair(j, 2),
                               pair(j + 1, 0), pair(j + 1, 2));
    }
  }
}

template <class Shape, class T, class Half, bool kGated>
__device__ __forceinline__ void multiply_units(const GroupedLinearParams& p, const WalkMemory<Shape>& memory,
                                               int warpgroup, int rank, int cluster, int clusters) {
  const int steps = static_cast<int>((p.k + kStageK - 1) / kStageK), lane = threadIdx.x % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const uint32_t first_stage = shared_address(memory.stages);
  Walk<Shape> walk(p, rank);
  Unit unit;
  hopper::RingPlace place;
  const auto release = [&](int stage) {
    if constexpr (Shape::kCluster == 1) {
      if (lane == 0) hopper::barrier_arrive(memory.empty + stage);
    } else {
      if (lane < Shape::kCluster) hopper::barrier_arrive_at(memory.empty + stage, lane);
    }
  };
  // What the warpgroups' results pass through: the last stages of a unit, the last of all the first warpgroup's.
  const auto stage_of = [&](int group) {
    const int index = place.index - 1 - group;
    return index < 0 ? index + Shape::kStages : index;
  };
  const auto meet = [&](int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
  };
  const auto all_read = [&] {
    if constexpr (Shape::kWarpgroups > 1) meet(1, 128 * Shape::kWarpgroups);
  };
  constexpr int kHeld = Shape::kWarpgroups;
  for (int number = cluster; walk.find(number, unit); number += clusters) {
    const int first_row = unit.nth * Shape::kWeightRows + warpgroup * 64 * Shape::kEach;
    if (first_row >= p.n || unit.count == 0) {  // stages pass by
      for (int step = 0; step < steps; ++step, place.advance(Shape::kStages)) {
        hopper::barrier_wait(memory.full + place.index, place.phase);
        if (step < steps - kHeld) release(place.index);
      }
      all_read();
#pragma unroll
      for (int group = 0; group < kHeld; ++group) release(stage_of(group));
      continue;
    }
    Shape::with_width(unit.count, [&]<int kN> {
      float sums[Shape::kEach][kN / 2] = {};
      int before = 0;
      for (int step = 0; step < steps; ++step, place.advance(Shape::kStages)) {
        const uint32_t stage = first_stage + place.index * Shape::kStageBytes;
        const uint64_t a = hopper::describe_along_sum(stage + warpgroup * 64 * Shape::kEach * kStageRowBytes),
                       b = hopper::describe_along_sum(stage + Shape::kWeightBytes);
        hopper::barrier_wait(memory.full + place.index, place.phase);
        hopper::fence_async();  // rows of x were written by ordinary copies
        hopper::products_begin();
#pragma unroll
        for (int k = 0; k < kStageK / 16; ++k) {
#pragma unroll
          for (int e = 0; e < Shape::kEach; ++e) {
            hopper::multiply_add<T, kN>(sums[e], a + 2 * k + e * (64 * kStageRowBytes / 16), b + 2 * k);
          }
        }
        hopper::products_commit();
        if (step > 0) {
          hopper::products_wait<1>();
          if (step <= steps - kHeld) release(before);
        }
        before = place.index;
      }
      hopper::products_wait<0>();
#pragma unroll
      for (int e = 0; e < Shape::kEach; ++e) hopper::pin(sums[e]);
      all_read();
#pragma unroll
      for (int group = 0; group < kHeld; ++group) {
        if (group != warpgroup) release(stage_of(group));
      }
      constexpr int kColumns = (kGated ? 32 : 64) * Shape::kEach, kWarpColumns = kGated ? 8 : 16;
      const int own = stage_of(warpgroup), first = kGated ? first_row / 2 : first_row;
      if (p.out_dtype == DType::f32) {
#pragma unroll
        for (int e = 0; e < Shape::kEach; ++e) {
          const int column = first + (kColumns / Shape::kEach) * e + warp * kWarpColumns;
          if (column < p.columns) write_floats<kGated, kN>(p, sums[e], unit, column);
        }
      } else {
        constexpr int kPitch = kColumns * 2 + 16, kPieces = kColumns / 8;
        static_assert((Shape::kMostRows + 32) * kPitch <= Shape::kStageBytes);
        const uint32_t rows = first_stage + own * Shape::kStageBytes;
#pragma unroll
        for (int e = 0; e < Shape::kEach; ++e) {
          stage_sums<T, kGated, kPitch, kN>(p.activation, sums[e],
                                            rows + ((kColumns / Shape::kEach) * e + warp * kWarpColumns) * 2);
        }
        meet(2 + warpgroup, 128);
        const int thread = static_cast<int>(threadIdx.x) % 128, piece = thread % kPieces;
        const bool inside = first + piece * 8 < p.columns;
        Half* out = static_cast<Half*>(p.out) + int64_t{unit.begin} * p.out_stride + first + piece * 8;
        for (int row = thread / kPieces; row < unit.count; row += 128 / kPieces) {
          uint4 v;
          asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                       : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                       : "r"(rows + row * kPitch + piece * 16)
                       : "memory");
          if (inside) *reinterpret_cast<uint4*>(out + int64_t{row} * p.out_stride) = v;
        }
        hopper::fence_async();  // before the copy engine writes here
        __syncwarp();
      }
      release(own);
    });
  }
}

// T: the matrix unit's name of the operands' type, Half the backend's.
template <class Shape, class T, class Half, bool kGated>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    walk_kernel(const __grid_constant__ GroupedLinearParams p, const __grid_constant__ CUtensorMap weight) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t walk_memory[];
  const WalkMemory<Shape> memory(walk_memory);
  const int warpgroup = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster, cluster = blockIdx.x / Shape::kCluster;
  const int clusters = gridDim.x / Shape::kCluster;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Shape::kStages; ++i) {
      hopper::barrier_init(memory.full + i, 128 + 1);
      hopper::barrier_init(memory.empty + i, 4 * Shape::kWarpgroups * Shape::kCluster);
    }
    hopper::barrier_init_fence();
    hopper::prefetch_map(&weight);
  }
  let_next_start();
  __syncthreads();
  if constexpr (Shape::kCluster > 1) meet_cluster();
  wait_for_inputs();
  if (warpgroup == Shape::kWarpgroups) {
    if constexpr (Shape::kWarpgroups == 3) hopper::registers_less<40>();
    if constexpr (Shape::kWarpgroups == 2 && Shape::kBlocks == 1) hopper::registers_less<40>();
    copy_units<Shape>(p, weight, memory, static_cast<int>(threadIdx.x) % 128, rank, cluster, clusters);
  } else {
    if constexpr (Shape::kWarpgroups == 3) hopper::registers_more<152>();
    if constexpr (Shape::kWarpgroups == 2 && Shape::kBlocks == 1) hopper::registers_more<232>();
    multiply_units<Shape, T, Half, kGated>(p, memory, warpgroup, rank, cluster, clusters);
  }
  if constexpr (Shape::kCluster > 1) {  // the other block still writes here
    __syncwarp();
    meet_cluster();
  }
#endif
}

}  // namespace mamba::cuda::grouped
