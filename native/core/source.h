#pragma once
#include <cstddef>
#include <cstring>

namespace mamba {

// Bytes of the host that a stream copies later: its threads read them in pieces, each where it needs it.
class Source {
 public:
  virtual ~Source() = default;
  // Copies `bytes` from `begin` on. Any thread may call. Throws ErrorCode::Io.
  virtual void read(size_t begin, void* to, size_t bytes) const = 0;
};

// Memory that stays as it is until the stream is past it.
class MemorySource : public Source {
 public:
  explicit MemorySource(const void* data) : data_(static_cast<const char*>(data)) {}
  void read(size_t begin, void* to, size_t bytes) const override { std::memcpy(to, data_ + begin, bytes); }

 private:
  const char* data_;
};

}  // namespace mamba
