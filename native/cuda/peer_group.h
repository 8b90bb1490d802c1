#pragma once
// The GPUs of a host as the ranks of a group: each maps the others' memory.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/group.h"

namespace mamba::cuda {

inline constexpr int kMostRanks = 8;
// Blocks of a collective kernel: each meets the same block of the other ranks.
inline constexpr int kMostBlocks = 64;

// What a rank shows the others, in its own memory. Two places, taken in turn: a rank that is past the next meeting
// knows that all have read what it showed at the last one.
struct Exchange {
  char* places[2];     // kPlaceBytes each
  char* packets[2];    // kPacketBytes from each rank: rows that the others put there themselves
  uint32_t* arrivals;  // [2, kMostBlocks, kMostRanks]: the launch at which each rank's block came, to each meeting
  uint32_t* launches;  // how many there were
  uint32_t* ended;     // blocks of the one that runs that are done
};

inline constexpr size_t kPlaceBytes = size_t{32} << 20;
inline constexpr size_t kPacketBytes = size_t{1} << 20;

// As kernels take it.
struct Peers {
  Exchange of[kMostRanks];
  int rank, ranks;
  const volatile uint32_t* failed;  // in host memory that the GPUs map: not 0 once nobody is to wait any more
};

class PeerGroup : public Group {
 public:
  // By the GPUs' numbers. Throws ErrorCode::NoDevice where they cannot map each other's memory.
  explicit PeerGroup(std::vector<int> devices);
  ~PeerGroup() override;
  PeerGroup(const PeerGroup&) = delete;
  PeerGroup& operator=(const PeerGroup&) = delete;

  Peers peers(int rank) const;
  bool failed() const { return *failed_ != 0; }
  void fail() noexcept override { *failed_ = 1; }

 private:
  void free() noexcept;

  std::vector<int> devices_;
  std::vector<Exchange> exchanges_;
  volatile uint32_t* failed_ = nullptr;
};

// Adds up known rows on all ranks. Throws ErrorCode::NoDevice where a sum is wrong or does not come: some hosts let
// GPUs map each other's memory and then lose what they write there.
void check_group(const std::shared_ptr<PeerGroup>& group, const std::vector<int>& devices);

}  // namespace mamba::cuda
