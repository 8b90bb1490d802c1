#pragma once
// The CPU as an asynchronous device: a queue run by one thread, which forks into a pool for the large ops.
#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/task_thread.h"
#include "cpu/thread_pool.h"

namespace mamba::cpu {

using Task = std::function<void(ThreadPool&)>;

class CpuEvent : public Event {
 public:
  void wait() override { std::shared_future<void>(done_).get(); }  // a copy: any thread may wait
  double milliseconds_since(const Event& earlier) const override;
  void settle(std::exception_ptr error);

 private:
  std::promise<void> settled_;
  std::shared_future<void> done_ = settled_.get_future();
  std::chrono::steady_clock::time_point at_;
};

// A captured graph is the list of its tasks.
class CpuGraph : public Graph {
 public:
  explicit CpuGraph(std::vector<Task> tasks) : tasks_(std::move(tasks)) {}
  int64_t nodes() const override { return static_cast<int64_t>(tasks_.size()); }
  const std::vector<Task>& tasks() const { return tasks_; }

 private:
  std::vector<Task> tasks_;
};

class CpuStream : public Stream {
 public:
  CpuStream(Device& device, int threads) : device_(device), pool_(threads) {}

  // Runs `task` after everything launched before; while capturing, records it instead.
  template <class F>
  void launch(F&& task) {
    if (capturing_) {
      captured_.push_back(std::forward<F>(task));
    } else {
      thread_.attempt([this, task = std::forward<F>(task)] { run_as_rank([&] { task(pool_); }); });
    }
  }

  Device& device() const override { return device_; }
  void upload(void* dst, const void* src, size_t bytes) override;
  void download(void* dst, const void* src, size_t bytes) override;
  void upload_from(void* dst, std::shared_ptr<const Source> src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void fill(void* dst, int byte, size_t bytes) override;
  void transfer(void* dst, const void* src, size_t bytes) override;
  void follow(Stream& other) override;
  std::shared_ptr<Event> record() override;
  void synchronize() override { record()->wait(); }
  void drain() noexcept override { thread_.wait(); }
  bool capturing() const override { return capturing_; }
  void begin_capture() override;
  std::shared_ptr<Graph> end_capture() override;
  void replay(const std::shared_ptr<Graph>& graph) override;

 private:
  void refuse_capture(const char* what) const;

  Device& device_;
  ThreadPool pool_;
  bool capturing_ = false;
  std::vector<Task> captured_;
  TaskThread thread_;  // last: it ends before what its tasks use
};

}  // namespace mamba::cpu
