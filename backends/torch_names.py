"""Names in generated PyTorch: which are taken, and how members are reached whose names are.

The names of parameters are those of the spec, whatever Python and nn.Module use them for: such a member lives in nn.Module's own
tables, and has its plain name in the state dict all the same.
"""

from __future__ import annotations

from backends.writer import identifier

RESERVED = ("torch", "nn", "F", "math", "Tensor", "training", "Entry", "scratch_buffers")
"""Names that the code of a file uses."""

MODULE_ATTRIBUTES = frozenset({
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu", "cuda",
    "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state", "get_parameter",
    "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "register_backward_hook", "register_buffer", "register_forward_hook",
    "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
    "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook", "register_module", "register_parameter",
    "register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_", "reset_parameters",
    "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "xpu",
    "zero_grad",
})  # fmt: skip
"""The attributes of an nn.Module, which hides a member of that name (tests compare the list with torch)."""


def is_plain(name: str) -> bool:
    """Whether `self.name` reaches a member of that name."""
    return identifier(name) == name and name not in MODULE_ATTRIBUTES and not name.startswith("_")


def child_text(name: str) -> str:
    """A layer, as an expression."""
    return f"self.{name}" if is_plain(name) else f'self._modules["{name}"]'


def owned_text(name: str, trained: bool) -> str:
    """A parameter or buffer, as an expression."""
    table = "_parameters" if trained else "_buffers"
    return f"self.{name}" if is_plain(name) else f'self.{table}["{name}"]'


def method_name(entry: str) -> str:
    """The method of an entry point."""
    name = identifier(entry)
    return name if name == "forward" or is_plain(name) else f"{name}_"
