#include "cpu/kernels.h"

#include <cstdlib>
#include <string>

#include "core/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
namespace amx {
extern const Kernels table;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels table;
}
#endif

namespace {

constexpr const char* kVariable = "MAMBA_SERVE_CPU_ISA";

struct Choice {
  const Kernels* kernels;
  bool supported;
};

#if defined(__x86_64__)
// The tiles are 8 KB of a thread's registers, which Linux keeps only for a process that has asked for it.
bool may_use_tiles() {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kBf16) == 0 || (d & kTile) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM of asm/prctl.h
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

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
      {&amx::table, has_avx512bf16 && may_use_tiles()},
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
  const char* named = std::getenv(kVariable);
  const std::string wanted = named ? named : "";
  std::string known;
  for (const Choice& choice : choices) {
    if (!choice.supported) continue;
    if (wanted.empty() || wanted == choice.kernels->isa) return *choice.kernels;
    known += (known.empty() ? "" : ", ") + std::string(choice.kernels->isa);
  }
  throw Error(ErrorCode::Argument, kVariable, "\"" + wanted + "\", expected what this machine can run: " + known);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace mamba::cpu
