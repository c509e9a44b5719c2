# Writes the manual page and the completions of bash, zsh and fish, as `program` prints them, into the folder
# `shared` (share/ of an installation).
function(write_output file)
  get_filename_component(folder ${shared}/${file} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  message(STATUS "Installing: ${shared}/${file}")
  execute_process(COMMAND ${program} ${ARGN} OUTPUT_FILE ${shared}/${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

write_output(man/man1/deltaserve.1 man)
execute_process(COMMAND gzip -9nf ${shared}/man/man1/deltaserve.1 COMMAND_ERROR_IS_FATAL ANY)
write_output(bash-completion/completions/deltaserve completion bash)
write_output(zsh/vendor-completions/_deltaserve completion zsh)
write_output(fish/vendor_completions.d/deltaserve.fish completion fish)
