#pragma once
// A CUDA stream behind the device interface. A thread of its own makes the driver's calls, so that launching never
// keeps the event loop: after a sleep of milliseconds a call takes tens of microseconds, and a prefill makes hundreds.
#include <cuda_runtime_api.h>

#include <deque>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/task_thread.h"
#include "cuda/context.h"
#include "cuda/pinned_pool.h"
#include "cuda/staging.h"

namespace mamba::cuda {

// Events are kept for the next record: creating one takes longer than a launch.
class EventPool : public std::enable_shared_from_this<EventPool> {
 public:
  ~EventPool();
  std::shared_ptr<CUevent_st> acquire();

 private:
  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

// A download on its way: pinned memory that the device writes, and where the bytes go once it has.
struct PendingCopy {
  std::shared_ptr<char> pinned;
  void* dst;
  size_t bytes;
};

class CudaEvent : public Event {
 public:
  void wait() override;
  double milliseconds_since(const Event& earlier) const override;

  // What `stream` is given from now on waits for the event; blocks until it is recorded. Throws as wait() does.
  void hold(cudaStream_t stream);

  // By the stream's thread, once: the event is recorded, or what was launched before it failed.
  void settle(std::shared_ptr<CUevent_st> event, std::vector<PendingCopy> copies);
  void fail(std::exception_ptr error) { settled_.set_exception(std::move(error)); }

 private:
  std::promise<void> settled_;
  std::shared_future<void> recorded_ = settled_.get_future();
  std::shared_ptr<CUevent_st> event_;
  std::vector<PendingCopy> copies_;
};

class CudaGraph : public Graph {
 public:
  explicit CudaGraph(cudaGraph_t graph);  // takes it over
  ~CudaGraph() override;
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  int64_t nodes() const override { return nodes_; }
  // Made on first use, by the stream's thread: a graph that only measures is never made ready to run.
  cudaGraphExec_t executable();

 private:
  cudaGraph_t graph_;
  cudaGraphExec_t executable_ = nullptr;
  int64_t nodes_ = 0;
};

class CudaStream : public Stream {
 public:
  // `facts` is what the context says of the device; the stream adds itself and a workspace.
  CudaStream(Device& device, Context facts, size_t workspace_bytes);
  ~CudaStream() override;

  // Runs `task` on the stream's thread, after everything launched before. A capture runs it at once, on the caller's.
  template <class F>
  void launch(F&& task) {
    if (capturing_) return task(context_);
    thread_.attempt([this, task = std::forward<F>(task)] { run_as_rank([&] { task(context_); }); });
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
  void drain() noexcept override;
  bool capturing() const override { return capturing_; }
  void begin_capture() override;
  std::shared_ptr<Graph> end_capture() override;
  void replay(const std::shared_ptr<Graph>& graph) override;

 private:
  void refuse_capture(const char* what) const;

  struct Upload {
    std::shared_ptr<CUevent_st> done;
    std::shared_ptr<char> pinned;
  };

  Device& device_;
  std::shared_ptr<PinnedPool> pinned_ = std::make_shared<PinnedPool>();
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  bool capturing_ = false;
  // Touched by the stream's thread, or by a capture while that one is idle.
  Context context_;
  Staging staging_;
  std::deque<Upload> uploads_;
  std::vector<PendingCopy> downloads_;  // since the last record()
  TaskThread thread_;                   // last: it ends before what its tasks use
};

}  // namespace mamba::cuda
