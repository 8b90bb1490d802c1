#include "cpu/activation.h"

#include "cpu/cut.h"
#include "cpu/kernels.h"

namespace mamba::cpu {

void run_activation(const ActivationParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().activation(p, rows); });
}

void run_scale(const ScaleParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().scale(p, rows); });
}

}  // namespace mamba::cpu
