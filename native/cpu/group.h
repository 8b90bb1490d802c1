#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/group.h"
#include "core/wait.h"

namespace mamba::cpu {

// What a rank brings to a collective op: rows in its memory, and the squares that some are yet to be normed by.
struct GroupRows {
  void* data = nullptr;
  int64_t stride = 0, rows = 0, width = 0;
  const float* squares = nullptr;  // [rows], of so many channels
  int64_t channels = 0;
};

// Streams of one process, which meet in the memory that all of them see.
class CpuGroup : public Group {
 public:
  explicit CpuGroup(int ranks) : Group(ranks), rows_(static_cast<size_t>(ranks)) {}

  // body(rows of all ranks) once every rank has come, and back once every rank's body is done. Throws
  // ErrorCode::DeviceLost where a rank has failed.
  template <class Body>
  void meet(int rank, const GroupRows& own, Body&& body) {
    {
      std::unique_lock lock(mutex_);
      if (failed_) fail_waiting();  // others may still look at the rows of the last meeting
      rows_[static_cast<size_t>(rank)] = own;
      wait_for_all(lock);
    }
    for (const GroupRows& other : rows_) {
      if (other.rows == own.rows && other.width == own.width) continue;
      throw Error(ErrorCode::Internal, "group", "the ranks came with different rows");
    }
    body(std::as_const(rows_));
    std::unique_lock lock(mutex_);
    wait_for_all(lock);
  }

  void fail() noexcept override {
    std::lock_guard lock(mutex_);
    failed_ = true;
    all_here_.notify_all();
  }

 private:
  void wait_for_all(std::unique_lock<std::mutex>& lock) {
    const uint64_t meeting = meeting_;
    if (!failed_ && ++here_ == ranks()) {
      here_ = 0;
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
  std::condition_variable all_here_;
  std::vector<GroupRows> rows_;
  int here_ = 0;
  uint64_t meeting_ = 0;
  bool failed_ = false;
};

}  // namespace mamba::cpu
