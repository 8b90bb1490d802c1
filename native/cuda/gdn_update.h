#pragma once
// The form of gdn_update for 128 keys and 128 values, for the op and for the lab.
#include "cuda/context.h"
#include "ops/gdn.h"

namespace mamba::cuda {

bool gdn_tiles_fit(const GdnUpdateParams& params);

void run_gdn_tiles(const GdnUpdateParams& params, Context& context);

}  // namespace mamba::cuda
