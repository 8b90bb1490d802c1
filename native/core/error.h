#pragma once
// One exception type for everything native. `code` is a row of the table in src/errors.ts; the addon turns an Error
// into a JS error at one place (addon/guard.h).
#include <exception>
#include <string>
#include <utility>

namespace mamba {

#define MAMBA_ERROR_CODES(X)                                                                                   \
  X(Shape, "ERR_SHAPE")            /* a tensor's rank, size or stride is not what the op takes */              \
  X(Dtype, "ERR_DTYPE")            /* a tensor's element type is not what the op takes */                      \
  X(Device, "ERR_DEVICE")          /* a tensor lives on another device than the stream */                      \
  X(Disposed, "ERR_DISPOSED")      /* a handle was freed, or its arena was released */                         \
  X(Argument, "ERR_ARGUMENT")      /* a scalar argument is out of range */                                     \
  X(NotBuilt, "ERR_NOT_BUILT")     /* the backend is not part of this build */                                 \
  X(NoDevice, "ERR_NO_DEVICE")     /* this machine lacks the device, its driver or a library of it */          \
  X(ArenaFull, "ERR_ARENA_FULL")   /* a step needs more temporary memory than was planned */                   \
  X(Capture, "ERR_CAPTURE")        /* not allowed while a graph is being captured, or no capture is running */ \
  X(Memory, "ERR_MEMORY")          /* the device or the host is out of memory */                               \
  X(DeviceLost, "ERR_DEVICE_LOST") /* the device failed and cannot be used any more */                         \
  X(Io, "ERR_IO")                  /* a file could not be opened, mapped or read */                            \
  X(Internal, "ERR_INTERNAL")      /* anything else: a fault of this project, which leaves the device usable */

enum class ErrorCode {
#define X(name, text) name,
  MAMBA_ERROR_CODES(X)
#undef X
};

inline const char* error_code_text(ErrorCode code) {
  switch (code) {
#define X(name, text)   \
  case ErrorCode::name: \
    return text;
    MAMBA_ERROR_CODES(X)
#undef X
  }
  return "ERR_ARGUMENT";
}

class Error : public std::exception {
 public:
  // `op` names the op or object at fault; `detail` says what was expected and what came.
  Error(ErrorCode code, std::string op, std::string detail)
      : code_(code), op_(std::move(op)), detail_(std::move(detail)), what_(op_ + ": " + detail_) {}

  ErrorCode code() const { return code_; }
  const std::string& op() const { return op_; }
  const std::string& detail() const { return detail_; }
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorCode code_;
  std::string op_, detail_, what_;
};

}  // namespace mamba
