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
// more copies.
// In a cluster of two the blocks have the same weight and neighbouring tiles of rows: each copies half of the weight to
// both, which takes a third off what is read from the L2.
//
// Layout. A stage is 64 of k: rows of 128 bytes, swizzled. The weight's rows come through a map of (k, 8 rows, 2,
// blocks, experts). With a gate those 2 are eight rows of the gate and the same of the up-projection, so that both lie
// in one thread: rows r and r + 8 of a warp's sixteen. What a map has no rows for reads as zero.
//
// Results. A thread has two rows of x for each column; a transposition in registers (movmatrix) makes that runs of
// columns, 32 bytes of each row and warp.
//
// Bound. Many rows: the matrix unit. Few rows: the weights' bytes. Measured on an H200, us, 128 experts of 2688 x 1856,
// 6 of each token, with a launch's 4: 64 tokens 294 (4.2 TB/s of weights; torch._grouped_mm 423), 512 tokens 324, 8192
// tokens 970 to 1008 (torch, whose rows need no gathering, 946 to 965). The ladder is in native/lab/README.md.
#include "cuda/grouped_linear.cuh"
#include "cuda/hopper_products.cuh"

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

struct StagePlace {
  int index = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance(int stages) {
    if (++index == stages) index = 0, phase ^= 1;
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

// 16 bytes, or as many zeros without `bytes`.
__device__ __forceinline__ void copy_16(uint32_t to, const void* from, uint32_t bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
// An arrival at the barrier once this thread's copies are there.
__device__ __forceinline__ void copies_arrive(uint64_t* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(hopper::smem_address(barrier)) : "memory");
}

__device__ __forceinline__ uint32_t transposed(uint32_t matrix) {
  uint32_t r;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(matrix));
  return r;
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
  StagePlace place{0, 1};
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
      const uint32_t stage = hopper::smem_address(memory.stages) + place.index * Shape::kStageBytes;
      hopper::barrier_wait(memory.empty + place.index, place.phase);
      if (thread == 0) {
        hopper::barrier_expect(full, Shape::kWeightBytes);
        copy_box_5d((1 << Shape::kCluster) - 1, stage + rank * kShare, &weight, hopper::smem_address(full),
                    step * kStageK, block, unit.expert);
      }
      const uint32_t bytes = step * kStageK + piece * 8 < p.k ? 16 : 0,
                     to = stage + Shape::kWeightBytes + place_in_rows;
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        if (i * 16 + row < padded) copy_16(to + i * 16 * kStageRowBytes, from + uint64_t{begins[i]} * 16, bytes);
      }
      copies_arrive(full);
    }
  }
}

// --- the warpgroups that multiply -----------------------------------------------------------------------------------
// Sums of 64 rows of the weight: a thread's are of two rows of x for each 8, of columns c and c + 8 of out.
template <class T, class Half, bool kGated, int kN>
__device__ __forceinline__ void write_unit(const GroupedLinearParams& p, float (&sums)[kN / 2], const Unit& unit,
                                           int first_column) {
  const int lane = threadIdx.x % 32;
  const bool square = p.activation == Activation::relu2;
  const auto value = [&](int j, int v) {
    const float x = sums[4 * j + v];
    if constexpr (kGated) return silu(x) * sums[4 * j + v + 2];
    const float positive = fmaxf(x, 0.0f);
    return square ? positive * positive : x;
  };
  if (p.out_dtype == DType::f32) {
#pragma unroll
    for (int j = 0; j < kN / 8; ++j) {
#pragma unroll
      for (int v = 0; v < (kGated ? 2 : 4); ++v) {
        const int row = 8 * j + lane % 4 * 2 + v % 2;
        float* out = static_cast<float*>(p.out) + int64_t{unit.begin + row} * p.out_stride;
        if (row < unit.count) out[first_column + lane / 4 + v / 2 * 8] = value(j, v);
      }
    }
    return;
  }
  const bool odd = lane % 2 == 1;
  const int64_t eight_rows = 8 * p.out_stride;
  int left = unit.count - lane / 4;  // the lane's row is out's while it is above 0
  Half* out =
      static_cast<Half*>(p.out) + int64_t{unit.begin + lane / 4} * p.out_stride + first_column + lane % 4 / 2 * 4;
  if constexpr (!kGated) {
    out += odd ? 8 : 0;
#pragma unroll
    for (int j = 0; j < kN / 8; ++j, left -= 8, out += eight_rows) {
      const uint32_t low = transposed(hopper::pack<T>(value(j, 0), value(j, 1)));
      const uint32_t high = transposed(hopper::pack<T>(value(j, 2), value(j, 3)));
      const uint32_t other = __shfl_xor_sync(~0u, odd ? low : high, 1);
      if (left > 0) *reinterpret_cast<uint2*>(out) = odd ? uint2{other, high} : uint2{low, other};
    }
  } else {
    if (odd) out += eight_rows, left -= 8;
#pragma unroll
    for (int j = 0; j < kN / 8; j += 2, left -= 16, out += 2 * eight_rows) {
      const bool two = j + 1 < kN / 8;
      const uint32_t a = transposed(hopper::pack<T>(value(j, 0), value(j, 1)));
      const uint32_t b = two ? transposed(hopper::pack<T>(value(j + two, 0), value(j + two, 1))) : 0;
      const uint32_t other = __shfl_xor_sync(~0u, odd ? a : b, 1);
      if (left > 0 && (two || !odd)) *reinterpret_cast<uint2*>(out) = odd ? uint2{other, b} : uint2{a, other};
    }
  }
}

template <class Shape, class T, class Half, bool kGated>
__device__ __forceinline__ void multiply_units(const GroupedLinearParams& p, const WalkMemory<Shape>& memory,
                                               int warpgroup, int rank, int cluster, int clusters) {
  const int steps = static_cast<int>((p.k + kStageK - 1) / kStageK), lane = threadIdx.x % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
  const uint32_t first_stage = hopper::smem_address(memory.stages);
  Walk<Shape> walk(p, rank);
  Unit unit;
  StagePlace place;
  const auto release = [&](int stage) {
    if constexpr (Shape::kCluster == 1) {
      if (lane == 0) hopper::barrier_arrive(memory.empty + stage);
    } else {
      if (lane < Shape::kCluster) hopper::barrier_arrive_at(memory.empty + stage, lane);
    }
  };
  for (int number = cluster; walk.find(number, unit); number += clusters) {
    const int first_row = unit.nth * Shape::kWeightRows + warpgroup * 64 * Shape::kEach;
    if (first_row >= p.n || unit.count == 0) {  // stages pass by
      for (int step = 0; step < steps; ++step, place.advance(Shape::kStages)) {
        hopper::barrier_wait(memory.full + place.index, place.phase);
        release(place.index);
      }
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
          release(before);
        }
        before = place.index;
      }
      hopper::products_wait<0>();
#pragma unroll
      for (int e = 0; e < Shape::kEach; ++e) hopper::pin(sums[e]);
      release(before);
#pragma unroll
      for (int e = 0; e < Shape::kEach; ++e) {
        const int first = kGated ? first_row / 2 + 32 * e + warp * 8 : first_row + 64 * e + warp * 16;
        if (first < p.columns) write_unit<T, Half, kGated, kN>(p, sums[e], unit, first);
      }
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
  if constexpr (Shape::kCluster > 1) {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
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
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
  }
#endif
}

}  // namespace mamba::cuda::grouped
