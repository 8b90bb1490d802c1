#pragma once
#include "ops/norm.h"

namespace mamba::cpu {

class ThreadPool;

void run_rms_norm(const RmsNormParams& params, ThreadPool& pool);
void run_gated_rms_norm(const GatedRmsNormParams& params, ThreadPool& pool);
void run_square_sums(const SquareSumsParams& params, ThreadPool& pool);
void run_rms_norm_of_sums(const RmsNormOfSumsParams& params, ThreadPool& pool);

}  // namespace mamba::cpu
