// Products of bf16 x bf16 by AMX: 16 rows of x by 16 columns of the weight, 32 of k at a time.
//
// Idea. Sixteen steps of a panel are two tiles of the weight as they lie in memory, and the rows of a chunk of x are a
// tile as they lie in scratch: nothing is unpacked. A product of tiles takes as long for one row as for sixteen, so
// that a few tokens of a sequence cost what one does.
//
// Sums. Of a chunk the products of even and of odd k apart, then both onto the sum: the instruction's order, which no
// other row changes.
//
// Mapping. Tile registers: sums 0 and 1 of the first sixteen rows, 2 and 3 of the next; x in 4 and 5; the weight in 6
// and 7.
//
// Bound. A product takes 16 cycles, two tiles of the weight 16 from L1: up to 16 rows the bytes of the packed weight.
#pragma once

namespace mamba::cpu::MAMBA_ISA {
namespace matmul {

struct DotTiles {};

inline constexpr int kTileHeight = 16;
template <>
inline constexpr int kTallest<DotTiles> = 2 * kTileHeight;

// What LDTILECFG reads: the shapes of the tile registers.
struct alignas(64) TileShapes {
  uint8_t palette, start_row, zeros[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// Tells the compiler, to which AMX's instructions are not known to read memory, to have written it.
inline void write_memory() { __asm__ volatile("" ::: "memory"); }

inline void shape_tiles(int top, int bottom) {
  TileShapes shapes = {};
  shapes.palette = 1;
  const auto shape = [&](int tile, int rows) {
    shapes.rows[tile] = static_cast<uint8_t>(rows);
    shapes.row_bytes[tile] = rows > 0 ? 4 * kChunk : 0;
  };
  for (const int tile : {0, 1, 4}) shape(tile, top);
  for (const int tile : {2, 3, 5}) shape(tile, bottom);
  for (const int tile : {6, 7}) shape(tile, kChunk);
  write_memory();
  _tile_loadconfig(&shapes);
}

inline constexpr int kChunkBytes = 4 * kChunk, kStepBytes = 4 * kPanel;

// One chunk of x and of a panel.
template <bool both>
inline void add_chunk(const uint32_t* x, const uint32_t* panel) {
  _tile_loadd(6, panel, kStepBytes);
  _tile_loadd(4, x, kChunkBytes);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, panel + kChunk, kStepBytes);
  _tile_dpbf16ps(1, 4, 7);
  if constexpr (both) {
    _tile_loadd(5, x + kTileHeight * kChunk, kChunkBytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// sums [height][kPanel] of one panel; `both`: more than kTileHeight rows.
template <bool both>
void sum_panel(const uint32_t* x, int height, const uint32_t* panel, int64_t steps, float* sums) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (both) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (; steps >= kChunk; steps -= kChunk, x += height * kChunk, panel += kChunk * kPanel) add_chunk<both>(x, panel);
  if (steps > 0) {
    alignas(64) uint32_t rest[kChunk * kPanel] = {};
    __builtin_memcpy(rest, panel, static_cast<size_t>(steps) * kStepBytes);
    write_memory();
    add_chunk<both>(x, rest);
  }
  _tile_stored(0, sums, kStepBytes);
  _tile_stored(1, sums + kChunk, kStepBytes);
  if constexpr (both) {
    _tile_stored(2, sums + kTileHeight * kPanel, kStepBytes);
    _tile_stored(3, sums + kTileHeight * kPanel + kChunk, kStepBytes);
  }
}

template <>
inline void row_of_tiles<DotTiles, kMaxRows>(int height, const uint32_t* x, const uint32_t* weight, int64_t steps,
                                             Range columns, const Output& out) {
  const int64_t out_bytes = out.dtype == DType::f32 ? 4 : 2;
  const bool both = height > kTileHeight;
  shape_tiles(both ? kTileHeight : height, both ? height - kTileHeight : 0);
  alignas(64) float sums[kTallest<DotTiles> * kPanel];
  for (; columns.begin < columns.end; columns.begin += kPanel) {
    (both ? sum_panel<true> : sum_panel<false>)(x, height, weight + columns.begin / kPanel * steps * kPanel, steps,
                                                sums);
    Output row = out;
    for (int r = 0; r < height; ++r) {
      const float* of_row = sums + r * kPanel;
      const F32 sum[1][2] = {{load(of_row), load(of_row + F32::lanes)}};
      store_tile<1, 2>(sum, columns, row);
      row.data = static_cast<char*>(row.data) + out.stride * out_bytes;
    }
  }
  _tile_release();
}

}  // namespace matmul
}  // namespace mamba::cpu::MAMBA_ISA
