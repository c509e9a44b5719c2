# The files of the CUDA backend, in the one list of them: of the module, of the emulation that tests
# build, and of tests/cuda/compile_gate.py.
set(cuda_sources
  backend.cc conditioning.cc decode_layer.cc delta_prefill.cc delta_steps.cc draw_memory.cc features.cc
  head.cc layer_proof.cc library_proof.cc matmul_plain.cc matmul_tensor.cc mixer_layer.cc output_norm.cc
  prefill_chain.cc prefill_features.cc prefill_gram.cc prefill_operands.cc prefill_plain.cc
  prefill_state.cc products.cc program_memory.cc rowwise.cc step_memory.cc weights.cc)
# On a GPU only.
set(cuda_device_sources matmul_library_device.cc runtime_device.cc)
# On the emulation only.
set(cuda_host_sources matmul_library_host.cc runtime_host.cc simt_host.cc)
# What a module has beside the backend.
set(cuda_module_sources module.cc)
# Of kernels/, which modules compile for themselves.
set(cuda_common_sources ../program/program.cc ../program/step.cc ../state_layout.cc)
