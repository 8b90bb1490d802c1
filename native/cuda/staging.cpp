#include "cuda/staging.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "core/task_thread.h"
#include "cuda/status.h"

namespace mamba::cuda {
namespace {

constexpr size_t kChunk = size_t{2} << 20;
constexpr size_t kMostWorkers = 8;

// One copy, of which each worker takes a chunk at a time.
struct Transfer {
  char* dst;
  const Source& src;
  size_t begin, bytes;
  cudaStream_t stream;
  std::atomic<size_t> next{0};

  std::mutex mutex;
  std::exception_ptr error;  // the first

  void fail() {
    next = bytes;
    std::lock_guard lock(mutex);
    if (!error) error = std::current_exception();
  }
};

}  // namespace

// A thread with two buffers: it fills one while the device reads the other.
class Staging::Worker {
 public:
  explicit Worker(int device) {
    thread_.push([device] { cudaSetDevice(device); });
    for (Buffer& buffer : buffers_) {
      void* data = nullptr;
      check(cudaHostAlloc(&data, kChunk, cudaHostAllocDefault), "cudaHostAlloc");
      buffer.data = static_cast<char*>(data);
      check(cudaEventCreateWithFlags(&buffer.read, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  ~Worker() {
    thread_.wait();
    for (const Buffer& buffer : buffers_) {
      if (buffer.read) cudaEventDestroy(buffer.read);
      if (buffer.data) cudaFreeHost(buffer.data);
    }
  }

  void start(Transfer& transfer) {
    thread_.push([this, &transfer] {
      try {
        run(transfer);
      } catch (...) {
        transfer.fail();
      }
    });
  }
  void wait() { thread_.wait(); }

 private:
  struct Buffer {
    char* data = nullptr;
    cudaEvent_t read = nullptr;  // recorded after the last copy from it
  };

  void run(Transfer& t) {
    size_t at;
    while ((at = t.next.fetch_add(kChunk)) < t.bytes) {
      const size_t bytes = std::min(kChunk, t.bytes - at);
      const Buffer& buffer = buffers_[turn_];
      turn_ = 1 - turn_;
      check(cudaEventSynchronize(buffer.read), "an upload");
      t.src.read(t.begin + at, buffer.data, bytes);
      check(cudaMemcpyAsync(t.dst + at, buffer.data, bytes, cudaMemcpyHostToDevice, t.stream), "upload");
      check(cudaEventRecord(buffer.read, t.stream), "cudaEventRecord");
    }
  }

  std::array<Buffer, 2> buffers_;
  size_t turn_ = 0;
  TaskThread thread_;
};

Staging::Staging(int device) : device_(device) {}
Staging::~Staging() = default;

void Staging::copy(void* dst, const Source& src, size_t begin, size_t bytes, cudaStream_t stream) {
  while (workers_.size() < std::clamp(size_t{std::thread::hardware_concurrency()}, size_t{1}, kMostWorkers)) {
    workers_.push_back(std::make_unique<Worker>(device_));
  }
  Transfer transfer{static_cast<char*>(dst), src, begin, bytes, stream, {}, {}, {}};
  const size_t used = std::min(workers_.size(), (bytes + kChunk - 1) / kChunk);
  for (size_t i = 0; i < used; ++i) workers_[i]->start(transfer);
  for (size_t i = 0; i < used; ++i) workers_[i]->wait();
  if (transfer.error) std::rethrow_exception(transfer.error);
}

}  // namespace mamba::cuda
