#include "cpu/stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"

namespace mamba::cpu {
namespace {

// All threads: touching a weight's pages for the first time takes as long as reading its bytes.
void read_all(void* dst, const Source& src, size_t bytes, ThreadPool& pool) {
  constexpr size_t kPart = size_t{1} << 20;
  pool.parallel_for(static_cast<int64_t>((bytes + kPart - 1) / kPart), [&](int64_t part, Scratch&) {
    const size_t begin = static_cast<size_t>(part) * kPart;
    src.read(begin, static_cast<char*>(dst) + begin, std::min(kPart, bytes - begin));
  });
}

}  // namespace

double CpuEvent::milliseconds_since(const Event& earlier) const {
  return std::chrono::duration<double, std::milli>(at_ - static_cast<const CpuEvent&>(earlier).at_).count();
}

void CpuEvent::settle(std::exception_ptr error) {
  at_ = std::chrono::steady_clock::now();
  error ? settled_.set_exception(std::move(error)) : settled_.set_value();
}

void CpuStream::upload(void* dst, const void* src, size_t bytes) {
  refuse_capture("upload");
  std::shared_ptr<char[]> staged(new char[bytes]);
  std::memcpy(staged.get(), src, bytes);
  launch([=](ThreadPool&) { std::memcpy(dst, staged.get(), bytes); });
}

void CpuStream::download(void* dst, const void* src, size_t bytes) {
  refuse_capture("download");
  launch([=](ThreadPool&) { std::memcpy(dst, src, bytes); });
}

void CpuStream::upload_from(void* dst, std::shared_ptr<const Source> src, size_t bytes) {
  refuse_capture("upload");
  launch([=](ThreadPool& pool) { read_all(dst, *src, bytes, pool); });
}

void CpuStream::copy(void* dst, const void* src, size_t bytes) {
  launch([=](ThreadPool&) { std::memmove(dst, src, bytes); });
}

void CpuStream::fill(void* dst, int byte, size_t bytes) {
  launch([=](ThreadPool&) { std::memset(dst, byte, bytes); });
}

void CpuStream::transfer(void* dst, const void* src, size_t bytes) {
  refuse_capture("transfer");
  copy(dst, src, bytes);
}

void CpuStream::follow(Stream& other) {
  refuse_capture("follow");
  launch([event = other.record()](ThreadPool&) { event->wait(); });
}

std::shared_ptr<Event> CpuStream::record() {
  refuse_capture("an event");
  auto event = std::make_shared<CpuEvent>();
  // An event reports the failure and clears it: the ops launched after it start afresh.
  thread_.push([this, event] { event->settle(thread_.take_failure()); });
  return event;
}

void CpuStream::begin_capture() {
  refuse_capture("a second capture");
  capturing_ = true;
}

std::shared_ptr<Graph> CpuStream::end_capture() {
  if (!capturing_) throw Error(ErrorCode::Capture, "end_capture", "no capture is running on this stream");
  capturing_ = false;
  return std::make_shared<CpuGraph>(std::exchange(captured_, {}));
}

void CpuStream::replay(const std::shared_ptr<Graph>& graph) {
  refuse_capture("a replay");
  auto cpu_graph = std::static_pointer_cast<CpuGraph>(graph);
  launch([cpu_graph](ThreadPool& pool) {
    for (const Task& task : cpu_graph->tasks()) task(pool);
  });
}

void CpuStream::refuse_capture(const char* what) const {
  if (capturing_) throw Error(ErrorCode::Capture, "stream", std::string(what) + " is not allowed while capturing");
}

}  // namespace mamba::cpu
