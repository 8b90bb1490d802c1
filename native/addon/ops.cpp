#include "addon/ops.h"

#include <cctype>

#include "addon/bind.h"

namespace mamba::addon {
namespace {

// causal_conv1d_update -> causalConv1dUpdate
std::string camel_case(const std::string& name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    out += name[i] == '_' ? static_cast<char>(std::toupper(name[++i])) : name[i];
  }
  return out;
}

template <auto op>
void add(Napi::Env env, Napi::Object exports, const char* name, decltype(Binding<op>::arguments) arguments) {
  Binding<op>::name = name;
  Binding<op>::arguments = arguments;
  const std::string text = camel_case(name);
  napi_value function;
  napi_create_function(env, text.c_str(), text.size(), Binding<op>::call, &state_of(env), &function);
  exports.Set(text, function);
}

#define ARG(type, name, role) " " #type " " #name
#define OP(op, Params, ...) #op __VA_ARGS__ "\n"
constexpr const char* rows =
#include "ops/ops.def"
    ;

}  // namespace

void register_ops(Napi::Env env, Napi::Object exports) {
#define ARG(type, name, role) #name,
#define OP(op, Params, ...) add<&mamba::op>(env, exports, #op, {__VA_ARGS__});
#include "ops/ops.def"
  exports.Set("opRows", rows);
}

}  // namespace mamba::addon
