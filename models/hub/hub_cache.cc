#include "models/hub/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/checkpoint/safetensors.h"

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kSpareBytes = uint64_t{64} << 20;  // stay free on the disk

absl::Status make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), str_cat("cannot make the folder ", folder.string()));
}

// Returns a temporary name for a file that is then renamed to `path`. No other process uses it.
fs::path fresh_name(const fs::path& path) {
  return str_cat(path.string(), ".", ::getpid(), ".new");
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

}  // namespace

absl::StatusOr<FileLock> FileLock::take(const std::string& path,
                                        const std::function<void()>& wait_begins) {
  while (true) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0) return absl::ErrnoToStatus(errno, str_cat("cannot open ", path));
    FileLock lock(file);
    int result = ::flock(file, LOCK_EX | LOCK_NB);
    if (result != 0 && errno == EWOULDBLOCK) {
      wait_begins();
      do {
        result = ::flock(file, LOCK_EX);
      } while (result != 0 && errno == EINTR);
    }
    if (result != 0) return absl::ErrnoToStatus(errno, str_cat("cannot lock ", path));
    struct stat info {};
    // The last holder of the lock may have removed its file. Then other processes lock a new file.
    if (::fstat(file, &info) == 0 && info.st_nlink > 0) return lock;
  }
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

HubCache::HubCache(const std::string& folder, std::string_view name) {
  const std::string model = str_cat("models--", absl::StrReplaceAll(as_piece(name), {{"/", "--"}}));
  folder_ = str_cat(folder, "/", model);
  locks_ = str_cat(folder, "/.locks/", model);
}

std::string HubCache::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  absl::StatusOr<std::string> text = read_file(str_cat(folder_, "/refs/", revision), 256);
  if (!text.ok()) return "";
  absl::StripAsciiWhitespace(&*text);
  return is_commit(*text) ? *text : "";
}

std::string HubCache::snapshot(const std::string& commit) const {
  return str_cat(folder_, "/snapshots/", commit);
}

std::string HubCache::blob(const HubFile& file) const {
  return str_cat(folder_, "/blobs/", file.blob);
}

std::string HubCache::lock(const HubFile& file) const {
  return str_cat(locks_, "/", file.blob, ".lock");
}

bool HubCache::has_blob(const HubFile& file) const {
  struct stat info {};
  return ::stat(blob(file).c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
         static_cast<uint64_t>(info.st_size) == file.size;
}

absl::Status HubCache::prepare(uint64_t bytes) const {
  const std::string blobs = str_cat(folder_, "/blobs");
  absl::Status status = make_folder(blobs);
  if (status.ok()) status = make_folder(locks_);
  if (!status.ok()) return status;
  std::error_code error;
  const fs::space_info space = fs::space(blobs, error);
  if (error || space.available >= bytes + kSpareBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(str_cat("the download needs ", bytes, " bytes in ", blobs,
                                              ", where ", space.available, " are free"));
}

absl::Status HubCache::link(const std::string& commit, const HubFile& file) const {
  const fs::path path = fs::path(snapshot(commit)) / file.path;
  absl::Status status = make_folder(path.parent_path());
  if (!status.ok()) return status;
  std::string target;
  for (auto i = std::count(file.path.begin(), file.path.end(), '/'); i > 0; --i) target += "../";
  target += str_cat("../../blobs/", file.blob);
  std::error_code error;
  if (fs::is_symlink(path, error) && fs::read_symlink(path, error) == target) {
    return absl::OkStatus();
  }
  const fs::path fresh = fresh_name(path);
  fs::remove(fresh, error);
  fs::create_symlink(target, fresh, error);
  if (!error) fs::rename(fresh, path, error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), str_cat("cannot make the link ", path.string()));
}

absl::Status HubCache::note(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return absl::OkStatus();
  const fs::path path = str_cat(folder_, "/refs/", revision);
  absl::Status status = make_folder(path.parent_path());
  if (!status.ok()) return status;
  const fs::path fresh = fresh_name(path);
  absl::Status written = write_file(fresh.string(), commit);
  if (!written.ok()) return written;
  std::error_code error;
  fs::rename(fresh, path, error);
  if (!error) return absl::OkStatus();
  return absl::ErrnoToStatus(error.value(), str_cat("cannot write ", path.string()));
}

std::string missing_from_snapshot(const std::string& folder) {
  const auto has = [&](std::string_view name) { return exists(str_cat(folder, "/", name)); };
  if (!has("config.json") && !has("params.json")) return "config.json";
  if (has("model.safetensors")) return "";
  if (!has("model.safetensors.index.json")) {
    return has("consolidated.safetensors") ? "" : "model.safetensors";
  }
  const absl::StatusOr<std::string> index =
      read_file(str_cat(folder, "/model.safetensors.index.json"), limits::kIndexBytes);
  if (!index.ok()) return "model.safetensors.index.json";
  const auto shards = parse_shard_names(*index);
  if (!shards.ok()) return "";  // the loader says what is wrong with it
  const auto shard = std::find_if_not(shards->begin(), shards->end(), has);
  return shard == shards->end() ? "" : *shard;
}

bool has_tokenizer(const std::string& folder) {
  return exists(str_cat(folder, "/tokenizer.json")) || exists(str_cat(folder, "/tokenizer.model"));
}

}  // namespace deltaserve
