// ssd_state_update: one token per row through the recurrence. The kernels: ssd_state_update.cuh.
//
// Bound. Bytes. H = 128, P = 64, N = 128: a row is 2^20 elements of state, read and written: 4.2 MB in bf16, 8.4 MB in
// float; x, B, C, dt and out add 1%.
//
// Measured, us on one H200, after a flush of the L2 by writes; an empty kernel takes 3.7 of it. x in bf16.
//
//   state, rows                        bf16  1    8     64    256     float  1    8     64     256
//   copy of the same bytes                   5.7  12.9  68.7  257.5          6.8  21.2  130.3  507.0
//   the op                                   6.7  13.0  73.1  267.0          7.9  21.6  135.6  520.0
//   without hints to the L2                  6.7  14.6  73.7  273.1          7.9  23.6  138.1  530.4
//   a chain of it, for each launch           3.4  10.7  68.8                 4.4  19.1  132.1
//
// Why each size has its own shape: the ladder of native/lab/ssd_state_update.cu.
#include <algorithm>

#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/ssd_state_update.cuh"

namespace mamba::cuda {
namespace {

using state_update::Tile;

template <class Part, int Warps, int Walk, Keep K>
void launch_tiles(const SsdStateUpdateParams& p, Context& context) {
  const Grid grid(ceil_div(p.head_dim, Part::kRows * Warps * Walk), p.heads, p.rows);
  const bool whole_x = state_update::aligned(p.x, p.x_stride, p.dtype, 4) && p.head_dim % 4 == 0;
  launch(context, {.grid = grid, .block = Warps * 32}, state_update::tiles_kernel<Part, Warps, Walk, K>, p,
         static_cast<int>(p.heads / p.groups), whole_x, context.settled);
}

// By the bytes of state: a few are a matter of latency, so many warps; more than the L2 holds come and go.
constexpr int64_t kFewBytes = int64_t{4} << 20, kManyBytes = int64_t{64} << 20;

template <class Few, class Part, int kManyWarps>
void launch_by_size(const SsdStateUpdateParams& p, Context& context) {
  const int64_t bytes = p.rows * p.heads * p.head_dim * p.state_size * static_cast<int64_t>(size_of(p.state_dtype));
  if (bytes <= kFewBytes) return launch_tiles<Few, 4, 1, Keep::nothing>(p, context);
  if (bytes <= kManyBytes) {
    // As many tiles a warp as leave none of a head's warps idle: 64 channels of N = 64 are four tiles, 80 of N = 128
    // ten.
    constexpr int kWarpRows = 2 * Part::kRows;
    if (p.head_dim <= 2 * kWarpRows) return launch_tiles<Part, 2, 2, Keep::written>(p, context);
    if (p.head_dim % (4 * kWarpRows) != 0 && p.head_dim % (5 * kWarpRows) == 0) {
      return launch_tiles<Part, 2, 5, Keep::written>(p, context);
    }
    return launch_tiles<Part, 2, 4, Keep::written>(p, context);
  }
  launch_tiles<Part, kManyWarps, 2, Keep::all>(p, context);
}

template <class T, class S>
void run(const SsdStateUpdateParams& p, Context& context) {
  if (!state_update::tuned(p)) {
    const Grid grid(ceil_div(p.heads * p.head_dim, state_update::kAnyWarps), p.rows);
    return launch(context, {.grid = grid, .block = state_update::kAnyWarps * 32}, state_update::any_kernel<T, S>, p);
  }
  constexpr int kManyWarps = sizeof(S) == 2 ? 1 : 2;
  state_update::with_layout<S>(p.state_size, [&]<int kLanes, int kPieces>() {
    launch_by_size<Tile<T, S, kLanes, kPieces, 2>, Tile<T, S, kLanes, kPieces, 4>, kManyWarps>(p, context);
  });
}

}  // namespace

void run_ssd_state_update(const SsdStateUpdateParams& params, Context& context) {
  if (params.heads == 0 || params.head_dim == 0) return;
  with_float_type(params.dtype, [&](auto t) {
    with_float_type(params.state_dtype, [&](auto s) {
      for (int64_t first = 0; first < params.rows; first += kMostBlocksYZ) {
        SsdStateUpdateParams p = params;
        p.rows = std::min(kMostBlocksYZ, params.rows - first);
        const auto moved = [&](const void* from, int64_t stride, DType type) -> const uint8_t* {
          return from ? static_cast<const uint8_t*>(from) + first * stride * static_cast<int64_t>(size_of(type))
                      : nullptr;
        };
        p.x = moved(p.x, p.x_stride, p.dtype), p.z = moved(p.z, p.z_stride, p.dtype);
        p.b = moved(p.b, p.b_stride, p.dtype), p.c = moved(p.c, p.c_stride, p.dtype);
        p.dt = moved(p.dt, p.dt_row_stride, p.dt_dtype), p.slots += first;
        p.out = static_cast<uint8_t*>(p.out) + first * p.out_stride * static_cast<int64_t>(size_of(p.dtype));
        run<decltype(t), decltype(s)>(p, context);
      }
    });
  });
}

}  // namespace mamba::cuda
