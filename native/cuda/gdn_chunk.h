#pragma once
// The form of gdn_chunk for Hopper's matrix unit, for the op and for the lab.
#include "cuda/context.h"
#include "ops/gdn.h"

namespace mamba::cuda {

// How a sequence is cut into segments: of `least` chunks or more, at most `most` of them, or `most_of_many` if it has
// many chunks.
inline constexpr int kManyChunks = 512;
struct GdnCut {
  int least, most, most_of_many;
};

// Whether the form takes these operands; and whether there is room for its scratch too.
bool gdn_walk_suits(const GdnChunkParams& params, const Context& context);
bool gdn_walk_fits(const GdnChunkParams& params, const Context& context);

// Whether the workspace is large enough.
bool gdn_scratch_fits(const GdnChunkParams& params, const GdnCut& cut, const Context& context);

// What the op takes: it depends on the heads and the GPU, and on the chunks only where the workspace would not do.
GdnCut gdn_cut(const GdnChunkParams& params, const Context& context);

void run_gdn_walk(const GdnChunkParams& params, const GdnCut& cut, Context& context);

}  // namespace mamba::cuda
