#include "cuda/stream.h"

#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"
#include "cuda/copy.h"
#include "cuda/status.h"

namespace mamba::cuda {
namespace {

// A larger upload is of weights: it goes through the staging, and the caller waits until its bytes are read.
constexpr size_t kLargestPinned = size_t{4} << 20;

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
  std::shared_future<void>(recorded_).get();  // a copy: any thread may wait
  check(cudaEventSynchronize(event_.get()), "a kernel of this step, or of one before it");
  for (const PendingCopy& copy : copies_) std::memcpy(copy.dst, copy.pinned.get(), copy.bytes);
  copies_.clear();
}

void CudaEvent::hold(cudaStream_t stream) {
  std::shared_future<void>(recorded_).get();
  check(cudaStreamWaitEvent(stream, event_.get(), 0), "cudaStreamWaitEvent");
}

void CudaEvent::settle(std::shared_ptr<CUevent_st> event, std::vector<PendingCopy> copies) {
  event_ = std::move(event);
  copies_ = std::move(copies);
  settled_.set_value();
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

CudaStream::CudaStream(Device& device, Context facts, size_t workspace_bytes)
    : device_(device), context_(facts), staging_(facts.device) {
  check(cudaSetDevice(facts.device), "cudaSetDevice");
  thread_.push([index = facts.device] { cudaSetDevice(index); });
  check(cudaStreamCreateWithFlags(&context_.stream, cudaStreamNonBlocking), "cudaStreamCreate");
  context_.workspace = workspace_bytes > 0 ? device.allocate(workspace_bytes) : nullptr;
  context_.workspace_bytes = workspace_bytes;
  context_.staging = &staging_;
}

CudaStream::~CudaStream() {
  drain();
  if (context_.workspace) device_.free(context_.workspace);
  if (context_.weight_scratch) device_.free(context_.weight_scratch);
  if (context_.codes_scratch) device_.free(context_.codes_scratch);
  cudaStreamDestroy(context_.stream);
}

void CudaStream::upload(void* dst, const void* src, size_t bytes) {
  refuse_capture("upload");
  if (bytes == 0) return;
  if (bytes > kLargestPinned) {
    upload_from(dst, std::make_shared<MemorySource>(src), bytes);
    return thread_.wait();
  }
  std::shared_ptr<char> pinned = pinned_->acquire(bytes);
  std::memcpy(pinned.get(), src, bytes);
  launch([this, dst, pinned = std::move(pinned), bytes](Context& context) {
    context.full_stop();
    while (!uploads_.empty() && cudaEventQuery(uploads_.front().done.get()) != cudaErrorNotReady) uploads_.pop_front();
    check(cudaMemcpyAsync(dst, pinned.get(), bytes, cudaMemcpyHostToDevice, context.stream), "upload");
    std::shared_ptr<CUevent_st> done = events_->acquire();
    check(cudaEventRecord(done.get(), context.stream), "cudaEventRecord");
    uploads_.push_back({std::move(done), pinned});
  });
}

void CudaStream::download(void* dst, const void* src, size_t bytes) {
  refuse_capture("download");
  if (bytes == 0) return;
  launch([this, dst, src, bytes](Context& context) {
    context.full_stop();
    std::shared_ptr<char> pinned = pinned_->acquire(bytes);
    check(cudaMemcpyAsync(pinned.get(), src, bytes, cudaMemcpyDeviceToHost, context.stream), "download");
    downloads_.push_back({std::move(pinned), dst, bytes});
  });
}

void CudaStream::upload_from(void* dst, std::shared_ptr<const Source> src, size_t bytes) {
  refuse_capture("upload");
  launch([dst, src = std::move(src), bytes](Context& context) {
    context.full_stop();
    context.staging->copy(dst, *src, 0, bytes, context.stream);
  });
}

void CudaStream::copy(void* dst, const void* src, size_t bytes) {
  if (bytes == 0) return;
  launch([dst, src, bytes](Context& context) {
    context.full_stop();
    launch_copy(dst, src, bytes, context);
    context.full_stop();
  });
}

void CudaStream::fill(void* dst, int byte, size_t bytes) {
  launch([dst, byte, bytes](Context& context) {
    context.full_stop();
    check(cudaMemsetAsync(dst, byte, bytes, context.stream), "fill");
  });
}

void CudaStream::transfer(void* dst, const void* src, size_t bytes) {
  refuse_capture("a transfer");
  if (bytes == 0) return;
  launch([dst, src, bytes](Context& context) {
    context.full_stop();
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, context.stream), "transfer");
  });
}

void CudaStream::follow(Stream& other) {
  refuse_capture("follow");
  launch([event = std::static_pointer_cast<CudaEvent>(other.record())](Context& context) {
    context.full_stop();
    event->hold(context.stream);
  });
}

std::shared_ptr<Event> CudaStream::record() {
  refuse_capture("an event");
  auto recorded = std::make_shared<CudaEvent>();
  // An event reports the failure and clears it: what is launched after it starts afresh.
  thread_.push([this, recorded] {
    std::vector<PendingCopy> copies = std::exchange(downloads_, {});
    try {
      if (std::exception_ptr failure = thread_.take_failure()) std::rethrow_exception(std::move(failure));
      std::shared_ptr<CUevent_st> event = events_->acquire();
      check(cudaEventRecord(event.get(), context_.stream), "cudaEventRecord");
      recorded->settle(std::move(event), std::move(copies));
    } catch (...) {
      cudaStreamSynchronize(context_.stream);  // downloads on their way still write to the buffers that go back
      recorded->fail(std::current_exception());
    }
  });
  return recorded;
}

void CudaStream::drain() noexcept {
  thread_.wait();
  cudaStreamSynchronize(context_.stream);
}

void CudaStream::begin_capture() {
  refuse_capture("a second capture");
  thread_.wait();
  check(cudaSetDevice(context_.device), "cudaSetDevice");  // the caller's thread launches what is captured
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
  launch([graph = std::static_pointer_cast<CudaGraph>(graph)](Context& context) {
    context.full_stop();
    check(cudaGraphLaunch(graph->executable(), context.stream), "cudaGraphLaunch");
  });
}

void CudaStream::refuse_capture(const char* what) const {
  if (capturing_) throw Error(ErrorCode::Capture, "stream", std::string(what) + " is not allowed while capturing");
}

}  // namespace mamba::cuda
