#include <optional>

#include "absl/strings/ascii.h"
#include "server/tools/answer_markup.h"
#include "server/tools/call_reader.h"

namespace deltaserve {
namespace {

constexpr size_t kMostHeaderBytes = 512;

std::string_view without_space(std::string_view text) {
  const absl::string_view stripped = absl::StripAsciiWhitespace({text.data(), text.size()});
  return {stripped.data(), stripped.size()};
}

// Reads a header with the name, then JSON: call_begin name_open NAME id_open ID arguments_open. Any
// marker may be missing except the one that began the call.
class HeaderCallReader final : public CallReader {
 public:
  explicit HeaderCallReader(const CallContext& context) : context_(context) {}

  Status take(std::string_view text, size_t* taken) override {
    size_t at = 0;
    Status status = Status::kGoing;
    while (at < text.size() && !in_arguments_ && status == Status::kGoing) {
      if (text[at] == '{') {
        status = begin_arguments();
      } else {
        header_.push_back(text[at++]);
        status = check_header();
      }
    }
    const size_t from = at;
    while (at < text.size() && status == Status::kGoing) {
      const bool control = text[at] == kControlCode;
      if (control && end_.in_string()) {
        at += kControlCodeBytes;
      } else if (control || end_.take(text[at++])) {
        status = Status::kDone;
      }
    }
    if (in_arguments_) {
      context_.writer.arguments(without_control_codes(text.substr(from, at - from)));
    }
    if (status == Status::kDone) context_.writer.end();
    *taken = at;
    return status;
  }

 private:
  struct Header {
    std::string_view name;
    std::string_view id;
    std::string_view rest;
  };

  // Removes a marker from the beginning of *text; white space before it as well.
  static void skip(std::string_view marker, std::string_view* text) {
    while (!text->empty() && absl::ascii_isspace(text->front())) text->remove_prefix(1);
    marker = without_space(marker);
    if (!marker.empty() && text->starts_with(marker)) text->remove_prefix(marker.size());
  }

  static std::string_view name_of(std::string_view* text) {
    size_t size = 0;
    while (size < text->size() && is_name_character((*text)[size])) ++size;
    const std::string_view name = text->substr(0, size);
    text->remove_prefix(size);
    return name;
  }

  Header read_header() const {
    const ToolFormat& format = context_.format;
    std::string_view text = header_;
    skip(format.call_begin, &text);
    skip("", &text);
    Header header;
    if (text.size() < format.name_open.size() && format.name_open.starts_with(text)) return header;
    skip(format.name_open, &text);
    skip("", &text);
    header.name = name_of(&text);
    if (format.id_open == ":") {
      const size_t colon = header.name.rfind(':');
      if (colon != header.name.npos) header.name = header.name.substr(0, colon);
      header.id = without_space(std::string_view(header_).substr(0, header_.size() - text.size()));
      const size_t begin = header.id.find(format.name_open);
      header.id = begin == header.id.npos ? std::string_view() : header.id.substr(begin);
    } else if (!format.id_open.empty() && text.starts_with(format.id_open)) {
      text.remove_prefix(format.id_open.size());
      header.id = name_of(&text);
    }
    skip(format.arguments_open, &text);
    header.rest = without_space(text);
    return header;
  }

  // Gives up as soon as the text cannot be a header, so that it is not held back for long.
  Status check_header() const {
    if (header_.size() > kMostHeaderBytes) return Status::kFailed;
    const Header header = read_header();
    if (header.rest.empty() || may_begin_marker(header.rest)) return Status::kGoing;
    return Status::kFailed;
  }

  // Returns true if the text is the beginning of a marker of the header.
  bool may_begin_marker(std::string_view text) const {
    const ToolFormat& format = context_.format;
    for (const std::string* marker :
         {&format.call_begin, &format.id_open, &format.arguments_open}) {
      if (without_space(*marker).starts_with(text)) return true;
    }
    return false;
  }

  Status begin_arguments() {
    const Header header = read_header();
    if (header.name.empty() || !header.rest.empty()) return Status::kFailed;
    context_.writer.begin(header.name, header.id);
    in_arguments_ = true;
    return Status::kGoing;
  }

  const CallContext context_;
  std::string header_;
  bool in_arguments_ = false;
  JsonValueEnd end_;
};

}  // namespace

std::unique_ptr<CallReader> header_call_reader(const CallContext& context) {
  return std::make_unique<HeaderCallReader>(context);
}

}  // namespace deltaserve
