#include <cctype>

#include "addon/bind.h"
#include "addon/exports.h"

namespace mamba::addon {

#define ARG(type, name, role) #name,
#define OP(op, Params, ...)                                   \
  template <>                                                 \
  struct Names<&mamba::op> {                                  \
    static constexpr const char* text = #op;                  \
    static constexpr const char* arguments[] = {__VA_ARGS__}; \
  };
#include "ops/ops.def"

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
void add_op(Napi::Object exports) {
  const Napi::Env env = exports.Env();
  const std::string name = camel_case(Names<op>::text);
  napi_value function;
  expect(napi_create_function(env, name.c_str(), name.size(), Binding<op>::call, &state_of(env), &function), "an op");
  exports.Set(name, function);
}

#define ARG(type, name, role) " " #type " " #name
#define OP(op, Params, ...) #op __VA_ARGS__ "\n"
constexpr const char* rows =
#include "ops/ops.def"
    ;

}  // namespace

void export_ops(Napi::Object exports) {
#define OP(op, Params, ...) add_op<&mamba::op>(exports);
#include "ops/ops.def"
  exports.Set("opRows", rows);
}

}  // namespace mamba::addon
