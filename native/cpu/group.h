#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/group.h"
#include "core/wait.h"

namespace mamba::cpu {

// What a rank brings to a collective op: rows in its memory, and the squares that some are yet to be normed by.
struct GroupRows {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t stride = 0, rows = 0, width = 0;
  const float* squares = nullptr;  // [rows], of so many channels
  int64_t channels = 0;

  // Whether what another rank brings can be read as this.
  bool matches(const GroupRows& other) const {
    return dtype == other.dtype && rows == other.rows && width == other.width && !squares == !other.squares;
  }
};

// Streams of one process, which meet in the memory that all of them see.
class CpuGroup : public Group {
 public:
  explicit CpuGroup(int ranks) : Group(ranks), rows_(static_cast<size_t>(ranks)) {}

  // body(rows of all ranks) once every rank has come, and back once every rank's body is done. Throws
  // ErrorCode::DeviceLost where a rank has failed.
  template <class Body>
  void meet(int rank, const GroupRows& own, Body&& body) {
    wait_for_all(rank, own);
    const Reading reading(*this);
    for (const GroupRows& other : rows_) {
      if (!own.matches(other)) throw Error(ErrorCode::Internal, "group", "the ranks came with different rows");
    }
    body(std::as_const(rows_));
  }

  void fail() noexcept override {
    std::lock_guard lock(mutex_);
    failed_ = true;
    all_here_.notify_all();
  }

 private:
  // Between the meeting of the ranks and the end of the last one's body. Whatever fails meanwhile, nobody's rows go
  // before that: another rank may be reading them.
  class Reading {
   public:
    explicit Reading(CpuGroup& group) : group_(group) {}
    ~Reading() {
      std::unique_lock lock(group_.mutex_);
      if (--group_.reading_ == 0) group_.all_done_.notify_all();
      wait_until(group_.all_done_, lock, [&] { return group_.reading_ == 0; });
    }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    CpuGroup& group_;
  };

  void wait_for_all(int rank, const GroupRows& own) {
    std::unique_lock lock(mutex_);
    if (failed_) fail_waiting();
    rows_[static_cast<size_t>(rank)] = own;
    const uint64_t meeting = meeting_;
    if (++here_ == ranks()) {
      here_ = 0;
      reading_ = ranks();
      ++meeting_;
      all_here_.notify_all();
    }
    wait_until(all_here_, lock, [&] { return failed_ || meeting_ != meeting; });
    if (meeting_ == meeting) fail_waiting();
  }

  [[noreturn]] static void fail_waiting() {
    throw Error(ErrorCode::DeviceLost, "group", "another rank failed, or was closed");
  }

  std::mutex mutex_;
  std::condition_variable all_here_, all_done_;
  std::vector<GroupRows> rows_;
  int here_ = 0, reading_ = 0;  // ranks
  uint64_t meeting_ = 0;
  bool failed_ = false;
};

}  // namespace mamba::cpu
