#pragma once
// The form of gdn_chunk for Hopper's matrix unit, for the op and for the lab.
#include "cuda/context.h"
#include "ops/gdn.h"

namespace mamba::cuda {

bool gdn_walk_fits(const GdnChunkParams& params, const Context& context);

// Whether the workspace is large enough with segments of at least so many chunks.
bool gdn_scratch_fits(const GdnChunkParams& params, int least_chunks, const Context& context);

// The least chunks of a segment that the op takes.
int gdn_least_chunks(const GdnChunkParams& params, const Context& context);

void run_gdn_walk(const GdnChunkParams& params, int least_chunks, Context& context);

}  // namespace mamba::cuda
