// ssd_replay: rows of several tokens through the recurrence, of which later ones may be taken back. The kernels:
// ssd_replay.cuh.
//
// Measured, us on one H200, after a flush that leaves the L2 clean: H = 128, P = 64, N = 128, G = 8, x in bf16; `held`
// tokens are not in the state yet (native/lab/ssd_replay.cu). "before": each warp for itself, with inputs unpacked by
// every lane and each token's asked for while the one before is computed.
//
//   tokens + held, rows                float  1    8     64    256    bf16  1     8     64    256
//   the plain update, one token               8.2  21.3  132   515          6.9   12.4  68.4  263
//   1 + 0 (reads the state)                   8.2  17.4  77.5  281          7.5   13.6  60.6  214
//   1 + 7                                     9.0  22.7  109   395          9.2   23.1  128   482
//   1 + 7, written                            9.4  28.6  163   616          9.5   24.4  139   518
//   1 + 0 to 7, written after the last        8.1  21.1  99.5  364          7.7   18.9  95.4  355
//   4 + 4                                     9.7  25.8  131   473          9.7   25.9  148   557
//   4 + 4 before                              14.8 40.7  232   866          15.0  49.0  254   973
//   4 + 4, a warp has half as much            9.9  28.4  154   584          9.9   30.0  180   693
//
// By ncu, `1 + 0 to 7` at 64 rows: float 65 % of the memory's rate and an instruction in 52 % of a scheduler's cycles,
// bf16 35 % and 67 %: there instructions bind, of which a quarter more are executed.
//
// A token of the row adds 10 us to 64 rows of float, one of the history 6: 1.6 times what its float instructions take.
// A float state that is written by each eighth token only saves what the seven others cost from some 16 rows on; one of
// bf16 never does, since it is rounded between two tokens: 3.5 instructions instead of 2 for half the bytes.
#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/ssd_replay.cuh"

namespace mamba::cuda {
namespace {

// Whether the history's entries can be read as the inputs are.
bool tuned(const SsdReplayParams& p) {
  const int64_t lane = 16 / static_cast<int64_t>(size_of(p.state_dtype)), inner = p.heads * p.head_dim;
  const History& history = p.history;
  return history.entries <= state_update::kMostEntries && state_update::tuned(p) && inner % lane == 0 &&
         history.width % lane == 0 && state_update::aligned(history.data, history.slot_stride, p.dtype, lane);
}

// By the bytes of state: a few are a matter of latency, so many warps; of more a warp has more, and starts less often.
constexpr int64_t kFewBytes = int64_t{8} << 20;

// A warp has Rows channels in each lane; Blocks are on a multiprocessor at least.
template <class T, class S, int Lanes, int Pieces, int Rows, int Warps, int Blocks>
void launch_tiles(const SsdReplayParams& p, Context& context) {
  using Part = state_update::Tile<T, S, Lanes, Pieces, Rows>;
  constexpr int kChannels = Part::kRows * Warps;
  const auto shared = static_cast<size_t>(
      state_update::ReplayInputs::bytes(p.history.entries, p.tokens_per_row, p.state_size, kChannels));
  for (int64_t first = 0; first < p.rows; first += kMostBlocksYZ) {
    const Grid grid(ceil_div(p.head_dim, kChannels), p.heads, std::min(kMostBlocksYZ, p.rows - first));
    launch(context, {.grid = grid, .block = Warps * 32, .shared_bytes = shared},
           state_update::replay_kernel<Part, T, Warps, Blocks>, p, static_cast<int>(first),
           static_cast<int>(p.heads / p.groups), context.settled);
  }
}

template <class T, class S>
void run(const SsdReplayParams& p, Context& context) {
  if (!tuned(p)) {
    const Grid grid(ceil_div(p.heads * p.head_dim, state_update::kAnyWarps), p.rows);
    return launch(context, {.grid = grid, .block = state_update::kAnyWarps * 32}, state_update::replay_any_kernel<T, S>,
                  p);
  }
  const int64_t bytes = p.rows * p.heads * p.head_dim * p.state_size * static_cast<int64_t>(sizeof(S));
  state_update::with_layout<S>(p.state_size, [&]<int kLanes, int kPieces>() {
    bytes <= kFewBytes ? launch_tiles<T, S, kLanes, kPieces, 4, 8, 2>(p, context)
                       : launch_tiles<T, S, kLanes, kPieces, 8, 4, 4>(p, context);
  });
}

}  // namespace

void run_ssd_replay(const SsdReplayParams& p, Context& context) {
  if (p.heads == 0 || p.head_dim == 0) return;
  if (p.rows > kMostBlocksYZ && !tuned(p)) {
    throw Error(ErrorCode::Shape, "ssd_replay",
                "rows = " + std::to_string(p.rows) + ", a CUDA device takes up to 65535");
  }
  with_float_type(p.dtype, [&](auto t) {
    with_float_type(p.state_dtype, [&](auto s) { run<decltype(t), decltype(s)>(p, context); });
  });
}

}  // namespace mamba::cuda
