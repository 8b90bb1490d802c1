#pragma once
// What a run_<op>() gets besides its params: the stream to launch on, and what it has to know of the device.
#include <cuda_runtime_api.h>

#include <cstddef>
#include <initializer_list>
#include <vector>

#include "ops/pool.h"

namespace mamba::cuda {

class GemmPlans;
class Staging;

// The pools that ops have written since the stream last came to a full stop (an upload, a copy, the start of a graph).
// A kernel may read any other pool before its wait_for_inputs(): nothing that is still running writes it.
class WrittenPools {
 public:
  // Whether any of these bytes were written before; from now on all of them count as written.
  bool add(const void* pool, size_t bytes) {
    const bool written = times(pool, bytes) > 0;
    Range range{static_cast<const char*>(pool), static_cast<const char*>(pool) + bytes, 1};
    for (Range& other : ranges_) {
      if (range.begin != other.begin || range.end != other.end) continue;
      ++other.times;
      return written;
    }
    ranges_.push_back(range);
    return written;
  }
  // How many ops have written any of them.
  int times(const void* pool, size_t bytes) const {
    const char *begin = static_cast<const char*>(pool), *end = begin + bytes;
    int sum = 0;
    for (const Range& other : ranges_) {
      if (begin < other.end && other.begin < end) sum += other.times;
    }
    return sum;
  }
  void clear() { ranges_.clear(); }

 private:
  struct Range {
    const char *begin, *end;
    int times;
  };
  std::vector<Range> ranges_;  // two for each layer
};

// The workspace: for the split sums of a product, and for the segments of a chunk scan.
inline constexpr size_t kWorkspaceBytes = size_t{64} << 20;
// For rows of a weight of codes, as floats.
inline constexpr size_t kWeightScratchBytes = size_t{64} << 20;
// For rows of x as codes, with their scales: 8,192 of 8,192.
inline constexpr size_t kCodesScratchBytes = size_t{68} << 20;

struct Context {
  cudaStream_t stream;
  int device = 0;  // the GPU's number among those that the process sees
  int multiprocessors;
  int capability;  // 10 * major + minor: 80, 90, ...
  // A row's, or a sequence's, bits depend on nothing that it is launched with (Device::create_stream). Read by the
  // run_<op>() that choose among kernels with different orders of sums: linear, rms_norm_linear, linear_activation,
  // grouped_linear, linear_route, experts, ssd_chunk_scan and gdn_chunk. All others take sums in one order in any case.
  bool deterministic = false;
  // Scratch of the stream, the same in each launch. A kernel may use it between its start (see wait_for_inputs) and its
  // end, and nothing in it outlives the op.
  void* workspace;
  size_t workspace_bytes;
  void* weight_scratch = nullptr;  // kWeightScratchBytes, once there are weights of codes
  void* codes_scratch = nullptr;   // kCodesScratchBytes, once there are some whose x may be quantized
  GemmPlans* gemm_plans;
  Staging* staging = nullptr;
  // The launch before was a kernel, so the next one may start before that one ends (programmatic dependent launch).
  // False after whatever writes what kernels read early, such as weights.
  bool early = false;
  // Whether the kernels of the op that runs may read its pools before wait_for_inputs(): no op before it has written
  // one since the last full stop. Told by enter(), which CudaBackend calls with the pools that ops.def declares.
  bool settled = false;
  WrittenPools written_pools;

  void enter(std::initializer_list<Pool> pools) {
    settled = true;
    for (const Pool& pool : pools) settled &= !written_pools.add(pool.data, pool.bytes);
  }

  // The next launch waits for everything before it.
  void full_stop() {
    early = false;
    written_pools.clear();
  }

  bool hopper() const { return capability == 90; }  // code for sm_90a runs
  bool clusters() const { return capability >= 90; }
};

}  // namespace mamba::cuda
