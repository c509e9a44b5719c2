// A library that is loaded before the server (LD_PRELOAD) and lets one call to the system fail,
// once: the k-th of its kind from a moment on that the test chooses. The test and the library share
// a file of which the environment variable FAIL_ONCE_CONTROL has the name.
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

// run.py has the same numbers.
enum Kind : int64_t { kNone, kMmap, kRead, kWrite, kAccept, kThread, kAllocate, kNumKinds };

struct Control {
  std::atomic<int64_t> kind;  // of the call that shall fail
  std::atomic<int64_t> left;  // calls of this kind until then, itself included
  std::atomic<int64_t> failed;
  std::atomic<int64_t> calls[kNumKinds];
};

constexpr size_t kLargeBytes = 64 << 10;

Control* control = nullptr;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

// Only mmap is called before this, by the loader and by us.
__attribute__((constructor)) void open_control() {
  const char* path = std::getenv("FAIL_ONCE_CONTROL");
  if (path == nullptr) return;
  const int file = ::open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* memory = next<decltype(::mmap)>("mmap")(nullptr, sizeof(Control), PROT_READ | PROT_WRITE,
                                                MAP_SHARED, file, 0);
  ::close(file);
  if (memory != MAP_FAILED) control = static_cast<Control*>(memory);
}

bool fails(Kind kind) {
  if (control == nullptr) return false;
  ++control->calls[kind];
  if (control->kind != kind || --control->left != 0) return false;
  ++control->failed;
  return true;
}

// Files and sockets fail; what wakes threads up does not.
bool fails(Kind kind, int descriptor, bool* is_socket) {
  struct stat status {};
  if (control == nullptr || ::fstat(descriptor, &status) != 0) return false;
  *is_socket = S_ISSOCK(status.st_mode);
  return (*is_socket || S_ISREG(status.st_mode)) && fails(kind);
}

ssize_t failed_transfer(bool is_socket) {
  errno = is_socket ? ECONNRESET : EIO;
  return -1;
}

// Says whether the program itself calls, or the library of its language for it.
bool is_ours(const void* caller) {
  Dl_info info{};
  if (dladdr(caller, &info) == 0 || info.dli_fname == nullptr) return false;
  const char* slash = std::strrchr(info.dli_fname, '/');
  const char* name = slash == nullptr ? info.dli_fname : slash + 1;
  return std::strncmp(name, "deltaserve", 10) == 0 || std::strncmp(name, "libstdc++", 9) == 0;
}

// Small allocations, and those of other libraries, abort by design.
bool allocation_fails(size_t bytes, const void* caller) {
  if (bytes < kLargeBytes || control == nullptr || !is_ours(caller)) return false;
  if (!fails(kAllocate)) return false;
  errno = ENOMEM;
  return true;
}

}  // namespace

extern "C" {

void* mmap(void* address, size_t bytes, int protection, int flags, int file, off_t offset) {
  static const auto real = next<decltype(mmap)>("mmap");
  if (control != nullptr && is_ours(__builtin_return_address(0)) && fails(kMmap)) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return real(address, bytes, protection, flags, file, offset);
}

ssize_t read(int file, void* buffer, size_t bytes) {
  static const auto real = next<decltype(read)>("read");
  bool is_socket = false;
  return fails(kRead, file, &is_socket) ? failed_transfer(is_socket) : real(file, buffer, bytes);
}

ssize_t pread(int file, void* buffer, size_t bytes, off_t offset) {
  static const auto real = next<decltype(pread)>("pread");
  bool is_socket = false;
  return fails(kRead, file, &is_socket) ? failed_transfer(is_socket)
                                        : real(file, buffer, bytes, offset);
}

ssize_t recv(int socket, void* buffer, size_t bytes, int flags) {
  static const auto real = next<decltype(recv)>("recv");
  return fails(kRead) ? failed_transfer(true) : real(socket, buffer, bytes, flags);
}

ssize_t recvmsg(int socket, msghdr* message, int flags) {
  static const auto real = next<decltype(recvmsg)>("recvmsg");
  return fails(kRead) ? failed_transfer(true) : real(socket, message, flags);
}

ssize_t write(int file, const void* buffer, size_t bytes) {
  static const auto real = next<decltype(write)>("write");
  bool is_socket = false;
  return fails(kWrite, file, &is_socket) ? failed_transfer(is_socket) : real(file, buffer, bytes);
}

ssize_t writev(int file, const iovec* parts, int count) {
  static const auto real = next<decltype(writev)>("writev");
  bool is_socket = false;
  return fails(kWrite, file, &is_socket) ? failed_transfer(is_socket) : real(file, parts, count);
}

ssize_t send(int socket, const void* buffer, size_t bytes, int flags) {
  static const auto real = next<decltype(send)>("send");
  return fails(kWrite) ? failed_transfer(true) : real(socket, buffer, bytes, flags);
}

ssize_t sendmsg(int socket, const msghdr* message, int flags) {
  static const auto real = next<decltype(sendmsg)>("sendmsg");
  return fails(kWrite) ? failed_transfer(true) : real(socket, message, flags);
}

int accept(int socket, sockaddr* address, socklen_t* bytes) {
  static const auto real = next<decltype(accept)>("accept");
  if (!fails(kAccept)) return real(socket, address, bytes);
  errno = EMFILE;
  return -1;
}

int accept4(int socket, sockaddr* address, socklen_t* bytes, int flags) {
  static const auto real = next<decltype(accept4)>("accept4");
  if (!fails(kAccept)) return real(socket, address, bytes, flags);
  errno = EMFILE;
  return -1;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) {
  static const auto real = next<decltype(pthread_create)>("pthread_create");
  return fails(kThread) ? EAGAIN : real(thread, attributes, start, argument);
}

void* malloc(size_t bytes) {
  return allocation_fails(bytes, __builtin_return_address(0)) ? nullptr : __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) {
  return allocation_fails(count * bytes, __builtin_return_address(0)) ? nullptr
                                                                      : __libc_calloc(count, bytes);
}

void* realloc(void* memory, size_t bytes) {
  return allocation_fails(bytes, __builtin_return_address(0)) ? nullptr
                                                              : __libc_realloc(memory, bytes);
}

int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  if (allocation_fails(bytes, __builtin_return_address(0))) return ENOMEM;
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"
