// The form of gdn_chunk for Hopper's matrix unit: where it fits, its scratch and its launches. The kernels and what
// they share: gdn_parts.cuh.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/dispatch.h"
#include "cuda/gdn_chunk.h"
#include "cuda/gdn_combine.cuh"
#include "cuda/gdn_prepare.cuh"
#include "cuda/gdn_walk.cuh"
#include "cuda/tensor_map.h"

namespace mamba::cuda {
namespace {

using namespace gdn;

// Whether the copy engine takes rows of 16-bit elements.
bool copied(const void* at, int64_t stride) { return rows_of_eights(at, stride) && stride > 0; }

struct Layout {
  size_t entries, segments, gates, states, bytes;  // offsets, and all of it
};
Layout layout_of(const GdnChunkParams& p, int64_t least) {
  Layout layout;
  layout.entries = static_cast<size_t>((p.chunks - 1) / least + p.sequences);
  layout.segments = 0;
  layout.gates = layout.entries * sizeof(Segment);
  layout.states = layout.gates + static_cast<size_t>(p.chunks * p.value_heads) * sizeof(Gates);
  const size_t parts = p.chunks < 2 * least ? 0 : static_cast<size_t>(ceil_div(p.chunks, least) * p.value_heads);
  layout.states = (layout.states + 127) / 128 * 128;
  layout.bytes = layout.states + parts * kSegmentBytes;
  return layout;
}

CUtensorMap encode_map(const void* base, DType dtype, int64_t heads, int64_t tokens, int64_t stride) {
  const auto map = encode_tensor_map<3>(base, dtype, {kDim, heads, tokens}, {kDim, stride}, {64, 1, kTokens});
  check(map ? cudaSuccess : cudaErrorInvalidValue, "tensor map of gdn_chunk");
  return *map;
}

template <class T>
void launch_all(const GdnChunkParams& p, const GdnCut& cut, Context& context) {
  const GdnMaps maps = {encode_map(p.q, p.dtype, p.key_heads, p.tokens, p.q_stride),
                        encode_map(p.k, p.dtype, p.key_heads, p.tokens, p.k_stride),
                        encode_map(p.v, p.dtype, p.value_heads, p.tokens, p.v_stride),
                        encode_map(p.out, p.dtype, p.value_heads, p.tokens, p.out_stride)};
  const Layout layout = layout_of(p, cut.least);
  auto* workspace = static_cast<uint8_t*>(context.workspace);
  const Scratch scratch = {reinterpret_cast<Gates*>(workspace + layout.gates),
                           reinterpret_cast<Segment*>(workspace + layout.segments),
                           workspace + layout.states,
                           cut,
                           static_cast<int>(layout.entries),
                           static_cast<int>(p.value_heads / p.key_heads)};
  const int64_t groups = ceil_div(p.value_heads / p.key_heads, kHeadsAtOnce);
  launch(context, {.grid = {p.chunks, p.key_heads, groups}, .block = kPrepareThreads, .shared_bytes = sizeof(Prepare)},
         prepare_kernel<T>, p, maps, scratch);
  const auto blocks = [&](int64_t items) { return std::min<int64_t>(items, context.multiprocessors); };
  const int64_t items = static_cast<int64_t>(layout.entries) * p.value_heads;
  static_assert(sizeof(Walk<GdnPass::out>) <= kHopperShared && sizeof(Walk<GdnPass::states>) <= kHopperShared);
  if (p.chunks >= 2 * cut.least) {
    launch(context, {.grid = blocks(2 * items), .block = kWalkThreads, .shared_bytes = sizeof(Walk<GdnPass::states>)},
           walk_kernel<T, GdnPass::states>, p, maps, scratch);
    launch(context, {.grid = blocks(2 * items), .block = kCombineThreads, .shared_bytes = sizeof(Combine)},
           combine_kernel, p, scratch);
  }
  launch(context, {.grid = blocks(items), .block = kWalkThreads, .shared_bytes = sizeof(Walk<GdnPass::out>)},
         walk_kernel<T, GdnPass::out>, p, maps, scratch);
}

}  // namespace

bool gdn_scratch_fits(const GdnChunkParams& p, const GdnCut& cut, const Context& context) {
  return layout_of(p, cut.least).bytes <= context.workspace_bytes;
}

GdnCut gdn_cut(const GdnChunkParams& p, const Context& context) {
  // A sequence that goes on from a state has no part in a segment's sums.
  if (context.deterministic) return {.least = std::numeric_limits<int>::max() / 2, .most = 1, .most_of_many = 1};
  // What a number of segments takes, in us: a chunk of each walk, as many items as there are multiprocessors at once,
  // and the way from segment to segment, longer with more heads.
  constexpr double kStates = 1.35, kOut = 2.1;
  const double combine = 1.3 + 0.09 * static_cast<double>(p.value_heads);
  const auto best = [&](double chunks) {
    int count = 1;
    double least = 1e30;
    for (int n = 1; n <= 32; ++n) {
      const auto rounds = [&](double segments) {
        return std::ceil(segments * p.value_heads / context.multiprocessors);
      };
      const double states = n == 1 ? 0 : rounds(2 * n - 3) * kStates;
      const double us = (states + rounds(n) * kOut) * chunks / n + combine * n;
      if (us < least) least = us, count = n;
    }
    return count;
  };
  GdnCut cut = {p.value_heads <= 16 ? 16 : 32, best(128), best(1024)};
  while (cut.least < p.chunks && !gdn_scratch_fits(p, cut, context)) cut.least *= 2;
  return cut;
}

bool gdn_walk_suits(const GdnChunkParams& p, const Context& context) {
  const uint64_t state_word = p.state_dtype == DType::f32 ? 8 : 4;  // bytes
  return context.hopper() && p.dtype != DType::f32 && p.key_dim == kDim && p.value_dim == kDim && p.chunks > 0 &&
         copied(p.q, p.q_stride) && copied(p.k, p.k_stride) && copied(p.v, p.v_stride) && copied(p.out, p.out_stride) &&
         aligned(p.state, state_word) && p.state_slot_stride % 2 == 0 && p.value_heads <= kMostBlocksYZ &&
         (p.chunks + p.sequences) * p.value_heads < (int64_t{1} << 30);
}

bool gdn_walk_fits(const GdnChunkParams& p, const Context& context) {
  return gdn_walk_suits(p, context) && gdn_scratch_fits(p, gdn_cut(p, context), context);
}

void run_gdn_walk(const GdnChunkParams& p, const GdnCut& cut, Context& context) {
  p.dtype == DType::bf16 ? launch_all<__nv_bfloat16>(p, cut, context) : launch_all<__half>(p, cut, context);
}

}  // namespace mamba::cuda
