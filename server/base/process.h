// These functions prepare the process before anything else runs, and end it in a hurry.
#pragma once
#include <chrono>

namespace deltaserve {

// Opens /dev/null on each of the descriptors 0, 1 and 2 that the process was started without: no
// file or socket that is opened later becomes its standard output. Exits with 1 if that fails.
void open_standard_files();

// Makes the process exit with 1 and a sentence where a mapped file has become shorter while it is
// read. Only model files are mapped, and only while a model is loaded.
void explain_bus_errors();

// Lets what a large request has held become the system's again as soon as it is freed.
void give_back_freed_memory();
// Gives back what is free between pieces that are in use; takes milliseconds.
void trim_heap();

// Raises the number of file descriptors that the process may have as far as it may, and returns it.
int raise_descriptor_limit();

// Makes the process exit with `code` after this time, whatever its threads do then.
void exit_after(std::chrono::milliseconds time, int code);

}  // namespace deltaserve
