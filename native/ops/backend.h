#pragma once
// Each op twice, from ops.def: as a method of a device that can compute (a backend that lacks one does not compile),
// and as the function over tensors that validates them and calls it.
#include <optional>

#include "core/device.h"
#include "core/tensor.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/collectives.h"
#include "ops/conv1d.h"
#include "ops/embedding.h"
#include "ops/experts.h"
#include "ops/gdn.h"
#include "ops/grouped_linear.h"
#include "ops/linear.h"
#include "ops/linear_activation.h"
#include "ops/mask.h"
#include "ops/moe.h"
#include "ops/norm.h"
#include "ops/packed_state.h"
#include "ops/penalties.h"
#include "ops/sampling.h"
#include "ops/slots.h"
#include "ops/ssd.h"

namespace mamba {

class Backend : public Device {
 public:
#define OP(name, Params, ...) virtual void name(Stream& stream, const Params& params) = 0;
#include "ops/ops.def"

  // Size of a linear weight [n, k] in the order this backend's linear reads, scales of codes included.
  virtual size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) const = 0;
  // Converts and reorders a row-major host matrix [n, k] into `dst`. `src` must stay valid until the stream is past it.
  virtual void pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) = 0;
};

#define ARG(type, name, role) , type name
#define OP(name, Params, ...) void name(Stream& stream __VA_ARGS__);
#include "ops/ops.def"

inline Backend& backend_of(Stream& stream) { return static_cast<Backend&>(stream.device()); }

}  // namespace mamba
