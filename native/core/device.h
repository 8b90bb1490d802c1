#pragma once
// What a backend must offer besides its ops: memory, streams, events, graphs. The CPU backend implements all of it too,
// so that everything above (capture, replay, completion) is tested without a GPU.
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/group.h"
#include "core/source.h"

namespace mamba {

class Device;

// Marks a point in a stream. wait() may be called from any thread.
class Event {
 public:
  virtual ~Event() = default;
  // Blocks until all work launched before the event was recorded is done. Throws the stream's error if that work
  // failed.
  virtual void wait() = 0;
  // Time on the device from an earlier event of the same stream to this one. Both must have been waited for.
  virtual double milliseconds_since(const Event& earlier) const = 0;
};

// A captured sequence of launches, with their addresses.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual int64_t nodes() const = 0;
};

// A queue of work that runs in order, apart from the calling thread. All calls return at once unless they say
// otherwise.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual Device& device() const = 0;

  // Copies `bytes` of host memory; `src` may be reused as soon as the call returns. Refused while capturing.
  virtual void upload(void* dst, const void* src, size_t bytes) = 0;
  // Copies to host memory; `dst` must stay valid until a later event is done. Refused while capturing.
  virtual void download(void* dst, const void* src, size_t bytes) = 0;
  // Copies the first bytes of a source. A failure to read them is the stream's.
  virtual void upload_from(void* dst, std::shared_ptr<const Source> src, size_t bytes) = 0;
  // Copies within the device.
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;
  virtual void fill(void* dst, int byte, size_t bytes) = 0;
  // Copies between the device and its pinned memory, beside what the device computes. Refused while capturing.
  virtual void transfer(void* dst, const void* src, size_t bytes) = 0;
  // What is launched here from now on runs after all that `other`, of the same device, was given so far.
  virtual void follow(Stream& other) = 0;

  virtual std::shared_ptr<Event> record() = 0;
  // Blocks until the stream is empty; throws its error. For start-up, shutdown and tests only.
  virtual void synchronize() = 0;
  // The same, but leaves an error to the next event.
  virtual void drain() noexcept = 0;

  virtual bool capturing() const = 0;
  virtual void begin_capture() = 0;
  virtual std::shared_ptr<Graph> end_capture() = 0;
  virtual void replay(const std::shared_ptr<Graph>& graph) = 0;

  const Membership& membership() const { return membership_; }
  // Before anything is launched here.
  void join(Membership membership) { membership_ = std::move(membership); }

 protected:
  // A rank that fails comes to no meeting any more: the others shall not wait for it.
  template <class Work>
  void run_as_rank(Work&& work) {
    try {
      work();
    } catch (...) {
      if (membership_.group) membership_.group->fail();
      throw;
    }
  }

 private:
  Membership membership_;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;
  // One JSON object: what `doctor` prints about the device.
  virtual std::string describe() const = 0;
  virtual void* allocate(size_t bytes) = 0;  // 64-byte aligned at least; throws ErrorCode::Memory
  virtual void free(void* data) = 0;
  // Host memory that transfers read and write at full speed; throws ErrorCode::Memory.
  virtual void* allocate_pinned(size_t bytes) = 0;
  virtual void free_pinned(void* data) = 0;
  virtual size_t memory_free() const = 0;   // bytes
  virtual size_t memory_total() const = 0;  // bytes
  // With `deterministic` an op gives a row, or a sequence, the same bits whatever else it is launched with: sums are
  // taken in an order that depends on widths alone, and in no other way on the number of rows, sequences or tokens, or
  // on times.
  virtual std::unique_ptr<Stream> create_stream(bool deterministic) = 0;
  // For transfers alone.
  virtual std::unique_ptr<Stream> create_transfer_stream() = 0;
  // A group of devices of this kind, in the order of ranks. Throws ErrorCode::NoDevice where they cannot compute
  // together.
  virtual std::shared_ptr<Group> create_group(const std::vector<Device*>& devices) = 0;
};

}  // namespace mamba
