#pragma once
// The versions of linear.cu: launches of linear_ladder.cuh's kernels, of the op's in other sizes, the op and the
// library; and the weights as they are packed for them.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/kernels.h"
#include "lab/lab.cuh"
#include "lab/linear_ladder.cuh"
#include "lab/linear_workspace.cuh"

namespace mamba::cuda {

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
