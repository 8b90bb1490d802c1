#pragma once

#include <condition_variable>
#include <mutex>

namespace mamba {

// std::condition_variable::wait, which asks for the C++ library of GCC 12 where it is compiled with that
// (GLIBCXX_3.4.30); the system's own call, which it makes, is in every one. `lock` is held whenever `ready` is called,
// and at the end.
template <typename Ready>
void wait_until(std::condition_variable& wake, std::unique_lock<std::mutex>& lock, Ready ready) {
  while (!ready()) pthread_cond_wait(wake.native_handle(), lock.mutex()->native_handle());
}

}  // namespace mamba
