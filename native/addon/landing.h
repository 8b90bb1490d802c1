#pragma once
// Where work of a stream writes what a typed array gets when the promise of that work settles. The array's own memory
// may go to another thread, or away, before that.
#include <napi.h>

#include <cstring>
#include <memory>

#include "addon/values.h"

namespace mamba::addon {

class Landing {
 public:
  explicit Landing(const Napi::TypedArray& target)
      : target_(Napi::Persistent(target.As<Napi::Object>())), size_(bytes_of(target).second), data_(new char[size_]) {}

  char* data() const { return data_.get(); }
  size_t size() const { return size_; }
  // The same as float64.
  double* doubles() const { return reinterpret_cast<double*>(data_.get()); }
  size_t count() const { return size_ / sizeof(double); }

  // On the JS thread. Throws ErrorCode::Argument where the array is not what it was.
  void deliver() const {
    const auto [to, size] = bytes_of(target_.Value().As<Napi::TypedArray>());
    if (size != size_) {
      throw Error(ErrorCode::Argument, "download",
                  "the array had " + std::to_string(size_) + " bytes and has " + std::to_string(size) +
                      "; its memory must stay its own until the promise settles");
    }
    if (size > 0) std::memcpy(to, data_.get(), size);
  }

 private:
  Napi::ObjectReference target_;
  size_t size_;
  std::unique_ptr<char[]> data_;
};

}  // namespace mamba::addon
