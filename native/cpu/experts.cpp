#include "cpu/experts.h"

#include "cpu/activation.h"
#include "cpu/grouped_linear.h"
#include "cpu/linear.h"
#include "cpu/moe.h"

namespace mamba::cpu {

void run_linear_route(const LinearRouteParams& p, ThreadPool& pool) {
  run_linear(p.linear, pool);
  run_route(p.route, pool);
}

void run_experts(const ExpertsParams& p, ThreadPool& pool) {
  run_sort_by_expert(p.sort, pool);
  run_grouped_linear(p.up, pool);
  run_grouped_linear(p.down, pool);
  run_moe_combine(p.combine, pool);
  if (!p.shared) return;
  run_linear(p.shared_up, pool);
  run_activation(p.shared_activation, pool);
  if (p.gated) {
    run_linear(p.shared_gate, pool);
    run_activation(p.shared_gating, pool);
  }
  run_linear(p.shared_down, pool);
}

}  // namespace mamba::cpu
