#pragma once
// Products of 9 to 64 rows of x with a large weight, out[m, n] (+)= x[m, k] W[n, k]^T, on Hopper's matrix unit: both
// 16-bit floats of one type, sums in float.
//
// Idea. The weight's bytes are the bound, as with few rows (linear.cuh), but x no longer fits in registers. The copy
// engine fills a ring of stages of the weight in shared memory, whose first round is asked for before the inputs are
// there, while the small kernels ahead leave the memory idle; x follows in a ring of its own. More than
// four stages of the weight on their way delay the x that all of them wait for (the engine seems to serve in order).
// Rows of x are the left operand, all 64 of them, so that a block's outputs are any multiple of eight: a width is
// chosen with which the blocks, two on a multiprocessor, fill the device once. With an early start the next kernel's
// blocks take places as they fall free, two at the first multiprocessor to finish: a grid that leaves places free is
// served by a part of the device only.
//
// Mapping. A block owns kTile outputs of all rows and k, or a share of k. Warps: four for the products, one that copies
// the weight, one for x. A cluster is `columns` of neighbouring tiles, each of which copies a part of x to all, times
// `splits` of k. With splits, each block sends its sums of a part of the rows to the block that adds those up, in the
// order of k; bytes that arrive are counted by a barrier, as those of a copy are. Nothing that a sum is made of depends
// on m: a row has the same bits whatever rows lie beside it.
//
// A gated activation (linear_activation) is a block's own: half of its tile are rows of the gate, half as many of the
// up-projection, so that a thread has both products of an output.
//
// Layout. A stage is 64 of k: rows of 128 bytes, swizzled. The copy engine gives zeros beyond n and k, and beyond m up
// to the end of a box; rows after that are what lies there, and are not written.
//
// Bound. Bytes: 2 n k from memory, and m / (kTile columns) as many again of x from the L2. Measured in whole decode
// steps on an H200, ms, with the library's products and with these:
//
//   rows                        24             32             48             64
//   2.7b (tiles of 48)          3.54, 3.20     3.98, 3.67     4.78, 4.68     5.23, 5.10
//   codestral-7b (tiles of 72)  6.39, 6.12     6.96, 6.66     8.45, 8.61     9.08, 9.27
//
// With a long k in splits of four, wider tiles are ahead at 64 rows too; chains of an up- and a down-projection, the
// latter by the library and by these, us: 4 of 3072 x 12288 299, 287; 2 of 3584 x 14336 199, 194; 2 of 4096 x 12288
// 191, 188.
//
// A layer's norm, gate and up with the activation, and down, in chains, us: in one launch and with the library's
// product (and the kernels of 16 rows) before the activation:
//
//   rows                      9              16             33             64
//   3072 x 2 x 12288          58.2, 74.1     58.3, 78.8     60.0, 65.8     61.1, 67.8
//   2560 x 2 x 9216           39.2, 41.4     39.8, 41.5     40.1, 45.1     42.3, 46.8
//   4096 x 2 x 12288          75.0, 94.9     75.3, 99.8     76.7, 86.7     79.6, 87.3
//
// Alone, where nothing is hidden, it is as fast or up to 2.5 us behind with a clean L2. With 65 to 128 rows (eight
// warps) it was behind in chains too. More is in native/lab/README.md.
#include "cuda/activation.cuh"
#include "cuda/cluster.cuh"
#include "cuda/hopper_products.cuh"
#include "cuda/linear.cuh"
#include "cuda/linear_rows.h"
#include "ops/linear_activation.h"

namespace mamba::cuda::rows {

inline constexpr int kStageK = 64, kWarps = 4, kThreads = (kWarps + 2) * 32;
inline constexpr int kStagesX = 4, kInFlight = 4;  // kInFlight: stages of the weight
inline constexpr uint32_t kRowBytes = kStageK * 2;

struct Maps {
  CUtensorMap x, weight;  // (k, row) in boxes of 64 x the rows of a copy: a tile's, or half of them beside a gate
};

// The sizes that a launch is made with.
struct Ring {
  int columns, splits;
  int stages;                       // of the weight, kInFlight at least
  int box_rows, boxes;              // x is copied by the first `boxes` columns, box_rows each
  uint32_t weight, sums, barriers;  // offsets in shared memory, x is the first
};

__device__ __forceinline__ const LinearParams& product_of(const LinearParams& p) { return p; }
__device__ __forceinline__ const LinearParams& product_of(const LinearActivationParams& p) { return p.linear; }

__host__ __device__ constexpr uint32_t stage_bytes(int rows) { return static_cast<uint32_t>(rows) * kRowBytes; }
// Partial sums of all blocks of the cluster, in each: a block adds up an equal part of the rows.
__host__ __device__ constexpr uint32_t sums_bytes_of(int tile) { return static_cast<uint32_t>(kMostRows * tile) * 4; }

// The part of k that a block of the cluster has, in stages.
struct Share {
  int begin, count;
  __device__ __forceinline__ Share(int64_t k, int split, int splits) {
    const int all = static_cast<int>((k + kStageK - 1) / kStageK);
    begin = all * split / splits;
    count = all * (split + 1) / splits - begin;
  }
};

// full: a stage's bytes are there. empty: this block has used it. given: all columns have used it. sums: the other
// blocks' are there.
struct Barriers {
  uint64_t *full, *empty, *full_x, *given, *sums;
  __device__ __forceinline__ Barriers(uint8_t* memory, int stages)
      : full(reinterpret_cast<uint64_t*>(memory)),
        empty(full + stages),
        full_x(empty + stages),
        given(full_x + kStagesX),
        sums(given + kStagesX) {}
};
__host__ __device__ constexpr size_t barrier_bytes(int stages) {
  return (2 * static_cast<size_t>(stages + kStagesX) + 1) * 8;
}

// --- copies: one thread for the weight, one for x -------------------------------------------------------------------
template <int kTile, bool kGated>
struct WeightCopy {
  const Maps& maps;
  const Ring& ring;
  uint8_t* memory;
  const Barriers& barriers;
  const Share& share;
  int first_n, first_up;  // rows of the weight
  hopper::RingPlace place = {}, used = {}, arrived = {};

  // In order, from the first stage on.
  __device__ __forceinline__ void copy_stages(int begin, int end) {
    for (int i = begin; i < end; ++i, place.advance(ring.stages)) {
      if (i >= ring.stages) {
        hopper::barrier_wait(barriers.empty + used.index, used.phase);
        used.advance(ring.stages);
      }
      if (i >= kInFlight) {
        hopper::barrier_wait(barriers.full + arrived.index, arrived.phase);
        arrived.advance(ring.stages);
      }
      hopper::barrier_expect(barriers.full + place.index, stage_bytes(kTile));
      uint8_t* to = memory + ring.weight + static_cast<uint32_t>(place.index) * stage_bytes(kTile);
      const int k = (share.begin + i) * kStageK;
      hopper::copy_box_2d(to, &maps.weight, barriers.full + place.index, k, first_n, hopper::kEvictFirst);
      if constexpr (kGated) {
        hopper::copy_box_2d(to + stage_bytes(kTile / 2), &maps.weight, barriers.full + place.index, k, first_up,
                            hopper::kEvictFirst);
      }
    }
  }
};

__device__ __forceinline__ void copy_x(const Maps& maps, const Ring& ring, uint8_t* memory, const Barriers& barriers,
                                       const Share& share, int column, int split) {
  const int row = column * ring.box_rows;
  const auto blocks = static_cast<uint16_t>(((1u << ring.columns) - 1) << (split * ring.columns));
  hopper::RingPlace place, used;
  for (int i = 0; i < share.count; ++i, place.advance(kStagesX)) {
    if (i >= kStagesX) {
      hopper::barrier_wait(barriers.given + used.index, used.phase);
      used.advance(kStagesX);
    }
    uint64_t* full = barriers.full_x + place.index;
    uint8_t* to = memory + stage_bytes(place.index * ring.box_rows * ring.boxes + row);
    const int k = (share.begin + i) * kStageK;
    hopper::barrier_expect(full, stage_bytes(ring.box_rows * ring.boxes));
    if (ring.columns == 1) {
      hopper::copy_box_2d(to, &maps.x, full, k, row);
    } else if (column < ring.boxes) {
      hopper::copy_box_2d_to(blocks, to, &maps.x, full, k, row);
    }
  }
}

// --- products: four warps -------------------------------------------------------------------------------------------
template <class T, int kTile>
__device__ __forceinline__ void multiply(float (&sums)[kTile / 2], const uint8_t* memory, const Barriers& barriers,
                                         const Ring& ring, int count, int first_block) {
  using namespace hopper;
  const uint32_t first_x = shared_address(memory), first_w = first_x + ring.weight;
  const int lane = threadIdx.x % 32;
  hopper::RingPlace of_w, of_x;
  for (int i = 0; i < count; ++i, of_w.advance(ring.stages), of_x.advance(kStagesX)) {
    const uint64_t w = describe_along_sum(first_w + static_cast<uint32_t>(of_w.index) * stage_bytes(kTile));
    const uint64_t x = describe_along_sum(first_x + stage_bytes(of_x.index * ring.box_rows * ring.boxes));
    barrier_wait(barriers.full + of_w.index, of_w.phase);
    barrier_wait(barriers.full_x + of_x.index, of_x.phase);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add<T, kTile>(sums, x + 2 * k, w + 2 * k);
    products_commit();
    products_wait<0>();
    pin(sums);
    // Only where somebody waits: a block that does not may have left.
    if (lane == 0 && i + ring.stages < count) barrier_arrive(barriers.empty + of_w.index);
    if (lane < ring.columns && i + kStagesX < count) {
      barrier_arrive_at(barriers.given + of_x.index, first_block + lane);
    }
  }
}

// --- sums: pairs of outputs, as the products leave them -------------------------------------------------------------
template <class Out>
struct Outputs {
  const LinearParams& p;
  bool vectors;  // pairs are aligned

  __device__ __forceinline__ explicit Outputs(const LinearParams& params)
      : p(params), vectors(reinterpret_cast<uintptr_t>(p.out) % (2 * sizeof(Out)) == 0 && p.out_stride % 2 == 0) {}

  __device__ __forceinline__ Out* at(int row, int n) const { return static_cast<Out*>(p.out) + row * p.out_stride + n; }
  __device__ __forceinline__ float2 before(int row, int n) const {
    float pair[2] = {};
    if (row < p.m && vectors && n + 2 <= p.n) {
      unpack(load<2>(at(row, n)), pair);
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) pair[i] = row < p.m && n + i < p.n ? as_float(at(row, n)[i]) : 0.0f;
    }
    return {pair[0], pair[1]};
  }
  __device__ __forceinline__ void put(int row, int n, float2 sum) const {
    float pair[2] = {sum.x, sum.y};
    if (row >= p.m || n >= p.n) return;
    if (p.bias) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (n + i < p.n) pair[i] += __ldg(p.bias + n + i);
      }
    }
    if (vectors && n + 2 <= p.n) {
      store(at(row, n), pack<Out, 2>(pair));
    } else {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (n + i < p.n) at(row, n)[i] = rounded<Out>(pair[i]);
      }
    }
  }
};

// Without splits a thread's own sums.
template <int kTile, class Out>
__device__ __forceinline__ void write_sums(const LinearParams& p, const float (&sums)[kTile / 2], int first_n) {
  const Outputs<Out> outputs(p);
  const int lane = threadIdx.x % 32, n = first_n + lane % 4 * 2;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = static_cast<int>(threadIdx.x) / 32 * 16 + half * 8 + lane / 4;
    float2 before[kTile / 8] = {};
    if (p.accumulate) {
#pragma unroll
      for (int j = 0; j < kTile / 8; ++j) before[j] = outputs.before(row, n + 8 * j);
    }
#pragma unroll
    for (int j = 0; j < kTile / 8; ++j) {
      outputs.put(
          row, n + 8 * j,
          {fmaf(p.alpha, sums[4 * j + 2 * half], before[j].x), fmaf(p.alpha, sums[4 * j + 2 * half + 1], before[j].y)});
    }
  }
}

// The gate's sums are the tile's first half.
template <int kTile, class Out>
__device__ __forceinline__ void write_activated(const LinearActivationParams& p, const float (&sums)[kTile / 2],
                                                int first_n) {
  LinearParams outs = p.linear;
  outs.n = p.activation.width;
  const Outputs<Out> outputs(outs);
  const int lane = threadIdx.x % 32, n = first_n + lane % 4 * 2;
  with_activation(p.activation.activation, [&]<Activation kActivation> {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = static_cast<int>(threadIdx.x) / 32 * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int j = 0; j < kTile / 16; ++j) {
        const float* gate = sums + 4 * j + 2 * half;
        const float* up = gate + kTile / 4;
        outputs.put(row, n + 8 * j,
                    {activated<kActivation>(gate[0] * p.activation.scale) * up[0],
                     activated<kActivation>(gate[1] * p.activation.scale) * up[1]});
      }
    }
  });
}

// With splits, block s of those that share k adds up rows [64 s, 64 (s + 1)) / splits: all write their sums of those
// into its memory. A row's eight and eight outputs are 256 bytes there.
template <int kTile>
struct Exchange {
  static constexpr int kMost = kTile / 8;  // pairs that a thread adds up, with two splits
  const Ring& ring;
  float* memory;
  int split, column, warp, lane, parts;  // parts: eights of rows for each block

  __device__ __forceinline__ Exchange(const Ring& r, uint8_t* shared, int s, int c)
      : ring(r), memory(reinterpret_cast<float*>(shared + r.sums)), split(s), column(c) {
    warp = static_cast<int>(threadIdx.x) / 32, lane = threadIdx.x % 32, parts = 8 / ring.splits;
  }
  __device__ __forceinline__ float* at(int from, int part, int j) const {
    return memory + ((from * parts + part) * (kTile / 8) + j) * 64 + lane * 2;
  }
  // What comes from all blocks.
  __device__ __forceinline__ uint32_t bytes(int m) const {
    const int eights = min(max((m + 7) / 8 - split * parts, 0), parts);
    return static_cast<uint32_t>(eights * ring.splits * (kTile / 8)) * 256;
  }
  __device__ __forceinline__ void give(const float (&sums)[kTile / 2], int m, uint64_t* barrier) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (warp * 16 + half * 8 >= m) continue;
      const int eight = warp * 2 + half, owner = eight / parts * ring.columns + column;
      const uint32_t there = hopper::address_at(at(split, eight % parts, 0), owner),
                     done = hopper::address_at(barrier, owner);
#pragma unroll
      for (int j = 0; j < kTile / 8; ++j) {
        hopper::store_at(there + j * 256, sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1], done);
      }
    }
  }
  // body(t, part, j, row, n): of the thread's pairs.
  template <class Body>
  __device__ __forceinline__ void each(int first_n, const Body& body) const {
#pragma unroll
    for (int t = 0; t < kMost; ++t) {
      const int i = warp + kWarps * t;
      if (i >= parts * (kTile / 8)) break;
      const int part = i / (kTile / 8), j = i % (kTile / 8);
      body(t, part, j, (split * parts + part) * 8 + lane / 4, first_n + 8 * j + lane % 4 * 2);
    }
  }
  template <class Out>
  __device__ __forceinline__ void load_before(const LinearParams& p, float2 (&before)[kMost], int first_n) const {
    const Outputs<Out> outputs(p);
    each(first_n, [&](int t, int, int, int row, int n) { before[t] = outputs.before(row, n); });
  }
  template <class Out>
  __device__ __forceinline__ void write(const LinearParams& p, const float2 (&before)[kMost], int first_n) const {
    const Outputs<Out> outputs(p);
    each(first_n, [&](int t, int part, int j, int row, int n) {
      float2 sum = *reinterpret_cast<const float2*>(at(0, part, j));
      for (int s = 1; s < ring.splits; ++s) {
        const float2 other = *reinterpret_cast<const float2*>(at(s, part, j));
        sum.x += other.x, sum.y += other.y;
      }
      outputs.put(row, n, {fmaf(p.alpha, sum.x, before[t].x), fmaf(p.alpha, sum.y, before[t].y)});
    });
  }
};

// T: the matrix unit's name of the operands' type, Half the backend's. Params: LinearParams, or LinearActivationParams
// with a gate, without splits.
template <class T, class Half, int kTile, class Params>
__global__ void __launch_bounds__(kThreads, 2)
    linear_rows_kernel(const __grid_constant__ Params params, const __grid_constant__ Maps maps,
                       const __grid_constant__ Ring ring) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr bool kGated = std::is_same_v<Params, LinearActivationParams>;
  extern __shared__ __align__(1024) uint8_t rows_memory[];
  const LinearParams& p = product_of(params);
  const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x / 32), 0);  // ptxas sees that it is uniform
  const int blocks = ring.columns * ring.splits, rank = static_cast<int>(blockIdx.x) % blocks;
  const int column = rank % ring.columns, split = rank / ring.columns;
  const int first_n = (static_cast<int>(blockIdx.x) / blocks * ring.columns + column) * (kGated ? kTile / 2 : kTile);
  const Barriers barriers(rows_memory + ring.barriers, ring.stages);
  const Share share(p.k, split, ring.splits);
  const bool one = threadIdx.x % 32 == 0, exchanges = ring.splits > 1;
  const Exchange<kTile> exchange(ring, rows_memory, split, column);
  if (warp >= kWarps) {
    const bool weight = warp == kWarps;
    if (weight && one) {
      for (int i = 0; i < ring.stages; ++i) {
        hopper::barrier_init(barriers.full + i, 1);
        hopper::barrier_init(barriers.empty + i, kWarps);
      }
      for (int i = 0; i < kStagesX; ++i) {
        hopper::barrier_init(barriers.full_x + i, 1);
        hopper::barrier_init(barriers.given + i, static_cast<uint32_t>(kWarps * ring.columns));
      }
      hopper::barrier_init(barriers.sums, 1);
      hopper::barrier_init_fence();
      if (exchanges) hopper::barrier_expect(barriers.sums, exchange.bytes(static_cast<int>(p.m)));
    }
    __syncwarp();
    cluster_arrive_started();  // and its barriers are there (barrier_init_fence)
    if (weight) {
      let_next_start();
      WeightCopy<kTile, kGated> copy = {maps, ring, rows_memory, barriers, share, first_n, first_n};
      if constexpr (kGated) copy.first_up += static_cast<int>(params.activation.width);
      const int ahead = min(kInFlight, share.count);
      if (one) copy.copy_stages(0, ahead);
      __syncwarp();
      cluster_wait();  // before it waits for the products, which wait at this barrier themselves
      if (one) copy.copy_stages(ahead, share.count);
    } else {
      if (one) hopper::prefetch_map(&maps.x);
      __syncwarp();
      wait_for_inputs();
      cluster_wait();
      if (one) copy_x(maps, ring, rows_memory, barriers, share, column, split);
    }
    return;
  }
  cluster_arrive_started();
  wait_for_inputs();
  if constexpr (kGated) {
    __syncwarp();
    cluster_wait();
    float sums[kTile / 2] = {};
    multiply<T, kTile>(sums, rows_memory, barriers, ring, share.count, 0);
    write_activated<kTile, Half>(params, sums, first_n);
    return;
  }
  float2 before[Exchange<kTile>::kMost] = {};
  const bool wide = p.out_dtype == DType::f32;
  if (exchanges && p.accumulate) {
    wide ? exchange.template load_before<float>(p, before, first_n)
         : exchange.template load_before<Half>(p, before, first_n);
  }
  __syncwarp();
  cluster_wait();
  float sums[kTile / 2] = {};
  multiply<T, kTile>(sums, rows_memory, barriers, ring, share.count, split * ring.columns);
  __syncwarp();
  if (!exchanges) {
    wide ? write_sums<kTile, float>(p, sums, first_n) : write_sums<kTile, Half>(p, sums, first_n);
    return;
  }
  exchange.give(sums, static_cast<int>(p.m), barriers.sums);
  hopper::barrier_wait(barriers.sums, 0);
  wide ? exchange.template write<float>(p, before, first_n) : exchange.template write<Half>(p, before, first_n);
#endif
}

}  // namespace mamba::cuda::rows
