"""The stable codes of diagnostics, each with its title and the long story that `dslc explain` tells."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    title: str
    story: str


CODES: dict[str, Code] = {
    "DL0001": Code(
        "a file cannot be read",
        "The file does not exist, or the system refuses to open it; the reason it gives is in the message.",
    ),
    "DL0002": Code(
        "a spec is not UTF-8",
        "Specs are UTF-8 text, with or without a byte-order mark. The message names the first byte that is not, its "
        "offset from the start of the file and its line. Save the file as UTF-8.",
    ),
    "DL0003": Code(
        "a control character in a spec",
        "NUL bytes and other control characters besides tab and the ends of lines have no business in a text; a file "
        "with a NUL byte is most likely no spec at all.",
    ),
    "DL0004": Code(
        "a spec is not a file",
        "A spec is read from a file or, for `-`, from standard input. Directories, devices, pipes and sockets are "
        "refused, without waiting on them.",
    ),
    "DL0005": Code(
        "a spec is too large",
        "The limit on the size of a spec protects programs that compile specs of others.",
    ),
    "DL0006": Code(
        "a character that hides what a text says",
        "Some characters change the direction in which text is shown, so that a person reads something other than the "
        "compiler. They are refused everywhere, comments included. In a string such a character is written by its "
        "number, `\\u{202E}`.",
    ),
    "DL0011": Code(
        "a file cannot be written",
        "The directory is missing, the disk is full, or the system refuses; the reason it gives is in the message. A file"
        " that was there before is as it was, because a new one takes its place only when it is whole.",
    ),
    "DL0012": Code(
        "an output that is an input",
        "The file to write is one that is being read. Nothing was written.",
    ),
    "DL0101": Code(
        "unexpected word",
        "The text does not follow the grammar here. The sentence says what was expected; the underlined word is the "
        "first that does not fit.",
    ),
    "DL0102": Code(
        "a statement does not end",
        "A statement ends with its line, except inside brackets and before a line that begins with `->`. The place shown "
        "is where the unfinished or overlong statement should have gone on or ended. An operation on the result of a "
        "pipeline needs brackets around the pipeline, because `->` binds loosest.",
    ),
    "DL0103": Code(
        "a bracket is never closed",
        "The place shown is the bracket that was opened; the second is where the file, or the definition, ended without "
        "closing it.",
    ),
    "DL0104": Code(
        "brackets do not match",
        "A closing bracket stands where another one, or none, was open.",
    ),
    "DL0105": Code(
        "a character without a meaning",
        "The character belongs to no word of the language. Quotes and dashes that a word processor made, and unusual "
        "spaces, are the common cause.",
    ),
    "DL0106": Code(
        "a malformed string",
        "A string stands between double quotes on one line. A double quote or a backslash inside it follows a backslash; "
        "`\\n` is a new line, `\\t` a tab and `\\u{1F600}` the character of that number.",
    ),
    "DL0107": Code(
        "number too large",
        "Integers have at most 30 digits, and floating-point numbers stay below the largest 64-bit one. Nothing is "
        "rounded to infinity.",
    ),
    "DL0108": Code(
        "a malformed number",
        "Numbers are decimal: `12`, `124_439_808`, `0.5`, `1e-3`. There are no leading zeros, and a digit stands before "
        "the point. A name cannot begin with a digit.",
    ),
    "DL0109": Code(
        "a reserved word as a name",
        "Words of the grammar cannot be names.",
    ),
    "DL0110": Code(
        "a construct of a later version",
        "The word is reserved for a part of the language that this version does not have.",
    ),
    "DL0111": Code(
        "a name beyond ASCII",
        "Names are made of the letters A to Z and a to z, digits and underscores, because they become names in the code "
        "of every target.",
    ),
    "DL0113": Code(
        "an incomplete declaration",
        "A hyper-parameter needs a type, an input needs a shape and has no default, a module needs an entry point, a "
        "`repeat` needs the number of its copies and nothing else.",
    ),
    "DL0301": Code(
        "shapes do not match",
        "An operation was applied to tensors whose sizes cannot be combined. Sizes are compared as algebra: two sizes are equal only when "
        "that is proved for every value of the symbolic dimensions. The message shows both sides; bind the same name to both, reshape one, "
        "or state the relation with `require`.",
    ),
    "DL0304": Code(
        "no such axis",
        "An axis was named that the tensor does not have, or was listed twice, or a list of axes was empty. Axes count from 0, or from -1 "
        "backwards; the name of a dimension may stand for its axis where that is unambiguous.",
    ),
    "DL0402": Code(
        "an argument has a value with no meaning",
        "A static argument is of the right kind and has a value that the operation cannot use: out of its range, not one of the choices, or "
        "at odds with another argument. The message gives the value and what is allowed.",
    ),
    "DL0403": Code(
        "element types do not go together",
        "An operation was applied to a tensor of an element type that it does not take, or to two tensors whose types have no common one. "
        "Types widen by themselves only within a kind (f16 to f32, i32 to i64), and bool becomes any of them; an integer tensor never "
        "becomes a floating one. Write `cast(x, float)` where that is meant.",
    ),
    "DL0601": Code(
        "nested too deep",
        "Brackets, blocks, chains of operators and chains of `else if` are limited in depth, so that no input can "
        "exhaust the stack of a program that compiles it. Name an intermediate value.",
    ),
    "DL0704": Code(
        "a plug-in that is no backend",
        "What a package registered under the entry point group `dslc.backends` lacks a part of the protocol in backends/base.py.",
    ),
    "DL0711": Code(
        "an ONNX file without weights",
        "An ONNX model holds the values of its parameters, so each has to be given: in a weight file, or made from a seed.",
    ),
    "DL0712": Code(
        "an opset that is not supported",
        "Opset 17 is the first with LayerNormalization, 26 the last that onnxruntime runs. Later operators (Gelu from 20, "
        "Attention and RMSNormalization from 23) are written out in simpler ones below the opset that has them.",
    ),
    "DL0713": Code(
        "training on a target that only infers",
        "ONNX models are specialised to inference: dropout and updates of buffers are gone from them. Train with torch or "
        "jax, and compile the trained weights to ONNX.",
    ),
    "DL0801": Code(
        "an initialiser without meaning",
        "The initialiser of a parameter cannot give values of its shape or element type, or its numbers contradict each other.",
    ),
    "DL0803": Code(
        "not a weight file",
        "Weights are read from safetensors and from `.npz` files without objects. Pickles (`.pt`, `.pth`, `.bin`) are "
        "refused unopened, because opening one runs whatever it says; convert it where it comes from, with "
        "`safetensors.torch.save_file(model.state_dict(), path)`.",
    ),
    "DL0804": Code(
        "a weight file lacks tensors",
        "Every parameter and buffer of the model has to be in the file under its full name, as `dslc summary` lists them."
        " Nothing is loaded in part.",
    ),
    "DL0805": Code(
        "a weight file has tensors that the model lacks",
        "Most often the file belongs to another model, to other hyper-parameters, or names its layers in another way.",
    ),
    "DL0806": Code(
        "a weight has another shape than its parameter",
        "The file was made with other hyper-parameters, or keeps its weights in another layout: here a Linear's weight is"
        " [outputs, inputs] and a convolution's [outputs, inputs / groups, ...], as in PyTorch.",
    ),
    "DL0807": Code(
        "a weight has another element type than its parameter",
        "Values are never converted silently. Compile with the `--dtype` of the file, or convert the file.",
    ),
    "DL0808": Code(
        "NaN among the weights",
        "A weight that is not a number makes every output so; the training that made the file most likely diverged.",
    ),
    "DL0809": Code(
        "weights larger than the memory",
        "The parameters of the model would not fit in the memory of this machine, so nothing was begun.",
    ),
    "DL0811": Code(
        "no sizes to verify at",
        "The requirements on the symbolic dimensions rule out all the sizes that were tried, or a tensor would be empty "
        "at each of them. Give the sizes to compare at.",
    ),
    "DL0812": Code(
        "a backend computes something else",
        "The operands of the operation agree with those of the reference and its result does not. The tolerance is what "
        "rounding explains: the reference is run again with each inexact operation off by up to 32 units in the last "
        "place, and the largest change is what is allowed. Either the backend has a bug, or the operation means different"
        " things in different places.",
    ),
    "DL0813": Code(
        "a backend computes something else as a whole",
        "An output differs from the reference, and each operation by itself agrees: the difference comes from how the "
        "backend or a pass puts operations together, such as a fused layer.",
    ),
    "DL0901": Code(
        "malformed YAML",
        "The text is not YAML; the message is the YAML parser's.",
    ),
    "DL0902": Code(
        "a YAML feature that specs do not use",
        "Specs are plain mappings, lists and scalars, in one document. Tags, merge keys and several documents are "
        "refused; nothing in a spec can create an object.",
    ),
    "DL0903": Code(
        "a key stands twice",
        "A mapping has the same key twice, of which YAML parsers silently keep one.",
    ),
    "DL0904": Code(
        "a scalar that YAML versions read differently",
        "`no`, `on`, `012`, `1:30` and their like mean one thing in YAML 1.1, another in YAML 1.2, and something else to "
        "a person. Write the value as the language does, or quote it where a name of the language is meant.",
    ),
    "DL0905": Code(
        "an alias",
        "An alias refers to itself, or the aliases of a document expand beyond the limit.",
    ),
    "DL0906": Code(
        "an unknown or missing key",
        "The mapping has a key that this place does not know, or lacks one that it needs. Keys that are near are suggested.",
    ),
    "DL0907": Code(
        "a node of the wrong kind",
        "A mapping, a list or a scalar stands where another of them is needed.",
    ),
}
