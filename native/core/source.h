#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

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

// Equal parts of one whole, in order, from `begin` on.
class PartedSource : public Source {
 public:
  using Parts = std::vector<std::shared_ptr<const Source>>;
  PartedSource(std::shared_ptr<const Parts> parts, size_t part_bytes, size_t begin)
      : parts_(std::move(parts)), part_bytes_(part_bytes), begin_(begin) {}
  void read(size_t begin, void* to, size_t bytes) const override {
    for (size_t at = begin_ + begin, done = 0; done < bytes;) {
      const size_t within = at % part_bytes_, count = std::min(bytes - done, part_bytes_ - within);
      parts_->at(at / part_bytes_)->read(within, static_cast<char*>(to) + done, count);
      at += count, done += count;
    }
  }

 private:
  std::shared_ptr<const Parts> parts_;
  size_t part_bytes_, begin_;
};

}  // namespace mamba
