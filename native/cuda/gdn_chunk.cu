// gdn_chunk on CUDA: packed sequences through the recurrence of gdn_recurrence.cuh.
#include "cuda/gdn_recurrence.cuh"
#include "cuda/kernels.h"

namespace mamba::cuda {

void run_gdn_chunk(const GdnChunkParams& p, Context& context) {
  if (p.sequences == 0 || p.value_heads == 0 || p.value_dim == 0) return;
  gdn::launch_recurrence(p, p.sequences, "gdn_chunk", context);
}

}  // namespace mamba::cuda
