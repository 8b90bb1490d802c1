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
#define OP(op, Params)                                                                                 \
  Binding<& mamba::op>::name = #op;                                                                    \
  exports.Set(camel_case(#op), Napi::Function::New<&Binding<&mamba::op>::call>(env, camel_case(#op))); \
  signatures.Set(camel_case(#op), Binding<&mamba::op>::signature());
#include "ops/ops.def"
#undef OP
  exports.Set("signatures", signatures);
}

}  // namespace mamba::addon
