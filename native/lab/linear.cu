// Ladder of the linear op at decode batch sizes: out[m, n] = x[m, k] W[n, k]^T, m = 1 to 64, bf16 in, sums in float.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/linear.cu -lcublasLt
//       -o linear && ./linear [--json FILE --commit SHA] [--check [--quick] | --time]
//
// Without cublasLt.h it compiles without the peer; leave out -lcublasLt then.
//
// Idea. The weight is read once and everything else is small, so the kernel is a copy that ends in registers. Rows of
// the weight are operand A of m16n8k16 (rows of x, padded to eight, are B): the products cost nothing beside the bytes.
// The weight is packed at load so that a lane's operand is one 16-byte load and a warp's are 512 bytes in a row (see
// "the packed weight"); k is ordered within 32 so that B is 16 bytes of x as they lie. No shared memory on the way.
//
// Mapping of `frag`, the best up to m = 16: a block owns 16 rows (a tile) and all of k, or, where n is small, a share
// of k in a cluster; its warps take 32 of k in turn with D of them in flight each; sums over warps through shared
// memory, over the blocks of a cluster through distributed shared memory, in a fixed order. Blocks are many and short,
// so that the start and end of one are hidden by others.
//
// Bound. Bytes: 2 n k. At the 4.3 TB/s of a copy, plus 3.8 us for an empty launch as it is timed here, 2.7b in_proj
// (54.1 MB) takes 12.6 + 3.8, out_proj (26.2 MB) 6.1 + 3.8, 7b in_proj (152 MB) 35.4 + 3.8, lm_head (268 MB) 62.4 +
// 3.8. On CUDA cores that rate is 9.3 weights a clock and multiprocessor: at m = 8, two rows a warp, 74 products and 47
// unpacked numbers of the 128 operations there are, so they can serve small m only.
//
// Measured, us on one H200, between two events around a graph of the launch, after a flush of the L2 by writes (after
// one that leaves it clean in brackets). An empty kernel takes 3.8 (3.6). "read" only reads the weight's bytes. "frag"
// is frag C1 T1 W8 D4 at m = 1 and 8 (2 and 4 lie between), frag C2 T2 W8 D2 at 16; at 32 and 64 stands the best
// version. lm_head writes float, the others bf16. Lt is the best of cuBLASLt's eight.
//
//                 read         m=1 frag     Lt           m=8 frag     Lt           m=16 frag    Lt
//   130m in_proj   6.8 ( 5.7)   7.8 ( 7.0)   8.1 ( 7.5)   8.0 ( 7.1)   8.1 ( 7.3)   9.3 ( 8.6)   8.3 ( 7.6)
//   130m out_proj  5.9 ( 5.4)   7.5 ( 6.9)   8.2 ( 7.8)   7.5 ( 7.4)   8.2 ( 7.9)   8.2 ( 7.6)   8.3 ( 7.9)
//   130m lm_head  24.8 (22.0)  25.6 (24.3)  30.1 (22.9)  26.9 (24.9)  30.1 (22.9)  29.9 (28.0)  30.1 (22.8)
//   2.7b in_proj  19.2 (16.7)  20.9 (19.1)  23.2 (17.9)  21.0 (19.6)  23.2 (18.0)  21.5 (19.6)  23.3 (18.0)
//   2.7b out_proj 12.3 (10.8)  14.2 (12.4)  16.3 (13.4)  14.4 (12.9)  16.5 (13.5)  15.1 (13.9)  16.5 (13.9)
//   2.7b lm_head  68.6 (63.5)  71.0 (66.1)  73.9 (64.5)  71.8 (66.5)  74.0 (64.9)  73.8 (67.3)  74.8 (67.2)
//   7b in_proj    42.9 (39.2)  44.6 (40.8)  49.7 (41.1)  45.0 (40.9)  49.8 (41.0)  47.5 (44.1)  49.9 (41.0)
//   7b out_proj   22.4 (19.8)  23.9 (21.6)  29.3 (23.6)  24.1 (21.9)  29.0 (23.1)  25.1 (22.8)  29.1 (23.1)
//   7b lm_head    71.4 (65.9)  73.1 (68.2)  75.7 (67.1)  73.5 (68.4)  76.1 (68.2)  76.3 (70.4)  76.7 (67.7)
//
//                 m=32 best                         Lt           m=64 best                         Lt
//   130m in_proj  frag C4 T2 W8 D2    10.4 ( 9.7)   8.3 ( 7.7)  wgmma C8 R1 S6      12.2 (11.4)   8.2 ( 7.5)
//   130m out_proj frag C4 T2 W8 D2     8.6 ( 8.3)   8.2 ( 7.8)  wgmma C8 R1 S6      10.0 ( 9.2)   8.4 ( 7.8)
//   130m lm_head  wgmma C4 R1 S6      36.6 (29.8)  30.6 (23.4)  wgmma C8 R1 S6      45.8 (41.6)  31.3 (24.6)
//   2.7b in_proj  wgmma C4 R1 S6      26.7 (22.2)  23.3 (18.5)  wgmma C8 R1 S6      41.2 (38.2)  23.6 (18.4)
//   2.7b out_proj wgmma C4 R1 S6      17.1 (14.8)  16.1 (14.3)  wgmma C8 R2 S4      20.5 (18.2)  16.1 (13.5)
//   2.7b lm_head  wgmma C4 R1 S6      77.8 (70.1)  75.6 (68.3)  wgmma C8 R1 S6      89.2 (82.8)  78.3 (69.1)
//   7b in_proj    wgmma C4 R2 S5      58.6 (51.9)  50.0 (41.5)  wgmma C8 R2 S4      68.0 (61.5)  49.6 (41.8)
//   7b out_proj   frag C4 T2 W8 D2    26.9 (25.7)  29.7 (23.7)  wgmma C8 R1 S6      39.9 (35.0)  28.2 (22.9)
//   7b lm_head    wgmma C4 R2 S5      79.2 (70.6)  77.6 (69.9)  wgmma C8 R2 S4      84.6 (76.3)  79.4 (71.1)
//
// Versions on 2.7b in_proj, m = 1 (read 19.2, Lt 23.2).
//   row M1 R2 D4: CUDA cores, row-major W, two rows a warp           24.7 (23.0)
//   frag C1 T1 W8 D4: operands to registers, 24 warps                20.9 (19.1)
//   frag C1 T1 W8 D6: deeper, but 16 warps                           21.7 (20.3)  k = 768: 31.6 against 25.6
//   frag C1 T1 W8 D4 ahead: the rest of a block's W to the L2 first  24.1 (22.1)  slower in chains too
//   ring C1 112K: resident blocks, bulk copies, equal shares of W    27.9 (22.9)  was predicted to be the best
//   tile C1 S6: cp.async stages, 128 rows a block                    29.2 (24.6)
//   wgmma C1 R1 S6: bulk copies of swizzled tiles, k split           25.2 (20.6)
// The versions that go through shared memory, and the library, lose 3 to 5 us here to a dirty L2, frag 2. With a clean
// one and m up to 8 the library is up to 10% ahead of frag here and at the lm_heads, and behind at each out_proj.
//
// Chains of in_proj and out_proj with weights of their own in one graph; "early" starts a kernel before the last ends
// (programmatic dependent launch): it loads its first weights, then waits for x. Lt without it.
//                                                   130m, 24 pairs   2.7b, 16 pairs   7b, 8 pairs
//   bytes only, one read                             50.0            308.6            415.5
//   cuBLASLt                             m=1        223.8            422.8            483.0
//   frag C1 T1 W8 D4                     m=1        175.7            412.8            466.3
//   frag C1 T1 W8 D4 early               m=1        136.4            383.9            448.4
//   row M1 R1 D6 early                   m=1        129.1            513.0            550.5
//   cuBLASLt                             m=8        223.1            435.9            485.7
//   frag C1 T1 W8 D4                     m=8        182.5            419.1            469.4
//   frag C1 T1 W8 D4 early               m=8        142.9            388.8            453.7
// An early start saves 0.8 to 1.1 us a kernel. A kernel of the 130m chain then takes 2.8 us, 1.0 of them bytes.
//
// The same version gave the same times in two runs to 2%. Every version gives the same bits twice, with and without the
// early start, and row 0 alone has the bits it has among m rows (within a version; other versions differ in rounding).
//
// Not done. Above m = 16 the library is ahead. Suspects, not yet measured: `finish` waits for one remote load after the
// other and writes 2 bytes a thread; x is brought again for each block of rows (multicast in a cluster would share it);
// nothing runs under the end of a block. At m = 16 and k = 768 take frag C2 T1 W8 D3 (8.4, 29.1).
#include <cuda_runtime.h>

#include "cuda/hopper.cuh"
#include "lab/lab.cuh"
#include "cuda/vec.cuh"
#include "ops/linear.h"
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define LAB_CUBLASLT 1
#endif

namespace mamba::cuda {

struct Skinny : LinearParams {
  const bf16* residual;  // [m, n] with out's stride, or null
  float* partials;       // of tiles that two blocks share (ring)
  uint32_t* counters;    // zero between launches (ring)
  int vector_x;          // x can be read by 16 bytes
};

// Programmatic dependent launch. Both do nothing in a launch without the attribute.
__device__ __forceinline__ void wait_for_inputs() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void let_next_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

__device__ __forceinline__ uint4 load_weight(const uint4* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(at));
  return v;
}

// Eight elements of x at (row, k), zeros outside. An ordinary load: in a chain the launch before writes x.
__device__ __forceinline__ uint4 load_x(const Skinny& p, int row, int k) {
  uint4 v = {0, 0, 0, 0};
  if (row >= p.m) return v;
  const uint16_t* at = static_cast<const uint16_t*>(p.x) + row * p.x_stride + k;
  if (p.vector_x && k + 8 <= p.k) {
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
  }
  uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (k + i < p.k) words[i / 2] |= static_cast<uint32_t>(at[i]) << (i % 2 * 16);
  }
  return {words[0], words[1], words[2], words[3]};
}

__device__ __forceinline__ void write_out(const Skinny& p, int row, int64_t n, float value) {
  if (n >= p.n) return;
  if (p.bias) value += __ldg(p.bias + n);
  const int64_t at = row * p.out_stride + n;
  if (p.residual) value += as_float(p.residual[at]);
  if (p.out_dtype == DType::f32) {
    static_cast<float*>(p.out)[at] = value;
  } else {
    static_cast<bf16*>(p.out)[at] = rounded<bf16>(value);
  }
}

__device__ __forceinline__ void unpack_eight(const uint4& v, float (&f)[8]) {
  const uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    f[2 * i] = __uint_as_float(words[i] << 16);
    f[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

// --- row: CUDA cores, row-major weight ------------------------------------------------------------------------------
// A warp owns Rows outputs, its lanes lie along k by 16 bytes; Depth pieces of each row are in flight.
template <int M, int Rows, int Depth>
__global__ void __launch_bounds__(128) linear_row_kernel(const __grid_constant__ Skinny p) {
  const int lane = threadIdx.x % 32, first = (blockIdx.x * 4 + threadIdx.x / 32) * Rows;
  const int k = static_cast<int>(p.k), n = static_cast<int>(p.n), pieces = (k + 255) / 256;
  const auto fetch = [&](int r, int piece) -> uint4 {
    const int at = piece * 256 + lane * 8;
    if (at >= k || first + r >= n) return {0, 0, 0, 0};
    return load_weight(
        reinterpret_cast<const uint4*>(static_cast<const bf16*>(p.weight) + int64_t{first + r} * k + at));
  };
  uint4 w[Depth][Rows];
#pragma unroll
  for (int d = 0; d < Depth; ++d) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) w[d][r] = fetch(r, d);
  }
  let_next_start();
  wait_for_inputs();
  float sum[Rows][M] = {};
  for (int base = 0; base < pieces; base += Depth) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      if (base + d >= pieces) break;
      float xs[M][8];
#pragma unroll
      for (int m = 0; m < M; ++m) unpack_eight(load_x(p, m, (base + d) * 256 + lane * 8), xs[m]);
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        float f[8];
        unpack_eight(w[d][r], f);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
          for (int i = 0; i < 8; ++i) sum[r][m] = fmaf(f[i], xs[m][i], sum[r][m]);
        }
        w[d][r] = fetch(r, base + d + Depth);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int offset = 16; offset > 0; offset /= 2) sum[r][m] += __shfl_xor_sync(~0u, sum[r][m], offset);
      if (lane == 0 && m < p.m) write_out(p, m, first + r, sum[r][m]);
    }
  }
}

// --- the packed weight and its products -----------------------------------------------------------------------------
// Tiles of 16 rows x 32 of k, 1024 bytes each, along k first; k is padded to 64 with zeros. Half s of a tile is operand
// A of one m16n8k16 product, 16 bytes a lane: lane 4 g + t holds rows g and g + 8 at k = 8 t + 4 s + {0, 1} and {2, 3}.
// With k in this order a lane's part of operand B for both halves is the 16 bytes of x at k = 8 t as they lie.
constexpr int kTileRows = 16, kTileK = 32, kTileVectors = 64;

__host__ __device__ constexpr int tiles_along_k(int64_t k) { return static_cast<int>((k + 63) / 64 * 2); }
__host__ __device__ constexpr int tiles_along_n(int64_t n) { return static_cast<int>((n + 15) / 16); }

__device__ __forceinline__ void multiply(float (&d)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// d of a lane lies at rows lane / 4 and + 8 of the weight, columns (rows of x) 2 (lane % 4) and + 1. In memory a tile
// of sums is [column][row].
template <int Columns>
__device__ __forceinline__ void put_sums(float* to, const float (&d)[Columns][4], int lane) {
#pragma unroll
  for (int c = 0; c < Columns; ++c) {
    float* at = to + (c * 8 + lane % 4 * 2) * kTileRows + lane / 4;
    at[0] = d[c][0], at[kTileRows] = d[c][1], at[8] = d[c][2], at[kTileRows + 8] = d[c][3];
  }
}

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t r;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ __forceinline__ float load_from_rank(const float* at, uint32_t rank) {
  float v;
  asm volatile("{\n.reg .u32 there;\nmapa.shared::cluster.u32 there, %1, %2;\nld.shared::cluster.f32 %0, [there];\n}"
               : "=f"(v)
               : "r"(shared_address(at)), "r"(rank)
               : "memory");
  return v;
}

// Adds what the blocks of the cluster (they split k) hold at `sums`, [tile][column][row], in the order of their ranks.
template <int Tiles, int Columns, int Threads>
__device__ __forceinline__ void finish(const Skinny& p, const float* sums, int first_tile, int splits) {
  constexpr int kTile = Columns * 8 * kTileRows;
  if (splits > 1) {
    cluster_barrier();
  } else {
    __syncthreads();
  }
  const int rank = splits > 1 ? static_cast<int>(cluster_rank()) : 0;
  for (int i = rank * Threads + threadIdx.x; i < Tiles * kTile; i += splits * Threads) {
    const int column = i % kTile / kTileRows;
    if (column >= p.m) continue;
    float sum = 0;
    if (splits > 1) {
      for (int r = 0; r < splits; ++r) sum += load_from_rank(sums + i, r);
    } else {
      sum = sums[i];
    }
    write_out(p, column, int64_t{first_tile + i / kTile} * kTileRows + i % kTileRows, sum);
  }
  if (splits > 1) cluster_barrier();  // nobody leaves while others read its sums
}

// --- frag: operands straight from device memory to registers --------------------------------------------------------
// A block owns Tiles x 16 outputs; its warps take tiles along k in turn, Depth of them in flight each.
template <int Columns, int Tiles, int Warps, int Depth, int Blocks, bool Ahead>
__global__ void __launch_bounds__(Warps * 32, Blocks) linear_frag_kernel(const __grid_constant__ Skinny p, int splits) {
  constexpr int kSums = Tiles * Columns * 8 * kTileRows;
  __shared__ float sums[Warps + 1][kSums];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_tile = blockIdx.x / splits * Tiles, rank = blockIdx.x % splits;
  const int along_k = tiles_along_k(p.k), along_n = tiles_along_n(p.n);
  const int begin = along_k * rank / splits, end = along_k * (rank + 1) / splits;
  const uint4* weight = static_cast<const uint4*>(p.weight) + int64_t{first_tile} * along_k * kTileVectors + lane;
  if constexpr (Ahead && Tiles == 1) {
    const int loaded = begin + Depth * Warps;
    if (threadIdx.x == 0 && loaded < end) {
      hopper::prefetch_l2(weight + int64_t{loaded} * kTileVectors, static_cast<uint32_t>(end - loaded) * 1024);
    }
  }
  uint4 w[Depth][Tiles][2], x[Depth][Columns];
  const auto fetch = [&](int d, int c) {
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      if (c >= end || first_tile + i >= along_n) continue;
      const uint4* at = weight + (int64_t{i} * along_k + c) * kTileVectors;
      w[d][i][0] = load_weight(at), w[d][i][1] = load_weight(at + 32);
    }
  };
  const auto fetch_x = [&](int d, int c) {
    if (c >= end) return;
#pragma unroll
    for (int i = 0; i < Columns; ++i) x[d][i] = load_x(p, i * 8 + lane / 4, c * kTileK + lane % 4 * 8);
  };
#pragma unroll
  for (int d = 0; d < Depth; ++d) {
#pragma unroll
    for (int i = 0; i < Tiles; ++i) w[d][i][0] = w[d][i][1] = uint4{0, 0, 0, 0};
    fetch(d, begin + warp + d * Warps);
  }
  let_next_start();
  wait_for_inputs();
#pragma unroll
  for (int d = 0; d < Depth; ++d) fetch_x(d, begin + warp + d * Warps);
  float acc[Tiles][Columns][4] = {};
  for (int base = begin + warp; base < end; base += Depth * Warps) {
#pragma unroll
    for (int d = 0; d < Depth; ++d) {
      const int c = base + d * Warps;
      if (c >= end) break;
#pragma unroll
      for (int i = 0; i < Tiles; ++i) {
#pragma unroll
        for (int j = 0; j < Columns; ++j) {
          multiply(acc[i][j], w[d][i][0], x[d][j].x, x[d][j].y);
          multiply(acc[i][j], w[d][i][1], x[d][j].z, x[d][j].w);
        }
      }
      fetch(d, c + Depth * Warps);
      fetch_x(d, c + Depth * Warps);
    }
  }
#pragma unroll
  for (int i = 0; i < Tiles; ++i) put_sums(sums[warp] + i * Columns * 8 * kTileRows, acc[i], lane);
  __syncthreads();
  for (int i = threadIdx.x; i < kSums; i += Warps * 32) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < Warps; ++w) sum += sums[w][i];
    sums[Warps][i] = sum;
  }
  finish<Tiles, Columns, Warps * 32>(p, sums[Warps], first_tile, splits);
}

// --- ring: resident blocks, the copy engine ahead of the products ---------------------------------------------------
// The weight is one run of units (16 rows x 64 of k, 2 KB); each block takes an equal stretch of it, its warps the
// units in turn, each through a ring of its own that its lane 0 refills. x stays in shared memory. A tile of rows that
// two blocks share is finished by the one that comes last, in the order of k.
constexpr uint32_t kUnitBytes = 2048;

template <int Columns>
__global__ void __launch_bounds__(256, 2) linear_ring_kernel(const __grid_constant__ Skinny p, int slots) {
  constexpr int kWarps = 8, kTile = Columns * 8 * kTileRows;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ uint64_t full[kWarps][16];
  __shared__ float sums[2][kWarps][kTile];
  __shared__ int is_last;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, m = static_cast<int>(p.m);
  uint8_t* ring = memory + warp * slots * kUnitBytes;
  auto* xs = reinterpret_cast<uint4*>(memory + kWarps * slots * kUnitBytes);  // [tile along k][row][lane % 4]
  const int64_t per_tile = tiles_along_k(p.k) / 2, total = per_tile * tiles_along_n(p.n);
  const auto begin_of = [&](int64_t b) { return b * total / gridDim.x; };
  const int64_t begin = begin_of(blockIdx.x), end = begin_of(blockIdx.x + 1);
  const auto* weight = static_cast<const uint8_t*>(p.weight);
  if (lane == 0) {
    for (int s = 0; s < slots; ++s) init_barrier(&full[warp][s], 1);
    publish_barriers();
    for (int s = 0; s < slots; ++s) {
      const int64_t u = begin + warp + s * kWarps;
      if (u >= end) break;
      arrive_and_expect(&full[warp][s], kUnitBytes);
      bulk_load(ring + s * kUnitBytes, weight + u * kUnitBytes, kUnitBytes, &full[warp][s]);
    }
  }
  __syncwarp();
  let_next_start();
  wait_for_inputs();
  const int pieces = tiles_along_k(p.k) * 4;
  for (int row = 0; row < m; ++row) {
    for (int i = threadIdx.x; i < pieces; i += 256) xs[(i / 4 * m + row) * 4 + i % 4] = load_x(p, row, i * 8);
  }
  __syncthreads();
  int slot = 0, buffer = 0;
  uint32_t parity = 0;
  int64_t u = begin + warp;
  for (int64_t tile = begin / per_tile; tile * per_tile < end; ++tile, buffer ^= 1) {
    const int64_t from = max(begin, tile * per_tile), to = min(end, (tile + 1) * per_tile);
    float acc[Columns][4] = {}, other[Columns][4] = {};
    for (; u < to; u += kWarps) {
      const int c = static_cast<int>(u - tile * per_tile) * 2;
      uint4 x[2][Columns];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int j = 0; j < Columns; ++j) {
          const int row = j * 8 + lane / 4;
          x[h][j] = row < m ? xs[((c + h) * m + row) * 4 + lane % 4] : uint4{0, 0, 0, 0};
        }
      }
      wait_barrier(&full[warp][slot], parity);
      const auto* at = reinterpret_cast<const uint4*>(ring + slot * kUnitBytes) + lane;
      const uint4 w0 = at[0], w1 = at[32], w2 = at[64], w3 = at[96];
      __syncwarp();
      const int64_t next = u + slots * kWarps;
      if (lane == 0 && next < end) {
        arrive_and_expect(&full[warp][slot], kUnitBytes);
        bulk_load(ring + slot * kUnitBytes, weight + next * kUnitBytes, kUnitBytes, &full[warp][slot]);
      }
      if (++slot == slots) slot = 0, parity ^= 1;
#pragma unroll
      for (int j = 0; j < Columns; ++j) {
        multiply(acc[j], w0, x[0][j].x, x[0][j].y);
        multiply(other[j], w1, x[0][j].z, x[0][j].w);
        multiply(acc[j], w2, x[1][j].x, x[1][j].y);
        multiply(other[j], w3, x[1][j].z, x[1][j].w);
      }
    }
#pragma unroll
    for (int j = 0; j < Columns; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) acc[j][i] += other[j][i];
    }
    put_sums(sums[buffer][warp], acc, lane);
    __syncthreads();
    const bool whole = from == tile * per_tile && to == (tile + 1) * per_tile;
    float* partials = p.partials + (int64_t{blockIdx.x} * 2 + (tile != begin / per_tile)) * kTile;
    for (int i = threadIdx.x; i < m * kTileRows; i += 256) {
      float sum = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) sum += sums[buffer][w][i];
      if (whole) {
        write_out(p, i / kTileRows, tile * kTileRows + i % kTileRows, sum);
      } else {
        __stcg(partials + i, sum);
      }
    }
    if (whole) continue;
    const auto block_of = [&](int64_t unit) { return ((unit + 1) * gridDim.x - 1) / total; };
    const int64_t first = block_of(tile * per_tile), last = block_of((tile + 1) * per_tile - 1);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = atomicAdd(p.counters + tile, 1u) == static_cast<uint32_t>(last - first);
      if (is_last) p.counters[tile] = 0;
      __threadfence();
    }
    __syncthreads();
    if (!is_last) continue;
    for (int i = threadIdx.x; i < m * kTileRows; i += 256) {
      float sum = 0;
      for (int64_t b = first; b <= last; ++b) {
        sum += __ldcg(p.partials + (b * 2 + (begin_of(b) / per_tile != tile)) * kTile + i);
      }
      write_out(p, i / kTileRows, tile * kTileRows + i % kTileRows, sum);
    }
  }
}

// --- tile: 128 outputs a block, weight and x through stages of shared memory ----------------------------------------
__device__ __forceinline__ void copy_async(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

template <int Columns, int Stages>
__global__ void __launch_bounds__(256, 2) linear_tile_kernel(const __grid_constant__ Skinny p, int splits) {
  constexpr int kWarps = 8, kWeight = kWarps * 2 * kTileVectors, kX = Columns * 2 * 32;  // 16-byte pieces of a stage
  constexpr int kSums = Columns * 8 * kTileRows;
  extern __shared__ __align__(1024) uint8_t memory[];
  auto* stages = reinterpret_cast<uint4*>(memory);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_tile = blockIdx.x / splits * kWarps, rank = blockIdx.x % splits, tile = first_tile + warp;
  const int steps = tiles_along_k(p.k) / 2, begin = steps * rank / splits, end = steps * (rank + 1) / splits;
  const bool live = tile < tiles_along_n(p.n);
  const uint4* weight = static_cast<const uint4*>(p.weight) + int64_t{tile} * steps * 2 * kTileVectors + lane;
  const auto fetch = [&](int step) {
    if (!live || step >= end) return;
    uint4* to = stages + (step - begin) % Stages * (kWeight + kX) + warp * 2 * kTileVectors + lane;
#pragma unroll
    for (int i = 0; i < 4; ++i) copy_async(to + i * 32, weight + int64_t{step} * 2 * kTileVectors + i * 32);
  };
  const auto fetch_x = [&](int step) {
    if (step < end) {
      uint4* to = stages + (step - begin) % Stages * (kWeight + kX) + kWeight;
      for (int i = threadIdx.x; i < kX; i += 256) {  // [half][column tile][lane]
        const int row = i / 32 % Columns * 8 + i % 32 / 4, k = (step * 2 + i / 32 / Columns) * kTileK + i % 4 * 8;
        if (p.vector_x && row < p.m && k + 8 <= p.k) {
          copy_async(to + i, static_cast<const bf16*>(p.x) + row * p.x_stride + k);
        } else {
          to[i] = load_x(p, row, k);
        }
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  for (int s = 0; s < Stages - 1; ++s) fetch(begin + s);
  let_next_start();
  wait_for_inputs();
  for (int s = 0; s < Stages - 1; ++s) fetch_x(begin + s);
  float acc[Columns][4] = {};
  for (int step = begin; step < end; ++step) {
    asm volatile("cp.async.wait_group %0;" ::"n"(Stages - 2) : "memory");
    __syncthreads();
    fetch(step + Stages - 1);
    fetch_x(step + Stages - 1);
    const uint4* stage = stages + (step - begin) % Stages * (kWeight + kX);
    const uint4* w = stage + warp * 2 * kTileVectors + lane;
    const uint4* x = stage + kWeight + lane;
    if (!live) continue;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4 w0 = w[h * 64], w1 = w[h * 64 + 32];
#pragma unroll
      for (int j = 0; j < Columns; ++j) {
        const uint4 b = x[(h * Columns + j) * 32];
        multiply(acc[j], w0, b.x, b.y);
        multiply(acc[j], w1, b.z, b.w);
      }
    }
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  auto* sums = reinterpret_cast<float*>(memory);
  put_sums(sums + warp * kSums, acc, lane);
  finish<kWarps, Columns, 256>(p, sums, first_tile, splits);
}

// --- wgmma: the copy engine and the warpgroup's products, for wider m -----------------------------------------------
// The weight in tiles of 64 rows x 64 of k as the matrix unit reads them (rows of 128 bytes, swizzled), 8 KB each,
// along k first: a tile is one plain bulk copy. x comes through a tensor map, zeros outside. A block owns Rows tiles of
// rows, and its x serves all of them; blocks of a cluster split k.
template <int Columns>
__device__ __forceinline__ void multiply_wide(float (&d)[Columns][4], uint64_t a, uint64_t b) {
  if constexpr (Columns == 1) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;\n"
                 : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3])
                 : "l"(a), "l"(b));
  } else if constexpr (Columns == 2) {
    float(&f)[8] = reinterpret_cast<float(&)[8]>(d);
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7}, %8, %9, 1, 1, 1, 0, "
        "0;\n"
        : MAMBA_F8(f, 0)
        : "l"(a), "l"(b));
  } else if constexpr (Columns == 4) {
    float(&f)[16] = reinterpret_cast<float(&)[16]>(d);
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, "
        "%13, %14, %15}, %16, %17, 1, 1, 1, 0, 0;\n"
        : MAMBA_F8(f, 0), MAMBA_F8(f, 8)
        : "l"(a), "l"(b));
  } else {
    static_assert(Columns == 8);
    hopper::multiply_64<__nv_bfloat16>(reinterpret_cast<float(&)[32]>(d), a, b, 1);
  }
}

constexpr uint32_t kWideBytes = 8192;

template <int Columns, int Rows, int Stages, int Blocks>
__global__ void __launch_bounds__(160, Blocks)
    linear_wgmma_kernel(const __grid_constant__ Skinny p, const __grid_constant__ CUtensorMap x_map, int splits) {
  constexpr uint32_t kXBytes = Columns * 1024, kStage = Rows * kWideBytes + kXBytes;
  extern __shared__ __align__(1024) uint8_t memory[];
  __shared__ uint64_t full[Stages], empty[Stages];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int first_tile = blockIdx.x / splits * Rows, rank = blockIdx.x % splits;
  const int all_steps = tiles_along_k(p.k) / 2, begin = all_steps * rank / splits;
  const int steps = all_steps * (rank + 1) / splits - begin;
  const int rows = min(Rows, static_cast<int>((p.n + 63) / 64) - first_tile);
  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) init_barrier(&full[s], 1), init_barrier(&empty[s], 4);
    publish_barriers();
  }
  __syncthreads();
  float acc[Rows][Columns][4] = {};
  if (warp == 4) {
    const auto fetch = [&](int i) {
      arrive_and_expect(&full[i % Stages], static_cast<uint32_t>(rows) * kWideBytes + kXBytes);
      for (int r = 0; r < rows; ++r) {
        const int64_t at = int64_t{first_tile + r} * all_steps + begin + i;
        bulk_load(memory + i % Stages * kStage + r * kWideBytes,
                  static_cast<const uint8_t*>(p.weight) + at * kWideBytes, kWideBytes, &full[i % Stages]);
      }
    };
    const auto fetch_x = [&](int i) {
      hopper::copy_box_3d(memory + i % Stages * kStage + Rows * kWideBytes, &x_map, &full[i % Stages], (begin + i) * 64,
                          0, 0);
    };
    if (lane == 0) {
      const int early = min(steps, Stages);
      for (int i = 0; i < early; ++i) fetch(i);
      let_next_start();
      wait_for_inputs();
      for (int i = 0; i < early; ++i) fetch_x(i);
      for (int i = early; i < steps; ++i) {
        wait_barrier(&empty[i % Stages], (i / Stages - 1) & 1);
        fetch(i), fetch_x(i);
      }
    }
    __syncwarp();
  } else {
    for (int i = 0; i < steps; ++i) {
      wait_barrier(&full[i % Stages], i / Stages & 1);
      const uint32_t stage = shared_address(memory + i % Stages * kStage);
      const uint64_t x = hopper::describe_along_sum(stage + Rows * kWideBytes);
      hopper::products_begin();
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        const uint64_t w = hopper::describe_along_sum(stage + r * kWideBytes);
#pragma unroll
        for (int k = 0; k < 4; ++k) multiply_wide<Columns>(acc[r], w + 2 * k, x + 2 * k);
      }
      hopper::products_commit();
      hopper::products_wait<0>();
#pragma unroll
      for (int r = 0; r < Rows; ++r) hopper::pin(reinterpret_cast<float(&)[Columns * 4]>(acc[r]));
      if (lane == 0) arrive(&empty[i % Stages]);
    }
    let_next_start();
    wait_for_inputs();
  }
  __syncthreads();
  auto* sums = reinterpret_cast<float*>(memory);
  if (warp < 4) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) put_sums(sums + (r * 4 + warp) * Columns * 8 * kTileRows, acc[r], lane);
  }
  finish<4 * Rows, Columns, 160>(p, sums, first_tile * 4, splits);
}

// --- launches -------------------------------------------------------------------------------------------------------
int multiprocessors() {
  static const int count = [] {
    int n = 0;
    LAB_CHECK(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, 0));
    return n;
  }();
  return count;
}

template <class... Args>
void launch_kernel(void (*kernel)(Args...), int blocks, int threads, size_t shared, int cluster, bool early,
                   cudaStream_t stream, std::type_identity_t<Args>... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks)), config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared, config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  if (cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs].val.clusterDim.x = static_cast<unsigned>(cluster);
    attributes[config.numAttrs].val.clusterDim.y = attributes[config.numAttrs].val.clusterDim.z = 1;
    ++config.numAttrs;
  }
  if (early) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs].val.programmaticStreamSerializationAllowed = 1;
    ++config.numAttrs;
  }
  config.attrs = attributes;
  if (shared > 48 * 1024) {
    LAB_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  }
  LAB_CHECK(cudaLaunchKernelEx(&config, kernel, args...));
}

template <int M, int Rows, int Depth>
bool run_row(const Skinny& p, bool early, cudaStream_t s) {
  if (p.m > M || p.k % 8) return false;
  const int blocks = static_cast<int>((p.n + 4 * Rows - 1) / (4 * Rows));
  launch_kernel(linear_row_kernel<M, Rows, Depth>, blocks, 128, 0, 1, early, s, p);
  return true;
}

// How many blocks share a tile's k: until there are enough of them, each with work for all of its warps.
int frag_splits(const Skinny& p, int tiles, int warps) {
  const int blocks = (tiles_along_n(p.n) + tiles - 1) / tiles;
  int splits = 1;
  while (splits < 8 && blocks * splits < 3 * multiprocessors() / 2 && tiles_along_k(p.k) >= 2 * splits * warps) {
    splits *= 2;
  }
  return splits;
}

template <int Columns, int Tiles, int Warps, int Depth, int Blocks, bool Ahead = false>
bool run_frag(const Skinny& p, bool early, cudaStream_t s) {
  if (p.m > Columns * 8) return false;
  const int splits = frag_splits(p, Tiles, Warps), blocks = (tiles_along_n(p.n) + Tiles - 1) / Tiles * splits;
  launch_kernel(linear_frag_kernel<Columns, Tiles, Warps, Depth, Blocks, Ahead>, blocks, Warps * 32, 0, splits, early,
                s, p, splits);
  return true;
}

// The ring fills `shared` bytes of the multiprocessor, less x and the static arrays.
template <int Columns, int Shared>
bool run_ring(const Skinny& p, bool early, cudaStream_t s) {
  if (p.m > Columns * 8) return false;
  const int x_bytes = static_cast<int>(p.m) * tiles_along_k(p.k) * kTileK * 2;
  const int fixed = 2 * 8 * Columns * 8 * kTileRows * 4 + 8 * 16 * 8 + 2048;
  const int slots = std::min(14, (Shared - x_bytes - fixed) / (8 * static_cast<int>(kUnitBytes)));
  if (slots < 2) return false;
  const int64_t units = int64_t{tiles_along_n(p.n)} * tiles_along_k(p.k) / 2;
  const int blocks = static_cast<int>(std::min<int64_t>(multiprocessors(), units));
  launch_kernel(linear_ring_kernel<Columns>, blocks, 256, slots * 8 * kUnitBytes + x_bytes, 1, early, s, p, slots);
  return true;
}

CUtensorMap map_x(const Skinny& p, int rows) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void* f = nullptr;
    cudaDriverEntryPointQueryResult result;
    LAB_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault, &result));
    return reinterpret_cast<Encode>(f);
  }();
  CUtensorMap map;
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(p.k), static_cast<cuuint64_t>(p.m), 1};
  const cuuint64_t row = static_cast<cuuint64_t>(p.x_stride) * 2, strides[2] = {row, row * sizes[1]};
  const cuuint32_t box[3] = {64, static_cast<cuuint32_t>(rows), 1}, steps[3] = {1, 1, 1};
  const CUresult result = encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(p.x), sizes, strides, box,
                                 steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                 CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    std::fprintf(stderr, "cuTensorMapEncodeTiled: %d\n", static_cast<int>(result));
    std::exit(2);
  }
  return map;
}

// The split of k (over a cluster) that ends first, were every stage of every block to take the same time.
int best_splits(int tiles, int steps, int room, int fixed) {
  int best = 1;
  double best_cost = 1e30;
  for (int splits = 1; splits <= 8 && steps / splits >= 3; ++splits) {
    const int rounds = (tiles * splits + room - 1) / room;
    const double cost = static_cast<double>(rounds) * ((steps + splits - 1) / splits + fixed);
    if (cost < best_cost * 0.98) best = splits, best_cost = cost;
  }
  return best;
}

template <int Columns, int Rows, int Stages, int Blocks>
bool run_wgmma(const Skinny& p, bool early, cudaStream_t s) {
  if (p.m > Columns * 8 || !p.vector_x) return false;
  const int tiles = static_cast<int>((p.n + 64 * Rows - 1) / (64 * Rows));
  const int splits = best_splits(tiles, tiles_along_k(p.k) / 2, Blocks * multiprocessors(), 4);
  const size_t shared = size_t{Stages} * (Rows * kWideBytes + Columns * 1024);
  launch_kernel(linear_wgmma_kernel<Columns, Rows, Stages, Blocks>, tiles * splits, 160, shared, splits, early, s, p,
                map_x(p, Columns * 8), splits);
  return true;
}

template <int Columns, int Stages>
bool run_tile(const Skinny& p, bool early, cudaStream_t s) {
  if (p.m > Columns * 8) return false;
  const int tiles = (tiles_along_n(p.n) + 7) / 8;
  const int best = best_splits(tiles, tiles_along_k(p.k) / 2, 2 * multiprocessors(), 4);
  const size_t shared = size_t{Stages} * (8 * 2 * kTileVectors + Columns * 64) * 16;
  launch_kernel(linear_tile_kernel<Columns, Stages>, tiles * best, 256, shared, best, early, s, p, best);
  return true;
}

enum class Order { rows, tiles, wide };

struct Version {
  const char* name;
  Order order;
  bool (*run)(const Skinny&, bool early, cudaStream_t);
};

const Version kVersions[] = {
    {"row M1 R1 D6", Order::rows, run_row<1, 1, 6>},
    {"row M1 R2 D4", Order::rows, run_row<1, 2, 4>},
    {"row M2 R2 D4", Order::rows, run_row<2, 2, 4>},
    {"row M4 R2 D4", Order::rows, run_row<4, 2, 4>},
    {"frag C1 T1 W8 D4", Order::tiles, run_frag<1, 1, 8, 4, 3>},
    {"frag C1 T1 W8 D4 ahead", Order::tiles, run_frag<1, 1, 8, 4, 3, true>},
    {"frag C1 T1 W8 D6", Order::tiles, run_frag<1, 1, 8, 6, 2>},
    {"frag C1 T1 W16 D3", Order::tiles, run_frag<1, 1, 16, 3, 1>},
    {"frag C1 T1 W4 D6", Order::tiles, run_frag<1, 1, 4, 6, 5>},
    {"frag C1 T2 W8 D3", Order::tiles, run_frag<1, 2, 8, 3, 2>},
    {"frag C2 T1 W8 D3", Order::tiles, run_frag<2, 1, 8, 3, 3>},
    {"frag C2 T1 W8 D4", Order::tiles, run_frag<2, 1, 8, 4, 2>},
    {"frag C2 T2 W8 D2", Order::tiles, run_frag<2, 2, 8, 2, 3>},
    {"frag C4 T2 W8 D2", Order::tiles, run_frag<4, 2, 8, 2, 2>},
    {"ring C1 112K", Order::tiles, run_ring<1, 112 * 1024>},
    {"ring C1 224K", Order::tiles, run_ring<1, 224 * 1024>},
    {"ring C2 224K", Order::tiles, run_ring<2, 224 * 1024>},
    {"tile C1 S6", Order::tiles, run_tile<1, 6>},
    {"tile C2 S5", Order::tiles, run_tile<2, 5>},
    {"tile C4 S5", Order::tiles, run_tile<4, 5>},
    {"tile C8 S4", Order::tiles, run_tile<8, 4>},
    {"wgmma C1 R1 S6", Order::wide, run_wgmma<1, 1, 6, 4>},
    {"wgmma C1 R2 S6", Order::wide, run_wgmma<1, 2, 6, 2>},
    {"wgmma C2 R1 S5", Order::wide, run_wgmma<2, 1, 5, 4>},
    {"wgmma C2 R2 S5", Order::wide, run_wgmma<2, 2, 5, 2>},
    {"wgmma C4 R1 S6", Order::wide, run_wgmma<4, 1, 6, 3>},
    {"wgmma C4 R2 S5", Order::wide, run_wgmma<4, 2, 5, 2>},
    {"wgmma C8 R1 S6", Order::wide, run_wgmma<8, 1, 6, 2>},
    {"wgmma C8 R2 S4", Order::wide, run_wgmma<8, 2, 4, 2>},
    {"wgmma C8 R4 S5", Order::wide, run_wgmma<8, 4, 5, 1>},
};

std::vector<uint16_t> pack(const uint16_t* src, int64_t n, int64_t k) {
  const int along_n = tiles_along_n(n), along_k = tiles_along_k(k);
  std::vector<uint16_t> dst(size_t{512} * static_cast<size_t>(along_n) * static_cast<size_t>(along_k));
  size_t at = 0;
  for (int i = 0; i < along_n; ++i) {
    for (int c = 0; c < along_k; ++c) {
      for (int j = 0; j < 512; ++j, ++at) {
        const int s = j / 256, lane = j % 256 / 8, word = j % 8 / 2;
        const int64_t row = i * 16 + lane / 4 + word % 2 * 8;
        const int64_t col = c * 32 + lane % 4 * 8 + s * 4 + word / 2 * 2 + j % 2;
        dst[at] = row < n && col < k ? src[row * k + col] : uint16_t{0};
      }
    }
  }
  return dst;
}

// Tiles of 64 x 64, the 16-byte piece i of row r at i ^ (r % 8).
std::vector<uint16_t> pack_wide(const uint16_t* src, int64_t n, int64_t k) {
  const int64_t along_n = (n + 63) / 64, along_k = (k + 63) / 64;
  std::vector<uint16_t> dst(static_cast<size_t>(along_n * along_k) * 4096);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t c = 0; c < k; ++c) {
      const int64_t tile = i / 64 * along_k + c / 64, piece = c % 64 / 8 ^ i % 8;
      dst[static_cast<size_t>(tile * 4096 + i % 64 * 64 + piece * 8 + c % 8)] = src[i * k + c];
    }
  }
  return dst;
}

}  // namespace mamba::cuda

namespace {

using lab::Buffer;
using lab::Host;
using mamba::bf16;
using mamba::DType;
using mamba::cuda::kVersions;
using mamba::cuda::Order;
using mamba::cuda::Skinny;
using mamba::cuda::Version;

constexpr size_t kPartialBytes = size_t{64} << 20, kCounterBytes = size_t{1} << 20;

struct Workspace {
  Buffer partials{kPartialBytes}, counters{kCounterBytes};
  Workspace() { LAB_CHECK(cudaMemset(counters.data, 0, counters.bytes)); }
};

Skinny describe(int64_t m, int64_t n, int64_t k, const void* x, int64_t x_stride, const void* weight, void* out,
                int64_t out_stride, DType out_dtype, const Workspace& workspace) {
  Skinny p = {};
  p.m = m, p.n = n, p.k = k, p.x = x, p.x_stride = x_stride, p.weight = weight, p.out = out, p.out_stride = out_stride;
  p.x_dtype = p.weight_dtype = DType::bf16, p.out_dtype = out_dtype;
  p.partials = workspace.partials.as<float>(), p.counters = workspace.counters.as<uint32_t>();
  p.vector_x = x_stride % 8 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
  return p;
}

struct Tally {
  int64_t checks = 0, failed = 0, unsteady = 0, by_m = 0;
  double worst = 0;
};

void check(int64_t m, int64_t n, int64_t k, DType out_dtype, bool extras, int x_padding, const Workspace& workspace,
           Tally& tally) {
  static uint64_t seed = static_cast<uint64_t>(std::time(nullptr)) << 20;
  lab::Random random{lab::mix(seed++)};
  const int64_t x_stride = k + x_padding, out_stride = n + 5;
  Host x(DType::bf16, m * x_stride), w(DType::bf16, n * k), bias(DType::f32, n), residual(DType::bf16, m * out_stride);
  x.fill_normal(random), bias.fill_normal(random), residual.fill_normal(random), w.fill_uniform(random, -1, 1);
  std::vector<float> wf(static_cast<size_t>(n * k)), xf(static_cast<size_t>(m * k));
  for (int64_t i = 0; i < n * k; ++i) wf[static_cast<size_t>(i)] = static_cast<float>(w.get(i));
  for (int64_t i = 0; i < m * k; ++i) xf[static_cast<size_t>(i)] = static_cast<float>(x.get(i / k * x_stride + i % k));
  std::vector<double> expected(static_cast<size_t>(m * n)), slack(expected.size());
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sums[4] = {}, sizes[4] = {};
      const float *a = xf.data() + i * k, *b = wf.data() + j * k;
      for (int64_t c = 0; c < k; ++c) {
        const double product = static_cast<double>(a[c]) * static_cast<double>(b[c]);
        sums[c % 4] += product, sizes[c % 4] += std::abs(product);
      }
      const size_t at = static_cast<size_t>(i * n + j);
      expected[at] = sums[0] + sums[1] + sums[2] + sums[3];
      slack[at] = 1e-6 * (sizes[0] + sizes[1] + sizes[2] + sizes[3]) + 1e-6;
      if (extras) expected[at] += bias.get(j) + residual.get(i * out_stride + j), slack[at] += 1e-5;
    }
  }
  const std::vector<uint16_t> packed = mamba::cuda::pack(reinterpret_cast<const uint16_t*>(w.bytes.data()), n, k);
  const std::vector<uint16_t> wide = mamba::cuda::pack_wide(reinterpret_cast<const uint16_t*>(w.bytes.data()), n, k);
  const Buffer dx(x), dw(w), dbias(bias), dwide(wide.size() * 2), dresidual(residual), dpacked(packed.size() * 2);
  LAB_CHECK(cudaMemcpy(dpacked.data, packed.data(), dpacked.bytes, cudaMemcpyHostToDevice));
  LAB_CHECK(cudaMemcpy(dwide.data, wide.data(), dwide.bytes, cudaMemcpyHostToDevice));
  const size_t out_bytes = static_cast<size_t>(m * out_stride) * mamba::size_of(out_dtype);
  Buffer out(out_bytes);
  static const cudaStream_t stream = [] {
    cudaStream_t s;
    LAB_CHECK(cudaStreamCreate(&s));
    return s;
  }();
  for (const Version& version : kVersions) {
    const void* weight = version.order == Order::rows    ? dw.data
                         : version.order == Order::tiles ? dpacked.data
                                                         : dwide.data;
    Skinny p = describe(m, n, k, dx.data, x_stride, weight, out.data, out_stride, out_dtype, workspace);
    if (extras) p.bias = dbias.as<float>(), p.residual = dresidual.as<bf16>();
    out.poison();
    if (!version.run(p, false, stream)) continue;
    LAB_CHECK(cudaDeviceSynchronize());
    const Host got = out.download(out_dtype);
    out.poison();
    version.run(p, true, stream);
    LAB_CHECK(cudaDeviceSynchronize());
    const bool steady = out.download(out_dtype).bytes == got.bytes;
    // The first row alone.
    p.m = 1;
    out.poison();
    version.run(p, false, stream);
    LAB_CHECK(cudaDeviceSynchronize());
    const Host alone = out.download(out_dtype);
    const bool same =
        std::memcmp(alone.bytes.data(), got.bytes.data(), static_cast<size_t>(n) * size_of(out_dtype)) == 0;
    lab::Errors errors;
    bool padding = true;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < out_stride; ++j) {
        const double value = got.get(i * out_stride + j);
        if (j >= n) {
          padding = padding && std::isnan(value);
        } else {
          const size_t at = static_cast<size_t>(i * n + j);
          errors.add(value, expected[at], slack[at], lab::rounding(out_dtype));
        }
      }
    }
    ++tally.checks, tally.worst = std::max(tally.worst, errors.worst);
    tally.unsteady += !steady, tally.by_m += !same;
    if (errors.bad == 0 && padding && steady && same) continue;
    tally.failed += errors.bad > 0 || !padding || !steady;
    std::printf("%s %s: m %ld n %ld k %ld %s: %ld bad (rel %.2e)%s%s%s\n", errors.bad || !padding ? "FAILED" : "note",
                version.name, static_cast<long>(m), static_cast<long>(n), static_cast<long>(k), name_of(out_dtype),
                static_cast<long>(errors.bad), errors.relative(), padding ? "" : ", wrote outside",
                steady ? "" : ", not the same bits twice", same ? "" : ", row 0 depends on m");
  }
}

bool check_all(bool quick, const Workspace& workspace) {
  Tally tally;
  const DType f32 = DType::f32, half = DType::bf16;
  check(1, 16, 32, f32, false, 0, workspace, tally);
  check(1, 1, 8, half, false, 0, workspace, tally);
  check(3, 24, 64, half, true, 8, workspace, tally);
  check(2, 37, 129, f32, false, 3, workspace, tally);
  check(5, 100, 200, half, false, 0, workspace, tally);
  check(7, 77, 104, f32, true, 1, workspace, tally);
  check(16, 48, 1000, half, false, 8, workspace, tally);
  check(13, 333, 77, half, true, 0, workspace, tally);
  check(33, 130, 520, half, false, 0, workspace, tally);
  check(64, 257, 776, f32, true, 16, workspace, tally);
  if (!quick) {
    check(1, 3352, 768, half, false, 0, workspace, tally);
    check(8, 3352, 768, half, true, 0, workspace, tally);
    check(4, 768, 1536, half, false, 3352 - 1536, workspace, tally);
    check(64, 768, 1536, half, false, 0, workspace, tally);
    check(2, 2560, 5120, f32, false, 0, workspace, tally);
    check(17, 1040, 2560, half, false, 0, workspace, tally);
    check(8, 10576, 2560, half, false, 0, workspace, tally);
    check(4, 1024, 8192, half, false, 0, workspace, tally);
  }
  std::printf("linear: %ld checks, %ld failed, %ld unsteady, %ld where row 0 depends on m, worst %.3f of the allowed\n",
              static_cast<long>(tally.checks), static_cast<long>(tally.failed), static_cast<long>(tally.unsteady),
              static_cast<long>(tally.by_m), tally.worst);
  return tally.failed == 0;
}

__global__ void fill_kernel(bf16* to, int64_t n, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t z = (i + seed) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9ull;
    to[i] = mamba::cuda::rounded<bf16>(scale * static_cast<float>(static_cast<int32_t>((z >> 32) ^ z)) * 0x1p-31f);
  }
}

// Reads only; the sum keeps the loads.
template <int Unroll>
__global__ void read_kernel(const uint4* from, int64_t n, uint32_t* sink) {
  const int64_t base = blockIdx.x * int64_t{256 * Unroll} + threadIdx.x;
  uint4 v[Unroll];
#pragma unroll
  for (int i = 0; i < Unroll; ++i) {
    v[i] = base + i * 256 < n ? mamba::cuda::load_weight(from + base + i * 256) : uint4{0, 0, 0, 0};
  }
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < Unroll; ++i) sum += v[i].x + v[i].y * 3 + v[i].z * 5 + v[i].w * 7;
  if (sum == 0x12345677u) *sink = sum;
}

lab::Times read_floor(lab::Bench& bench, const void* from, double bytes, uint32_t* sink) {
  const auto n = static_cast<int64_t>(bytes / 16);
  const auto* at = static_cast<const uint4*>(from);
  const auto blocks = [n](int64_t each) { return static_cast<unsigned>((n + each - 1) / each); };
  const lab::Times a = bench.time([=](cudaStream_t s) { read_kernel<4><<<blocks(1024), 256, 0, s>>>(at, n, sink); });
  const lab::Times b = bench.time([=](cudaStream_t s) { read_kernel<8><<<blocks(2048), 256, 0, s>>>(at, n, sink); });
  return {std::min(a.event, b.event), std::min(a.clean, b.clean)};
}

#ifdef LAB_CUBLASLT
class Lt {
 public:
  static constexpr int kMost = 8;
  Lt() { ok(cublasLtCreate(&handle_)); }
  struct Plan {  // no vector of results: nvcc 13.0 fails on one
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulHeuristicResult_t found[kMost];
    int count;
  };
  Plan plan(const Skinny& p) {
    Plan plan;
    const cublasOperation_t yes = CUBLAS_OP_T, no = CUBLAS_OP_N;
    ok(cublasLtMatmulDescCreate(&plan.op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    ok(cublasLtMatmulDescSetAttribute(plan.op, CUBLASLT_MATMUL_DESC_TRANSA, &yes, sizeof(yes)));
    ok(cublasLtMatmulDescSetAttribute(plan.op, CUBLASLT_MATMUL_DESC_TRANSB, &no, sizeof(no)));
    const uint64_t n = static_cast<uint64_t>(p.n), k = static_cast<uint64_t>(p.k), m = static_cast<uint64_t>(p.m);
    ok(cublasLtMatrixLayoutCreate(&plan.a, CUDA_R_16BF, k, n, p.k));
    ok(cublasLtMatrixLayoutCreate(&plan.b, CUDA_R_16BF, k, m, p.x_stride));
    ok(cublasLtMatrixLayoutCreate(&plan.d, p.out_dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF, n, m, p.out_stride));
    cublasLtMatmulPreference_t preference;
    ok(cublasLtMatmulPreferenceCreate(&preference));
    const size_t bytes = workspace_.bytes;
    ok(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                                            sizeof(bytes)));
    ok(cublasLtMatmulAlgoGetHeuristic(handle_, plan.op, plan.a, plan.b, plan.d, plan.d, preference, kMost, plan.found,
                                      &plan.count));
    ok(cublasLtMatmulPreferenceDestroy(preference));
    return plan;
  }
  void run(const Plan& plan, int i, const Skinny& p, float beta, cudaStream_t s) {
    const float alpha = 1;
    ok(cublasLtMatmul(handle_, plan.op, &alpha, p.weight, plan.a, p.x, plan.b, &beta, p.out, plan.d, p.out, plan.d,
                      &plan.found[i].algo, workspace_.data, workspace_.bytes, s));
  }

 private:
  static void ok(cublasStatus_t status) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    std::fprintf(stderr, "cuBLASLt: status %d\n", static_cast<int>(status));
    std::exit(3);
  }
  cublasLtHandle_t handle_;
  Buffer workspace_{size_t{64} << 20};
};
#endif

struct Model {
  const char* name;
  int64_t in_n, in_k, out_n, out_k, head_n, layers;
};
const Model kModels[] = {{"130m", 3352, 768, 768, 1536, 50288, 24},
                         {"2.7b", 10576, 2560, 2560, 5120, 50288, 16},
                         {"7b", 18560, 4096, 4096, 8192, 32768, 8}};

void time_all(lab::Bench& bench, lab::Report& report, const Workspace& workspace) {
  constexpr size_t kWeights = size_t{2} << 30;
  const Buffer weights(kWeights), x(64 * 8192 * 2), out(64 * 50432 * 4), other(64 * 50432 * 4);
  fill_kernel<<<2112, 256>>>(weights.as<bf16>(), kWeights / 2, 0.02f, 1);
  fill_kernel<<<2112, 256>>>(x.as<bf16>(), 64 * 8192, 1.0f, 2);
  LAB_CHECK(cudaDeviceSynchronize());
  auto* sink = other.as<uint32_t>();
#ifdef LAB_CUBLASLT
  Lt lt;
#endif
  const auto time_shape = [&](const std::string& shape, int64_t n, int64_t k, DType type) {
    const double weight_bytes = 2.0 * static_cast<double>(n * k);
    const lab::Times copy = bench.copy(weight_bytes);
    report.line("linear", shape, "read only", read_floor(bench, weights.data, weight_bytes, sink), weight_bytes, copy);
    for (const int64_t m : {1, 2, 4, 8, 16, 32, 64}) {
      const std::string name = shape + " m=" + std::to_string(m);
      const double bytes = weight_bytes + static_cast<double>(m) * (2.0 * k + static_cast<double>(size_of(type)) * n);
      const Skinny p = describe(m, n, k, x.data, k, weights.data, out.data, n, type, workspace);
      for (const Version& version : kVersions) {
        // Of each kind only the narrowest that holds m, and those twice as wide.
        const char* wide = std::strchr(version.name, ' ');
        const int holds = std::atoi(wide + 2) * (wide[1] == 'C' ? 8 : 1);
        if (m > holds || (holds > 8 && holds >= 2 * m) || (wide[1] == 'M' && holds >= 2 * m)) continue;
        if (!version.run(p, false, bench.stream())) continue;
        const lab::Times us = bench.time([&](cudaStream_t s) { version.run(p, false, s); });
        report.line("linear", name, version.name, us, bytes, copy);
      }
#ifdef LAB_CUBLASLT
      const Lt::Plan plan = lt.plan(p);
      lab::Times best = {1e30, 1e30};
      int fastest = 0;
      for (int i = 0; i < plan.count; ++i) {
        const lab::Times us = bench.time([&](cudaStream_t s) { lt.run(plan, i, p, 0, s); });
        if (us.event < best.event) best = us, fastest = i;
      }
      report.line("linear", name, "cublasLt best of " + std::to_string(plan.count), best, bytes, copy);
      best = bench.time([&](cudaStream_t s) { lt.run(plan, fastest, p, 1, s); });
      report.line("linear", name, "cublasLt with residual", best, bytes, copy);
#endif
    }
  };
  for (const Model& model : kModels) {
    const std::string name = model.name;
    time_shape(name + " in_proj", model.in_n, model.in_k, DType::bf16);
    time_shape(name + " out_proj", model.out_n, model.out_k, DType::bf16);
    time_shape(name + " lm_head", model.head_n, model.in_k, DType::f32);
  }
  // Chains of in_proj and out_proj, each with weights of its own, in one graph. Times are of the whole chain.
  for (const Model& model : kModels) {
    const int64_t in_size = (model.in_n + 63) / 64 * 64 * model.in_k, out_size = model.out_n * model.out_k;
    const double bytes = 2.0 * static_cast<double>(model.layers * (in_size + out_size));
    const lab::Times copy = bench.copy(bytes);
    const std::string chain = std::string(model.name) + " chain of " + std::to_string(model.layers) + " pairs";
    report.line("linear", chain, "read only", read_floor(bench, weights.data, bytes, sink), bytes, copy);
    for (const int64_t m : {1, 8}) {
      const auto layer = [&](int64_t i, bool second) {
        bf16* w = weights.as<bf16>() + i * (in_size + out_size) + (second ? in_size : 0);
        // in_proj reads x and writes `out`; out_proj reads from `out` and writes x.
        return second ? describe(m, model.out_n, model.out_k, out.data, model.in_n, w, x.data, model.in_k, DType::bf16,
                                 workspace)
                      : describe(m, model.in_n, model.in_k, x.data, model.in_k, w, out.data, model.in_n, DType::bf16,
                                 workspace);
      };
      const std::string name = chain + " m=" + std::to_string(m);
      for (const Version& version : kVersions) {
        const char* wide = std::strchr(version.name, ' ');
        const int holds = std::atoi(wide + 2) * (wide[1] == 'C' ? 8 : 1);
        if (m > holds || holds > 8 || (wide[1] == 'M' && holds >= 2 * m)) continue;
        if (!version.run(layer(0, false), false, bench.stream())) continue;
        if (!version.run(layer(0, true), false, bench.stream())) continue;
        for (const bool early : {false, true}) {
          const auto run = [&](cudaStream_t s) {
            for (int64_t i = 0; i < model.layers; ++i) {
              version.run(layer(i, false), early, s), version.run(layer(i, true), early, s);
            }
          };
          const lab::Times us = bench.time(run);
          report.line("linear", name, version.name + std::string(early ? " early" : ""), us, bytes, copy);
        }
        // The same bits with and without the early start.
        std::vector<Host> ends;
        for (const bool early : {false, true}) {
          fill_kernel<<<64, 256, 0, bench.stream()>>>(x.as<bf16>(), 64 * 8192, 1.0f, 2);
          for (int64_t i = 0; i < model.layers; ++i) {
            version.run(layer(i, false), early && i > 0, bench.stream());
            version.run(layer(i, true), early, bench.stream());
          }
          LAB_CHECK(cudaStreamSynchronize(bench.stream()));
          ends.push_back(x.download(DType::bf16));
        }
        if (ends[0].bytes != ends[1].bytes)
          std::printf("FAILED %s %s: the early start changes bits\n", name.c_str(), version.name);
      }
#ifdef LAB_CUBLASLT
      const Lt::Plan in = lt.plan(layer(0, false)), second = lt.plan(layer(0, true));
      int best[2] = {0, 0};
      for (int which = 0; which < 2; ++which) {
        const Lt::Plan& plan = which ? second : in;
        double fastest = 1e30;
        for (int i = 0; i < plan.count; ++i) {
          const double us = bench.time([&](cudaStream_t s) { lt.run(plan, i, layer(0, which == 1), 0, s); }).event;
          if (us < fastest) fastest = us, best[which] = i;
        }
      }
      const lab::Times us = bench.time([&](cudaStream_t s) {
        for (int64_t i = 0; i < model.layers; ++i) {
          lt.run(in, best[0], layer(i, false), 0, s), lt.run(second, best[1], layer(i, true), 0, s);
        }
      });
      report.line("linear", name, "cublasLt", us, bytes, copy);
#endif
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  const Workspace workspace;
  if (options.check && !check_all(options.quick, workspace)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report, workspace);
  return 0;
}
