#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "core/wait.h"

namespace mamba {

// A thread that runs tasks one after another, in the order they were pushed. What is queued when it is destroyed still
// runs. Any thread may push and wait.
class TaskThread {
 public:
  TaskThread() : thread_([this] { run(); }) {}

  ~TaskThread() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    pushed_.notify_one();
    thread_.join();
  }
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // For a task that does not throw.
  void push(std::function<void()> task) {
    {
      std::lock_guard lock(mutex_);
      queue_.push_back(std::move(task));
      queued_.store(true, std::memory_order_relaxed);
    }
    pushed_.notify_one();
  }

  // For one that may: the first failure is kept, and attempts after it are skipped, since they would read its output.
  template <class Task>
  void attempt(Task&& task) {
    push([this, task = std::forward<Task>(task)] {
      if (failure_) return;
      try {
        task();
      } catch (...) {
        failure_ = std::current_exception();
      }
    });
  }

  // The failure, or null; attempts after this start afresh. To be called by a task.
  std::exception_ptr take_failure() { return std::exchange(failure_, nullptr); }

  // Blocks until everything pushed before has run.
  void wait() {
    std::unique_lock lock(mutex_);
    wait_until(idle_, lock, [&] { return queue_.empty() && !running_; });
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      if (queue_.empty() && !stop_) {
        lock.unlock();
        linger();
        lock.lock();
      }
      wait_until(pushed_, lock, [&] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      {
        const std::function<void()> task = std::move(queue_.front());
        queue_.pop_front();
        queued_.store(!queue_.empty(), std::memory_order_relaxed);
        running_ = true;
        lock.unlock();
        task();
      }  // what the task held is given up before wait() returns
      lock.lock();
      running_ = false;
      if (queue_.empty()) idle_.notify_all();
    }
  }

  // Awake for a moment: a step pushes a task every other microsecond, and waking a thread up takes the pusher longer.
  void linger() const {
    constexpr std::chrono::microseconds kMoment{50};
    const auto end = std::chrono::steady_clock::now() + kMoment;
    while (!queued_.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < end) {
    }
  }

  std::mutex mutex_;
  std::condition_variable pushed_, idle_;
  std::deque<std::function<void()>> queue_;
  std::atomic<bool> queued_ = false;  // what linger() sees of the queue
  bool running_ = false, stop_ = false;
  std::exception_ptr failure_;  // touched by tasks only
  std::thread thread_;
};

}  // namespace mamba
