#pragma once
// Products of 17 to 64 rows of x, as e4m3 codes, with a weight of e4m3 codes (codes.cuh), on Hopper's matrix unit.
//
// Idea. The weight's bytes are the bound. Every block is resident at once and owns an equal number of tiles of 16 rows
// of the weight: a warp has one tile, whose blocks the copy engine brings in the order of k, and multiplies it as the
// left operand, from registers: four warps are a product's 64 rows, wherever their tiles lie. Rows of x are the right
// operand, from shared memory; all warps of a share of k use the same, one step after the other.
//
// Mapping. Warpgroups are [splits of k][groups of four tiles], and a warp for each split copies x. Where a block has
// more tiles than warps, they go on with the next ones. With splits, sums are added up in shared memory in the order of
// k. Where four warps have all tiles of two blocks, these are a cluster, and each has half of k for all of the tiles:
// it reads half as much of x. Then each finishes half of the rows of x, with the other's sums of them. An output's sum
// is taken in an order that depends on n and k alone.
//
// Layout. x: images [steps][kRowsX rows][128 bytes], swizzled, as the matrix unit wants them. Within 32 of k the codes
// lie in the order in which a lane's codes of the weight do: quantize_images_kernel.
//
// Scales. Of rows on both sides, or of steps: then each step's products are scaled as floats. Both add up steps as
// floats; the matrix unit's own sums have fewer bits.
//
// Bound. Bytes: those of the weight from memory, m k of x from the L2 for each block and pass, half of that in a
// cluster. On an H200 64 rows take 32 us of 4096 -> 18560 and 23 of 8192 -> 4096, of which x takes 6
// (native/lab/README.md).
#include "cuda/e4m3_operands.cuh"
#include "cuda/hopper.cuh"
#include "cuda/linear.cuh"

namespace mamba::cuda::codes {

struct Images {
  RowsAsCodes rows;  // codes [steps][image rows][128], scales [rows], or [steps][image rows]
  int image_rows;    // 32 or 64
};

// Where the first four and the last four of eight codes lie within an image; k is a multiple of eight.
__device__ __forceinline__ void put_in_image(uint8_t* image, int row, int k, uint2 codes) {
  const int first = k / 32 * 32 + k % 32 / 8 * 4;
  const auto place = [&](int byte) { return image + row * 128 + ((byte / 16) ^ (row % 8)) * 16 + byte % 16; };
  *reinterpret_cast<uint32_t*>(place(first)) = __byte_perm(codes.x, 0, 0x3120);
  *reinterpret_cast<uint32_t*>(place(first + 16)) = __byte_perm(codes.y, 0, 0x3120);
}

// A block for each row.
template <class T>
__global__ void __launch_bounds__(kQuantizeThreads) row_images_kernel(const __grid_constant__ Images p) {
  const int k = static_cast<int>(p.rows.k), width = static_cast<int>(steps_of(k)) * kStep;
  const T* x = static_cast<const T*>(p.rows.x) + blockIdx.x * p.rows.x_stride;
  let_next_start();
  wait_for_inputs();
  const float scale = scale_of_row(x, k), inverse = 1 / scale;
  if (threadIdx.x == 0) p.rows.scales[blockIdx.x] = scale;
  for (int i = threadIdx.x * 8; i < width; i += kQuantizeThreads * 8) {
    const uint2 codes = i < k ? codes_of(load<8>(x + i), inverse) : uint2{0, 0};
    put_in_image(p.rows.codes + int64_t{i / kStep} * p.image_rows * 128, blockIdx.x, i % kStep, codes);
  }
}

// Half a warp for each step of a row.
template <class T>
__global__ void __launch_bounds__(kQuantizeThreads) step_images_kernel(const __grid_constant__ Images p) {
  const int steps = static_cast<int>(steps_of(p.rows.k)),
            i = blockIdx.x * kQuantizeSteps + static_cast<int>(threadIdx.x) / kStepThreads;
  const int row = i / steps, step = i % steps, within = threadIdx.x % kStepThreads * 8, at = step * kStep + within;
  let_next_start();
  wait_for_inputs();
  Vec<T, 8> v = {};
  if (row < p.rows.rows && at < p.rows.k) v = load<8>(static_cast<const T*>(p.rows.x) + row * p.rows.x_stride + at);
  float most = largest(v);
#pragma unroll
  for (int offset = kStepThreads / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, offset));
  if (row >= p.rows.rows) return;
  const float scale = scale_of(most);
  if (threadIdx.x % kStepThreads == 0) p.rows.scales[step * p.image_rows + row] = scale;
  put_in_image(p.rows.codes + int64_t{step} * p.image_rows * 128, row, within, codes_of(v, 1 / scale));
}

// d[64 x N] (+)= a b over 32, a from registers, b along the sum.
#define MAMBA_CODES(N, SUMS, A0, A1, A2, A3, B, P)                                             \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P                                         \
               ", 0;\n"                                                                        \
               "wgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 {" MAMBA_NAMES_##SUMS \
               "}, {%" #A0 ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #B ", p, 1, 1;\n}\n"           \
               : MAMBA_SUMS_##SUMS                                                             \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate))
template <int N>
__device__ __forceinline__ void multiply_codes(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate) {
  if constexpr (N == 32) MAMBA_CODES(32, 16, 16, 17, 18, 19, 20, 21);
  if constexpr (N == 64) MAMBA_CODES(64, 32, 32, 33, 34, 35, 36, 37);
}
#undef MAMBA_CODES

// The sizes that a launch is made with.
struct Walk {
  int cluster;                        // blocks that share k: 1 or 2
  int groups, splits;                 // of warpgroups
  int used;                           // warps of a split that ever have a tile, the first ones
  int batch;                          // blocks of the weight in a copy, and in a slot of a warp's ring
  int depth, stages;                  // slots of such a ring, and of the ring of x of each split
  uint32_t x, rings, sums, barriers;  // offsets in shared memory; sums: of the cluster's other block
  uint32_t bytes;
};

constexpr int kMostGroups = 3, kBlockBytes = block_bytes(DType::e4m3);

template <int N, bool kStepScales>
__global__ void __launch_bounds__(kMostGroups * 160, 1)
    e4m3_rows_kernel(const __grid_constant__ LinearParams p, const __grid_constant__ Images x,
                     const __grid_constant__ Walk plan) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(1024) uint8_t memory[];
  constexpr int kImage = N * 128, kStage = kImage + (kStepScales ? 1024 : 0);
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int consumers = plan.groups * plan.splits * 4, steps = static_cast<int>(steps_of(p.k));
  const int rank = static_cast<int>(blockIdx.x) % plan.cluster, shares = plan.cluster * plan.splits;  // of k
  const TilesOfBlock own(p.n, plan.cluster);
  if (plan.cluster > 1) cluster_arrive();
  const int first_tile = own.first, tiles = own.count;
  const int abreast = plan.groups * 4, passes = (tiles + abreast - 1) / abreast;
  auto* full = reinterpret_cast<uint64_t*>(memory + plan.barriers);  // of rings [splits][used][depth]
  uint64_t* x_full = full + plan.used * plan.splits * plan.depth;    // [splits][stages]
  uint64_t* x_empty = x_full + plan.splits * plan.stages;
  const bool copies_x = warp >= consumers;
  const int split = copies_x ? warp - consumers : warp / abreast, place = warp % abreast;
  const int share = rank * plan.splits + split;
  const int begin = steps * share / shares, count = steps * (share + 1) / shares - begin;
  const int number = split * plan.used + place;  // of this warp's ring, if it has one
  uint8_t* ring = memory + plan.rings + number * plan.depth * plan.batch * kBlockBytes;
  uint64_t* ring_full = full + number * plan.depth;
  const auto* weight = static_cast<const uint8_t*>(p.weight);
  // The blocks of its tiles in order: the next to fetch, and where.
  const int rounds = max((tiles - place + abreast - 1) / abreast, 0);
  const uint8_t* next = weight + (int64_t{first_tile + place} * steps + begin) * kBlockBytes;
  int left = rounds * count, left_of_tile = count, slot_of_next = 0;
  const auto fetch = [&] {
    const int blocks = min(plan.batch, left_of_tile), bytes = blocks * kBlockBytes;
    hopper::barrier_expect(ring_full + slot_of_next, bytes);
    hopper::copy_bytes(ring + slot_of_next * plan.batch * kBlockBytes, next, bytes, ring_full + slot_of_next,
                       hopper::kEvictFirst);
    next += bytes, left -= blocks, left_of_tile -= blocks;
    if (left_of_tile == 0) {
      left_of_tile = count;
      next += (int64_t{abreast} * steps - count) * kBlockBytes;
    }
    if (++slot_of_next == plan.depth) slot_of_next = 0;
  };
  if (!copies_x && place < plan.used && lane == 0) {
    for (int d = 0; d < plan.depth; ++d) hopper::barrier_init(ring_full + d, 1);
    hopper::barrier_init_fence();
    hopper::fence_async();
    for (int i = 0; i < plan.depth && left > 0; ++i) fetch();
  } else if (copies_x && lane == 0) {
    for (int i = 0; i < plan.stages; ++i) {
      hopper::barrier_init(x_full + split * plan.stages + i, 1);
      hopper::barrier_init(x_empty + split * plan.stages + i, abreast);
    }
    hopper::barrier_init_fence();
    hopper::fence_async();
  }
  let_next_start();
  __syncthreads();
  wait_for_inputs();
  if (plan.cluster > 1) cluster_wait();  // the other block has started
  if (copies_x) {
    if (lane > 0) return;
    for (int i = 0, at = 0, step = begin, phase = 1; i < passes * count; ++i) {
      const int stage = split * plan.stages + at;
      hopper::barrier_wait(x_empty + stage, phase);
      hopper::barrier_expect(x_full + stage, kImage + (kStepScales ? N * 4 : 0));
      uint8_t* to = memory + plan.x + stage * kStage;
      hopper::copy_bytes(to, x.rows.codes + int64_t{step} * kImage, kImage, x_full + stage);
      if constexpr (kStepScales) hopper::copy_bytes(to + kImage, x.rows.scales + step * N, N * 4, x_full + stage);
      if (++at == plan.stages) at = 0, phase ^= 1;
      if (++step == begin + count) step = begin;
    }
    return;
  }
  const bool never = p.m < 0;
  int slot = 0, within = 0, phase = 0, stage_of_split = 0, phase_of_x = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const int tile = pass * abreast + place;
    const bool mine = tile < tiles;
    float sums[N / 2] = {}, products[N / 2] = {};
    float low = 0, high = 0;  // scales of rows g and g + 8
    for (int j = 0; j < count; ++j) {
      const int stage = split * plan.stages + stage_of_split;
      uint4 words[4] = {};
      if (mine) {
        if (within == 0) hopper::barrier_wait(ring_full + slot, phase);
        const uint8_t* block = ring + (slot * plan.batch + within) * kBlockBytes;
#pragma unroll
        for (int l = 0; l < 4; ++l) words[l] = *(reinterpret_cast<const uint4*>(block + l * 512) + lane);
        const auto* scales = reinterpret_cast<const float*>(block + code_bytes_of(DType::e4m3));
        low = scales[lane / 4], high = scales[lane / 4 + 8];
        if (++within == plan.batch || j + 1 == count) {
          within = 0;
          if (++slot == plan.depth) slot = 0, phase ^= 1;
          __syncwarp();
          if (lane == 0 && left > 0) fetch();
        }
      }
      hopper::barrier_wait(x_full + stage, phase_of_x);
      if (++stage_of_split == plan.stages) stage_of_split = 0, phase_of_x ^= 1;
      const uint8_t* image = memory + plan.x + stage * kStage;
      const uint64_t b = hopper::describe_along_sum(shared_address(image));
      uint32_t a[4][4];
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint4 &top = words[s / 2], &bottom = words[2 + s / 2];
        a[s][0] = s % 2 ? top.z : top.x, a[s][1] = s % 2 ? bottom.z : bottom.x;
        a[s][2] = s % 2 ? top.w : top.y, a[s][3] = s % 2 ? bottom.w : bottom.y;
      }
      hopper::products_begin();
#pragma unroll
      for (int s = 0; s < 4; ++s) multiply_codes<N>(products, a[s], b + s * 2, s > 0);
      hopper::products_commit();
      hopper::products_wait<0>();
      hopper::pin(products);
      hopper::hold(a, never);
      const auto* scales_x = reinterpret_cast<const float*>(image + kImage);
#pragma unroll
      for (int c = 0; c < N / 8; ++c) {
        if constexpr (kStepScales) {
          const float2 s = *reinterpret_cast<const float2*>(scales_x + c * 8 + lane % 4 * 2);
          sums[4 * c] = fmaf(low * s.x, products[4 * c], sums[4 * c]);
          sums[4 * c + 1] = fmaf(low * s.y, products[4 * c + 1], sums[4 * c + 1]);
          sums[4 * c + 2] = fmaf(high * s.x, products[4 * c + 2], sums[4 * c + 2]);
          sums[4 * c + 3] = fmaf(high * s.y, products[4 * c + 3], sums[4 * c + 3]);
        } else {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[4 * c + e] += products[4 * c + e];
        }
      }
      __syncwarp();
      if (lane == 0) hopper::barrier_arrive(x_empty + stage);
    }
    // Splits and clusters are for blocks with one pass.
    if (plan.splits > 1) {
      // Each split's lie where its rows of x have been.
      const auto of_split = [&](int s) {
        return reinterpret_cast<float*>(memory + plan.x + s * plan.stages * kStage) + place * (N / 2) * 32 + lane;
      };
      if (split > 0) {
        asm volatile("bar.sync %0, %1;" ::"r"(1 + split), "r"(abreast * 32) : "memory");
        float* own_sums = of_split(split);
#pragma unroll
        for (int e = 0; e < N / 2; ++e) own_sums[e * 32] = sums[e];
      }
      asm volatile("bar.sync 1, %0;" ::"r"(consumers * 32) : "memory");
      if (split > 0) return;
      for (int s = 1; s < plan.splits; ++s) {
#pragma unroll
        for (int e = 0; e < N / 2; ++e) sums[e] += of_split(s)[e * 32];
      }
    }
    constexpr int kHalf = N / 16;  // eights of rows of x
    if (plan.cluster > 1) {
      float4* meeting = reinterpret_cast<float4*>(memory + plan.sums) + place * kHalf * 32 + lane;
#pragma unroll
      for (int c = 0; c < N / 8; ++c) {
        if (c / kHalf == rank) continue;
        hopper::store_at(hopper::address_at(meeting + c % kHalf * 32, 1 - rank),
                         {sums[4 * c], sums[4 * c + 1], sums[4 * c + 2], sums[4 * c + 3]});
      }
      cluster_arrive();
      cluster_wait();
#pragma unroll
      for (int c = 0; c < N / 8; ++c) {
        if (c / kHalf != rank) continue;
        const float4 other = meeting[c % kHalf * 32];
        sums[4 * c] += other.x, sums[4 * c + 1] += other.y, sums[4 * c + 2] += other.z, sums[4 * c + 3] += other.w;
      }
    }
    if (!mine) continue;
#pragma unroll
    for (int c = 0; c < N / 8; ++c) {
      if (plan.cluster > 1 && c / kHalf != rank) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int m = c * 8 + lane % 4 * 2 + e % 2;
        const int64_t n = int64_t{first_tile + tile} * kRows + lane / 4 + e / 2 * 8;
        if (m >= p.m) continue;
        float value = sums[4 * c + e];
        if constexpr (!kStepScales) value *= (e / 2 ? high : low) * x.rows.scales[m];
        write_out(p, m, n, p.alpha * value + load_out(p, m, n));
      }
    }
  }
#endif
}

}  // namespace mamba::cuda::codes
