#include "kernels/module/module_backend.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>
#include <type_traits>

#include "kernels/module/boundary.h"

namespace deltaserve {
namespace {

// A function of the module, called with the arguments of Backend's method.
template <class Method>
class Caller;
template <class Result, class... Arguments>
class Caller<Result (Backend::*)(Arguments...)> {
 public:
  using Function = typename cuda::CallOf<Result (Backend::*)(Arguments...)>::Function;
  Caller(Function function, void* self) : function_(function), self_(self) {}

  Result operator()(Arguments... arguments) const {
    if constexpr (std::is_same_v<Result, std::string>) {
      char text[cuda::kModuleTextBytes] = "";
      function_(self_, cuda::Crossing<Arguments>::out(arguments)..., text, sizeof text);
      return text;
    } else {
      return function_(self_, cuda::Crossing<Arguments>::out(arguments)...);
    }
  }

 private:
  Function function_;
  void* self_;
};
template <class Result, class... Arguments>
class Caller<Result (Backend::*)(Arguments...) const>
    : public Caller<Result (Backend::*)(Arguments...)> {
  using Caller<Result (Backend::*)(Arguments...)>::Caller;
};

class ModuleBackend : public Backend {
 public:
  ModuleBackend(const cuda::ModuleTable& table, void* self) : table_(table), self_(self) {}
  ~ModuleBackend() override { table_.destroy(self_); }
  ModuleBackend(const ModuleBackend&) = delete;
  ModuleBackend& operator=(const ModuleBackend&) = delete;

#define X(result, name, parameters, qualifier, arguments)                  \
  result name parameters qualifier override {                              \
    return Caller<decltype(&Backend::name)>(table_.name, self_) arguments; \
  }
  DELTASERVE_BACKEND_CALLS(X)
#undef X

 private:
  const cuda::ModuleTable& table_;
  void* const self_;
};

// Returns the reason why this process must not call the table; empty if it may.
std::string mismatch(const cuda::ModuleTable& table) {
  const std::string own = ", this program's ";
  if (table.num_types != std::size(cuda::kCrossingTypes)) {
    return "its interface has " + std::to_string(table.num_types) + " types" + own +
           std::to_string(std::size(cuda::kCrossingTypes));
  }
  for (size_t i = 0; i < table.num_types; ++i) {
    const cuda::CrossingType& type = cuda::kCrossingTypes[i];
    if (std::string_view(table.types[i].name) != type.name) {
      return std::string("its interface has ") + table.types[i].name +
             " where this program's has " + type.name;
    }
    if (table.types[i].fingerprint != type.fingerprint) {
      return std::string("its ") + type.name + " is not this program's";
    }
  }
  return "";
}

// Makes the backend of the module behind `library`; `name` appears in the reason of a failure.
CudaBackend backend_of(void* library, const std::string& name, const cuda::ModuleOptions& options) {
  CudaBackend made;
  made.found = true;
  const auto factory = reinterpret_cast<cuda::ModuleFactory>(dlsym(library, cuda::kModuleSymbol));
  if (factory == nullptr) {
    made.reason = name + " is no CUDA module of deltaserve";
    return made;
  }
  const cuda::ModuleTable& table = *factory();
  if (const std::string wrong = mismatch(table); !wrong.empty()) {
    made.reason = name + " does not fit: " + wrong;
    return made;
  }
  char reason[cuda::kModuleTextBytes] = "";
  void* self = table.create(&options, reason, sizeof reason);
  if (self == nullptr) {
    made.reason = reason;
  } else {
    made.backend = std::make_unique<ModuleBackend>(table, self);
  }
  return made;
}

constexpr char kWithout[] = "DELTASERVE_CUDA_WITHOUT";

// Switches the named options off, names with commas between them. Returns a name that is none of
// theirs, if there is one.
std::optional<std::string> leave_out(std::string_view names, cuda::ModuleOptions* options) {
  struct Option {
    std::string_view name;
    bool cuda::ModuleOptions::*on;
  };
  constexpr Option kOptions[] = {{"library", &cuda::ModuleOptions::library},
                                 {"mixer", &cuda::ModuleOptions::mixer},
                                 {"ends", &cuda::ModuleOptions::ends},
                                 {"graphs", &cuda::ModuleOptions::graphs},
                                 {"overlap", &cuda::ModuleOptions::overlap}};
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    bool known = false;
    for (const Option& option : kOptions) {
      if (name != option.name && name != "all") continue;
      options->*option.on = false;
      known = true;
    }
    if (!known) return std::string(name);
  }
  return std::nullopt;
}

// `cmake --install` puts the module here, seen from the folder of the executable.
constexpr char kInstalledModules[] = "../lib/deltaserve";

std::string last_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "it cannot be loaded";
}

// Loads the module at `path`, which contains a slash, so that the library path is not searched.
CudaBackend from_file(const std::filesystem::path& path, const cuda::ModuleOptions& options) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return backend_of(library, path.string(), options);
  CudaBackend failed;
  failed.found = true;
  failed.reason = last_error();  // names the library that is missing, or the module
  return failed;
}

}  // namespace

CudaBackend load_cuda_backend(const std::string& path) {
  cuda::ModuleOptions options;
  if (const char* names = std::getenv(kWithout); names != nullptr) {
    if (const auto unknown = leave_out(names, &options); unknown.has_value()) {
      CudaBackend failed;
      failed.found = true;
      failed.reason = std::string(kWithout) + " knows no \"" + *unknown +
                      "\": it takes library, mixer, ends, graphs, overlap or all";
      return failed;
    }
  }
  std::error_code ignored;
  const char* named = std::getenv("DELTASERVE_CUDA_MODULE");
  if (!path.empty() || (named != nullptr && *named != 0)) {
    return from_file(std::filesystem::absolute(path.empty() ? named : path, ignored), options);
  }
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  const std::filesystem::path installed = (folder / kInstalledModules).lexically_normal();
  for (const std::filesystem::path& place : {folder, installed}) {
    if (std::filesystem::exists(place / cuda::kModuleFile, ignored)) {
      return from_file(place / cuda::kModuleFile, options);
    }
  }
  void* library = dlopen(cuda::kModuleFile, RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return backend_of(library, cuda::kModuleFile, options);
  CudaBackend failed;
  failed.reason = last_error();
  // If one of the module's libraries is missing, the error names that library instead of the
  // module.
  failed.found = !failed.reason.starts_with(cuda::kModuleFile);
  if (!failed.found) {
    failed.reason = std::string("there is no ") + cuda::kModuleFile + " in " + folder.string() +
                    ", in " + installed.string() + " or on the library path";
  }
  return failed;
}

}  // namespace deltaserve
