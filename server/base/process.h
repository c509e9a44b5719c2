// These functions prepare the process before anything else runs, and end it in a hurry.
#pragma once
#include <chrono>

namespace deltaserve {

// Opens /dev/null on each of the descriptors 0, 1 and 2 that are closed, so that no file or socket
// that is opened later becomes the standard output. Exits with 1 if that fails.
void open_standard_files();

// Makes the process exit with code 1 and a sentence if a mapped file becomes shorter while it is
// read. Only model files are mapped, and only while a model is loaded.
void explain_bus_errors();

// Makes the memory of a large request go back to the system as soon as it is freed.
void give_back_freed_memory();
// Gives free memory between pieces in use back to the system; takes milliseconds.
void trim_heap();

// Raises the number of file descriptors that the process may have as far as it may, and returns it.
int raise_descriptor_limit();

// Makes the process exit with `code` after this time, even if threads are still busy.
void exit_after(std::chrono::milliseconds time, int code);

}  // namespace deltaserve
