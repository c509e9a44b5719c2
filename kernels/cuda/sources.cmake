# This is the only list of the CUDA backend's files. The module, the emulation that tests build, and
# tests/kernels/cuda/compile_gate.py read it.
set(cuda_sources
  program/backend.cc program/decode_plan.cc layer/conditioning.cc layer/decode_layer.cc rule/delta_prefill.cc rule/delta_steps.cc draw/draw_memory.cc layer/features.cc
  draw/draw.cc self_test/layer_self_test.cc matmul/library_self_test.cc matmul/matmul_plain.cc matmul/matmul_few_rows.cc matmul/matmul_tensor.cc matmul/matmul_tile.cc matmul/matmul_wide.cc matmul/tensor_self_test.cc layer/mixer_layer.cc layer/output_norm.cc
  rule/prefill_chain.cc layer/prefill_features.cc rule/prefill_gram.cc rule/prefill_operands.cc rule/prefill_plain.cc
  rule/prefill_state.cc matmul/matmul_runner.cc program/program_memory.cc program/refusal.cc layer/rowwise.cc program/step_memory.cc matmul/weights.cc)
# These are compiled for a GPU only.
set(cuda_device_sources matmul/matmul_library_device.cc device/runtime_device.cc)
# These are compiled for the emulation only.
set(cuda_host_sources matmul/matmul_library_host.cc device/runtime_host.cc device/simt_host.cc)
# The module has these in addition to the backend.
set(cuda_module_sources module/module.cc)
# Modules compile these files of kernels/ for themselves.
set(cuda_common_sources ../program/program.cc ../program/slot_check.cc ../program/step.cc ../program/state_layout.cc)
