// ssd_state_update: one token per row through the recurrence. The kernels: ssd_state_update.cuh.
#include "cuda/ssd_state_update.cuh"

#include <algorithm>

#include "cuda/kernels.h"

namespace mamba::cuda {
namespace {

constexpr int64_t kMostAlongY = 32768;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// `rows` blocks along y, and along z what y cannot hold.
dim3 grid_of(int64_t x, int64_t rows) {
  return {static_cast<unsigned>(x), static_cast<unsigned>(std::min(rows, kMostAlongY)),
          static_cast<unsigned>(ceil_div(rows, kMostAlongY))};
}

template <class F>
void with_type(DType type, F f) {
  if (type == DType::f32) return f(float());
  if (type == DType::bf16) return f(bf16());
  f(f16());
}

// Whether a lane may read 16 bytes of state, and as many elements of B and C, at a time.
bool tuned(const SsdStateUpdateParams& p) {
  const int64_t lane = 16 / static_cast<int64_t>(size_of(p.state_dtype));
  const auto fits = [&](const void* at, int64_t stride, DType type) {
    const auto bytes = std::min<uint64_t>(16, static_cast<uint64_t>(lane) * size_of(type));
    return reinterpret_cast<uintptr_t>(at) % bytes == 0 && stride % lane == 0;
  };
  return p.tied() && p.state_size % lane == 0 && p.state_size <= 256 && p.heads * p.head_dim < (int64_t{1} << 31) &&
         fits(p.state, p.state_slot_stride, p.state_dtype) && fits(p.b, p.b_stride, p.dtype) &&
         fits(p.c, p.c_stride, p.dtype);
}

template <class T, class S, int Lanes, int Pieces, int Rows, int Warps>
void launch_warp(const SsdStateUpdateParams& p, Context& context) {
  constexpr int kRows = state_update::Tile<T, S, Lanes, Pieces, Rows>::kRows;
  const int64_t tiles = ceil_div(p.head_dim, kRows);
  launch(context, {.grid = grid_of(ceil_div(p.heads * tiles, Warps), p.rows), .block = Warps * 32},
         state_update::warp_kernel<T, S, Lanes, Pieces, Rows, Warps>, p, static_cast<int>(tiles));
}

}  // namespace

void run_ssd_state_update(const SsdStateUpdateParams& p, Context& context) {
  if (p.rows == 0 || p.heads == 0 || p.head_dim == 0) return;
  with_type(p.dtype, [&](auto t) {
    with_type(p.state_dtype, [&](auto s) {
      using T = decltype(t);
      using S = decltype(s);
      if (!tuned(p)) {
        const dim3 grid = grid_of(ceil_div(p.heads * p.head_dim, 4), p.rows);
        return launch(context, {.grid = grid, .block = 128}, state_update::any_kernel<T, S>, p);
      }
      const int64_t lanes = p.state_size * static_cast<int64_t>(sizeof(S)) / 16;
      if (lanes <= 8) return launch_warp<T, S, 8, 1, 4, 2>(p, context);
      if (lanes <= 16) return launch_warp<T, S, 16, 1, 4, 2>(p, context);
      if (lanes <= 32) return launch_warp<T, S, 32, 1, 4, 4>(p, context);
      if constexpr (sizeof(S) == 4) launch_warp<T, S, 32, 2, 4, 4>(p, context);
    });
  });
}

}  // namespace mamba::cuda
