// gdn_chunk on CUDA: chunks through the matrix unit where that fits, else the recurrence.
#include <string>

#include "core/error.h"
#include "cuda/gdn_chunk.h"
#include "cuda/gdn_recurrence.cuh"
#include "cuda/kernels.h"

namespace mamba::cuda {

void run_gdn_chunk(const GdnChunkParams& p, Context& context) {
  if (p.sequences == 0 || p.value_heads == 0 || p.value_dim == 0) return;
  if (gdn_walk_fits(p, context)) return run_gdn_walk(p, gdn_cut(p, context), context);
  if (context.deterministic && gdn_walk_suits(p, context)) {
    throw Error(ErrorCode::Argument, "gdn_chunk",
                std::to_string(p.chunks) +
                    " chunks in one step have no room in the workspace, and a deterministic "
                    "stream cannot change to another kernel; take fewer tokens in a step (--max-num-batched-tokens)");
  }
  gdn::launch_recurrence(p, p.sequences, "gdn_chunk", context);
}

}  // namespace mamba::cuda
