#pragma once
#include <optional>

#include "core/device.h"
#include "core/tensor.h"

namespace mamba {

struct RmsNormParams {
  int64_t rows, width;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  void* residual;       // [rows, width] contiguous, or null
  const float* weight;  // [width]
  void* out;            // [rows, width] contiguous; may be x, if x is contiguous and of its type
  float eps;
  DType x_dtype, residual_dtype, out_dtype;
};

struct GatedRmsNormParams {
  int64_t rows, width, group_size;
  const void* x;  // [rows, width], row stride x_stride
  int64_t x_stride;
  const void* gate;  // [rows, width], row stride gate_stride
  int64_t gate_stride;
  const float* weight;  // [width]
  void* out;            // [rows, width] contiguous; may be x
  float eps;
  DType dtype;  // of x, gate and out
};

// Without residual: out = x / rms(x) * weight. With residual: residual += x first, and the norm is of the new residual.
// (Zhang & Sennrich 2019, arXiv 1910.07467.)
void rms_norm(Stream& stream, Tensor out, Tensor x, std::optional<Tensor> residual, Tensor weight, double eps);

// out = norm(x * silu(gate)) * weight, where each run of group_size channels has its own root mean square
// (Mamba-2's RMSNormGated with norm_before_gate = False; group_size = d_inner / n_groups).
void gated_rms_norm(Stream& stream, Tensor out, Tensor x, Tensor gate, Tensor weight, int64_t group_size, double eps);

}  // namespace mamba
