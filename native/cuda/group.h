#pragma once
#include "core/group.h"

namespace mamba::cuda {

// A rank alone, which waits for nobody.
class SingleGroup : public Group {
 public:
  SingleGroup() : Group(1) {}
  void fail() noexcept override {}
};

}  // namespace mamba::cuda
