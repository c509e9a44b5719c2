// A text that knows its origin: each byte was written either by the chat template (trusted) or by
// the client (untrusted). Only trusted bytes may become special tokens.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

class TaintedText {
 public:
  TaintedText() = default;
  TaintedText(std::string bytes, bool trusted) : bytes_(std::move(bytes)), first_(trusted) {}

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  // Returns the trust of the byte at `offset` < size().
  bool trusted_at(size_t offset) const;
  // Returns true if all bytes are trusted, also for the empty text.
  bool all_trusted() const { return empty() || (first_ && flips_.empty()); }
  // Returns the bytes of memory that the object owns.
  size_t heap_bytes() const { return bytes_.capacity() + flips_.capacity() * sizeof(size_t); }

  void append(std::string_view bytes, bool trusted);
  // Appends the bytes [begin, end) of `other`, which must not be this object.
  void append(const TaintedText& other, size_t begin, size_t end);
  void append(const TaintedText& other) { append(other, 0, other.size()); }
  TaintedText slice(size_t begin, size_t end) const;

  // Calls visit(std::string_view bytes, bool trusted) for each run of equal trust, in order.
  template <class Visitor>
  void for_each_run(const Visitor& visit) const {
    size_t begin = 0;
    bool trusted = first_;
    for (const size_t flip : flips_) {
      visit(std::string_view(bytes_).substr(begin, flip - begin), trusted);
      begin = flip;
      trusted = !trusted;
    }
    if (begin < size()) visit(std::string_view(bytes_).substr(begin), trusted);
  }

 private:
  std::string bytes_;
  bool first_ = true;          // trust of the first byte
  std::vector<size_t> flips_;  // rising offsets in (0, size()) where trust changes
};

}  // namespace deltaserve
