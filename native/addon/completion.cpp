#include "addon/completion.h"

#include <exception>

#include "addon/guard.h"
#include "core/wait.h"

namespace mamba::addon {

struct Completion::Item {
  std::shared_ptr<Event> event;
  Napi::Promise::Deferred deferred;
  std::unique_ptr<Landing> landing;
  std::exception_ptr error;
};

Completion::Completion(Napi::Env env)
    : to_js_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}),
                                           "mamba-serve completion", 0, 1)) {
  for (Lane& lane : lanes_) lane.thread = std::thread([this, &lane] { run(lane); });
  to_js_.Unref(env);  // an idle engine does not keep the process alive
}

Completion::~Completion() {
  for (Lane& lane : lanes_) {
    {
      std::lock_guard lock(lane.mutex);
      lane.stop = true;
    }
    lane.wake.notify_one();
    lane.thread.join();
    for (Item* item : lane.queue) delete item;
  }
  to_js_.Abort();
}

Napi::Promise Completion::promise(Napi::Env env, std::shared_ptr<Event> event, std::unique_ptr<Landing> landing,
                                  LaneName name) {
  Lane& lane = lanes_[name];
  auto* item = new Item{std::move(event), Napi::Promise::Deferred::New(env), std::move(landing), nullptr};
  const Napi::Promise promise = item->deferred.Promise();
  if (pending_++ == 0) to_js_.Ref(env);
  {
    std::lock_guard lock(lane.mutex);
    lane.queue.push_back(item);
  }
  lane.wake.notify_one();
  return promise;
}

void Completion::run(Lane& lane) {
  while (true) {
    Item* item;
    {
      std::unique_lock lock(lane.mutex);
      wait_until(lane.wake, lock, [&] { return lane.stop || !lane.queue.empty(); });
      if (lane.stop) return;
      item = lane.queue.front();
      lane.queue.pop_front();
    }
    try {
      item->event->wait();
    } catch (...) {
      item->error = std::current_exception();
    }
    const napi_status status =
        to_js_.NonBlockingCall(item, [this](Napi::Env env, Napi::Function, Item* done) { settle(env, done); });
    if (status != napi_ok) return;  // the environment is shutting down; nobody can hear the promise
  }
}

void Completion::settle(Napi::Env env, Item* item) {
  std::unique_ptr<Item> owned(item);
  if (env == nullptr) return;
  if (--pending_ == 0) to_js_.Unref(env);
  try {
    if (owned->error) std::rethrow_exception(owned->error);
    if (owned->landing) owned->landing->deliver();
    owned->deferred.Resolve(env.Undefined());
  } catch (...) {
    owned->deferred.Reject(to_js_error(env, std::current_exception()).Value());
  }
}

}  // namespace mamba::addon
