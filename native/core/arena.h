#pragma once
// Temporaries of a step: a bump allocator whose blocks are given back together, last scope first. Every step gets the
// same addresses, which is what graph capture needs.
#include <cstddef>
#include <memory>
#include <vector>

#include "core/handles.h"
#include "core/memory.h"

namespace mamba {

class Arena {
 public:
  explicit Arena(std::shared_ptr<Memory> memory) : memory_(std::move(memory)) {}

  const std::shared_ptr<Memory>& memory() const { return memory_; }

  // 256-byte aligned. Throws ErrorCode::ArenaFull.
  void* allocate(size_t bytes);
  // A tensor handle that dies with the innermost open scope.
  void adopt(Handle tensor) { tensors_.push_back(tensor); }

  void open_scope() { scopes_.push_back({used_, tensors_.size()}); }
  // Ends the innermost scope; returns the tensors that died with it.
  std::vector<Handle> close_scope();

  size_t used() const { return used_; }
  size_t high_water() const { return high_water_; }

 private:
  struct Scope {
    size_t used, tensors;
  };
  std::shared_ptr<Memory> memory_;
  size_t used_ = 0, high_water_ = 0;
  std::vector<Scope> scopes_;
  std::vector<Handle> tensors_;
};

}  // namespace mamba
