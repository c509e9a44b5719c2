// The chat page for browsers: the files of server/page, built into the binary.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace deltaserve {

// A file as CMake embeds it.
struct EmbeddedFile {
  std::string_view name;  // from server/page
  const unsigned char* bytes = nullptr;
  size_t size = 0;
};

// CMake makes the file that defines this.
std::span<const EmbeddedFile> embedded_page_files();

struct PageFile {
  std::string path;  // "/" for index.html, "/page/NAME" for the others
  std::string_view content_type;
  std::string_view bytes;
};

// Returns null for a path that is none of the page's. The file lives as long as the process.
const PageFile* find_page_file(std::string_view path);

// Returns the header lines of all files of the page. The policy lets only the page's own files run
// and be shown, so nothing that a model writes is loaded or executed.
std::string_view page_headers();

}  // namespace deltaserve
