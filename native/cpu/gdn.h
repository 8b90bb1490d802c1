#pragma once
// The gated delta rule on the CPU: scratch memory, and the cut of the work into tasks.
#include <cstddef>
#include <cstdint>

#include "ops/gdn.h"

namespace mamba::cpu {

class ThreadPool;

size_t gdn_chunk_scratch_bytes(const GdnChunkParams& params);
size_t gdn_update_scratch_bytes(const GdnUpdateParams& params);

void run_gdn_chunk(const GdnChunkParams& params, ThreadPool& pool);
void run_gdn_update(const GdnUpdateParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
