#include "cpu/linear_activation.h"

#include "cpu/activation.h"
#include "cpu/linear.h"

namespace mamba::cpu {

void run_linear_activation(const LinearActivationParams& p, ThreadPool& pool) {
  run_linear(p.linear, pool);
  run_activation(p.activation, pool);
}

}  // namespace mamba::cpu
