// ssd_replay: rows of several tokens through the recurrence, of which later ones may be taken back. The kernels:
// ssd_replay.cuh.
#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/ssd_replay.cuh"

namespace mamba::cuda {
namespace {

constexpr int64_t kMostRows = 65535;  // of a launch

// Whether the history's entries can be read as the inputs are.
bool tuned(const SsdReplayParams& p) {
  const int64_t lane = 16 / static_cast<int64_t>(size_of(p.state_dtype)), inner = p.heads * p.head_dim;
  const History& history = p.history;
  return state_update::tuned(p) && inner % lane == 0 && history.width % lane == 0 &&
         state_update::aligned(history.data, history.slot_stride, p.dtype, lane);
}

// By the bytes of state: a few are a matter of latency, so many warps; of more a warp has more, and starts less often.
constexpr int64_t kFewBytes = int64_t{16} << 20;

template <class Part, class T, int Warps>
void launch_tiles(const SsdReplayParams& p, bool whole_x, Context& context) {
  for (int64_t first = 0; first < p.rows; first += kMostRows) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.head_dim, Part::kRows * Warps)), static_cast<unsigned>(p.heads),
                    static_cast<unsigned>(std::min(kMostRows, p.rows - first)));
    launch(context, {.grid = grid, .block = Warps * 32}, state_update::replay_kernel<Part, T, Warps>, p,
           static_cast<int>(first), static_cast<int>(p.heads / p.groups), whole_x, context.settled);
  }
}

template <class T, class S>
void run(const SsdReplayParams& p, Context& context) {
  if (!tuned(p)) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.heads * p.head_dim, 4)), static_cast<unsigned>(p.rows));
    return launch(context, {.grid = grid, .block = 128}, state_update::replay_any_kernel<T, S>, p);
  }
  const bool whole_x = state_update::aligned(p.x, p.x_stride, p.dtype, 4) && p.head_dim % 4 == 0 &&
                       state_update::aligned(p.history.data, p.history.width, p.dtype, 4);
  const int64_t bytes = p.rows * p.heads * p.head_dim * p.state_size * static_cast<int64_t>(sizeof(S));
  state_update::with_layout<S>(p.state_size, [&]<int kLanes, int kPieces>() {
    bytes <= kFewBytes ? launch_tiles<state_update::Tile<T, S, kLanes, kPieces, 2>, T, 4>(p, whole_x, context)
                       : launch_tiles<state_update::Tile<T, S, kLanes, kPieces, 4>, T, 2>(p, whole_x, context);
  });
}

}  // namespace

void run_ssd_replay(const SsdReplayParams& p, Context& context) {
  if (p.heads == 0 || p.head_dim == 0) return;
  if (p.rows > kMostRows && !tuned(p)) {
    throw Error(ErrorCode::Shape, "ssd_replay",
                "rows = " + std::to_string(p.rows) + ", a CUDA device takes up to 65535");
  }
  with_float_type(p.dtype, [&](auto t) {
    with_float_type(p.state_dtype, [&](auto s) { run<decltype(t), decltype(s)>(p, context); });
  });
}

}  // namespace mamba::cuda
