#pragma once
// A CUDA stream behind the device interface.
#include <cuda_runtime_api.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "core/device.h"
#include "cuda/context.h"
#include "cuda/pinned_pool.h"

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
  CudaEvent(std::shared_ptr<CUevent_st> event, std::vector<PendingCopy> copies)
      : event_(std::move(event)), copies_(std::move(copies)) {}

  void wait() override;
  double milliseconds_since(const Event& earlier) const override;

 private:
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
  // Made on first use: a graph that only measures is never made ready to run.
  cudaGraphExec_t executable();

 private:
  cudaGraph_t graph_;
  cudaGraphExec_t executable_ = nullptr;
  int64_t nodes_ = 0;
};

class CudaStream : public Stream {
 public:
  // `facts` is what the context says of the device; the stream adds itself and its workspace.
  CudaStream(Device& device, Context facts);
  ~CudaStream() override;

  Context& context() { return context_; }

  Device& device() const override { return device_; }
  void upload(void* dst, const void* src, size_t bytes) override;
  void download(void* dst, const void* src, size_t bytes) override;
  void upload_mapped(void* dst, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void fill(void* dst, int byte, size_t bytes) override;
  std::shared_ptr<Event> record() override;
  void synchronize() override { record()->wait(); }
  void drain() noexcept override;
  bool capturing() const override { return capturing_; }
  void begin_capture() override;
  std::shared_ptr<Graph> end_capture() override;
  void replay(const std::shared_ptr<Graph>& graph) override;

 private:
  void refuse_capture(const char* what) const;
  void release_finished_uploads();

  struct Upload {
    std::shared_ptr<CUevent_st> done;
    std::shared_ptr<char> pinned;
  };

  Device& device_;
  Context context_;
  std::shared_ptr<PinnedPool> pinned_ = std::make_shared<PinnedPool>();
  std::shared_ptr<EventPool> events_ = std::make_shared<EventPool>();
  std::deque<Upload> uploads_;
  std::vector<PendingCopy> downloads_;  // since the last record()
  bool capturing_ = false;
};

}  // namespace mamba::cuda
