#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>

namespace mamba::cpu {

extern const Kernels kernels_scalar;
#if defined(__x86_64__)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512bf16;
#endif

namespace {

struct Choice {
  const Kernels* kernels;
  bool supported;
};

const Kernels& choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // Every processor with AVX2 and FMA has F16C.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  // The best one first.
  const Choice choices[] = {
      {&kernels_avx512bf16, avx512bf16},
      {&kernels_avx512, avx512},
      {&kernels_avx2, avx2},
      {&kernels_scalar, true},
  };
#else
  const Choice choices[] = {{&kernels_scalar, true}};
#endif
  const char* wanted = std::getenv("MAMBA_SERVE_CPU_ISA");
  const Kernels* best = nullptr;
  for (const Choice& choice : choices) {
    if (!choice.supported) continue;
    if (wanted && std::strcmp(wanted, choice.kernels->isa) == 0) return *choice.kernels;
    if (!best) best = choice.kernels;
  }
  return *best;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace mamba::cpu
