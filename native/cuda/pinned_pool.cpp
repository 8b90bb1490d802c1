#include "cuda/pinned_pool.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>

#include "cuda/status.h"

namespace mamba::cuda {

PinnedPool::~PinnedPool() {
  for (auto& [size, buffers] : free_) {
    for (char* buffer : buffers) cudaFreeHost(buffer);
  }
}

std::shared_ptr<char> PinnedPool::acquire(size_t bytes) {
  const size_t size = std::bit_ceil(std::max(bytes, kLeast));
  char* buffer = nullptr;
  {
    std::lock_guard lock(mutex_);
    std::vector<char*>& free = free_[size];
    if (!free.empty()) {
      buffer = free.back();
      free.pop_back();
    }
  }
  if (!buffer) {
    void* data = nullptr;
    check(cudaHostAlloc(&data, size, cudaHostAllocDefault), "cudaHostAlloc");
    buffer = static_cast<char*>(data);
  }
  return {buffer, [pool = shared_from_this(), size](char* data) {
            if (size > kLargestKept) {
              cudaFreeHost(data);
              return;
            }
            std::lock_guard lock(pool->mutex_);
            pool->free_[size].push_back(data);
          }};
}

}  // namespace mamba::cuda
