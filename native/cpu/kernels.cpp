#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>

namespace mamba::cpu {

// Defined by kernels_table.inl, once for each set.
namespace scalar {
extern const Kernels table;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
namespace avx512bf16 {
extern const Kernels table;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels table;
}
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
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  // Every processor with AVX512_BF16 has VNNI.
  const bool has_avx512bf16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
  // The best one first.
  const Choice choices[] = {
      {&avx512bf16::table, has_avx512bf16},
      {&avx512::table, has_avx512},
      {&avx2::table, has_avx2},
      {&scalar::table, true},
  };
#elif defined(__aarch64__)
  const Choice choices[] = {{&neon::table, true}, {&scalar::table, true}};
#else
  const Choice choices[] = {{&scalar::table, true}};
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
