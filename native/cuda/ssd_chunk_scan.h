#pragma once
// The three ways to run ssd_chunk_scan. run_ssd_chunk_scan() picks one; native/lab forces each.
#include "cuda/context.h"
#include "ops/ssd.h"

namespace mamba::cuda {

// Hopper's matrix unit (ssd_walk.cuh). 16-bit activations that its copy engine can read.
bool walk_fits(const SsdChunkScanParams& params, const Context& context);
// mma.sync (ssd_tiles.cuh). 16-bit activations.
bool tiles_fit(const SsdChunkScanParams& params);

// Segments of each sequence that the two would use, given the workspace.
int walk_segments(const SsdChunkScanParams& params, const Context& context);
int tiles_segments(const SsdChunkScanParams& params, const Context& context);

void run_scan_walk(const SsdChunkScanParams& params, int segments, Context& context);
void run_scan_tiles(const SsdChunkScanParams& params, int segments, Context& context);
// CUDA cores (ssd_recurrence.cuh). Anything.
void run_scan_recurrence(const SsdChunkScanParams& params, Context& context);

}  // namespace mamba::cuda
