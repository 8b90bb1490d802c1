// causal_conv1d_update (one token per row), causal_conv1d_replay (several) and causal_conv1d_varlen (packed prompts).
// The kernels: conv1d.cuh and conv1d_replay.cuh.
//
// Bound. Bytes. Update, bf16, width 4: a row and channel reads x and 3 of the window and writes them again, 16 B; taps
// and bias are 20 B a channel. dim 10240: 0.37 MB at 1 row, 168 MB at 1024. Varlen: 4 B a token and channel and 12 B a
// sequence and channel: 336 MB for 8192 tokens.
//
// Measured, us on one H200, bf16, dim 10240, after a flush of the L2 by writes; an empty kernel takes 3.7 of it.
//
//   update, rows            1    8    64   256   1024     varlen  1x8192  8x1024  64x128  3x2048+256x1  1x64  1x512
//   copy of the same bytes  4.6  5.1  7.3  15.3  44.0             83.7    84.1    85.6    74.1          5.3   9.5
//   the op                  5.7  6.2  8.7  16.9  48.6             93.2    93.9    96.3    85.4          8.2   12.8
//   in a chain, a launch    1.6  2.0  4.4
#include <algorithm>

#include "cuda/conv1d.cuh"
#include "cuda/conv1d_replay.cuh"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"

namespace mamba::cuda {
namespace {

constexpr int64_t kMostAlongY = 32768;

// `n` blocks along y, and along z what y cannot hold.
Grid grid_of(int64_t x, int64_t n) { return {x, std::min(n, kMostAlongY), ceil_div(n, kMostAlongY)}; }

// A kernel that has a thread for each channel of n rows.
template <class Params>
void launch_any(const Params& p, int64_t n, void (*kernel)(Params), Context& context) {
  launch(context, {.grid = grid_of(ceil_div(p.dim, conv::kAnyThreads), n), .block = conv::kAnyThreads}, kernel, p);
}

// f(an element of x, one of the state)
template <class Params, class F>
void with_types(const Params& p, F f) {
  with_float_type(p.x_dtype, [&](auto t) { with_float_type(p.state_dtype, [&](auto s) { f(t, s); }); });
}

// Whether a thread's channels are whole aligned words everywhere.
template <class Params>
bool tuned(const Params& p) {
  const auto fits = [](const void* at, int64_t stride, size_t element) {
    return reinterpret_cast<uintptr_t>(at) % (conv::kChannels * element) == 0 && stride % conv::kChannels == 0;
  };
  return p.width == conv::kWidth && p.dim % conv::kChannels == 0 && fits(p.x, p.x_stride, size_of(p.x_dtype)) &&
         fits(p.out, p.out_stride, size_of(p.x_dtype)) && fits(p.weight, p.dim, 4) && fits(p.bias, 0, 4) &&
         fits(p.state, p.state_slot_stride, size_of(p.state_dtype));
}

template <class T, class S, int R, int kThreads>
void launch_update(const CausalConv1dUpdateParams& p, Context& context) {
  const Grid grid = grid_of(ceil_div(p.dim, kThreads * conv::kChannels), ceil_div(p.rows, R));
  launch(context, {.grid = grid, .block = kThreads}, conv::update_kernel<T, S, R, kThreads>, p, context.settled);
}

// One wave of blocks with equal shares, or as many as can have a grain of tokens each.
template <class T, class S>
void launch_varlen(const CausalConv1dVarlenParams& p, Context& context) {
  constexpr bool kWide = sizeof(T) == 4 || sizeof(S) == 4;
  constexpr int kThreads = 64, kBlocks = kWide ? 6 : 8, kTokens = kWide ? 6 : 7, kSingles = kWide ? 2 : 4;
  const int64_t tiles = ceil_div(p.dim, kThreads * conv::kChannels);
  const int64_t cost = p.tokens + p.sequences * conv::kSequenceCost;
  const int64_t chunks = std::max<int64_t>(1, int64_t{kBlocks} * context.multiprocessors / tiles);
  const int64_t chunk = std::max<int64_t>(conv::kGrain, ceil_div(cost, chunks));
  const Grid grid(tiles, ceil_div(cost, chunk));
  launch(context, {.grid = grid, .block = kThreads}, conv::varlen_kernel<T, S, kTokens, kSingles, kThreads, kBlocks>, p,
         chunk);
}

}  // namespace

void run_causal_conv1d_update(const CausalConv1dUpdateParams& p, Context& context) {
  if (p.rows == 0 || p.dim == 0) return;
  if (!tuned(p)) return launch_any(p, p.rows, conv::update_any_kernel, context);
  with_types(p, [&](auto t, auto s) {
    using T = decltype(t);
    using S = decltype(s);
    // Few rows are a matter of latency.
    if (p.rows <= 16) return launch_update<T, S, 1, 64>(p, context);
    launch_update<T, S, 3, 128>(p, context);
  });
}

void run_causal_conv1d_replay(const CausalConv1dReplayParams& p, Context& context) {
  if (p.rows == 0 || p.dim == 0) return;
  if (!tuned(p)) return launch_any(p, p.rows, conv::replay_any_kernel, context);
  constexpr int kThreads = 64;
  const Grid grid = grid_of(ceil_div(p.dim, kThreads * conv::kChannels), p.rows);
  with_types(p, [&](auto t, auto s) {
    const auto run = [&]<int kMost>() {
      launch(context, {.grid = grid, .block = kThreads}, conv::replay_kernel<decltype(t), decltype(s), kThreads, kMost>,
             p, context.settled);
    };
    p.tokens_per_row == 1 ? run.template operator()<1>() : run.template operator()<kMostReplayTokens>();
  });
}

void run_causal_conv1d_varlen(const CausalConv1dVarlenParams& p, Context& context) {
  if (p.blocks == 0 || p.dim == 0) return;
  if (tuned(p)) {
    with_types(p, [&](auto t, auto s) { launch_varlen<decltype(t), decltype(s)>(p, context); });
  } else {
    launch_any(p, p.blocks, conv::varlen_any_kernel, context);
  }
  if (p.snapshots > 0) launch_any(p, p.snapshots, conv::keep_windows_kernel, context);
}

}  // namespace mamba::cuda
