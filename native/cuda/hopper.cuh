#pragma once
// Hopper (sm_90a) instructions as functions: mbarriers, the bulk copy engine, warpgroup matrix products, 8x8 matrix
// loads and stores. Nothing here knows of the kernels that use it.
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cuda/hopper_sums.cuh"
#include "cuda/shared_memory.cuh"

namespace mamba::hopper {

using cuda::shared_address;

// --- mbarriers -------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
// The address of the same place in another block of the cluster.
__device__ __forceinline__ uint32_t address_at(const void* p, int rank) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(p)), "r"(rank));
  return there;
}
// At the barrier that lies there in another block of the cluster. Orders nothing of this thread for those blocks: with
// that (release.cluster) it is a microsecond.
__device__ __forceinline__ void barrier_arrive_at(uint64_t* barrier, int rank) {
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_at(barrier, rank)) : "memory");
}
// A store in such a block, whose barrier counts the bytes.
__device__ __forceinline__ void store_at(uint32_t there, float a, float b, uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(there),
               "f"(a), "f"(b), "r"(barrier)
               : "memory");
}
// Without a barrier: the blocks meet at one of the cluster.
__device__ __forceinline__ void store_at(uint32_t there, float4 v) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(there), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
               : "memory");
}
// Waits until the phase of this parity is complete.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// A thread's place in a ring of stages; `phase` is the parity of its round, which barrier_wait() takes.
struct RingPlace {
  int index = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance(int stages) {
    if (++index == stages) index = 0, phase ^= 1;
  }
};

// Ordinary writes to shared memory before it are seen by the matrix unit and the copy engine after it.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// --- copies ----------------------------------------------------------------------------------------------------------

// `dst`: an address in shared memory. Coordinates beyond a size, negative ones too, read as zeros.
__device__ __forceinline__ void copy_box_4d(uint32_t dst, const CUtensorMap* map, uint64_t* barrier, int x, int y,
                                            int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(dst),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}
__device__ __forceinline__ void copy_box_3d(uint32_t dst, const CUtensorMap* map, uint64_t* barrier, int x, int y,
                                            int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(dst),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void copy_box_3d(void* dst, const CUtensorMap* map, uint64_t* barrier, int x, int y, int z) {
  copy_box_3d(shared_address(dst), map, barrier, x, y, z);
}
// To the L2.
__device__ __forceinline__ void prefetch_box_3d(const CUtensorMap* map, int x, int y, int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(map), "r"(x), "r"(y), "r"(z)
               : "memory");
}
__device__ __forceinline__ void copy_box_2d(void* dst, const CUtensorMap* map, uint64_t* barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
          "r"(shared_address(dst)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
}
// What is read is the first to leave the L2.
inline constexpr uint64_t kEvictFirst = 0x12f0000000000000;
__device__ __forceinline__ void copy_box_2d(void* dst, const CUtensorMap* map, uint64_t* barrier, int x, int y,
                                            uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%3, "
      "%4}], [%2], %5;" ::"r"(shared_address(dst)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "l"(policy)
      : "memory");
}
// Neighbouring bytes, a multiple of 16, at addresses that are.
__device__ __forceinline__ void copy_bytes(void* dst, const void* src, uint32_t bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(dst)),
               "l"(src), "r"(bytes), "r"(shared_address(barrier))
               : "memory");
}
__device__ __forceinline__ void copy_bytes(void* dst, const void* src, uint32_t bytes, uint64_t* barrier,
                                           uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::
          "r"(shared_address(dst)),
      "l"(src), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
      : "memory");
}
// To the same place in each block of the cluster that `blocks` has a bit of; each one's barrier counts the bytes.
__device__ __forceinline__ void copy_box_2d_to(uint16_t blocks, void* dst, const CUtensorMap* map, uint64_t* barrier,
                                               int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
      "{%3, %4}], [%2], %5;" ::"r"(shared_address(dst)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "h"(blocks)
      : "memory");
}
__device__ __forceinline__ void prefetch_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// To the L2; a multiple of 16 bytes.
__device__ __forceinline__ void prefetch_l2(const void* p, uint32_t bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_box_out_3d(const CUtensorMap* map, uint32_t src, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
               "r"(src), "r"(x), "r"(y), "r"(z)
               : "memory");
}
__device__ __forceinline__ void copy_out_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until the sources of this thread's copies may be written again.
__device__ __forceinline__ void copy_out_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
__device__ __forceinline__ void copy_out_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// --- 8x8 matrices of 16-bit elements ---------------------------------------------------------------------------------

__device__ __forceinline__ void load_transposed(uint32_t (&r)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row_address)
               : "memory");
}
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row_address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row_address)
               : "memory");
}
__device__ __forceinline__ void store_matrices(uint32_t row_address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}
__device__ __forceinline__ void store_transposed(uint32_t row_address, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row_address), "r"(a),
               "r"(b), "r"(c), "r"(d)
               : "memory");
}
// A matrix in a warp's registers, in the order of a product's sums.
__device__ __forceinline__ uint32_t transposed(uint32_t matrix) {
  uint32_t r;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(matrix));
  return r;
}
// Two floats as one register of 16-bit elements, and back.
template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
// Two floats as operands of a product: f16 stops at its largest number, for an infinity would spread.
template <class T>
__device__ __forceinline__ uint32_t pack_operands(float low, float high) {
  if constexpr (__is_same(T, __half)) {
    uint32_t r;
    asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
  } else {
    return pack<T>(low, high);
  }
}
template <class T>
__device__ __forceinline__ float2 unpack(uint32_t r);
template <>
__device__ __forceinline__ float2 unpack<__nv_bfloat16>(uint32_t r) {
  return {__uint_as_float(r << 16), __uint_as_float(r & 0xffff0000u)};
}
template <>
__device__ __forceinline__ float2 unpack<__half>(uint32_t r) {
  return __half22float2(*reinterpret_cast<__half2*>(&r));
}

// Products of two pairs.
template <class T>
__device__ __forceinline__ uint32_t multiply_pairs(uint32_t a, uint32_t b);
template <>
__device__ __forceinline__ uint32_t multiply_pairs<__nv_bfloat16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
template <>
__device__ __forceinline__ uint32_t multiply_pairs<__half>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

// --- warpgroup matrix products ---------------------------------------------------------------------------------------
// Operand tiles are rows of 128 bytes with the 128-byte swizzle (16-byte piece i of row r lies at i ^ (r % 8)), tiles
// aligned to 1024 bytes.

// A tile whose contiguous dimension is the one summed over; +32 bytes is the next 16 of it.
__device__ __forceinline__ uint64_t describe_along_sum(uint32_t address) {
  return (uint64_t{1} << 62) | (uint64_t{1024 >> 4} << 32) | (uint64_t{1} << 16) | ((address & 0x3ffff) >> 4);
}
// A tile whose rows are the dimension summed over; `next` bytes further lie the next 64 columns; +2048 bytes is the
// next 16 of the sum.
__device__ __forceinline__ uint64_t describe_across_sum(uint32_t address, uint32_t next) {
  return (uint64_t{1} << 62) | (uint64_t{1024 >> 4} << 32) | (uint64_t{next >> 4} << 16) | ((address & 0x3ffff) >> 4);
}

// Registers written so far are seen by the products after it.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of these registers across.
template <int kCount>
__device__ __forceinline__ void pin(float (&r)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(r[i])::"memory");
}

// A product reads its left operand from registers until it has been waited for, but ptxas takes them for free once the
// product has started (13.0 loads the next operand into them). This use after the wait holds them:
// stores to shared memory which never happen. `never` must be false, and not so that the compiler can tell.
template <int kCount>
__device__ __forceinline__ void hold(const uint32_t (&operand)[kCount][4], bool never) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    asm volatile("{.reg .pred p;\nsetp.ne.b32 p, %0, 0;\n@p st.shared.v4.b32 [%0], {%1, %2, %3, %4};}\n" ::"r"(
                     static_cast<int>(never)),
                 "r"(operand[i][0]), "r"(operand[i][1]), "r"(operand[i][2]), "r"(operand[i][3])
                 : "memory");
  }
}

// d[64 x 64] (+)= a b over 16, both from shared memory, both contiguous along the sum.
template <class T>
__device__ __forceinline__ void multiply_64(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
#define MAMBA_WGMMA(TYPE)                                                             \
  asm volatile(                                                                       \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                    \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_32 \
      "}, %32, %33, p, 1, 1, 0, 0;\n}\n"                                              \
      : MAMBA_SUMS_32                                                                 \
      : "l"(a), "l"(b), "r"(accumulate))
  if constexpr (__is_same(T, __nv_bfloat16)) {
    MAMBA_WGMMA("bf16");
  } else {
    MAMBA_WGMMA("f16");
  }
#undef MAMBA_WGMMA
}

// d[64 x 64] (+)= a b over 16, a from registers, b along the sum.
template <class T>
__device__ __forceinline__ void multiply_along(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int accumulate) {
#define MAMBA_WGMMA(TYPE)                                                             \
  asm volatile(                                                                       \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"                                    \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_32 \
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"                                \
      : MAMBA_SUMS_32                                                                 \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate))
  if constexpr (__is_same(T, __nv_bfloat16)) {
    MAMBA_WGMMA("bf16");
  } else {
    MAMBA_WGMMA("f16");
  }
#undef MAMBA_WGMMA
}

// d[64 x 64] += a b over 16, a from registers, b across the sum.
template <class T>
__device__ __forceinline__ void multiply_add_across(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
#define MAMBA_WGMMA(TYPE)                                                                      \
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_32 \
               "}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;\n"                                   \
               : MAMBA_SUMS_32                                                                 \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  if constexpr (__is_same(T, __nv_bfloat16)) {
    MAMBA_WGMMA("bf16");
  } else {
    MAMBA_WGMMA("f16");
  }
#undef MAMBA_WGMMA
}

// d[64 x 128] += a b over 16, a from registers, b across the sum.
template <class T>
__device__ __forceinline__ void multiply_add_across(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
#define MAMBA_WGMMA(TYPE)                                                                       \
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " {" MAMBA_NAMES_64 \
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"                                    \
               : MAMBA_SUMS_64                                                                  \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
  if constexpr (__is_same(T, __nv_bfloat16)) {
    MAMBA_WGMMA("bf16");
  } else {
    MAMBA_WGMMA("f16");
  }
#undef MAMBA_WGMMA
}

// d[64 x 128] += a b over 8, a from registers, b along the sum, which is of floats of 10 bits behind the point (tf32).
__device__ __forceinline__ void multiply_add_tf32(float (&d)[64], const uint32_t (&a)[4], uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k8.f32.tf32.tf32 {" MAMBA_NAMES_64
               "}, {%64, %65, %66, %67}, %68, 1, 1, 1;\n"
               : MAMBA_SUMS_64
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// To the nearest of such floats; the matrix unit itself cuts off.
__device__ __forceinline__ uint32_t round_tf32(float v) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}

template <int kRegisters>
__device__ __forceinline__ void registers_more() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void registers_less() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace mamba::hopper
