// gdn_replay: states of 128 x 128 by tiles, others by the recurrence.
#include "cuda/dispatch.h"
#include "cuda/gdn_replay.cuh"
#include "cuda/gdn_replay_any.cuh"
#include "cuda/gdn_update.h"
#include "cuda/kernels.h"

namespace mamba::cuda {
namespace {

template <class T, class S>
void run_tiles(const GdnReplayParams& p, Context& context) {
  using Part = gdn::Tile<T, S, 16, sizeof(S) == 4 ? 2 : 4>;
  constexpr int kWarps = sizeof(S) == 4 ? 4 : 2, kBlocks = gdn::kDim / (Part::kRows * kWarps);
  const LaunchShape shape = {.grid = p.rows * p.value_heads * kBlocks, .block = kWarps * 32};
  launch(context, shape, gdn::replay_tiles_kernel<Part, kWarps>, p, static_cast<int>(p.value_heads / p.key_heads),
         context.settled);
}

// Whether the history's keys can be read as the inputs' are.
bool tiles_fit(const GdnReplayParams& p) {
  const size_t element = size_of(p.dtype);
  return gdn_tiles_fit(p) && aligned_rows(p.history.data, p.history.slot_stride, element) &&
         aligned_rows(p.history.data, p.history.width, element);
}

}  // namespace

void run_gdn_replay(const GdnReplayParams& p, Context& context) {
  if (p.rows == 0 || p.value_heads == 0 || p.value_dim == 0) return;
  if (tiles_fit(p)) {
    return with_float_type(p.dtype, [&](auto t) {
      with_float_type(p.state_dtype, [&](auto s) { run_tiles<decltype(t), decltype(s)>(p, context); });
    });
  }
  gdn::for_tiles({p.rows, p.value_heads, p.key_dim, p.value_dim}, "gdn_replay",
                 [&](const LaunchShape& shape, int tile) { launch(context, shape, gdn::replay_any_kernel, p, tile); });
}

}  // namespace mamba::cuda
