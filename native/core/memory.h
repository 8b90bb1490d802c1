#pragma once
#include <cstddef>
#include <memory>

#include "core/device.h"

namespace mamba {

// One allocation on a device, or of its pinned memory, shared by the tensors that view it. A measuring memory has
// addresses but no bytes behind them: a capture over it tells how much a step would need.
class Memory {
 public:
  Memory(Device& device, Stream& stream, size_t bytes)
      : device_(device), stream_(stream), data_(device.allocate(bytes)), bytes_(bytes) {}

  static std::shared_ptr<Memory> pinned(Device& device, Stream& stream, size_t bytes) {
    return std::shared_ptr<Memory>(new Memory(device, stream, device.allocate_pinned(bytes), bytes));
  }
  static std::shared_ptr<Memory> measuring(Device& device, Stream& stream) {
    return std::shared_ptr<Memory>(new Memory(device, stream));
  }

  ~Memory() {
    if (measuring_) return;
    stream_.drain();  // launched work may still use it
    pinned_ ? device_.free_pinned(data_) : device_.free(data_);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  Device& device() const { return device_; }
  char* data() const { return static_cast<char*>(data_); }
  size_t bytes() const { return bytes_; }
  bool measuring() const { return measuring_; }
  bool pinned() const { return pinned_; }

 private:
  Memory(Device& device, Stream& stream)
      : device_(device),
        stream_(stream),
        data_(reinterpret_cast<void*>(kMeasuringBase)),
        bytes_(size_t{1} << 45),
        measuring_(true) {}

  Memory(Device& device, Stream& stream, void* pinned, size_t bytes)
      : device_(device), stream_(stream), data_(pinned), bytes_(bytes), pinned_(true) {}

  static constexpr size_t kMeasuringBase = 4096;
  Device& device_;
  Stream& stream_;
  void* data_;
  size_t bytes_;
  bool measuring_ = false, pinned_ = false;
};

}  // namespace mamba
