// ssd_replay: rows of several tokens through the recurrence, of which later ones may be taken back. The kernels:
// ssd_replay.cuh.
//
// Measured, us on one H200, warm: H = 128, P = 64, N = 128, G = 8, x in bf16; `held` tokens are settled first.
//
//   tokens + held, rows                   float  1    8    64    256    bf16  1    8    64    256
//   1 + 0 (reads the state)                     4.6  10.7   82   314         4.0  10.2   69   258
//   2 + 2                                       7.6  23.7  184   712         7.3  21.6  160   614
//   4 + 4                                      11.2  35.3  270  1025        11.4  35.8  270  1036
//   4 + 4, a warp with half as much of it      12.1  38.8  316  1224        12.2  40.7  329  1287
//   and each lane its own time steps           12.7  41.1  339  1317        14.9  43.4  347  1360
//   the first 4 + 4, places walked along      10.2  35.2  277  1079        10.2  36.2  305  1190
//   a state read and written                    6.8  21.2  130   507         5.7  12.9   69   258
//
// At 64 rows of float a row's token adds 28 us, one of the history 16 and the write 65 to 54: little of it overlaps,
// and a state that is not written saves 65 now for 16 a token later. Written by each fourth token only, one token at a
// time, that is a gain of nothing, so steps without guesses run the plain update.
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

// A warp has Rows channels in each lane.
template <class T, class S, int Lanes, int Pieces, int Rows, int Warps>
void launch_tiles(const SsdReplayParams& p, Context& context) {
  using Part = state_update::Tile<T, S, Lanes, Pieces, Rows>;
  const bool whole_x = state_update::aligned(p.x, p.x_stride, p.dtype, Rows) && p.head_dim % Rows == 0 &&
                       state_update::aligned(p.history.data, p.history.width, p.dtype, Rows);
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
  const int64_t bytes = p.rows * p.heads * p.head_dim * p.state_size * static_cast<int64_t>(sizeof(S));
  state_update::with_layout<S>(p.state_size, [&]<int kLanes, int kPieces>() {
    bytes <= kFewBytes ? launch_tiles<T, S, kLanes, kPieces, 4, 4>(p, context)
                       : launch_tiles<T, S, kLanes, kPieces, 8, 2>(p, context);
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
