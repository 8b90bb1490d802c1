#include "addon/ops.h"

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

}  // namespace

void register_ops(Napi::Env env, Napi::Object exports) {
  Napi::Object signatures = Napi::Object::New(env);
#define OP(name, Params)                                                                                     \
  exports.Set(camel_case(#name), Napi::Function::New<&Binding<&mamba::name>::call>(env, camel_case(#name))); \
  signatures.Set(camel_case(#name), Binding<&mamba::name>::signature());
#include "ops/ops.def"
#undef OP
  exports.Set("signatures", signatures);
}

}  // namespace mamba::addon
