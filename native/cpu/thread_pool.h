#pragma once
// Fork and join for the CPU stream's thread. The caller works too and never waits for a worker that has not begun: on a
// busy machine a job simply runs on fewer threads.
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace mamba::cpu {

// Memory of one thread that grows to the largest request and stays: kernels allocate nothing per call.
class Scratch {
 public:
  void* get(size_t bytes);

 private:
  struct Free {
    void operator()(void* p) const;
  };
  std::unique_ptr<void, Free> data_;
  size_t size_ = 0;
};

class ThreadPool {
 public:
  // `threads` counts the caller. Throws std::system_error where the system gives no more of them.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(task, scratch) for every task in [0, tasks), each once, in any order, and returns when all are done.
  // Only one thread may call this (the stream's). What a body throws is thrown here after the other threads are out.
  template <class Body>
  void parallel_for(int64_t tasks, Body&& body) {
    run(
        tasks, [](void* b, int64_t task, Scratch& s) { (*static_cast<std::remove_reference_t<Body>*>(b))(task, s); },
        &body);
  }

  // The same, on the caller's thread alone where the work is too `small` to wake others for.
  template <class Body>
  void parallel_for(int64_t tasks, bool small, Body&& body) {
    if (!small) return parallel_for(tasks, body);
    parallel_for(1, [&](int64_t, Scratch& scratch) {
      for (int64_t task = 0; task < tasks; ++task) body(task, scratch);
    });
  }

 private:
  ThreadPool() = default;
  using Function = void (*)(void*, int64_t, Scratch&);
  void run(int64_t tasks, Function function, void* body);
  void work(Scratch& scratch);
  void worker_loop(size_t index);

  // The current job. Fields are written while no worker is inside; a worker enters by raising inside_ and then looking
  // at open_, the caller leaves by clearing open_ and then looking at inside_.
  Function function_ = nullptr;
  void* body_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint64_t> open_{0};  // the job's number, or 0
  alignas(64) std::atomic<int> inside_{0};
  uint64_t jobs_ = 0;

  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::exception_ptr error_;
  std::vector<Scratch> scratch_;
  std::vector<std::thread> workers_;
};

}  // namespace mamba::cpu
