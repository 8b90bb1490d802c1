#pragma once
// Points in a stream and the time on the device between them: what benchmarks see of a running engine.
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/device.h"

namespace mamba::addon {

// Done when all marks are; wait() then writes the microseconds from the first to each of them.
class Marks : public Event {
 public:
  Marks(std::vector<std::shared_ptr<Event>> marks, double* out) : marks_(std::move(marks)), out_(out) {}

  void wait() override {
    for (const auto& mark : marks_) {
      mark->wait();
      *out_++ = 1e3 * mark->milliseconds_since(*marks_.front());
    }
  }

  double milliseconds_since(const Event& earlier) const override { return marks_.back()->milliseconds_since(earlier); }

 private:
  std::vector<std::shared_ptr<Event>> marks_;
  double* out_;
};

}  // namespace mamba::addon
