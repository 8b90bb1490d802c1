// Ladder of the linear op at decode batch sizes: out[m, n] = x[m, k] W[n, k]^T, m = 1 to 64, bf16 in, sums in float.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/linear.cu
//       native/cuda/{activation,linear,linear_rows,linear_walk,product_trial,quantized_linear,quantized_ring}.cu
//       native/cuda/{gemm_plans,staging,status}.cpp -lcublasLt -o linear
//   ./linear [--json FILE --commit SHA] [--check [--quick] | --time]
//
// `op` is run_linear and `library` GemmPlans::run, as the engine calls them. `frag` is the op's kernel in sizes of its
// own (cuda/linear.cuh says how it works), over the row-major weight. `packed` is its forerunner, over a weight packed
// at load so that a warp's operands are 512 bytes in a row; its blocks pull each other's sums where frag's push them.
//
// Mapping of both: a block owns 16 rows (a tile) and all of k, or, where n is small, a share of k in a cluster; its
// warps take 32 of k in turn with D of them in flight each; sums over warps through shared memory, over the blocks of a
// cluster through distributed shared memory, in a fixed order. Blocks are many and short, so that the start and end of
// one are hidden by others.
//
// Bound. Bytes: 2 n k. At the 4.3 TB/s of a copy, plus 3.8 us for an empty launch as it is timed here, 2.7b in_proj
// (54.1 MB) takes 12.6 + 3.8, out_proj (26.2 MB) 6.1 + 3.8, 7b in_proj (152 MB) 35.4 + 3.8, lm_head (268 MB) 62.4 +
// 3.8. On CUDA cores that rate is 9.3 weights a clock and multiprocessor: at m = 8, two rows a warp, 74 products and 47
// unpacked numbers of the 128 operations there are, so they can serve small m only.
//
// Measured, us on one H200, between two events around a graph of the launch, after a flush of the L2 by writes (after
// one that leaves it clean in brackets). An empty kernel takes 3.8 (3.6). "read" only reads the weight's bytes. "pack."
// is packed C1 T1 W8 D4 at m = 1 and 8 (2 and 4 lie between), packed C2 T2 W8 D2 at 16; at 32 and 64 stands the best
// version. lm_head writes float, the others bf16. Lt is the best of cuBLASLt's eight.
//
//                 read         m=1 pack.    Lt           m=8 pack.    Lt           m=16 pack.   Lt
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
//   130m in_proj  packed C4 T2 W8 D2  10.4 ( 9.7)   8.3 ( 7.7)  wgmma C8 R1 S6      12.2 (11.4)   8.2 ( 7.5)
//   130m out_proj packed C4 T2 W8 D2   8.6 ( 8.3)   8.2 ( 7.8)  wgmma C8 R1 S6      10.0 ( 9.2)   8.4 ( 7.8)
//   130m lm_head  wgmma C4 R1 S6      36.6 (29.8)  30.6 (23.4)  wgmma C8 R1 S6      45.8 (41.6)  31.3 (24.6)
//   2.7b in_proj  wgmma C4 R1 S6      26.7 (22.2)  23.3 (18.5)  wgmma C8 R1 S6      41.2 (38.2)  23.6 (18.4)
//   2.7b out_proj wgmma C4 R1 S6      17.1 (14.8)  16.1 (14.3)  wgmma C8 R2 S4      20.5 (18.2)  16.1 (13.5)
//   2.7b lm_head  wgmma C4 R1 S6      77.8 (70.1)  75.6 (68.3)  wgmma C8 R1 S6      89.2 (82.8)  78.3 (69.1)
//   7b in_proj    wgmma C4 R2 S5      58.6 (51.9)  50.0 (41.5)  wgmma C8 R2 S4      68.0 (61.5)  49.6 (41.8)
//   7b out_proj   packed C4 T2 W8 D2  26.9 (25.7)  29.7 (23.7)  wgmma C8 R1 S6      39.9 (35.0)  28.2 (22.9)
//   7b lm_head    wgmma C4 R2 S5      79.2 (70.6)  77.6 (69.9)  wgmma C8 R2 S4      84.6 (76.3)  79.4 (71.1)
//
// Versions on 2.7b in_proj, m = 1 (read 19.2, Lt 23.2).
//   row M1 R2 D4: CUDA cores, row-major W, two rows a warp           24.7 (23.0)
//   packed C1 T1 W8 D4: operands to registers, 24 warps              20.9 (19.1)
//   packed C1 T1 W8 D6: deeper, but 16 warps                         21.7 (20.3)  k = 768: 31.6 against 25.6
//   packed C1 T1 W8 D4 ahead: the rest of a block's W to the L2 first  24.1 (22.1)  slower in chains too
//   ring C1 112K: resident blocks, bulk copies, equal shares of W    27.9 (22.9)  was predicted to be the best
//   tile C1 S6: cp.async stages, 128 rows a block                    29.2 (24.6)
//   wgmma C1 R1 S6: bulk copies of swizzled tiles, k split           25.2 (20.6)
// The versions that go through shared memory, and the library, lose 3 to 5 us here to a dirty L2, packed 2. With a
// clean one and m up to 8 the library is up to 10% ahead of packed here and at the lm_heads, and behind at each
// out_proj.
//
// Chains of in_proj and out_proj with weights of their own in one graph; "early" starts a kernel before the last ends
// (programmatic dependent launch): it loads its first weights, then waits for x. Lt without it.
//                                                   130m, 24 pairs   2.7b, 16 pairs   7b, 8 pairs
//   bytes only, one read                             50.0            308.6            415.5
//   cuBLASLt                             m=1        223.8            422.8            483.0
//   packed C1 T1 W8 D4                   m=1        175.7            412.8            466.3
//   packed C1 T1 W8 D4 early             m=1        136.4            383.9            448.4
//   row M1 R1 D6 early                   m=1        129.1            513.0            550.5
//   cuBLASLt                             m=8        223.1            435.9            485.7
//   packed C1 T1 W8 D4                   m=8        182.5            419.1            469.4
//   packed C1 T1 W8 D4 early             m=8        142.9            388.8            453.7
// An early start saves 0.8 to 1.1 us a kernel. A kernel of the 130m chain then takes 2.8 us, 1.0 of them bytes.
//
// The same version gave the same times in two runs to 2%. Every version gives the same bits twice, with and without the
// early start, and row 0 alone has the bits it has among m rows (within a version; other versions differ in rounding).
//
// Row-major or packed. Chains as above, with early starts; "layers" have the small kernels of a layer between
// (stand-ins for norm, convolution, state update and gated norm; without the linears they take the first line). A clean
// L2, us.
//                                    130m, 24 pairs, layers   2.7b, 16 pairs, layers   7b, 8 pairs, layers
//   no linear                m=1               86.5                     79.6                    43.2
//   cuBLASLt                 m=1     221.3    317.9           407.0    487.2          470.6    515.9
//   frag C1 T1 W8 D4 (op)    m=1     122.8    197.5           348.1    430.6          426.4    459.9
//   packed C1 T1 W8 D4       m=1     133.0    213.6           360.1    439.0          410.5    448.7
//   frag C1 T1 W8 D4 (op)    m=8     134.8    239.3           369.6    516.3          438.8    532.6
//   packed C1 T1 W8 D4       m=8     138.5    254.2           369.4    518.6          418.9    519.1
//   cuBLASLt                 m=16    222.1    368.8           426.6    708.2          474.7    679.3
//   frag C2 T1 W8 D3 (op)    m=16    146.1    296.9           413.6    626.6          472.4    659.3
//   frag C2 T2 W8 D2         m=16    182.0    320.1           386.4    602.4          479.6    659.6
//   packed C2 T2 W8 D2       m=16    186.8    317.9           386.1    607.6          468.0    636.8
// A row-major weight costs 7b 2.5 to 5%, spares the others as much, and serves the library too: it is the only copy. T1
// at m = 16 keeps a row's bits those it has at m = 1.
//
// Tried on frag and dropped (m = 1, layers of 130m, 2.7b, 7b, clean; before whole steps went without zeros the op's
// kernel took 203, 434, 464): loads that ask the L2 for 256 bytes instead of 128 (+1 to 2%), or for no more than theirs
// (+1 to 10%); two adjacent steps a warp (+1 to 2%); rows 128 bytes longer (-1 to 0%); four blocks of depth 3, five of
// depth 2, two tiles (-1 to +13%); the next kernel let start before the first loads (+5 to 18%); k never split (0%, but
// pairs of 2.7b +8%); operands through shared memory with cp.async, each lane's in a place of its own, so that 192 KB a
// multiprocessor are under way before the inputs come (-3 to +23%); the rest of a block's rows to the L2 before the
// inputs come (0, +19, +27%), or 8 to 24 MB of the next launch's weight at its start or at its end (0 to +3%). So a
// linear of 130m adds 2.3 us to the small kernels in every form, 1.0 of them bytes; where the rest goes is not known.
//
// Through GemmPlans, prefill of m = 8192, TFLOP/s: in_proj, out_proj of 130m 695, 613; 2.7b 823, 820; 7b 690, 835. At
// m = 32 and 64 it takes the times of Lt above.
#include <cstdlib>

#include "cuda/hopper_products.cuh"
#include "cuda/kernels.h"
#include "cuda/linear.cuh"
#include "lab/lab.cuh"
#include "lab/linear_workspace.cuh"

namespace mamba::cuda {

struct Skinny : LinearParams {
  float* partials;     // of tiles that two blocks share (ring)
  uint32_t* counters;  // zero between launches (ring)
  int vector_x;        // x can be read by 16 bytes
};

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
constexpr int kTileK = kStepK, kTileVectors = 64;

__host__ __device__ constexpr int tiles_along_k(int64_t k) { return static_cast<int>((k + 63) / 64 * 2); }
__host__ __device__ constexpr int tiles_along_n(int64_t n) { return static_cast<int>((n + 15) / 16); }

__device__ __forceinline__ void multiply(float (&d)[4], const uint4& a, uint32_t b0, uint32_t b1) {
  multiply<bf16>(d, a.x, a.y, a.z, a.w, b0, b1);
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
__device__ __forceinline__ void finish_pulling(const Skinny& p, const float* sums, int first_tile, int splits) {
  constexpr int kTile = Columns * 8 * kTileRows;
  if (splits > 1) {
    meet_cluster();
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
  if (splits > 1) meet_cluster();  // nobody leaves while others read its sums
}

// --- packed: frag over the packed weight, sums pulled from other blocks ---------------------------------------------
// A block owns Tiles x 16 outputs; its warps take tiles along k in turn, Depth of them in flight each.
template <int Columns, int Tiles, int Warps, int Depth, int Blocks, bool Ahead>
__global__ void __launch_bounds__(Warps * 32, Blocks)
    linear_packed_kernel(const __grid_constant__ Skinny p, int splits) {
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
  finish_pulling<Tiles, Columns, Warps * 32>(p, sums[Warps], first_tile, splits);
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
    for (int s = 0; s < slots; ++s) hopper::barrier_init(&full[warp][s], 1);
    hopper::barrier_init_fence();
    for (int s = 0; s < slots; ++s) {
      const int64_t u = begin + warp + s * kWarps;
      if (u >= end) break;
      hopper::barrier_expect(&full[warp][s], kUnitBytes);
      hopper::copy_bytes(ring + s * kUnitBytes, weight + u * kUnitBytes, kUnitBytes, &full[warp][s]);
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
      hopper::barrier_wait(&full[warp][slot], parity);
      const auto* at = reinterpret_cast<const uint4*>(ring + slot * kUnitBytes) + lane;
      const uint4 w0 = at[0], w1 = at[32], w2 = at[64], w3 = at[96];
      __syncwarp();
      const int64_t next = u + slots * kWarps;
      if (lane == 0 && next < end) {
        hopper::barrier_expect(&full[warp][slot], kUnitBytes);
        hopper::copy_bytes(ring + slot * kUnitBytes, weight + next * kUnitBytes, kUnitBytes, &full[warp][slot]);
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
  finish_pulling<kWarps, Columns, 256>(p, sums, first_tile, splits);
}

// --- wgmma: the copy engine and the warpgroup's products, for wider m -----------------------------------------------
// The weight in tiles of 64 rows x 64 of k as the matrix unit reads them (rows of 128 bytes, swizzled), 8 KB each,
// along k first: a tile is one plain bulk copy. x comes through a tensor map, zeros outside. A block owns Rows tiles of
// rows, and its x serves all of them; blocks of a cluster split k.
template <int Columns>
__device__ __forceinline__ void multiply_wide(float (&d)[Columns][4], uint64_t a, uint64_t b) {
  if constexpr (Columns < 8) {
    hopper::multiply_add<__nv_bfloat16, 8 * Columns>(reinterpret_cast<float(&)[4 * Columns]>(d), a, b);
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
    for (int s = 0; s < Stages; ++s) hopper::barrier_init(&full[s], 1), hopper::barrier_init(&empty[s], 4);
    hopper::barrier_init_fence();
  }
  __syncthreads();
  float acc[Rows][Columns][4] = {};
  if (warp == 4) {
    const auto fetch = [&](int i) {
      hopper::barrier_expect(&full[i % Stages], static_cast<uint32_t>(rows) * kWideBytes + kXBytes);
      for (int r = 0; r < rows; ++r) {
        const int64_t at = int64_t{first_tile + r} * all_steps + begin + i;
        hopper::copy_bytes(memory + i % Stages * kStage + r * kWideBytes,
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
        hopper::barrier_wait(&empty[i % Stages], (i / Stages - 1) & 1);
        fetch(i), fetch_x(i);
      }
    }
    __syncwarp();
  } else {
    for (int i = 0; i < steps; ++i) {
      hopper::barrier_wait(&full[i % Stages], i / Stages & 1);
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
      if (lane == 0) hopper::barrier_arrive(&empty[i % Stages]);
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
  finish_pulling<4 * Rows, Columns, 160>(p, sums, first_tile * 4, splits);
}

// --- launches -------------------------------------------------------------------------------------------------------
template <int M, int Rows, int Depth>
bool run_row(const Skinny& p, Context& context) {
  if (p.m > M || p.k % 8) return false;
  const int blocks = static_cast<int>((p.n + 4 * Rows - 1) / (4 * Rows));
  launch(context, {.grid = blocks, .block = 128}, linear_row_kernel<M, Rows, Depth>, p);
  return true;
}

// How many blocks share a tile's k: until there are enough of them, each with work for all of its warps.
int frag_splits(const Skinny& p, int tiles, int warps, const Context& context) {
  const int blocks = (tiles_along_n(p.n) + tiles - 1) / tiles;
  int splits = 1;
  while (splits < 8 && blocks * splits < 3 * context.multiprocessors / 2 && tiles_along_k(p.k) >= 2 * splits * warps) {
    splits *= 2;
  }
  return splits;
}

template <int Columns, int Tiles, int Warps, int Depth, int Blocks, bool Ahead = false>
bool run_packed(const Skinny& p, Context& context) {
  if (p.m > Columns * 8) return false;
  const int splits = frag_splits(p, Tiles, Warps, context), blocks = (tiles_along_n(p.n) + Tiles - 1) / Tiles * splits;
  launch(context, {.grid = blocks, .block = Warps * 32, .cluster = splits},
         linear_packed_kernel<Columns, Tiles, Warps, Depth, Blocks, Ahead>, p, splits);
  return true;
}

// The ring fills `shared` bytes of the multiprocessor, less x and the static arrays.
template <int Columns, int Shared>
bool run_ring(const Skinny& p, Context& context) {
  if (p.m > Columns * 8) return false;
  const int x_bytes = static_cast<int>(p.m) * tiles_along_k(p.k) * kTileK * 2;
  const int fixed = 2 * 8 * Columns * 8 * kTileRows * 4 + 8 * 16 * 8 + 2048;
  const int slots = std::min(14, (Shared - x_bytes - fixed) / (8 * static_cast<int>(kUnitBytes)));
  if (slots < 2) return false;
  const int64_t units = int64_t{tiles_along_n(p.n)} * tiles_along_k(p.k) / 2;
  const int blocks = static_cast<int>(std::min<int64_t>(context.multiprocessors, units));
  launch(context, {.grid = blocks, .block = 256, .shared_bytes = static_cast<size_t>(slots * 8 * kUnitBytes + x_bytes)},
         linear_ring_kernel<Columns>, p, slots);
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
  if (result != CUDA_SUCCESS) throw lab::Failure("cuTensorMapEncodeTiled: " + std::to_string(result));
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
bool run_wgmma(const Skinny& p, Context& context) {
  if (p.m > Columns * 8 || !p.vector_x) return false;
  const int tiles = static_cast<int>((p.n + 64 * Rows - 1) / (64 * Rows));
  const int splits = best_splits(tiles, tiles_along_k(p.k) / 2, Blocks * context.multiprocessors, 4);
  const size_t shared = size_t{Stages} * (Rows * kWideBytes + Columns * 1024);
  launch(context, {.grid = tiles * splits, .block = 160, .shared_bytes = shared, .cluster = splits},
         linear_wgmma_kernel<Columns, Rows, Stages, Blocks>, p, map_x(p, Columns * 8), splits);
  return true;
}

template <int Columns, int Stages>
bool run_tile(const Skinny& p, Context& context) {
  if (p.m > Columns * 8) return false;
  const int tiles = (tiles_along_n(p.n) + 7) / 8;
  const int best = best_splits(tiles, tiles_along_k(p.k) / 2, 2 * context.multiprocessors, 4);
  const size_t shared = size_t{Stages} * (8 * 2 * kTileVectors + Columns * 64) * 16;
  launch(context, {.grid = tiles * best, .block = 256, .shared_bytes = shared, .cluster = best},
         linear_tile_kernel<Columns, Stages>, p, best);
  return true;
}

bool vector_x(const LinearParams& p) {
  return reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && (p.m == 1 || p.x_stride % 8 == 0);
}

// The op's kernel, in other sizes.
template <int Columns, int Tiles, int Warps, int Depth, int Blocks>
bool run_frag(const Skinny& p, Context& context) {
  if (p.m > Columns * 8 || p.k % kStepK || !vector_x(p)) return false;
  const int splits = frag_splits(p, Tiles, Warps, context);
  launch(context,
         {.grid = (row_tiles(p.n) + Tiles - 1) / Tiles * splits,
          .block = Warps * 32,
          .shared_bytes = sums_bytes(Tiles, Columns, Warps, splits),
          .cluster = splits},
         linear_frag_kernel<bf16, true, Columns, Tiles, Warps, Depth, Blocks>, p, splits);
  return true;
}

bool run_op(const Skinny& p, Context& context) {
  run_linear(p, context);
  return true;
}

bool run_library(const Skinny& p, Context& context) { return context.gemm_plans->run(p, context); }

enum class Order { rows, tiles, wide };

struct Version {
  const char* name;
  Order order;
  bool (*run)(const Skinny&, Context&);
};

const Version kVersions[] = {
    {"op", Order::rows, run_op},
    {"library", Order::rows, run_library},
    {"row M1 R1 D6", Order::rows, run_row<1, 1, 6>},
    {"row M1 R2 D4", Order::rows, run_row<1, 2, 4>},
    {"row M2 R2 D4", Order::rows, run_row<2, 2, 4>},
    {"row M4 R2 D4", Order::rows, run_row<4, 2, 4>},
    {"frag C1 T1 W8 D4", Order::rows, run_frag<1, 1, 8, 4, 3>},
    {"frag C1 T1 W16 D2", Order::rows, run_frag<1, 1, 16, 2, 2>},
    {"frag C2 T1 W8 D3", Order::rows, run_frag<2, 1, 8, 3, 3>},
    {"frag C2 T2 W8 D2", Order::rows, run_frag<2, 2, 8, 2, 3>},
    {"packed C1 T1 W8 D4", Order::tiles, run_packed<1, 1, 8, 4, 3>},
    {"packed C1 T1 W8 D4 ahead", Order::tiles, run_packed<1, 1, 8, 4, 3, true>},
    {"packed C2 T1 W8 D3", Order::tiles, run_packed<2, 1, 8, 3, 3>},
    {"packed C2 T2 W8 D2", Order::tiles, run_packed<2, 2, 8, 2, 3>},
    {"packed C4 T2 W8 D2", Order::tiles, run_packed<4, 2, 8, 2, 2>},
    {"ring C1 112K", Order::tiles, run_ring<1, 112 * 1024>},
    {"ring C1 224K", Order::tiles, run_ring<1, 224 * 1024>},
    {"ring C2 224K", Order::tiles, run_ring<2, 224 * 1024>},
    {"tile C1 S6", Order::tiles, run_tile<1, 6>},
    {"tile C2 S5", Order::tiles, run_tile<2, 5>},
    {"tile C4 S5", Order::tiles, run_tile<4, 5>},
    {"tile C8 S4", Order::tiles, run_tile<8, 4>},
    {"wgmma C1 R1 S6", Order::wide, run_wgmma<1, 1, 6, 4>},
    {"wgmma C2 R2 S5", Order::wide, run_wgmma<2, 2, 5, 2>},
    {"wgmma C4 R1 S6", Order::wide, run_wgmma<4, 1, 6, 3>},
    {"wgmma C4 R2 S5", Order::wide, run_wgmma<4, 2, 5, 2>},
    {"wgmma C8 R1 S6", Order::wide, run_wgmma<8, 1, 6, 2>},
    {"wgmma C8 R2 S4", Order::wide, run_wgmma<8, 2, 4, 2>},
};

// Each kind gives only the narrowest that holds m, and those twice as wide.
bool fits(const Version& version, int64_t m) {
  const char* wide = std::strchr(version.name, ' ');
  if (!wide) return true;
  const int holds = std::atoi(wide + 2) * (wide[1] == 'C' ? 8 : 1);
  return m <= holds && !(holds > 8 && holds >= 2 * m) && !(wide[1] == 'M' && holds >= 2 * m);
}

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

#include "lab/linear_check.cuh"
#include "lab/linear_time.cuh"

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Workspace workspace;
  if (options.check && !check_op(options.quick, workspace)) return 1;
  if (options.check && !check_all(options.quick, workspace)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report, workspace);
  return 0;
}
