#pragma once
// The arguments of a hand-written function of the addon: positional numbers, handles and typed arrays.
#include <napi.h>

#include <string>
#include <utility>

#include "addon/guard.h"
#include "addon/state.h"

namespace mamba::addon {

// Sizes and offsets arrive as JS numbers: exact to 2^53.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info), state(state_of(info.Env())) {}

  Handle handle(size_t i) const { return info_[i].As<Napi::Number>().Int32Value(); }
  int64_t integer(size_t i) const { return info_[i].As<Napi::Number>().Int64Value(); }
  std::string text(size_t i) const { return info_[i].As<Napi::String>().Utf8Value(); }
  DeviceEntry& device(size_t i) const { return state.device(handle(i)); }

  DType dtype(size_t i) const {
    const int64_t value = integer(i);
    if (value < 0 || value >= kDTypeCount) throw Error(ErrorCode::Dtype, "native", "no dtype " + std::to_string(value));
    return static_cast<DType>(value);
  }

  // A contiguous tensor without memory: dtype at i, rank at i + 1, then four sizes.
  Tensor layout(size_t i, const DeviceEntry& device) const {
    Tensor t;
    t.device = device.backend.get();
    t.dtype = dtype(i);
    if (is_code(t.dtype))
      throw Error(ErrorCode::Dtype, "tensor", std::string(name_of(t.dtype)) + " is of packed weights only");
    read_sizes(i + 1, t);
    return t;
  }

  void read_sizes(size_t i, Tensor& t) const {
    t.rank = static_cast<int32_t>(integer(i));
    if (t.rank < 0 || t.rank > kMaxRank)
      throw Error(ErrorCode::Shape, "tensor", "rank " + std::to_string(t.rank) + ", expected 0 to 4");
    int64_t elements = 1;
    for (int d = 0; d < t.rank; ++d) {
      const int64_t size = integer(i + 1 + static_cast<size_t>(d));
      if (size < 0 || (size > 0 && elements > kMaxElements / size)) {
        throw Error(ErrorCode::Shape, "tensor",
                    "size " + std::to_string(size) + " of dimension " + std::to_string(d) + " is out of range");
      }
      elements *= size;
      t.sizes[static_cast<size_t>(d)] = size;
    }
    int64_t stride = 1;
    for (int d = t.rank - 1; d >= 0; --d) {
      t.strides[static_cast<size_t>(d)] = stride;
      stride *= t.size(d);
    }
  }

  // The bytes behind a typed array.
  std::pair<char*, size_t> bytes(size_t i) const {
    if (!info_[i].IsTypedArray()) throw Error(ErrorCode::Argument, "native", "expected a typed array");
    const auto array = info_[i].As<Napi::TypedArray>();
    return {static_cast<char*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength()};
  }

  Napi::Env env() const { return info_.Env(); }
  Napi::Object object(size_t i) const { return info_[i].As<Napi::Object>(); }
  Napi::Value number(double value) const { return Napi::Number::New(env(), value); }
  Napi::Value undefined() const { return env().Undefined(); }

 private:
  static constexpr int64_t kMaxElements = int64_t{1} << 46;
  const Napi::CallbackInfo& info_;

 public:
  State& state;
};

template <Napi::Value (*function)(const Arguments&)>
Napi::Value bound(const Napi::CallbackInfo& info) {
  return guarded(info, [&] { return function(Arguments(info)); });
}

}  // namespace mamba::addon
