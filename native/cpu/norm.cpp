#include "cpu/norm.h"

#include "cpu/cut.h"

namespace mamba::cpu {

void run_rms_norm(const RmsNormParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().rms_norm(p, rows); });
}

void run_gated_rms_norm(const GatedRmsNormParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch& scratch) {
    kernels().gated_rms_norm(p, rows, scratch.get(static_cast<size_t>(p.group_size) * sizeof(float)));
  });
}

void run_square_sums(const SquareSumsParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().square_sums(p, rows); });
}

void run_rms_norm_of_sums(const RmsNormOfSumsParams& p, ThreadPool& pool) {
  for_rows(pool, p.rows, p.width, [&](Range rows, Scratch&) { kernels().rms_norm_of_sums(p, rows); });
}

}  // namespace mamba::cpu
