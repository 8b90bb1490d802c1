#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <vector>

#include "core/source.h"

namespace mamba::cuda {

// Large copies from files, and from memory that is not pinned: several threads read into pinned buffers, so that
// reading and the bus are busy at once. Measured with 4 GB in the page cache on an H200's host, GB/s: one thread
// reading the file 4.7 to 6.6, the driver's own staging of a mapping 4.9, this 6 with one thread, 24 with four, 44 with
// eight.
class Staging {
 public:
  // `device`: the GPU that the copies go to.
  explicit Staging(int device = 0);
  ~Staging();

  // Copies `bytes` of `src` from `begin` on, behind what `stream` holds, and returns when they have been read. One
  // caller at a time, and always the same stream. Throws ErrorCode::Io.
  void copy(void* dst, const Source& src, size_t begin, size_t bytes, cudaStream_t stream);

 private:
  class Worker;
  int device_;
  std::vector<std::unique_ptr<Worker>> workers_;  // made by the first copy
};

}  // namespace mamba::cuda
