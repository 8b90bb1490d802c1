#pragma once
// How long a graph takes on the device: what benchmarks measure with.
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"

namespace mamba::addon {

// Done when all replays are; wait() then writes each one's microseconds.
class TimedReplays : public Event {
 public:
  // Launches `count` replays, each between two events. `scratch`, if any, is written before each of them.
  static std::shared_ptr<Event> launch(Stream& stream, const std::shared_ptr<Graph>& graph, const Tensor* scratch,
                                       double* out, size_t count) {
    auto timed = std::make_shared<TimedReplays>();
    timed->out_ = out;
    for (size_t i = 0; i < count; ++i) {
      if (scratch) stream.fill(scratch->data, static_cast<int>(i & 0xff), scratch->bytes());
      std::shared_ptr<Event> begin = stream.record();
      stream.replay(graph);
      timed->marks_.emplace_back(std::move(begin), stream.record());
    }
    return timed;
  }

  void wait() override {
    for (auto& [begin, end] : marks_) {
      begin->wait();
      end->wait();
      *out_++ = 1e3 * end->milliseconds_since(*begin);
    }
  }

  double milliseconds_since(const Event& earlier) const override {
    return marks_.back().second->milliseconds_since(earlier);
  }

 private:
  std::vector<std::pair<std::shared_ptr<Event>, std::shared_ptr<Event>>> marks_;
  double* out_ = nullptr;
};

}  // namespace mamba::addon
