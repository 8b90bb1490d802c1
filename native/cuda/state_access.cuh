#pragma once
// How kernels that go through states in place read and write them: 16 bytes at a time, with hints to the L2.
#include "cuda/vec.cuh"

namespace mamba::cuda {

// Which accesses to the state ask the L2 to let go of their lines last. More then stays there, and what leaves does so
// in longer runs.
enum class Keep { nothing, written, all };

template <bool kKeep, int V, class S>
__device__ __forceinline__ Vec<S, V> load_state_word(const S* from, uint64_t policy) {
  if constexpr (!kKeep) {
    return load<V>(from);
  } else {
    Vec<S, V> v;
    asm volatile("ld.global.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
                 : "=r"(v.words[0].x), "=r"(v.words[0].y), "=r"(v.words[0].z), "=r"(v.words[0].w)
                 : "l"(from), "l"(policy)
                 : "memory");
    return v;
  }
}

template <bool kKeep, int V, class S>
__device__ __forceinline__ void store_state_word(S* to, const Vec<S, V>& v, uint64_t policy) {
  if constexpr (!kKeep) {
    store<V>(to, v);
  } else {
    asm volatile("st.global.L2::cache_hint.v4.u32 [%0], {%1, %2, %3, %4}, %5;" ::"l"(to), "r"(v.words[0].x),
                 "r"(v.words[0].y), "r"(v.words[0].z), "r"(v.words[0].w), "l"(policy)
                 : "memory");
  }
}

__device__ __forceinline__ uint64_t keep_policy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

}  // namespace mamba::cuda
