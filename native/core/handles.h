#pragma once
// Integer handles: what crosses N-API instead of wrapped objects. A handle is a positive 30-bit number (a V8 small
// integer): 3 bits of kind, 7 bits of generation, 20 bits of index. A stale or foreign handle is an error, not a crash;
// the generation wraps, so it finds bugs and is no security boundary.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"

namespace mamba {

using Handle = int32_t;

enum class HandleKind : int32_t { device = 1, tensor = 2, arena = 3, graph = 4, file = 5 };

const char* name_of(HandleKind kind);

// Throws ErrorCode::Disposed: what is wrong with a handle that is not in a table.
[[noreturn]] void bad_handle(HandleKind kind, Handle handle);

template <class T>
class HandleTable {
 public:
  explicit HandleTable(HandleKind kind) : kind_(kind) {}

  Handle insert(T value) {
    size_t index;
    if (free_.empty()) {
      index = entries_.size();
      if (index > kIndexMask) throw Error(ErrorCode::Memory, name_of(kind_), "more than a million live handles");
      entries_.emplace_back();
    } else {
      index = free_.back();
      free_.pop_back();
    }
    entries_[index].value.emplace(std::move(value));
    return encode(index);
  }

  T& get(Handle handle) {
    const size_t index = static_cast<size_t>(handle) & kIndexMask;
    if (index >= entries_.size() || !entries_[index].value || encode(index) != handle) bad_handle(kind_, handle);
    return *entries_[index].value;
  }

  void erase(Handle handle) {
    get(handle);
    const size_t index = static_cast<size_t>(handle) & kIndexMask;
    entries_[index].generation = (entries_[index].generation + 1) & kGenerationMask;
    entries_[index].value.reset();
    free_.push_back(index);
  }

  size_t live() const { return entries_.size() - free_.size(); }

  // Erases every entry for which `dead(value)` holds.
  template <class Predicate>
  void erase_if(Predicate&& dead) {
    for (size_t index = 0; index < entries_.size(); ++index) {
      if (entries_[index].value && dead(*entries_[index].value)) erase(encode(index));
    }
  }

 private:
  static constexpr size_t kIndexMask = (1u << 20) - 1;
  static constexpr uint32_t kGenerationMask = (1u << 7) - 1;

  struct Entry {
    std::optional<T> value;
    uint32_t generation = 0;
  };

  Handle encode(size_t index) const {
    return static_cast<Handle>(static_cast<uint32_t>(kind_) << 27 | entries_[index].generation << 20 |
                               static_cast<uint32_t>(index));
  }

  HandleKind kind_;
  std::vector<Entry> entries_;
  std::vector<size_t> free_;
};

}  // namespace mamba
