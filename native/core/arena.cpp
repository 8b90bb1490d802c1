#include "core/arena.h"

#include <algorithm>
#include <string>

namespace mamba {

void* Arena::allocate(size_t bytes) {
  constexpr size_t kAlignment = 256;
  const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (rounded > memory_->bytes() - used_) {
    throw Error(ErrorCode::ArenaFull, "arena",
                "a tensor of " + std::to_string(bytes) + " bytes does not fit: " + std::to_string(used_) + " of " +
                    std::to_string(memory_->bytes()) + " bytes are in use");
  }
  void* data = memory_->data() + used_;
  used_ += rounded;
  high_water_ = std::max(high_water_, used_);
  return data;
}

std::vector<Handle> Arena::close_scope() {
  if (scopes_.empty()) throw Error(ErrorCode::Argument, "arena", "no scope is open");
  const Scope scope = scopes_.back();
  scopes_.pop_back();
  used_ = scope.used;
  std::vector<Handle> dead(tensors_.begin() + static_cast<std::ptrdiff_t>(scope.tensors), tensors_.end());
  tensors_.resize(scope.tensors);
  return dead;
}

}  // namespace mamba
