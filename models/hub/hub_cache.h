// The folder in which the Hub's tools keep their downloads, in their layout, so that they and this
// program find each other's files:
//
//   models--owner--name/blobs/HASH               a file; HASH.incomplete while it comes
//   models--owner--name/snapshots/COMMIT/PATH    a symbolic link to the blob
//   models--owner--name/refs/REVISION            the text of a commit
//   .locks/models--owner--name/HASH.lock         is locked by who downloads the blob
//
// Private to models/hub.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/hub/hub_settings.h"

namespace deltaserve {

// A file as the Hub lists it.
struct HubFile {
  std::string path;
  uint64_t size = 0;
  std::string blob;    // its name in blobs/: a hash of git, or of LFS
  std::string sha256;  // of a file that LFS keeps; empty: the Hub does not say
};

class FileLock {
 public:
  // Waits for the lock. Calls `wait_begins` first if another process holds it.
  static absl::StatusOr<FileLock> take(const std::string& path,
                                       const std::function<void()>& wait_begins);
  FileLock(FileLock&& other) noexcept : file_(other.file_) { other.file_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int file) : file_(file) {}
  int file_;
};

class HubCache {
 public:
  // `folder` is the cache, `name` is owner/model.
  HubCache(const std::string& folder, std::string_view name);

  // Returns the commit of a revision that was downloaded; empty if none was.
  std::string commit_of(const std::string& revision) const;
  std::string snapshot(const std::string& commit) const;
  std::string blob(const HubFile& file) const;
  std::string lock(const HubFile& file) const;
  bool has_blob(const HubFile& file) const;

  // Makes the folders for blobs and locks. Returns RESOURCE_EXHAUSTED if the disk has no room for
  // `bytes`.
  absl::Status prepare(uint64_t bytes) const;
  // Makes the file of a snapshot, a link to its blob.
  absl::Status link(const std::string& commit, const HubFile& file) const;
  // Records the commit of a revision. Call it when the snapshot is complete.
  absl::Status note(const std::string& revision, const std::string& commit) const;

 private:
  std::string folder_;  // of the model
  std::string locks_;
};

// Returns the name of a file of config or weights that a snapshot lacks, such as "config.json";
// empty if it is complete.
std::string missing_from_snapshot(const std::string& folder);

// Returns true if the snapshot has a tokenizer.
bool has_tokenizer(const std::string& folder);

}  // namespace deltaserve
