#pragma once
// Binds a plain function of (Stream&, Tensor, std::optional<Tensor>, int64_t, double, bool) to JS: positional numbers
// in, nothing out. The argument list, and the text that src/native/abi.ts is generated from, come from the function's
// type.
#include <napi.h>

#include <optional>
#include <string>
#include <utility>

#include "addon/guard.h"
#include "addon/state.h"

namespace mamba::addon {

template <class T>
struct Argument;

template <>
struct Argument<Tensor> {
  static constexpr const char* type = "tensor";
  static Tensor read(State& state, DeviceEntry& device, const Napi::Value& value) {
    return state.use(value.As<Napi::Number>().Int32Value(), device);
  }
};

template <>
struct Argument<std::optional<Tensor>> {
  static constexpr const char* type = "tensor?";
  static std::optional<Tensor> read(State& state, DeviceEntry& device, const Napi::Value& value) {
    const Handle handle = value.As<Napi::Number>().Int32Value();
    if (handle == 0) return std::nullopt;
    return state.use(handle, device);
  }
};

template <>
struct Argument<int64_t> {
  static constexpr const char* type = "integer";
  static int64_t read(State&, DeviceEntry&, const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }
};

template <>
struct Argument<double> {
  static constexpr const char* type = "number";
  static double read(State&, DeviceEntry&, const Napi::Value& value) { return value.As<Napi::Number>().DoubleValue(); }
};

template <>
struct Argument<bool> {
  static constexpr const char* type = "boolean";
  static bool read(State&, DeviceEntry&, const Napi::Value& value) { return value.As<Napi::Boolean>().Value(); }
};

template <auto op, class Function = decltype(op)>
struct Binding;

template <auto op, class... Args>
struct Binding<op, void (*)(Stream&, Args...)> {
  static constexpr size_t arity = 1 + sizeof...(Args);
  static inline const char* name = "";  // for messages; set when the op is registered

  static Napi::Value call(const Napi::CallbackInfo& info) {
    return guarded(info, [&]() -> Napi::Value {
      if (info.Length() != arity) {
        throw Error(ErrorCode::Argument, "native",
                    "an op takes " + std::to_string(arity) + " arguments, " + std::to_string(info.Length()) + " came");
      }
      State& state = state_of(info.Env());
      DeviceEntry& device = state.device(info[0].As<Napi::Number>().Int32Value());
      invoke(info, state, device, std::index_sequence_for<Args...>());
      return info.Env().Undefined();
    });
  }

  // Such as "device, tensor, tensor?, boolean".
  static std::string signature() {
    std::string text = "device";
    ((text += std::string(", ") + Argument<Args>::type), ...);
    return text;
  }

 private:
  // A handle that cannot be used is told by the op and the argument's place, counted after the device.
  template <class T>
  static T read(State& state, DeviceEntry& device, const Napi::CallbackInfo& info, size_t i) {
    try {
      return Argument<T>::read(state, device, info[i]);
    } catch (const Error& error) {
      throw Error(error.code(), name, "argument " + std::to_string(i) + ": " + error.detail());
    }
  }

  template <size_t... I>
  static void invoke(const Napi::CallbackInfo& info, State& state, DeviceEntry& device, std::index_sequence<I...>) {
    op(*device.stream, read<Args>(state, device, info, I + 1)...);
  }
};

}  // namespace mamba::addon
