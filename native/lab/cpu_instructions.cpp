// Products to count the instructions of, for a machine that can only be emulated; scripts/arm64.sh does it.
//
//   cpu_instructions DTYPE M N K REPETITIONS     one task of `linear`, with the set that MAMBA_SERVE_CPU_ISA names
//
// What the second repetition adds is the product alone: packing and start-up are in both.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "cpu/kernels.h"
#include "cpu/linear.h"

int main(int argc, char** argv) {
  using namespace mamba;
  if (argc != 6) return std::fputs("cpu_instructions f32|bf16 M N K REPETITIONS\n", stderr), 2;
  const DType type = std::strcmp(argv[1], "bf16") == 0 ? DType::bf16 : DType::f32;
  const int64_t m = std::atoll(argv[2]), n = std::atoll(argv[3]), k = std::atoll(argv[4]), times = std::atoll(argv[5]);
  const size_t width = type == DType::bf16 ? 2 : 4;
  // The bits of zero: what is computed does not change how.
  std::vector<char> x(m * k * width), source(n * k * width), out(m * n * width);
  std::vector<char> weight(cpu::linear_weight_bytes(n, k, type, 0)), scratch(cpu::linear_scratch_bytes(m, k));
  const cpu::Kernels& kernels = cpu::kernels();
  kernels.pack_linear_weight({n, k, source.data(), weight.data(), type, type});
  LinearParams params{};
  params.m = m, params.n = n, params.k = k;
  params.x = x.data(), params.x_stride = k;
  params.weight = weight.data();
  params.out = out.data(), params.out_stride = n;
  params.x_dtype = params.weight_dtype = params.out_dtype = type;
  for (int64_t i = 0; i < times; ++i) kernels.linear(params, {0, m}, {0, n}, scratch.data(), /*filled=*/false);
  return 0;
}
