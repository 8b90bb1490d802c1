#include <napi.h>

#include "addon/exports.h"
#include "addon/state.h"
#include "core/error.h"

namespace mamba::addon {
namespace {

Napi::Value live_handles(const Napi::CallbackInfo& info) {
  const State& state = state_of(info.Env());
  return Napi::Number::New(info.Env(),
                           static_cast<double>(state.devices.live() + state.files.live() + state.tensors.live() +
                                               state.arenas.live() + state.graphs.live()));
}

// (code, message, subject) -> the Error that a native failure becomes.
Napi::Value set_error_factory(const Napi::CallbackInfo& info) {
  state_of(info.Env()).error_factory = Napi::Persistent(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  auto* state = new State;
  state->completion = std::make_unique<Completion>(env);
  env.SetInstanceData(state);  // deleted with the environment

  Napi::Array codes = Napi::Array::New(env);
#define X(name, text) codes.Set(codes.Length(), Napi::String::New(env, text));
  MAMBA_ERROR_CODES(X)
#undef X
  exports.Set("errorCodes", codes);
  exports.Set("setErrorFactory", Napi::Function::New(env, set_error_factory, "setErrorFactory"));
  exports.Set("liveHandles", Napi::Function::New(env, live_handles, "liveHandles"));
  export_devices(exports);
  export_tensors(exports);
  export_transfers(exports);
  export_graphs(exports);
  export_packing(exports);
  export_ops(exports);
  return exports;
}

}  // namespace
}  // namespace mamba::addon

static Napi::Object init(Napi::Env env, Napi::Object exports) { return mamba::addon::initialize(env, exports); }
NODE_API_MODULE(mamba_serve, init)
