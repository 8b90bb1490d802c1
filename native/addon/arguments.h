#pragma once
// The arguments of a hand-written function of the addon: positional numbers, handles and typed arrays.
#include <napi.h>

#include <algorithm>
#include <string>
#include <utility>

#include "addon/guard.h"
#include "addon/state.h"
#include "addon/values.h"

namespace mamba::addon {

// Elements of a tensor, and of the memory that a view reaches over: products with sizes of elements stay exact.
inline constexpr int64_t kMaxElements = int64_t{1} << 46;

class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info), state(state_of(info.Env())) {}

  Handle handle(size_t i) const { return read(i, read_handle); }
  int64_t integer(size_t i) const { return read(i, read_integer); }
  bool flag(size_t i) const { return read(i, read_flag); }
  DeviceEntry& device(size_t i) const { return state.device(handle(i)); }

  // An integer that is not negative: a size, an offset.
  int64_t size(size_t i) const {
    const int64_t value = integer(i);
    if (value < 0) refuse(i, "expected 0 or more, got " + std::to_string(value));
    return value;
  }

  std::string text(size_t i) const {
    if (!info_[i].IsString()) refuse(i, "expected a string");
    return info_[i].As<Napi::String>().Utf8Value();
  }

  DType dtype(size_t i) const {
    const int64_t value = integer(i);
    if (value < 0 || value >= kDTypeCount) throw Error(ErrorCode::Dtype, name(), "no dtype " + std::to_string(value));
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

  // The product of the sizes is bounded also where one of them is 0, because strides are products of the others.
  void read_sizes(size_t i, Tensor& t) const {
    const int64_t rank = integer(i);
    if (rank < 0 || rank > kMaxRank)
      throw Error(ErrorCode::Shape, "tensor", "rank " + std::to_string(rank) + ", expected 0 to 4");
    t.rank = static_cast<int32_t>(rank);
    int64_t stride = 1;
    for (int d = t.rank - 1; d >= 0; --d) {
      const int64_t size = integer(i + 1 + static_cast<size_t>(d));
      if (size < 0 || size > kMaxElements / stride) {
        throw Error(ErrorCode::Shape, "tensor",
                    "size " + std::to_string(size) + " of dimension " + std::to_string(d) + " is out of range");
      }
      t.sizes[static_cast<size_t>(d)] = size;
      t.strides[static_cast<size_t>(d)] = stride;
      stride *= std::max<int64_t>(size, 1);
    }
  }

  Napi::TypedArray array(size_t i) const {
    if (!info_[i].IsTypedArray()) refuse(i, "expected a typed array");
    return info_[i].As<Napi::TypedArray>();
  }
  Napi::TypedArray doubles(size_t i) const {
    const Napi::TypedArray values = array(i);
    if (values.TypedArrayType() != napi_float64_array) refuse(i, "expected a Float64Array");
    return values;
  }
  std::pair<char*, size_t> bytes(size_t i) const { return bytes_of(array(i)); }

  [[noreturn]] void refuse(size_t i, const std::string& detail) const {
    throw Error(ErrorCode::Argument, name(), "argument " + std::to_string(i) + ": " + detail);
  }

  Napi::Env env() const { return info_.Env(); }
  Napi::Value number(double value) const { return Napi::Number::New(env(), value); }
  Napi::Value undefined() const { return env().Undefined(); }

 private:
  const char* name() const { return static_cast<const char*>(info_.Data()); }

  template <class T>
  T read(size_t i, T (*value_of)(napi_env, napi_value)) const {
    try {
      return value_of(env(), info_[i]);
    } catch (const Error& error) {
      refuse(i, error.detail());
    }
  }

  const Napi::CallbackInfo& info_;

 public:
  State& state;
};

template <Napi::Value (*function)(const Arguments&)>
Napi::Value bound(const Napi::CallbackInfo& info) {
  return guarded(info, [&] { return function(Arguments(info)); });
}

// Adds a function of the addon. Its data is its name, by which it tells what is wrong with an argument.
template <Napi::Value (*function)(const Arguments&)>
void add(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<bound<function>>(exports.Env(), name, const_cast<char*>(name)));
}

}  // namespace mamba::addon
