#pragma once
// Binds a plain function of (Stream&, Tensor, std::optional<Tensor>, int64_t, double, bool) to JS: positional numbers
// in, nothing out. An op is called hundreds of times in a step, so it goes through Node-API itself.
#include <napi.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "addon/guard.h"
#include "addon/state.h"
#include "addon/values.h"

namespace mamba::addon {

template <class T>
T read_argument(State& state, DeviceEntry& device, napi_env env, napi_value value);

template <>
inline Tensor read_argument<Tensor>(State& state, DeviceEntry& device, napi_env env, napi_value value) {
  return state.use(read_handle(env, value), device);
}

template <>
inline std::optional<Tensor> read_argument<std::optional<Tensor>>(State& state, DeviceEntry& device, napi_env env,
                                                                  napi_value value) {
  const Handle handle = read_handle(env, value);
  if (handle == 0) return std::nullopt;
  return state.use(handle, device);
}

template <>
inline int64_t read_argument<int64_t>(State&, DeviceEntry&, napi_env env, napi_value value) {
  return read_integer(env, value);
}

template <>
inline double read_argument<double>(State&, DeviceEntry&, napi_env env, napi_value value) {
  return read_number(env, value);
}

template <>
inline bool read_argument<bool>(State&, DeviceEntry&, napi_env env, napi_value value) {
  return read_flag(env, value);
}

// `text` and `arguments`: the names of an op and of its arguments in ops.def.
template <auto op>
struct Names;

template <auto op, class Function = decltype(op)>
struct Binding;

template <auto op, class... Args>
struct Binding<op, void (*)(Stream&, Args...)> {
  static constexpr size_t arity = sizeof...(Args);

  // (device, the op's arguments). The function's data is the State.
  static napi_value call(napi_env env, napi_callback_info info) {
    try {
      std::array<napi_value, 1 + arity> values;
      size_t count = values.size();
      void* data;
      napi_get_cb_info(env, info, &count, values.data(), nullptr, &data);
      State& state = *static_cast<State*>(data);
      if (count != values.size()) {
        throw Error(ErrorCode::Argument, Names<op>::text,
                    "takes " + std::to_string(values.size()) + " arguments, " + std::to_string(count) + " came");
      }
      invoke(state, state.device(read_handle(env, values[0])), env, values.data() + 1,
             std::index_sequence_for<Args...>());
    } catch (...) {
      raise_js_error(env);
    }
    return nullptr;
  }

 private:
  // What cannot be used is told by the op and the argument's name.
  template <class T>
  static T read(State& state, DeviceEntry& device, napi_env env, const napi_value* values, size_t i) {
    try {
      return read_argument<T>(state, device, env, values[i]);
    } catch (const Error& error) {
      throw Error(error.code(), Names<op>::text,
                  std::string("argument ") + Names<op>::arguments[i] + ": " + error.detail());
    }
  }

  template <size_t... I>
  static void invoke(State& state, DeviceEntry& device, napi_env env, const napi_value* values,
                     std::index_sequence<I...>) {
    op(*device.stream, read<Args>(state, device, env, values, I)...);
  }
};

}  // namespace mamba::addon
