"""FSDP2 between processes that have no graphics card, which accelerate itself does not offer."""

import os


def divide_weights_on_cpus() -> None:
    """Let accelerate take gloo processes for ones whose weights it may divide."""
    from accelerate import DistributedType, state

    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
    }
    state.AcceleratorState._reset_state(reset_partial_state=True)
    begin = state.PartialState.__init__

    def begun(self: state.PartialState, *arguments: object, **named: object) -> None:
        begin(self, *arguments, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_XPU

    state.PartialState.__init__ = begun  # type: ignore[method-assign]
