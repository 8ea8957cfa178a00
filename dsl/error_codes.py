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
        "The limit on the size of a spec protects programs that compile specs of others. `--limit bytes=N` raises it.",
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
    "DL0201": Code(
        "a name is not defined",
        "Nothing of this name is in sight: no tensor or value bound before this line, no hyper-parameter, no dimension of "
        "an input, no definition of this file, no import and nothing in the library. Names are bound from top to bottom; "
        "what is bound inside a `for` or an `if` that runs stays bound after it.",
    ),
    "DL0202": Code(
        "an unknown layer or function",
        "What is applied here is defined nowhere. A capital letter owns parameters (`Linear`, `Conv2d`, `LSTM`) and is a "
        "layer; what owns nothing (`relu`, `softmax`, `concat`) is a function with a small letter. `dslc ops` lists the "
        "primitives; the library in `dsl/lib` has the layers and the other functions.",
    ),
    "DL0203": Code(
        "arguments do not fit",
        "An argument is missing, or there is one too many, or one with a name that the function or module does not have. "
        "The help line shows how it is called.",
    ),
    "DL0204": Code(
        "a positional argument after a named one",
        "Arguments without a name come first, as in Python.",
    ),
    "DL0205": Code(
        "an argument is given twice",
        "The same argument stands twice, or once by position and once by name.",
    ),
    "DL0206": Code(
        "a name is defined twice",
        "Two definitions of a file, or a layer and a value of a module, have the same name. A tensor may be bound again; "
        "a definition and a layer may not.",
    ),
    "DL0207": Code(
        "no such member",
        "After the point stands something that this value does not have. Tensors have `.shape`, `.rank`, `.dtype` and "
        "`.T`; applied layers have their outputs by name; declared layers have their parameters, further layers and entry "
        "points.",
    ),
    "DL0208": Code(
        "a layer is applied without its hyper-parameters",
        "A module takes hyper-parameters first and tensors after: `Linear(10)(x)`, or `x -> Linear(10)`.",
    ),
    "DL0209": Code(
        "this cannot be applied",
        "Brackets after a value apply it, and only functions, modules and layers can be applied.",
    ),
    "DL0210": Code(
        "an import was not found",
        "Imports are dotted names of files: `from language.blocks import Block` reads `language/blocks.dl` beside this "
        "file, in the nearest `specs/` above it, or among the specs that come with dslc. Paths, and names that lead "
        "elsewhere, are not possible.",
    ),
    "DL0211": Code(
        "an imported name does not exist",
        "The file was found and does not define this name. What it imports itself may be imported from it, too.",
    ),
    "DL0212": Code(
        "specs import each other",
        "The chain of imports comes back to a file that is still being read. Move what both need into a third file.",
    ),
    "DL0213": Code(
        "a constant is defined by itself",
        "To know this `const` one has to know it already.",
    ),
    "DL0214": Code(
        "no such model",
        "`--model` names a `model` or `module` of the file.",
    ),
    "DL0215": Code(
        "a file without a model",
        "The file defines nothing that could be compiled: it needs a `model`, or a `module` whose hyper-parameters and "
        "inputs are complete.",
    ),
    "DL0216": Code(
        "no such hyper-parameter",
        "`--set NAME=VALUE` names a hyper-parameter of the model; the value is an expression of the language.",
    ),
    "DL0217": Code(
        "a hyper-parameter without a value",
        "A hyper-parameter that has no default needs `--set NAME=VALUE`.",
    ),
    "DL0218": Code(
        "no such train block",
        "The command names a `train` block that the file does not have. The message lists those that it has.",
    ),
    "DL0219": Code(
        "a file without a train block",
        "`dslc train` runs a `train` block: inputs, layers, a loss, and `minimize loss using adam(1e-3)`.",
    ),
    "DL0220": Code(
        "a value depends on itself",
        "A name is used in a line, and bound in a later one that needs what this line computes: no order of the two would do. Formulas "
        "of papers are sometimes printed so, with s_t where s_(t-1) is meant. A `scan` carries a value from one step to the next: inside, "
        "a carried name is the value of the step before until it is bound again.",
    ),
    "DL0301": Code(
        "shapes do not match",
        "An operation was applied to tensors whose sizes cannot be combined. Sizes are compared as algebra: two sizes are equal only when "
        "that is proved for every value of the symbolic dimensions. The message shows both sides; bind the same name to both, reshape one, "
        "or state the relation with `require`.",
    ),
    "DL0302": Code(
        "a tensor has another number of axes",
        "The declared type has so many dimensions and the tensor that is passed or returned has more or fewer. `...` in a "
        "type stands for any leading dimensions; `reshape`, `flatten`, `unsqueeze` and `rearrange` change the number.",
    ),
    "DL0303": Code(
        "a tensor has another shape than declared",
        "An input was declared with sizes, and the tensor that is passed has others; the label shows where each was "
        "fixed. Equal names mean equal sizes everywhere in a definition. Where nothing contradicts and nothing proves, "
        "the sizes are not proved to be equal: state the relation with `require` or bind the same name to both.",
    ),
    "DL0304": Code(
        "no such axis",
        "An axis was named that the tensor does not have, or was listed twice, or a list of axes was empty. Axes count from 0, or from -1 "
        "backwards; the name of a dimension may stand for its axis where that is unambiguous.",
    ),
    "DL0305": Code(
        "a dimension's name is not one axis",
        "A name stands for an axis where exactly one axis of the tensor has it. Here none has, or several have; give the "
        "index of the axis instead.",
    ),
    "DL0306": Code(
        "an index does not fit the tensor",
        "There are more indices than axes, or an index is beyond the end of its axis. Indices count from 0, or from -1 "
        "backwards.",
    ),
    "DL0307": Code(
        "an index whose result would depend on the data",
        "Shapes are known before the model runs, so a boolean mask cannot select, and tensors of integers index one axis "
        "at a time.",
    ),
    "DL0310": Code(
        "a requirement is not met",
        "A `require` of the spec is false: for the values given, or for every value that the symbolic dimensions can "
        "take. The message is the one that the spec gives.",
    ),
    "DL0311": Code(
        "an update changes the type",
        "The new value of a buffer has to have the shape and the element type that the buffer was declared with.",
    ),
    "DL0312": Code(
        "a carry changes its type",
        "What a `scan` or a `while` carries from step to step keeps its shape and its element type, so that any "
        "number of steps has a type. The message shows both types. Start from a tensor of the type that a step "
        "makes, such as `zeros(B, hidden)`.",
    ),
    "DL0401": Code(
        "an argument of the wrong kind",
        "A static argument was given a value of another kind than it takes: text for a number, a fraction for an integer, "
        "a tensor for what has to be known when the graph is made. Nothing is converted silently: `2.0` is no integer and "
        "`true` is no number.",
    ),
    "DL0402": Code(
        "an argument has a value with no meaning",
        "A static argument is of the right kind and has a value that the operation cannot use: out of its range, not one "
        "of the choices, or at odds with another argument. The message gives the value and what is allowed.",
    ),
    "DL0403": Code(
        "element types do not go together",
        "An operation was applied to a tensor of an element type that it does not take, or to two tensors whose types have no common one. "
        "Types widen by themselves only within a kind (f16 to f32, i32 to i64), and bool becomes any of them; an integer tensor never "
        "becomes a floating one. Write `cast(x, float)` where that is meant.",
    ),
    "DL0404": Code(
        "a value of the wrong kind",
        "An operator, a statement or a condition was given a value that it does not work on, such as a layer where a "
        "tensor is needed. Apply a layer to get a tensor.",
    ),
    "DL0405": Code(
        "several tensors where one is needed",
        "The layer gives several results. Take them apart with `a, b = ...`, or pick one by its name, as in `lstm(x).h`.",
    ),
    "DL0406": Code(
        "a `for` over something that is not static",
        "`for` is unrolled when the graph is made, so it goes over lists, ranges and the like, not over a tensor or a "
        "symbolic dimension.",
    ),
    "DL0407": Code(
        "a `repeat` with a number that is not static",
        "How many copies a `repeat` makes is known when the graph is made, because each has parameters of its own.",
    ),
    "DL0408": Code(
        "an example input outside of a test",
        "`float[2, 3]` as an argument stands for any tensor of that type, which only a `test` block may use.",
    ),
    "DL0409": Code(
        "this has no items",
        "Square brackets take items of lists and slices of tensors.",
    ),
    "DL0410": Code(
        "no such item",
        "The index is beyond the end of the list. Items count from 0, or from -1 backwards.",
    ),
    "DL0411": Code(
        "a static computation fails",
        "A computation on numbers, lists or text that is done when the graph is made has no result: a division by zero, a "
        "function of values it does not apply to, an integer that grows beyond all bounds.",
    ),
    "DL0412": Code(
        "a condition that hangs on a symbolic dimension",
        "`if` and `assert` are decided when the graph is made, and this depends on a size that is known only when the "
        "model runs. Give the dimension a number, make it a hyper-parameter, or state what you rely on with `require`, "
        "which may hang on symbolic dimensions.",
    ),
    "DL0413": Code(
        "a tensor decides what is decided earlier",
        "`if`, `require` and `and`/`or` are decided when the graph is made; a tensor has its values when the model runs. "
        "`where(condition, a, b)` chooses with the data.",
    ),
    "DL0414": Code(
        "a fraction with an integer tensor",
        "An integer tensor never becomes a floating one by itself, and a number with a fraction would have to be cut off. "
        "Cast the tensor with `cast(x, float)`.",
    ),
    "DL0415": Code(
        "a number does not fit its element type",
        "The number is beyond what the element type can hold.",
    ),
    "DL0416": Code(
        "a list that is no tensor",
        "Rows of a list that stands for a tensor have the same length at every level.",
    ),
    "DL0417": Code(
        "a size that is no integer",
        "Between the brackets of a type stand integers, names of dimensions and arithmetic over them.",
    ),
    "DL0418": Code(
        "a wrong number of values to take apart",
        "So many names are bound, and the value consists of more or fewer parts, or of none.",
    ),
    "DL0419": Code(
        "a type without brackets",
        "The type of a tensor has brackets: `float[B, 10]`, `float[]` for a scalar. Without brackets, `float` and `int` "
        "are types of hyper-parameters.",
    ),
    "DL0420": Code(
        "no such element type",
        "Element types are `float` (what `--dtype` says), `int` (i64), f16, bf16, f32, f64, i8, u8, i32, i64 and bool.",
    ),
    "DL0421": Code(
        "an initial value that is none",
        "A parameter begins with an initialiser of the library (`normal(std=0.02)`, `kaiming_uniform`), `zeros`, `ones`, "
        "a number, or a list of numbers in the shape of the parameter.",
    ),
    "DL0422": Code(
        "a constant that is a tensor",
        "A `const` is a number, text, or a list of those.",
    ),
    "DL0423": Code(
        "no such type of a hyper-parameter",
        "The types of hyper-parameters are int, float, bool, str, list, ints (an integer or a list of them), fn, layer, dtype and any. "
        "A type with brackets, `float[B, D]`, is that of a tensor.",
    ),
    "DL0501": Code(
        "statements after `return`",
        "What follows a `return` is never reached.",
    ),
    "DL0502": Code(
        "two parameters or layers of one name",
        "Names of parameters and layers are the keys of the weights, so each is used once in a module. Layers without a "
        "label are numbered by themselves.",
    ),
    "DL0503": Code(
        "a function that owns something",
        "A `fn` owns no parameters and no layers. Make it a `module`, with a capital letter.",
    ),
    "DL0504": Code(
        "a parameter of unknown size",
        "Parameters exist before the model runs, so their sizes are numbers and hyper-parameters, never symbolic "
        "dimensions such as the batch.",
    ),
    "DL0505": Code(
        "a size that no input has",
        "The body of a module sees only the sizes of its own inputs, because it is compiled once for all its uses. Pass a "
        "tensor that has the size as an axis, or make the size a hyper-parameter.",
    ),
    "DL0506": Code(
        "an output that is no tensor",
        "A model, and a branch of `if training`, gives tensors.",
    ),
    "DL0507": Code(
        "`layer` with something that is no layer",
        "`layer name = Module(...)` makes an instance of a module that can be applied by name, as often as one likes, "
        "with the same parameters.",
    ),
    "DL0508": Code(
        "a parameter without an initial value",
        "Every `param` and `buffer` says what it begins with; nothing is chosen silently.",
    ),
    "DL0509": Code(
        "a statement in the wrong place",
        "The statement belongs elsewhere, such as an `update` in a function.",
    ),
    "DL0510": Code(
        "an update of something that is no buffer",
        "`update` gives a `buffer` of this module its value for the next step. Parameters change by training, and names "
        "are bound with `=`. In a `train` block `update` changes parameters and what layers own as well.",
    ),
    "DL0511": Code(
        "an update in inference",
        "Buffers change in training only; here is the branch for inference.",
    ),
    "DL0512": Code(
        "`return` in a branch of `if training`",
        "Both branches of `if training` end at the same place. Bind a name in each and return it after.",
    ),
    "DL0513": Code(
        "a module contains itself",
        "The chain of places shows how a module comes to contain itself. A module without an end cannot be built; "
        "`repeat` makes copies in a row.",
    ),
    "DL0514": Code(
        "nothing is returned",
        "A definition returns one or more tensors with `return`.",
    ),
    "DL0515": Code(
        "one layer, two sets of parameters",
        "A declared layer has one set of parameters, whose shapes were fixed by its first application. This one needs "
        "others. Declare a second layer, or bring the inputs to one width.",
    ),
    "DL0516": Code(
        "an input without a tensor type",
        "The inputs of a model have types with brackets, `x: float[B, 10]`.",
    ),
    "DL0517": Code(
        "`...` in the input of a model",
        "The inputs of a model have a fixed number of dimensions. Modules may leave it open with `...`.",
    ),
    "DL0518": Code(
        "a parameter before it has a shape",
        "The sizes of a layer's parameters follow from its first input. Apply the layer before you use its parameters.",
    ),
    "DL0519": Code(
        "another number of outputs than declared",
        "The head of the definition declares so many outputs, and `return` gives more or fewer.",
    ),
    "DL0520": Code(
        "an assertion does not hold",
        "An `assert` of a `test` block is false; the note shows what both sides are.",
    ),
    "DL0521": Code(
        "an assertion on values that are not known",
        "In a `test` a type such as `float[2, 7]` stands for an input of that shape and has no values, and parameters have none either. "
        "Assert its shape, or compute with numbers written out: `assert all(relu([-1.0, 2.0]) == [0.0, 2.0])`.",
    ),
    "DL0525": Code(
        "a loop without a result",
        "A `scan` hands out what it carries and what it emits, a `while` what it carries. One without either computes nothing.",
    ),
    "DL0526": Code(
        "what a scan goes over",
        "A `scan` takes slices of tensors along a dimension, `scan x_t in x over T`, or counts, `scan i in "
        "range(n)`. Lists that are known when the graph is made are for `for`.",
    ),
    "DL0527": Code(
        "`emit` out of place",
        "`emit` stands in the body of a `scan`, and gives one slice of the stacked result in each step, in training"
        " and in inference alike.",
    ),
    "DL0528": Code(
        "sets of parameters",
        "`net.params` are the trained parameters of a layer by name. Arithmetic and functions apply to each of "
        "them; two sets go together when they have the same names. `layer fast = net with SET` applies the layer on"
        " them.",
    ),
    "DL0529": Code(
        "something of a train block outside of one",
        "`minimize`, `metric`, `copy of` and `ema of` belong to a `train` block: a model says what is computed, not"
        " how it is learned. A `train` block returns nothing; `metric name = value` reports a value.",
    ),
    "DL0530": Code(
        "what can be differentiated",
        "`grad(y, x)` takes a floating scalar and floating tensors, the parameters of a layer, or a list of these. "
        "Integers and truth values have no gradient.",
    ),
    "DL0531": Code(
        "a gradient that is always zero",
        "The scalar does not depend on what it is differentiated by, or only through something without a gradient. "
        "That is hardly ever meant, so it is an error rather than a zero.",
    ),
    "DL0532": Code(
        "no gradient passes here",
        "A draw from a Bernoulli or a categorical distribution has no gradient with respect to what it is drawn "
        "from, and a `while` none at all (how often it runs is known only then; JAX has no reverse mode for it). "
        "Stop the gradient with `stop_gradient`, use a straight-through or a score-function estimator, or a `scan`.",
    ),
    "DL0533": Code(
        "a loss is a scalar",
        "Losses, metrics and learning rates are floating scalars. Reduce with `mean` or `sum`; cast integers.",
    ),
    "DL0534": Code(
        "which parameters an objective changes",
        "`over` takes layers, parameters or name patterns (`*` within one part of a name, `**` across parts). Each "
        "of them means at least one parameter, none is meant twice, by one objective or by two, and the loss "
        "depends on them.",
    ),
    "DL0535": Code(
        "what an optimiser is",
        "An optimiser is a function `fn rule(p, g, STATE..., step, lr = ..., SETTINGS...)` that returns the new "
        "parameter and the new state, in order. In use its arguments begin with `lr`.",
    ),
    "DL0536": Code(
        "a train block without inputs or objectives",
        "A `train` block says in its second bracket what a batch has, and minimises or updates something: "
        "`minimize LOSS using OPTIMIZER` or `update NAME = VALUE`, at least once. `dslc doctor` and `dslc verify --gradients` "
        "look at what is minimised.",
    ),
    "DL0537": Code(
        "a gradient given by hand",
        "`fn f(x) = ... backward(g) = ...` says what the gradient of `f` is: from the gradients of its results "
        "(`g`, in order) and its own parameters, one gradient for each floating tensor among these, of its type.",
    ),
    "DL0538": Code(
        "an optimiser that computes the loss several times a step",
        "`lbfgs` has all parameters of its objective, follows the gradient itself, and compares losses of one step with each other. So it "
        "is the only optimiser of its objective, there is no `clip`, and the loss is the same each time: no layer behind it draws or "
        "changes a buffer. A draw outside of layers is made once a step and may be there. "
        "docs/optimizers.md has more about it.",
    ),
    "DL0601": Code(
        "nested too deep",
        "Brackets, blocks, chains of operators and chains of `else if` are limited in depth, so that no input can "
        "exhaust the stack of a program that compiles it. Name an intermediate value, or raise the limit with `--limit nesting=N`.",
    ),
    "DL0602": Code(
        "too many operations",
        "The program would have more operations than is sensible. Loops with `for` are unrolled; `repeat` is not, as long "
        "as its body keeps the shape. `--limit nodes=N`, `rounds=N` and `tensors=N` raise the limits.",
    ),
    "DL0603": Code(
        "too many copies",
        "A `repeat` makes from 0 to 1 000 000 copies; `--limit copies=N` raises the limit.",
    ),
    "DL0604": Code(
        "modules too deep inside one another",
        "The depth of modules inside modules is limited; `--limit modules=N` raises the limit.",
    ),
    "DL0605": Code(
        "too many parameters",
        "The model has more parameters than the limit, which protects against a slip of the finger before memory is asked "
        "for. `--max-parameters` raises it.",
    ),
    "DL0606": Code(
        "a tensor is too large",
        "The sizes of this tensor multiply to more elements than 64 bits can count the bytes of. Sizes are computed "
        "exactly, so nothing wraps around; one of them is most likely a mistake.",
    ),
    "DL0701": Code(
        "no such backend",
        "`dslc targets` lists the backends. Others come with packages that register one under the entry point `dslc.backends`.",
    ),
    "DL0702": Code(
        "no program for this target",
        "The backend cannot write this as a program: it only computes, or has no way to say what the operation means.",
    ),
    "DL0703": Code(
        "no such device",
        "The backend does not run on this device here.",
    ),
    "DL0704": Code(
        "a plug-in that is no backend",
        "What a package registered under the entry point group `dslc.backends` lacks a part of the protocol in backends/base.py.",
    ),
    "DL0705": Code(
        "a backend cannot express an operation",
        "The target has no way to say what the operation means, at this opset or at all. Nothing is left out or "
        "approximated, so the compile stops; the help line names the backends that can.",
    ),
    "DL0706": Code(
        "no such pass",
        "`--disable` names a pass of the pipeline.",
    ),
    "DL0707": Code(
        "no such entry point",
        "`--entry` names a `def` of the model; a model without `def` has `forward`.",
    ),
    "DL0708": Code(
        "a package is missing or too old",
        "Backends need their packages only when they are used. `pip install 'dslc[torch]'`, `'dslc[jax]'`, `'dslc[onnx]'` "
        "install them.",
    ),
    "DL0709": Code(
        "weights for a target that carries none",
        "The targets that can train are written as source code, which makes or loads its weights itself.",
    ),
    "DL0710": Code(
        "a model of two files on standard output",
        "A large ONNX model keeps its weights in a second file, which needs a name beside the first.",
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
    "DL0714": Code(
        "steps over nothing in onnxruntime",
        "A size is at least 1. onnxruntime's Scan, LSTM and GRU end the whole process where there is no step or no row, so "
        "an empty input is refused before they see it. A program that runs an ONNX file by itself has to look out for that.",
    ),
    "DL0721": Code(
        "no such error code",
        "`dslc explain` without a code lists them all.",
    ),
    "DL0722": Code(
        "no such function",
        "`dslc ops` lists all primitives and the functions that are short for them. The layers of the library are in `dsl/lib`.",
    ),
    "DL0801": Code(
        "an initialiser without meaning",
        "The initialiser of a parameter cannot give values of its shape or element type, or its numbers contradict each other.",
    ),
    "DL0802": Code(
        "an input has another shape",
        "The array that is given for an input has another shape than the model declares, or two inputs disagree on the "
        "size of a dimension.",
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
    "DL0810": Code(
        "weights of another training set",
        "A buffer that begins as a list of numbers and that nothing updates is a constant of the spec: the mean and deviation "
        "of the data, as in `InputNorm`. The file was trained with other numbers than the spec has, and what the network "
        "learned is for inputs that are normalised by those.",
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
    "DL0814": Code(
        "a gradient that the reference cannot check",
        "The reference differentiates by moving the point. A function with a `backward` of its own is taken as the line that "
        "has this gradient, which there is only where `backward` is linear in the gradient it gets: a gradient that is "
        "clipped on its way back belongs to no function.",
    ),
    "DL0815": Code(
        "a target has another gradient",
        "The operation by itself, at the operands that it really has, is differentiated by the targets and by central "
        "differences of the float64 reference, and one of them gives something else. The tolerance is what rounding explains: "
        "the program is differentiated again with each inexact operation off by up to 32 units in the last place.",
    ),
    "DL0816": Code(
        "a target has another gradient as a whole",
        "The gradient by a parameter or an input differs, and that of each operation by itself agrees: the difference comes "
        "from how the target puts operations together, such as a fused layer or a loop.",
    ),
    "DL0817": Code(
        "a backend without gradients",
        "`dslc verify --gradients` compares targets that differentiate, which an ONNX graph and the reference do not.",
    ),
    "DL0818": Code(
        "no room for the tensors of a smaller network",
        "`dslc init --grow` puts the tensors of a file in front of those of the model, along their first two axes, which are units. "
        "Both networks have the same layers, each tensor as many axes, and kernels one size.",
    ),
    "DL0819": Code(
        "a larger network that computes something else",
        "New units have outgoing weights of 0, so that the larger network should compute what the smaller one did. Both were run, and "
        "differ. Some layers read all features together and cannot be given more of them in this way: a normalisation over "
        "features, a recurrent cell, heads of attention, a `concat` of parts that grew; or the output itself grew.",
    ),
    "DL0821": Code(
        "an input does not fit the model",
        "An input is missing, or has a name or element type that the model does not have. Integers become floating-point "
        "numbers where those are declared, never the other way round.",
    ),
    "DL0822": Code(
        "an input cannot be read",
        "The file is missing, damaged, or of a kind that is refused: arrays of Python objects could run code.",
    ),
    "DL0823": Code(
        "no such dimension",
        "`--size DIM=N` names a symbolic dimension of the model's inputs.",
    ),
    "DL0824": Code(
        "nothing to attribute",
        "`dslc attribute` explains an output of one or two axes by a floating input; the one named is another, or there is none.",
    ),
    "DL0831": Code(
        "data of no kind that is known",
        "`--data` names a file, a folder of pictures or a data set; the kind of a file follows from its suffix.",
    ),
    "DL0832": Code(
        "data that cannot be read",
        "The file is missing, empty, damaged, lacks values, or is of a kind that is refused: arrays of Python objects could "
        "run code.",
    ),
    "DL0833": Code(
        "data and inputs have different names",
        "Each input of a `train` block takes the array or the columns of its name. `--data image=data.npz:x` says that the "
        "input `image` is what the file calls `x`.",
    ),
    "DL0834": Code(
        "data of another shape than the input",
        "The first axis of all data is the rows, of which there are the same number for each input; the other axes have the "
        "sizes that the block declares. A symbolic size is the same everywhere.",
    ),
    "DL0835": Code(
        "data of another element type than the input",
        "Values are converted where nothing is lost: whole numbers to whole numbers that can hold them, or to floating point "
        "that is exact for them. Rounding to another floating type is no loss; rounding to integers is.",
    ),
    "DL0836": Code(
        "a value out of range",
        "A label has no class, a token is not in the vocabulary, or a value is NaN or infinite. All values are looked at "
        "before the first step.",
    ),
    "DL0837": Code(
        "a window without length",
        "A text has no rows: it is cut in windows, whose length the input's type or `--size` gives.",
    ),
    "DL0838": Code(
        "too few rows",
        "After what is held out for validation at least one batch has to be left to train on.",
    ),
    "DL0839": Code(
        "inputs without a common batch",
        "The first axis of each input of a `train` block is the batch: a symbol, the same for all, on which no other axis "
        "depends.",
    ),
    "DL0841": Code(
        "a training is there already",
        "The folder of a training holds its checkpoints and curves, and a new one does not write over them. `--resume` goes on with the "
        "one that is there; `--out` names another folder. Two processes do not train in one folder at the same time, either.",
    ),
    "DL0842": Code(
        "no checkpoint that can be read",
        "`--resume` goes on from `checkpoint.json` in the folder of the training, and from the files that it names. They are written whole "
        "or not at all, so a damaged one was changed by something else.",
    ),
    "DL0843": Code(
        "a checkpoint of another training",
        "A training goes on to the same numbers only with the same block, hyper-parameters, data, batch and backend. What differs is "
        "listed: set it back, or begin a new training in another folder. `--weights` begins one with the weights of another.",
    ),
    "DL0844": Code(
        "a training goes on with another seed",
        "The seed decides the order of the data and every random draw. The checkpoint knows its own: leave `--seed` out.",
    ),
    "DL0845": Code(
        "a loss that is not finite",
        "The training stops at the first loss that is NaN or infinite. The step is done again with the NumPy reference, which names the "
        "first operation whose result is not finite, or whose slope is infinite. The last checkpoint stays as it is.",
    ),
    "DL0846": Code(
        "a training without an end",
        "Say how long to train: `--steps N`, `--epochs N`, or a hyper-parameter `steps` of the block with a default.",
    ),
    "DL0847": Code(
        "a batch that cannot be divided",
        "`--accumulate N` takes each batch in N parts of one size and adds their gradients, so the batch is a multiple of N.",
    ),
    "DL0848": Code(
        "an unknown check",
        "`dslc doctor --check NAME` takes the names that `dslc doctor --help` lists.",
    ),
    "DL0849": Code(
        "nothing of that name to watch",
        "`dslc train --watch NAME` takes a loss or a metric of the block, by the name that the curves have. Its best validation "
        "decides which weights are kept, and with `--patience` when the training ends.",
    ),
    "DL0850": Code(
        "a statistic of the data that is no number",
        "`dslc train --measure NAME=EXPRESSION` computes the expression on all rows that are trained on. It is infinite or NaN there, "
        "as the logarithm of 0 or a division by a deviation of 0 are.",
    ),
    "DL0851": Code(
        "no such layer among the weights",
        "`FILE:LAYER` is a layer of the file, and `LAYER=FILE` one of the block that is trained, by their full names, such as "
        "`net.encoder`: all tensors whose names begin so. `dslc summary` lists those of a model.",
    ),
    "DL0852": Code(
        "weights of a layer given twice",
        "Each `--weights` of a training is for other layers, so that nothing depends on their order: `LAYER=FILE` for one layer, `FILE` "
        "for the whole block.",
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
    "DL1001": Code(
        "a name is never used",
        "Nothing reads what was bound here. A name that begins with `_` says that this is meant.",
    ),
    "DL1002": Code(
        "a definition replaces one of the library",
        "A spec's own definition wins over the library's of the same name. Backends then compile the body as it is "
        "written, and use none of their own words for it.",
    ),
    "DL1003": Code(
        "a layer is never applied",
        "The layer is declared and its parameters would never be made.",
    ),
    "DL1004": Code(
        "an input is never used",
        "Nothing that the model returns depends on this input.",
    ),
    "DL1005": Code(
        "a definition is never used",
        "Modules and functions are checked on the sizes that they are used with. Nothing in this file uses this one, so "
        "nothing has looked into it beyond its syntax. A file that only offers definitions to others has no `model` and "
        "gets no such warning.",
    ),
    "DL1006": Code(
        "parameters in no objective",
        "No objective of the block changes these parameters: they keep their initial values. Add them with `over`, "
        "or stop here if that is meant, as for a frozen backbone.",
    ),
    "DL1007": Code(
        "parameters that a loss does not depend on",
        "These parameters are named by `over`, and the loss has no gradient with respect to them: they stay as they are.",
    ),
    "DL1008": Code(
        "a loss that grows with the batch",
        'With `reduction="sum"` in a classification, or `sum` over the examples, twice the batch gives twice the gradient, and '
        "a learning rate that was right before is not. Take the mean, or divide by the number of examples: `sum(loss) / B`. "
        "Squared errors of a whole data set, as in PCA, are not reported.",
    ),
    "DL1010": Code(
        "a loss of logits is given probabilities",
        "`cross_entropy` and its like apply a softmax, or a sigmoid, to what they are given. On probabilities the loss stays "
        "near that of guessing, and gradients are small: `cross_entropy(x -> Linear(10) -> softmax, label)`. Leave the softmax "
        "out of what is trained; a model may return both logits and probabilities. Where the two are meant, write them out: "
        "`nll(log(p), label)`.",
    ),
    "DL1011": Code(
        "a loss of probabilities is given something else",
        "`nll` and `kl_div` take the logarithms of probabilities, as `log_softmax` gives them, and `bce` takes probabilities. "
        "`nll(softmax(z), label)` and `bce(x -> Linear(1), y)` are numbers that go down, and mean nothing. `cross_entropy` and "
        "`bce_with_logits` take logits.",
    ),
    "DL1012": Code(
        "a softmax of a softmax",
        "What has been through a softmax or a sigmoid lies between 0 and 1, so a second one makes it nearly uniform. Leave one "
        "of them out. A `log_softmax` of probabilities is meant as `log(p)`. Weights along another axis than the first softmax "
        "are not reported.",
    ),
    "DL1013": Code(
        "a softmax along the wrong axis",
        "Along an axis of one element a softmax is 1 whatever it is given: one logit goes with `sigmoid` and `bce_with_logits`. "
        "Along the axis of the examples each guess depends on what else is in the batch. Give the axis of the classes with "
        "`over`. Scores of all pairs of a batch have two such axes, and are not reported.",
    ),
    "DL1014": Code(
        "an activation where the loss takes any number",
        "A `relu` or `tanh` stands last before a loss, a softmax or a sigmoid: `x -> Linear(10) -> relu` into `cross_entropy`. "
        "Half of what the last layer says is thrown away, and where a relu gives 0 nothing is learned. Leave the last activation "
        "out, as in `MLP([64], out=10)`. What is to be positive goes through `softplus` or `exp`; `maximum(x, 0.0)` is not "
        "reported.",
    ),
    "DL1015": Code(
        "the number of a class as a quantity",
        "`mse(score, cast(label, float))` says that class 9 is further from class 1 than class 2 is. Classes go with "
        "`cross_entropy`, or with `one_hot(label, classes=10)`. A count or a rating is a quantity: declare such an input `float`.",
    ),
    "DL1016": Code(
        "dropout after the last layer",
        "`x -> Linear(10) -> dropout(0.5)` into a loss says that half of the logits, or of what is predicted, are 0 in training "
        "whatever the network has learned. Dropout stands before the last layer.",
    ),
    "DL1017": Code(
        "a norm after the last layer",
        "Logits behind a `BatchNorm1d`, a `LayerNorm` or `normalize` have one scale, so no guess can be surer than another: the "
        "loss stays far from 0. Put the norm before the last layer. A cosine classifier scales them again, `10.0 * "
        "normalize(z)`, and is not reported.",
    ),
    "DL1018": Code(
        "a logarithm of what has been rounded to 0",
        "`log(softmax(x))` and `log(sigmoid(x))` are infinite where the probability is too small for a float, and so are the "
        "gradients; `log(sum(exp(x)))` overflows from x = 89 on. `log_softmax`, `log_sigmoid` and `logsumexp` compute the same "
        "without. With a small number inside, `log(p + 1e-6)` or `log(maximum(p, 1e-6))`, nothing is reported.",
    ),
    "DL1019": Code(
        "a positive number is needed, and this may be negative",
        "A linear map gives any number, so `sqrt(x -> Linear(2))`, its logarithm, or a normal distribution with it as the "
        "standard deviation is NaN sooner or later. Predict the logarithm, `std = exp(0.5 * log_var)`, or use `softplus`.",
    ),
    "DL1020": Code(
        "two linear maps in a row",
        "`x -> Linear(64) -> Linear(10)` computes what one `Linear(10)` can: an activation is missing. Dropout, a batch norm and "
        "a reshape between them change nothing about that. A map that is narrower than what goes in and what comes out has fewer "
        "parameters on purpose, and is not reported; neither are convolutions in groups. Elsewhere write `# dslc: allow DL1020` "
        "above the statement.",
    ),
    "DL1021": Code(
        "a relu of a relu",
        "The second one changes nothing: `Linear(8) -> relu -> relu`. One of them is left from a layer that went, or a layer is "
        "missing.",
    ),
    "DL1022": Code(
        "an operation that is NaN at zero",
        "`x / norm(x)` is 0 / 0 for a vector of zeros, `sum(x) / sum(cast(mask, float))` where the mask is empty, and the "
        "gradient of `sqrt(a ** 2 + b ** 2)` is infinite at 0. Divide by `maximum(norm(x, over=-1, keepdims=true), 1e-12)`, by "
        "`maximum(sum(mask), 1.0)`, and add a small number inside the root.",
    ),
    "DL1023": Code(
        "a layer applied to its own result",
        "`layer fc = Linear(8)` and `x -> fc -> relu -> fc` have one weight between them. Two layers are two declarations, or `x "
        "-> Linear(8) -> relu -> Linear(8)`; a chain of equal layers is `repeat(n) { Linear(8) -> relu }`; what comes back step "
        "by step is a `scan`. Networks that share their layers on purpose write `# dslc: allow DL1023`.",
    ),
    "DL1024": Code(
        "units that begin alike",
        "All weights of a layer are one constant, often `init=zeros`, and another layer follows: each unit has the same value "
        "and the same gradient as the next, for ever, or there is no gradient at all. A last layer, or the end of a residual "
        "branch, may begin at zero.",
    ),
    "DL1025": Code(
        "dropout of nearly everything",
        "The rate of `dropout` is the share that is dropped, as in PyTorch; in old papers and programs it is the share that is "
        "kept. At 0.9 and more hardly anything is left. If it is meant, `# dslc: allow DL1025`.",
    ),
    "DL1026": Code(
        "a value with itself",
        "`x - x` is 0, `maximum(x, x)` is x, and a residual `x + x` is twice the value: one of the two was to be what a layer "
        "made of it. For twice the value write `2 * x`.",
    ),
    "DL1027": Code(
        "weights that begin very large",
        "The results of a layer of n inputs have about sqrt(n) times the deviation of its weights. Where that is over 20, as of "
        "`init=normal(std=1)` for 9216 inputs, units saturate and gradients explode. `kaiming_normal`, `xavier_uniform` and "
        "their like look at n.",
    ),
    "DL1028": Code(
        "dropout by hand",
        "`h * cast(rand(B, D) >= 0.5, float)` draws in inference as well, so a model never says the same twice. `dropout(h, "
        "0.5)` is off there; if it is meant to be on, `dropout(h, 0.5, training=true)`, or `# dslc: allow DL1028`.",
    ),
    "DL1029": Code(
        "a norm of one number",
        "`x -> Linear(1) -> LayerNorm` is the bias of the norm whatever x is, and `normalize` leaves the sign. Norms go along "
        "the features, before the last layer.",
    ),
    "DL1030": Code(
        "a reshape that mixes axes",
        "A reshape reads the numbers in their order and never exchanges axes: `reshape(x, [B, D, T])` of a `float[B, T, D]` puts "
        'the numbers of one place into another. `transpose(x, 1, 2)` exchanges axes, `rearrange(x, "b t (h d) -> b h t d", '
        "h=8)` splits and exchanges. A reshape to one long axis and back is not reported: `reshape(flatten(x), [B, D, T])`.",
    ),
    "DL1031": Code(
        "an example that depends on its batch",
        "`x - mean(x, over=0)` takes the mean over the examples: what the network says of one depends on which others are there. "
        "Give the axis of the numbers of one example, such as -1. For statistics of the data there are `BatchNorm1d` and "
        "`InputNorm`. Where the axis of the examples is meant, name it: `mean(x, over=B)`.",
    ),
    "DL1032": Code(
        "a column meets a row",
        "`score - y` of `float[B, 1]` and `float[B]` is `float[B, B]`: each row is compared with the targets of all rows, and "
        "the mean of that is a number like any other. Take the axis away, `squeeze(score, 1)`. All pairs are written `a[:, none] "
        "- b[none, :]`, which is not reported.",
    ),
    "DL1033": Code(
        "windows that end before the map does",
        "A convolution with a stride, or a pool of a map of more than 8 columns, does not come out even: `Conv2d(96, 11, "
        "stride=4)` of 224 columns reads 223. Another size, padding or `ceil_mode=true` reads them all. Where the rest does not "
        "matter, cut it off: `x[:, :, :223, :223]`.",
    ),
    "DL1034": Code(
        "one draw for all examples",
        "`mean + std * randn(D)` gives all examples of the batch the same noise. `randn(B, D)` draws for each. Where it is "
        "shared on purpose, say so with an axis of size 1, `randn(1, D)`.",
    ),
    "DL1035": Code(
        "scores that a mask has set to 0",
        "In `softmax(scores * cast(mask, float))` a score of 0 is like any other: what was to be hidden is weighed by exp(0) = "
        "1. `softmax(where(mask, scores, -1e30))` gives it no weight.",
    ),
    "DL1036": Code(
        "logits against one half",
        "What a linear layer gives is a logit: the probability is one half where it is 0. `score > 0.5` asks for a probability "
        "of 0.62. Write `score > 0`, or `sigmoid(score) > 0.5`. For a regression on 0 and 1, `# dslc: allow DL1036`.",
    ),
    "DL1037": Code(
        "an objective of the wrong sign",
        "A `minimize` makes its number small. A log-likelihood, the expectation of `score_function` and `elbo` are to be large: "
        "minimise the negative, `minimize -mean(log_prob)`. The negative of a loss falls without bound. Objectives that play "
        "against each other, as in a GAN, are several, and the negative of a loss is not reported there. To learn how to be "
        "wrong, `# dslc: allow DL1037`.",
    ),
    "DL1038": Code(
        "a layer of a constant",
        "`G(zeros(B, 16))` gives a network the same numbers for each example, so what comes out is the same as well. Noise is "
        "`randn(B, 16)`; an input that is learned is a `param`. Recurrent cells that begin with zeros have another input, and "
        "are not reported.",
    ),
    "DL1039": Code(
        "a mean over what is hidden",
        "`mean(where(mask, loss, 0.0))` divides by all places, those that the mask hides included. Divide by those that count: "
        "`sum(where(mask, loss, 0.0)) / maximum(sum(cast(mask, float)), 1.0)`.",
    ),
    "DL1040": Code(
        "names that have changed places",
        "An argument has the name of another parameter, `cell(c, h)` for `cell(h, c)`, or two results are bound to each other's "
        "names. Where both have one type nothing else would notice. If it is meant, name the arguments: `cell(h=c, c=h)`.",
    ),
    "DL1041": Code(
        "a buffer that nothing updates",
        "A `train` block declares a buffer, or a module that updates others, and no `update` changes this one: it stays as it "
        "begins. A constant can be a value: `scale = 0.5`.",
    ),
    "DL1042": Code(
        "a carry that never changes",
        "The body of a loop binds no new value to this carry, so nothing goes from step to step. Often the new state has another "
        "name: `state = cell(x_t, h)` for `h = cell(x_t, h)`. What stays as it is needs no `carry`.",
    ),
    "DL1044": Code(
        "parts put together and taken apart in different orders",
        "`(b t)` counts the steps of the first example, then those of the second; taken apart as `(t b)` the rows of the batch "
        "are mixed with time, and all shapes fit. Use one order both ways.",
    ),
    "DL1045": Code(
        "the axis of the batch where another is meant",
        "Recurrent layers and attention take float[B, T, D]: with the time first the examples would be the steps. A `roll` or "
        "`cumsum` along the batch takes numbers from one example to another.",
    ),
    "DL1046": Code(
        "a distribution along one axis, summed along another",
        "A softmax makes numbers that sum to 1 along its axis. Weights of attention are summed over the keys, so they are "
        "normalised over the keys; two distributions that are compared are along one axis.",
    ),
    "DL1047": Code(
        "a length that counts one too many",
        "Places begin at 0, so the places of a row of `length` tokens are those with `arange(T) < length`, and the last one is "
        "`length - 1`. `<=` lets a place of padding in.",
    ),
    "DL1048": Code(
        "an inverted mask",
        "Masks are true where something may be seen. `tokens == 0` shows only the padding, `where(seen, 0.0, x)` keeps what is "
        "not seen, and `done * value` counts what follows only where nothing does.",
    ),
    "DL1049": Code(
        "a number of an optimiser that is out of range",
        "The rate, momentum, betas or decay of an optimiser are far from what anything learns with, or its schedule ends when "
        "the training has hardly begun. A rule like adam moves each weight by about the learning rate in every step.",
    ),
    "DL1050": Code(
        "a guess that sees its target",
        "A network that is asked for a token reads that token, or those after it: the loss falls to nothing, and in use there is "
        "nothing to copy. Shift the target, `cross_entropy(lm(tokens[:, :-1]), tokens[:, 1:])`, and let attention look back "
        "only, `causal=true`.",
    ),
    "DL1051": Code(
        "a prediction and a target that have changed places",
        "Losses take what is predicted first. Where no gradient reaches the first argument and one reaches the second, they are swapped: "
        "`bce_with_logits(y, score)` for `bce_with_logits(score, y)`.",
    ),
    "DL1052": Code(
        "a target that follows the gradient",
        "What a loss compares with is taken as given. If it depends on the parameters that are trained, it is trained towards the "
        "prediction as much as the other way round: `kl_div(log_softmax(a), stop_gradient(softmax(b)))`. Two views that should meet in the "
        "middle are a reason to allow it.",
    ),
    "DL1053": Code(
        "a divergence that is reported and not minimised",
        "A metric shows a Kullback-Leibler divergence that no loss of the block depends on: a term of the loss was forgotten.",
    ),
    "DL1054": Code(
        "a perplexity of the wrong base",
        "Cross entropies are in nats. Their perplexity is `exp(loss)`; `2 ** bits` goes with `bits = loss / log(2.0)`.",
    ),
    "DL1055": Code(
        "a mean against a sum",
        "The lower bound of a variational autoencoder adds the log-likelihood of an example to a divergence that is summed over the "
        "code. As a mean over the pixels the likelihood hardly counts, and the code is ignored.",
    ),
    "DL1056": Code(
        "a variance for a deviation",
        "The exponential of the logarithm of a variance is the variance; the deviation is `exp(0.5 * log_var)`.",
    ),
    "DL1057": Code(
        "the same for two arguments",
        "A function is given two values that are computed alike from the same: `discriminator_loss(D(real), D(real))`.",
    ),
    "DL1058": Code(
        "a discount above 1",
        "What follows a step counts `gamma` times as much as the step itself. Above 1 the values of a policy grow without bound.",
    ),
    "DL1059": Code(
        "a distribution that is not drawn from",
        "A block has the divergence of a distribution, and takes its center for the code, or stops the gradient of what it draws. "
        "`normal_sample(center, std)` draws so that the gradient passes to both.",
    ),
    "DL1060": Code(
        "a residual that adds nothing",
        "A layer with `Residual` in its name has no sum: its input is not added to what is computed from it.",
    ),
}
