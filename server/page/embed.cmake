# cmake -DFOLDER=server/page -DFILES="index.html;style.css" -DOUTPUT=page_files.cc -P embed.cmake
# writes a table of the files, each as an array of bytes.
set(arrays)
set(rows)
set(number 0)
foreach(name ${FILES})
  file(READ ${FOLDER}/${name} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char kPageFile${number}[] = {${bytes}};\n")
  string(APPEND rows "    {\"${name}\", kPageFile${number}, sizeof kPageFile${number}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "#include \"server/http/page.h\"\n
namespace deltaserve {
namespace {\n
${arrays}
constexpr EmbeddedFile kEmbeddedPageFiles[] = {\n${rows}};\n
}  // namespace\n
std::span<const EmbeddedFile> embedded_page_files() { return kEmbeddedPageFiles; }\n
}  // namespace deltaserve\n")
