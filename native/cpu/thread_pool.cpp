#include "cpu/thread_pool.h"

#include <chrono>
#include <cstdlib>
#include <new>
#include <utility>

#include "core/wait.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mamba::cpu {
namespace {

// A worker looks for the next job this long before it sleeps: longer than the gap between two ops of a step, shorter
// than the gap between two steps.
constexpr auto kSpinTime = std::chrono::microseconds(60);
// Spins of a waiting thread between two looks at the clock or offers of its core to another thread.
constexpr int kSpinsPerLook = 64;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

}  // namespace

void Scratch::Free::operator()(void* p) const { std::free(p); }

void* Scratch::get(size_t bytes) {
  if (bytes > size_) {
    data_.reset();
    size_ = 0;
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    data_.reset(std::aligned_alloc(64, rounded));
    if (!data_) throw std::bad_alloc();
    size_ = rounded;
  }
  return data_.get();
}

// Delegating: where a thread cannot be started, the destructor ends those that were.
ThreadPool::ThreadPool(int threads) : ThreadPool() {
  scratch_.resize(static_cast<size_t>(threads > 1 ? threads : 1));
  for (size_t i = 1; i < scratch_.size(); ++i) workers_.emplace_back([this, i] { worker_loop(i); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::work(Scratch& scratch) {
  try {
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;)
      function_(body_, task, scratch);
  } catch (...) {
    std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
}

void ThreadPool::run(int64_t tasks, Function function, void* body) {
  if (tasks <= 1 || workers_.empty()) {
    for (int64_t task = 0; task < tasks; ++task) function(body, task, scratch_[0]);
    return;
  }
  function_ = function;
  body_ = body;
  tasks_ = tasks;
  next_.store(0, std::memory_order_relaxed);
  open_.store(++jobs_);
  if (sleepers_.load() > 0) {
    std::lock_guard lock(mutex_);
    wake_.notify_all();
  }
  work(scratch_[0]);
  open_.store(0);
  for (int spins = 1; inside_.load() != 0; ++spins) {
    relax();
    if (spins % kSpinsPerLook == 0) std::this_thread::yield();  // a worker may have lost its core to another thread
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::worker_loop(size_t index) {
  uint64_t last = 0;
  while (true) {
    // Look for a job not seen yet; sleep when none comes.
    uint64_t job = open_.load();
    const auto begin = std::chrono::steady_clock::now();
    for (int spins = 1; job == 0 || job == last; ++spins) {
      if (stop_.load(std::memory_order_relaxed)) return;
      relax();
      if (spins % kSpinsPerLook == 0 && std::chrono::steady_clock::now() - begin > kSpinTime) {
        std::unique_lock lock(mutex_);
        ++sleepers_;
        wait_until(wake_, lock, [&] {
          job = open_.load();
          return stop_.load() || (job != 0 && job != last);
        });
        --sleepers_;
        if (stop_.load()) return;
        break;
      }
      job = open_.load();
    }
    inside_.fetch_add(1);
    const uint64_t entered = open_.load();
    if (entered != 0 && entered != last) {
      last = entered;
      work(scratch_[index]);
    }
    inside_.fetch_sub(1);
  }
}

}  // namespace mamba::cpu
