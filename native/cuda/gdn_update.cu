// gdn_update on CUDA: states of 128 x 128 by tiles, others by the recurrence.
#include "cuda/gdn_recurrence.cuh"
#include "cuda/gdn_update.h"
#include "cuda/kernels.h"

namespace mamba::cuda {

void run_gdn_update(const GdnUpdateParams& p, Context& context) {
  if (p.rows == 0 || p.value_heads == 0 || p.value_dim == 0) return;
  if (gdn_tiles_fit(p)) return run_gdn_tiles(p, context);
  gdn::launch_recurrence(p, p.rows, "gdn_update", context);
}

}  // namespace mamba::cuda
