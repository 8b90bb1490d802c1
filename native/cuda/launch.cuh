#pragma once
// How kernels are launched. A launch may start before the kernel ahead of it on the stream has ended (programmatic
// dependent launch), so that its start-up and its loads of weights are hidden. For that every kernel keeps two rules:
//   1. Before wait_for_inputs() a block reads nothing but weights and a step's metadata, memory that no kernel of a
//      step writes, and writes nothing. Every block calls it, also one that has nothing to do.
//   2. It calls let_next_start() once, as early as it likes: the next kernel waits for the end of this one in any case.
#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda/context.h"
#include "cuda/dispatch.h"
#include "cuda/status.h"

namespace mamba::cuda {

__device__ __forceinline__ void wait_for_inputs() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Shared memory that a block may have: on a Hopper GPU, and on each that kernels are compiled for.
inline constexpr size_t kHopperShared = size_t{227} << 10, kLeastShared = size_t{99} << 10;

// The most blocks of a launch along y, and along z.
inline constexpr int64_t kMostBlocksYZ = 65535;

// Blocks along each dimension: sizes of a problem as they are, which launch() compares with what a launch can have.
struct Grid {
  int64_t x, y, z;
  Grid(int64_t along_x = 1, int64_t along_y = 1, int64_t along_z = 1) : x(along_x), y(along_y), z(along_z) {}

  dim3 checked() const {
    const bool fits = x <= std::numeric_limits<int32_t>::max() && y <= kMostBlocksYZ && z <= kMostBlocksYZ;
    check(fits ? cudaSuccess : cudaErrorInvalidConfiguration, "grid of a kernel");
    return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
  }
};

struct LaunchShape {
  Grid grid;
  dim3 block;
  size_t shared_bytes = 0;
  int cluster = 1;    // blocks along x
  bool early = true;  // may start before the kernel ahead has ended
};

template <class... Args>
void launch(Context& context, const LaunchShape& shape, void (*kernel)(Args...), std::type_identity_t<Args>... args) {
  constexpr size_t kDefaultShared = 48 << 10;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid.checked();
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = context.stream;
  cudaLaunchAttribute attributes[2] = {};
  if (shape.cluster > 1) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  }
  if (shape.early && context.early && context.capability >= 90) {
    cudaLaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  config.attrs = attributes;
  if (shape.shared_bytes > kDefaultShared) {
    check(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes)),
        "shared memory of a kernel");
  }
  check(cudaLaunchKernelEx(&config, kernel, args...), "launch of a kernel");
  context.early = true;
}

}  // namespace mamba::cuda
