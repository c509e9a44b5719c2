# cmake -DSOURCE=index.html -DOUTPUT=page_html.cc -P embed.cmake: the file as an array of bytes.
file(READ ${SOURCE} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <cstddef>\n\nnamespace deltaserve {\n
extern const unsigned char kPageHtml[];\nextern const size_t kPageHtmlBytes;\n
const unsigned char kPageHtml[] = {${bytes}};\nconst size_t kPageHtmlBytes = sizeof kPageHtml;\n
}  // namespace deltaserve\n")
