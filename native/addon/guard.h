#pragma once
// The only place where a native failure becomes a JS error.
#include <napi.h>

#include <exception>
#include <new>

#include "core/error.h"

namespace mamba::addon {

inline Napi::Error make_js_error(Napi::Env env, const char* code, const std::string& op, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  error.Set("op", Napi::String::New(env, op));
  return error;
}

inline Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    return error;
  } catch (const Error& error) {
    return make_js_error(env, error_code_text(error.code()), error.op(), error.what());
  } catch (const std::bad_alloc&) {
    return make_js_error(env, error_code_text(ErrorCode::Memory), "native", "out of host memory");
  } catch (const std::exception& error) {
    return make_js_error(env, error_code_text(ErrorCode::DeviceLost), "native", error.what());
  }
}

// Runs a binding's body; what it throws arrives in JS with `code` and `op`.
template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, Body&& body) {
  try {
    return body();
  } catch (...) {
    throw to_js_error(info.Env(), std::current_exception());
  }
}

}  // namespace mamba::addon
