#include "cuda/stream.h"

#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "cuda/copy.h"
#include "cuda/status.h"

namespace mamba::cuda {
namespace {

// A larger upload is of weights, where the driver's own staging, which blocks the caller, costs less than pinning.
constexpr size_t kLargestPinned = size_t{32} << 20;

}  // namespace

EventPool::~EventPool() {
  for (cudaEvent_t event : free_) cudaEventDestroy(event);
}

std::shared_ptr<CUevent_st> EventPool::acquire() {
  cudaEvent_t event = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      event = free_.back();
      free_.pop_back();
    }
  }
  if (!event) check(cudaEventCreate(&event), "cudaEventCreate");
  return {event, [pool = shared_from_this()](cudaEvent_t used) {
            std::lock_guard lock(pool->mutex_);
            pool->free_.push_back(used);
          }};
}

void CudaEvent::wait() {
  check(cudaEventSynchronize(event_.get()), "a kernel of this step, or of one before it");
  for (const PendingCopy& copy : copies_) std::memcpy(copy.dst, copy.pinned.get(), copy.bytes);
  copies_.clear();
}

double CudaEvent::milliseconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, static_cast<const CudaEvent&>(earlier).event_.get(), event_.get()),
        "cudaEventElapsedTime");
  return milliseconds;
}

CudaGraph::CudaGraph(cudaGraph_t graph) : graph_(graph) {
  size_t count = 0;
  check(cudaGraphGetNodes(graph_, nullptr, &count), "cudaGraphGetNodes");
  nodes_ = static_cast<int64_t>(count);
}

CudaGraph::~CudaGraph() {
  if (executable_) cudaGraphExecDestroy(executable_);
  cudaGraphDestroy(graph_);
}

cudaGraphExec_t CudaGraph::executable() {
  if (!executable_) check(cudaGraphInstantiate(&executable_, graph_, 0), "cudaGraphInstantiate");
  return executable_;
}

CudaStream::CudaStream(Device& device, Context facts) : device_(device), context_(facts) {
  check(cudaStreamCreateWithFlags(&context_.stream, cudaStreamNonBlocking), "cudaStreamCreate");
  context_.workspace = device.allocate(kWorkspaceBytes);
  context_.workspace_bytes = kWorkspaceBytes;
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(context_.stream);
  device_.free(context_.workspace);
  cudaStreamDestroy(context_.stream);
}

void CudaStream::upload(void* dst, const void* src, size_t bytes) {
  refuse_capture("upload");
  if (bytes == 0) return;
  context_.full_stop();
  if (bytes > kLargestPinned) {
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, context_.stream), "upload");
    return;
  }
  release_finished_uploads();
  std::shared_ptr<char> pinned = pinned_->acquire(bytes);
  std::memcpy(pinned.get(), src, bytes);
  check(cudaMemcpyAsync(dst, pinned.get(), bytes, cudaMemcpyHostToDevice, context_.stream), "upload");
  std::shared_ptr<CUevent_st> done = events_->acquire();
  check(cudaEventRecord(done.get(), context_.stream), "cudaEventRecord");
  uploads_.push_back({std::move(done), std::move(pinned)});
}

void CudaStream::release_finished_uploads() {
  while (!uploads_.empty() && cudaEventQuery(uploads_.front().done.get()) != cudaErrorNotReady) uploads_.pop_front();
}

void CudaStream::download(void* dst, const void* src, size_t bytes) {
  refuse_capture("download");
  if (bytes == 0) return;
  context_.full_stop();
  std::shared_ptr<char> pinned = pinned_->acquire(bytes);
  check(cudaMemcpyAsync(pinned.get(), src, bytes, cudaMemcpyDeviceToHost, context_.stream), "download");
  downloads_.push_back({std::move(pinned), dst, bytes});
}

void CudaStream::upload_mapped(void* dst, const void* src, size_t bytes) {
  refuse_capture("upload");
  context_.full_stop();
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, context_.stream), "upload");
}

void CudaStream::copy(void* dst, const void* src, size_t bytes) {
  if (bytes == 0) return;
  context_.full_stop();
  launch_copy(dst, src, bytes, context_);
  context_.full_stop();
}

void CudaStream::fill(void* dst, int byte, size_t bytes) {
  context_.full_stop();
  check(cudaMemsetAsync(dst, byte, bytes, context_.stream), "fill");
}

std::shared_ptr<Event> CudaStream::record() {
  refuse_capture("an event");
  std::shared_ptr<CUevent_st> event = events_->acquire();
  check(cudaEventRecord(event.get(), context_.stream), "cudaEventRecord");
  return std::make_shared<CudaEvent>(std::move(event), std::exchange(downloads_, {}));
}

void CudaStream::drain() noexcept { cudaStreamSynchronize(context_.stream); }

void CudaStream::begin_capture() {
  refuse_capture("a second capture");
  // The other threads of the process (completion, other devices) may call what a capture forbids.
  check(cudaStreamBeginCapture(context_.stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  capturing_ = true;
  context_.full_stop();
}

std::shared_ptr<Graph> CudaStream::end_capture() {
  if (!capturing_) throw Error(ErrorCode::Capture, "end_capture", "no capture is running on this stream");
  capturing_ = false;
  context_.full_stop();
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(context_.stream, &graph), "cudaStreamEndCapture");
  return std::make_shared<CudaGraph>(graph);
}

void CudaStream::replay(const std::shared_ptr<Graph>& graph) {
  refuse_capture("a replay");
  context_.full_stop();
  check(cudaGraphLaunch(static_cast<CudaGraph&>(*graph).executable(), context_.stream), "cudaGraphLaunch");
}

void CudaStream::refuse_capture(const char* what) const {
  if (capturing_) throw Error(ErrorCode::Capture, "stream", std::string(what) + " is not allowed while capturing");
}

}  // namespace mamba::cuda
