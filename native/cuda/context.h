#pragma once
// What a run_<op>() gets besides its params: the stream to launch on, and what it has to know of the device.
#include <cuda_runtime_api.h>

#include <cstddef>

namespace mamba::cuda {

class GemmPlans;

struct Context {
  cudaStream_t stream;
  int multiprocessors;
  int capability;  // 10 * major + minor: 80, 90, ...
  // Scratch of the stream, the same in each launch. A kernel may use it between its start (see wait_for_inputs) and its
  // end, and nothing in it outlives the op.
  void* workspace;
  size_t workspace_bytes;
  GemmPlans* gemm_plans;
  // The launch before was a kernel, so the next one may start before that one ends (programmatic dependent launch).
  // False after whatever writes what kernels read early, such as weights.
  bool early = false;

  bool hopper() const { return capability == 90; }  // code for sm_90a runs
  bool clusters() const { return capability >= 90; }
};

// Enough for the split sums of a GEMM, and for the segments of a chunk scan.
inline constexpr size_t kWorkspaceBytes = size_t{64} << 20;

}  // namespace mamba::cuda
