// gdn_update on CUDA: a few tokens of each row through the recurrence of gdn_recurrence.cuh.
#include "cuda/gdn_recurrence.cuh"
#include "cuda/kernels.h"

namespace mamba::cuda {

void run_gdn_update(const GdnUpdateParams& p, Context& context) {
  if (p.rows == 0 || p.value_heads == 0 || p.value_dim == 0) return;
  gdn::launch_recurrence(p, p.rows, "gdn_update", context);
}

}  // namespace mamba::cuda
