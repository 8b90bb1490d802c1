#pragma once
// The only place where a native failure becomes a JS error.
#include <napi.h>

#include <exception>
#include <new>

#include "addon/state.h"
#include "core/error.h"

namespace mamba::addon {

// By the function that setErrorFactory() was given: (code, message, subject) -> an Error.
inline Napi::Error make_js_error(Napi::Env env, const char* code, const std::string& message,
                                 const std::string& subject) {
  const Napi::FunctionReference& factory = state_of(env).error_factory;
  if (factory.IsEmpty()) return Napi::Error::New(env, message);
  return Napi::Error(env, factory.Call({Napi::String::New(env, code), Napi::String::New(env, message),
                                        Napi::String::New(env, subject)}));
}

inline Napi::Error to_js_error(Napi::Env env, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Napi::Error& error) {
    return error;
  } catch (const Error& error) {
    return make_js_error(env, error_code_text(error.code()), error.what(), error.op());
  } catch (const std::bad_alloc&) {
    return make_js_error(env, error_code_text(ErrorCode::Memory), "out of host memory", "native");
  } catch (const std::exception& error) {
    return make_js_error(env, error_code_text(ErrorCode::Internal), error.what(), "native");
  }
}

// In a catch clause of a function that Node-API calls: what was thrown becomes the pending JS exception.
inline void raise_js_error(Napi::Env env) {
  try {
    to_js_error(env, std::current_exception()).ThrowAsJavaScriptException();
  } catch (const Napi::Error& error) {  // the environment is shutting down
    error.ThrowAsJavaScriptException();
  }
}

// Runs a binding's body; what it throws arrives in JS as an error of the factory.
template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, Body&& body) {
  try {
    return body();
  } catch (...) {
    throw to_js_error(info.Env(), std::current_exception());
  }
}

}  // namespace mamba::addon
