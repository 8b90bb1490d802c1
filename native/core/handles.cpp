#include "core/handles.h"

namespace mamba {

const char* name_of(HandleKind kind) {
  switch (kind) {
    case HandleKind::device:
      return "device";
    case HandleKind::tensor:
      return "tensor";
    case HandleKind::arena:
      return "arena";
    case HandleKind::graph:
      return "graph";
    case HandleKind::file:
      return "file";
  }
  return "handle";
}

void bad_handle(HandleKind kind, Handle handle) {
  throw Error(ErrorCode::Disposed, name_of(kind),
              "handle " + std::to_string(handle) + " is none of a live " + name_of(kind) +
                  "; it was freed, or its arena was released");
}

}  // namespace mamba
