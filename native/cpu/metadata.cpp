#include "cpu/metadata.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace mamba::cpu {
namespace {

[[noreturn]] void refuse(const char* op, const char* name, int64_t at, int64_t value, int64_t least, int64_t end) {
  throw Error(ErrorCode::Argument, op,
              std::string(name) + "[" + std::to_string(at) + "] is " + std::to_string(value) + ", expected " +
                  std::to_string(least) + " to " + std::to_string(end - 1));
}

}  // namespace

void check_starts(const char* op, const char* name, const int32_t* starts, int64_t count, int64_t end) {
  int64_t least = 0;
  for (int64_t i = 0; i <= count; ++i) {
    if (starts[i] < least || starts[i] > end) refuse(op, name, i, starts[i], least, end + 1);
    least = starts[i];
  }
}

int64_t longest_of(const int32_t* starts, int64_t count) {
  int64_t longest = 0;
  for (int64_t i = 0; i < count; ++i) longest = std::max<int64_t>(longest, starts[i + 1] - starts[i]);
  return longest;
}

void check_indices(const char* op, const char* name, const int32_t* indices, int64_t count, int64_t least,
                   int64_t end) {
  for (int64_t i = 0; i < count; ++i) {
    if (indices[i] < least || indices[i] >= end) refuse(op, name, i, indices[i], least, end);
  }
}

}  // namespace mamba::cpu
