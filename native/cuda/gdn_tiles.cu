// gdn_update where its states are 128 x 128: the choice among shapes of gdn_tiles.cuh, and their launches.
//
// Bound. Bytes. 16 value heads: a row is 2^18 elements of state, read and written: 1 MB in bf16, 2 MB in float.
//
// Measured, us on one H200, after a flush of the L2 by writes; an empty kernel takes 4.0 of it. q, k and v in bf16.
//
//   state, rows                 bf16  1    8     64    256   1024   float  1    8     64    256    1024
//   copy of the same bytes            5.1  7.2   21.6  69.4  259.0         5.2  8.9   36.9  131.3  507.9
//   one tile a warp, no hints         6.3  8.4   22.2  76.5  284.8         6.5  8.5   37.3  141.6  552.9
//   two tiles, hints to the L2        6.5  7.6   23.9  74.4  272.9         6.5  8.9   40.0  137.0  528.2
//   a chain of 20, for each           1.9  3.7                             1.9  5.5
//
// The rest of the ladder: native/lab/gdn_update.cu.
#include "cuda/dispatch.h"
#include "cuda/gdn_tiles.cuh"
#include "cuda/gdn_update.h"

namespace mamba::cuda {
namespace {

using gdn::Tile;

template <class Part, int Warps, int Walk, Keep K>
void launch_tiles(const GdnUpdateParams& p, Context& context) {
  constexpr int kBlocks = gdn::kDim / (Part::kRows * Warps * Walk);
  const LaunchShape shape = {.grid = p.rows * p.value_heads * kBlocks, .block = Warps * 32};
  const int heads_per_key = static_cast<int>(p.value_heads / p.key_heads);
  p.tokens_per_row == 1
      ? launch(context, shape, gdn::tiles_kernel<Part, Warps, Walk, K, true>, p, heads_per_key, context.settled)
      : launch(context, shape, gdn::tiles_kernel<Part, Warps, Walk, K, false>, p, heads_per_key, context.settled);
}

// More bytes of state than the L2 holds come and go; up to that, many warps.
constexpr int64_t kManyBytes = int64_t{96} << 20;

template <class T, class S>
void run_tiles(const GdnUpdateParams& p, Context& context) {
  const int64_t bytes = p.rows * p.value_heads * gdn::kDim * gdn::kDim * static_cast<int64_t>(sizeof(S));
  if constexpr (sizeof(S) == 4) {
    bytes <= kManyBytes ? launch_tiles<Tile<T, S, 16, 2>, 4, 1, Keep::nothing>(p, context)
                        : launch_tiles<Tile<T, S, 16, 4>, 1, 2, Keep::all>(p, context);
  } else {
    bytes <= kManyBytes ? launch_tiles<Tile<T, S, 16, 4>, 2, 1, Keep::nothing>(p, context)
                        : launch_tiles<Tile<T, S, 16, 8>, 1, 2, Keep::all>(p, context);
  }
}

}  // namespace

bool gdn_tiles_fit(const GdnUpdateParams& p) {
  constexpr int64_t kMostBlocks = int64_t{1} << 31;
  return p.key_dim == gdn::kDim && p.value_dim == gdn::kDim && p.rows * p.value_heads * gdn::kDim < kMostBlocks &&
         aligned_rows(p.state, p.state_slot_stride, size_of(p.state_dtype)) &&
         aligned_rows(p.q, p.q_stride, size_of(p.dtype)) && aligned_rows(p.k, p.k_stride, size_of(p.dtype));
}

void run_gdn_tiles(const GdnUpdateParams& p, Context& context) {
  with_float_type(p.dtype, [&](auto t) {
    with_float_type(p.state_dtype, [&](auto s) { run_tiles<decltype(t), decltype(s)>(p, context); });
  });
}

}  // namespace mamba::cuda
