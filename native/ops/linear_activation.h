#pragma once
#include "ops/activation.h"
#include "ops/linear.h"

namespace mamba {

// The ops that linear_activation stands for, in the order in which a backend may run them: the activation is in place,
// on the first columns of the product.
struct LinearActivationParams {
  LinearParams linear;
  ActivationParams activation;
};

}  // namespace mamba
