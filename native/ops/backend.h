#pragma once
// A device that can compute: one method per row of ops.def. A backend that lacks one does not compile.
#include "core/device.h"
#include "ops/attention.h"
#include "ops/conv1d.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/mask.h"
#include "ops/norm.h"
#include "ops/penalties.h"
#include "ops/sampling.h"
#include "ops/ssd.h"

namespace mamba {

class Backend : public Device {
 public:
#define OP(name, Params) virtual void name(Stream& stream, const Params& params) = 0;
#include "ops/ops.def"
#undef OP

  // Size of a linear weight [n, k] in the order this backend's linear reads.
  virtual size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype) const = 0;
  // Converts and reorders a row-major host matrix [n, k] into `dst`. `src` must stay valid until the stream is past it.
  virtual void pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) = 0;
};

inline Backend& backend_of(Stream& stream) { return static_cast<Backend&>(stream.device()); }

}  // namespace mamba
