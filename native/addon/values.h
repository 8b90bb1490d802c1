#pragma once
// JS values as the addon takes them. What is of another type, or a number that is not exact, is an ERR_ARGUMENT.
#include <napi.h>

#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/handles.h"

namespace mamba::addon {

inline void expect(napi_status status, const char* what) {
  if (status != napi_ok) throw Error(ErrorCode::Argument, "native", std::string("expected ") + what);
}

inline double read_number(napi_env env, napi_value value) {
  double number;
  expect(napi_get_value_double(env, value, &number), "a number");
  return number;
}

// Up to 2^53 in magnitude, which a JS number has exactly.
inline int64_t read_integer(napi_env env, napi_value value) {
  const double number = read_number(env, value);
  if (!(std::fabs(number) <= 0x1p53) || number != std::trunc(number)) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", number);
    throw Error(ErrorCode::Argument, "native", std::string("expected an integer up to 2^53, got ") + text);
  }
  return static_cast<int64_t>(number);
}

inline bool read_flag(napi_env env, napi_value value) {
  bool flag;
  expect(napi_get_value_bool(env, value, &flag), "a boolean");
  return flag;
}

// A number that is no handle becomes one that no table has.
inline Handle read_handle(napi_env env, napi_value value) {
  constexpr Handle kNobody = -1;
  double number;
  expect(napi_get_value_double(env, value, &number), "a handle");
  const bool possible = number >= 0 && number <= 0x1p30 && number == std::trunc(number);
  return possible ? static_cast<Handle>(number) : kNobody;
}

// The bytes of a typed array, in shared memory too; none of one whose memory went to another thread.
inline std::pair<char*, size_t> bytes_of(const Napi::TypedArray& array) {
  void* data = nullptr;
  size_t elements = 0;
  napi_get_typedarray_info(array.Env(), array, nullptr, &elements, &data, nullptr, nullptr);
  return {static_cast<char*>(data), elements * array.ElementSize()};
}

}  // namespace mamba::addon
