#pragma once
// Promises for events. A thread waits for the events of a lane in order and settles their promises through a
// thread-safe function: Node's own pool is never blocked, and an event's error becomes the rejection. Lanes do not wait
// for each other. They share the function, for Node frees what is left of an environment when its last one is closed.
#include <napi.h>

#include <array>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "addon/landing.h"
#include "core/device.h"

namespace mamba::addon {

class Completion {
 public:
  enum LaneName : size_t { work, transfers };

  explicit Completion(Napi::Env env);
  ~Completion();
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;

  // A promise that settles with the event, after what the work wrote to `landing`, if any, is in its typed array.
  Napi::Promise promise(Napi::Env env, std::shared_ptr<Event> event, std::unique_ptr<Landing> landing = nullptr,
                        LaneName lane = work);

 private:
  struct Item;
  struct Lane {
    std::mutex mutex;
    std::condition_variable wake;
    std::deque<Item*> queue;
    bool stop = false;
    std::thread thread;
  };
  void run(Lane& lane);
  void settle(Napi::Env env, Item* item);

  Napi::ThreadSafeFunction to_js_;
  size_t pending_ = 0;  // touched on the JS thread only
  std::array<Lane, 2> lanes_;
};

}  // namespace mamba::addon
