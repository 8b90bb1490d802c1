#pragma once
// Promises for events. One thread waits for the events in order and settles their promises through a thread-safe
// function: Node's own pool is never blocked, and an event's error becomes the rejection.
#include <napi.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "core/device.h"

namespace mamba::addon {

class Completion {
 public:
  explicit Completion(Napi::Env env);
  ~Completion();
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // A promise that settles with the event. `keep` (an ArrayBuffer that the work writes to, or empty) stays alive until
  // then.
  Napi::Promise promise(Napi::Env env, std::shared_ptr<Event> event, Napi::Object keep = {});

 private:
  struct Item;
  void run();
  void settle(Napi::Env env, Item* item);

  Napi::ThreadSafeFunction to_js_;
  size_t pending_ = 0;  // touched on the JS thread only
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item*> queue_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace mamba::addon
