#pragma once
#include <memory>

namespace mamba {

// Devices that compute one model together, a rank each. What one rank launches of collective ops the others launch too,
// in the same order.
class Group {
 public:
  explicit Group(int ranks) : ranks_(ranks) {}
  virtual ~Group() = default;
  int ranks() const { return ranks_; }
  // Ends the waiting of all ranks for one that will not come: collective ops fail from now on. Any thread may call.
  virtual void fail() noexcept = 0;

 private:
  int ranks_;
};

// What a stream is in its group; of none it is the only rank.
struct Membership {
  std::shared_ptr<Group> group;
  int rank = 0;
};

}  // namespace mamba
