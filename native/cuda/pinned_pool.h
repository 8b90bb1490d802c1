#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace mamba::cuda {

// Host memory that the copy engine reads and writes by itself. Pinning takes milliseconds, so buffers are kept: sizes
// are powers of two, and a step takes the buffers of the step before. Only very large ones are given back to the
// system. Any thread may acquire and release.
class PinnedPool : public std::enable_shared_from_this<PinnedPool> {
 public:
  ~PinnedPool();

  // At least `bytes`; goes back to the pool with its last owner. Throws ErrorCode::Memory.
  std::shared_ptr<char> acquire(size_t bytes);

 private:
  static constexpr size_t kLeast = 4096, kLargestKept = size_t{64} << 20;
  std::mutex mutex_;
  std::map<size_t, std::vector<char*>> free_;
};

}  // namespace mamba::cuda
