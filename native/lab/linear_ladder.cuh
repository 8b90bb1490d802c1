#pragma once
// The kernels of linear.cu that lost to those of cuda/linear.cuh, and the packings of a weight that they read. Its head
// says how they work.
#include "cuda/hopper_products.cuh"
#include "cuda/linear.cuh"

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

}  // namespace mamba::cuda
