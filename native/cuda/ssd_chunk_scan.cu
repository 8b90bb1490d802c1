// ssd_chunk_scan on a CUDA device: the choice among its three forms, and their launches.
#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "cuda/dispatch.h"
#include "cuda/kernels.h"
#include "cuda/ssd_chunk_scan.h"
#include "cuda/ssd_recurrence.cuh"
#include "cuda/ssd_tiles.cuh"
#include "cuda/ssd_walk.cuh"
#include "cuda/tensor_map.h"

namespace mamba::cuda {
namespace {

// --- segments --------------------------------------------------------------------------------------------------------

constexpr int kMaxSegments = 32;

size_t segment_floats(const SsdChunkScanParams& p) {
  return static_cast<size_t>(p.sequences * p.heads) * static_cast<size_t>(p.head_dim * p.state_size + 1);
}

// The segments that shorten the longest walk of `blocks` blocks at once, in steps; a step of kStates is about half of
// one of kScan. Few: the same bits for batches of about the same size.
int choose_segments(const SsdChunkScanParams& p, const Context& context, int64_t channels, int64_t blocks) {
  if (context.deterministic) return 1;  // a sequence that goes on from a state has no part in a segment's sums
  if (p.chunks <= p.sequences || p.sequences > kMostBlocksYZ || p.heads > kMostBlocksYZ) return 1;
  constexpr double kTwoPasses = 1.5, kOverhead = 12;
  const int64_t most = std::min<int64_t>(
      kMaxSegments, static_cast<int64_t>(context.workspace_bytes / (segment_floats(p) * sizeof(float))));
  const double items = static_cast<double>(p.sequences * p.heads * ceil_div(p.head_dim, channels));
  const double chunks = static_cast<double>(p.chunks) / static_cast<double>(p.sequences);
  const double chunk_steps = static_cast<double>(ceil_div(p.tokens, p.chunks * scan::kTokens));
  const double at_once = static_cast<double>(blocks);
  int best = 1;
  double best_cost = std::ceil(items / at_once) * chunks * chunk_steps;
  for (int s = 2; s <= most && s <= chunks; ++s) {
    const double cost = std::ceil(items * s / at_once) * std::ceil(chunks / s) * chunk_steps * kTwoPasses + kOverhead;
    if (cost < best_cost) {
      best = s;
      best_cost = cost;
    }
  }
  return best;
}

ScanSplit split_of(const SsdChunkScanParams& p, int segments, const Context& context) {
  if (segments == 1) return {1, nullptr, nullptr};
  auto* states = static_cast<float*>(context.workspace);
  return {segments, states, states + p.sequences * segments * p.heads * p.head_dim * p.state_size};
}

void combine(const SsdChunkScanParams& p, const ScanSplit& split, Context& context) {
  const int64_t blocks = ceil_div(p.head_dim * p.state_size, scan::kCombineThreads);
  launch(context, {.grid = {blocks, p.heads, p.sequences}, .block = scan::kCombineThreads}, scan::combine_kernel, p,
         split);
}

// --- walk ------------------------------------------------------------------------------------------------------------

// A tensor [tokens][groups][channels] in boxes of box_tokens x 1 x 64.
CUtensorMap encode_map(const void* base, DType dtype, int64_t channels, int64_t groups, int64_t tokens,
                       int64_t token_stride, int box_tokens) {
  const auto map = encode_tensor_map<3>(base, dtype, {channels, groups, tokens}, {channels, token_stride},
                                        {scan::kChannels, 1, box_tokens});
  check(map ? cudaSuccess : cudaErrorInvalidValue, "tensor map of ssd_chunk_scan");
  return *map;
}

template <class T, int kN>
void launch_walk(const SsdChunkScanParams& p, int segments, Context& context) {
  using namespace scan;
  static_assert(sizeof(Shared<kN>) <= kHopperShared);
  const ScanMaps maps = {encode_map(p.x, p.dtype, p.head_dim, p.heads, p.tokens, p.x_stride, kTokens),
                         encode_map(p.b, p.dtype, p.state_size, p.groups, p.tokens, p.b_stride, kTokens),
                         encode_map(p.c, p.dtype, p.state_size, p.groups, p.tokens, p.c_stride, kTokens),
                         encode_map(p.out, p.dtype, p.head_dim, p.heads, p.tokens, p.out_stride, 16)};
  const ScanSplit split = split_of(p, segments, context);
  const auto launch_pass = [&](auto* kernel, int parts) {
    const int64_t items = p.sequences * p.heads * ceil_div(p.head_dim, kChannels) * parts;
    launch(context,
           {.grid = std::min<int64_t>(items, context.multiprocessors),
            .block = kThreads,
            .shared_bytes = sizeof(Shared<kN>)},
           kernel, p, maps, split);
  };
  if (segments > 1) {
    launch_pass(walk_kernel<T, kN, ScanPass::kStates>, segments - 1);
    combine(p, split, context);
  }
  launch_pass(walk_kernel<T, kN, ScanPass::kScan>, segments);
}

// --- tiles -----------------------------------------------------------------------------------------------------------

template <class T, int kN, int kP, int kStages>
void launch_tiles(const SsdChunkScanParams& p, int segments, Context& context) {
  using namespace scan;
  const bool pairs_of_state = p.state_size % 2 == 0;
  const size_t element = size_of(p.state_dtype);
  const TileAccess words = {
      .x = rows_of_eights(p.x, p.x_stride) && p.head_dim % 8 == 0,
      .b = rows_of_eights(p.b, p.b_stride) && p.state_size % 8 == 0,
      .c = rows_of_eights(p.c, p.c_stride) && p.state_size % 8 == 0,
      .out = aligned_rows(p.out, p.out_stride, 2, 4) && p.head_dim % 2 == 0,
      .state = pairs_of_state && aligned_rows(p.state, p.state_slot_stride, element, 2 * element),
  };
  const ScanSplit split = split_of(p, segments, context);
  const auto launch_pass = [&](auto* kernel, int parts) {
    static_assert(sizeof(Tiles<kN, kP, kStages>) <= (kN * kP > 128 * 64 ? kHopperShared : kLeastShared));
    launch(context,
           {.grid = p.sequences * p.heads * ceil_div(p.head_dim, kP) * parts,
            .block = kTilesThreads,
            .shared_bytes = sizeof(Tiles<kN, kP, kStages>)},
           kernel, p, split, words);
  };
  if (segments > 1) {
    launch_pass(tiles_kernel<T, kN, kP, kStages, ScanPass::kStates>, segments - 1);
    combine(p, split, context);
  }
  launch_pass(tiles_kernel<T, kN, kP, kStages, ScanPass::kScan>, segments);
}

// 64 channels with 256 n and two stages take 180 KiB of shared memory; some capabilities have 100 or 164.
bool wide_tiles(const SsdChunkScanParams& p, const Context& context) {
  return p.state_size <= 128 || (p.head_dim > 32 && context.capability >= 90 && context.capability < 120);
}

// --- recurrence ------------------------------------------------------------------------------------------------------

template <class T>
void launch_recurrence(const SsdChunkScanParams& p, Context& context) {
  using namespace scan;
  const auto run = [&](auto* kernel, int lanes) {
    const int64_t tiles = ceil_div(p.head_dim, 2 * kRecurrenceThreads / lanes);
    launch(context, {.grid = p.sequences * p.heads * tiles, .block = kRecurrenceThreads}, kernel, p);
  };
  if (p.state_size <= 32) return run(recurrence_kernel<T, 8, 4, 32>, 8);
  if (p.state_size <= 128) return run(recurrence_kernel<T, 8, 16, 32>, 8);
  if (p.state_size <= 256) return run(recurrence_kernel<T, 16, 16, 16>, 16);
  if (p.state_size <= 1024) return run(recurrence_kernel<T, 32, 32, 4>, 32);
  throw Error(ErrorCode::Shape, "ssd_chunk_scan",
              "state_size = " + std::to_string(p.state_size) + ", a CUDA device takes up to 1024");
}

}  // namespace

bool walk_fits(const SsdChunkScanParams& p, const Context& context) {
  return context.hopper() && p.dtype != DType::f32 && p.state_size > 0 && p.state_size <= 128 &&
         p.state_size % 8 == 0 && p.head_dim % 8 == 0 && rows_of_eights(p.x, p.x_stride) &&
         rows_of_eights(p.b, p.b_stride) && rows_of_eights(p.c, p.c_stride) && rows_of_eights(p.out, p.out_stride) &&
         rows_of_eights(p.state, p.state_slot_stride) && p.x_stride > 0 && p.b_stride > 0 && p.c_stride > 0;
}

bool tiles_fit(const SsdChunkScanParams& p) { return p.dtype != DType::f32 && p.state_size > 0 && p.state_size <= 256; }

int walk_segments(const SsdChunkScanParams& p, const Context& context) {
  return choose_segments(p, context, scan::kChannels, context.multiprocessors);
}

int tiles_segments(const SsdChunkScanParams& p, const Context& context) {
  const bool wide = wide_tiles(p, context);
  const int blocks = wide && p.state_size > 128 ? 1 : 2;  // of a multiprocessor
  return choose_segments(p, context, wide ? 64 : 32, blocks * context.multiprocessors);
}

void run_scan_walk(const SsdChunkScanParams& p, int segments, Context& context) {
  const bool bf16 = p.dtype == DType::bf16;
  if (p.state_size <= 64) {
    bf16 ? launch_walk<__nv_bfloat16, 64>(p, segments, context) : launch_walk<__half, 64>(p, segments, context);
  } else {
    bf16 ? launch_walk<__nv_bfloat16, 128>(p, segments, context) : launch_walk<__half, 128>(p, segments, context);
  }
}

void run_scan_tiles(const SsdChunkScanParams& p, int segments, Context& context) {
  const auto run = [&]<class T>(T) {
    if (p.state_size <= 128) return launch_tiles<T, 128, 64, 2>(p, segments, context);
    if (wide_tiles(p, context)) return launch_tiles<T, 256, 64, 2>(p, segments, context);
    launch_tiles<T, 256, 32, 1>(p, segments, context);
  };
  p.dtype == DType::bf16 ? run(__nv_bfloat16{}) : run(__half{});
}

void run_scan_recurrence(const SsdChunkScanParams& p, Context& context) {
  if (p.dtype == DType::f32) {
    launch_recurrence<float>(p, context);
  } else if (p.dtype == DType::bf16) {
    launch_recurrence<__nv_bfloat16>(p, context);
  } else {
    launch_recurrence<__half>(p, context);
  }
}

void run_ssd_chunk_scan(const SsdChunkScanParams& p, Context& context) {
  if (p.sequences == 0 || p.tokens == 0 || p.heads == 0 || p.head_dim == 0) return;
  if (walk_fits(p, context)) {
    run_scan_walk(p, walk_segments(p, context), context);
  } else if (tiles_fit(p)) {
    run_scan_tiles(p, tiles_segments(p, context), context);
  } else {
    run_scan_recurrence(p, context);
  }
}

}  // namespace mamba::cuda
